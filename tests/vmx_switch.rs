//! `vmx switch` with cables of the test's own.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tether::lan::Names;

const PATIENCE: Duration = Duration::from_secs(30);
/// No frame comes within this: it was not sent.
const SILENCE: Duration = Duration::from_millis(300);

struct Switch {
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmx"));
    command.arg("switch").arg(folder);
    command.args(["--name", "back", "--address", "172.18.0.1/16", "--internal"]);
    command.stdin(Stdio::null());
    command
}

impl Switch {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let process = command(folder.path()).spawn().expect("vmx");
        Self { folder, process }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("switch")
    }

    fn cable(&self) -> Cable {
        let limit = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(self.socket()) {
                Ok(stream) => return Cable(stream),
                Err(error) => assert!(Instant::now() < limit, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Cable(UnixStream);

impl Cable {
    fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).expect("a length");
        let bytes = [&length.to_be_bytes(), frame].concat();
        self.0.write_all(&bytes).expect("sent");
    }

    fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).expect("a whole frame");
        Some(frame)
    }

    fn receive(&mut self) -> Vec<u8> {
        self.0.set_read_timeout(Some(PATIENCE)).expect("a limit");
        self.read().expect("a frame")
    }

    fn is_silent(&mut self) -> bool {
        self.0.set_read_timeout(Some(SILENCE)).expect("a limit");
        self.read().is_none()
    }
}

fn frame(to: u8, from: u8, payload: &[u8]) -> Vec<u8> {
    let address = |last| [2, 0, 0, 0, 0, last];
    let to = if to == 255 { [255; 6] } else { address(to) };
    [&to[..], &address(from), &[0x88, 0xb5], payload].concat()
}

/// Both are known to the switch.
fn two(switch: &Switch) -> (Cable, Cable) {
    let (mut one, mut two) = (switch.cable(), switch.cable());
    let hello = frame(255, 2, b"hello");
    // Until the first is plugged in, it hears nothing.
    one.0.set_read_timeout(Some(SILENCE)).expect("a limit");
    let limit = Instant::now() + PATIENCE;
    loop {
        two.send(&hello);
        if let Some(heard) = one.read() {
            assert_eq!(heard, hello);
            break;
        }
        assert!(Instant::now() < limit, "never plugged in");
    }
    while !one.is_silent() {}
    (one, two)
}

#[test]
fn frames_go_where_their_address_is() {
    let switch = Switch::start();
    let (mut one, mut two) = two(&switch);
    let mut three = switch.cable();
    one.send(&frame(2, 1, b"to two"));
    assert_eq!(two.receive(), frame(2, 1, b"to two"));
    two.send(&frame(1, 2, &[7; 1500]));
    assert_eq!(one.receive(), frame(1, 2, &[7; 1500]));
    assert!(three.is_silent(), "what is of two is not of a third");
    // A whole one in pieces.
    let bytes = [&[0, 0, 0, 18][..], &frame(2, 1, b"bits")].concat();
    for byte in bytes {
        one.0.write_all(&[byte]).expect("sent");
    }
    assert_eq!(two.receive(), frame(2, 1, b"bits"));
    // One that is longer than any: its cable is out, the others' are not.
    three.0.write_all(&[0, 16, 0, 0]).expect("sent");
    three.0.set_read_timeout(Some(PATIENCE)).expect("a limit");
    assert_eq!(three.0.read(&mut [0]).expect("the end"), 0);
    one.send(&frame(2, 1, b"still"));
    assert_eq!(two.receive(), frame(2, 1, b"still"));
}

#[test]
fn one_that_does_not_read_holds_nobody_up() {
    let switch = Switch::start();
    let (mut one, mut two) = two(&switch);
    let mut idle = switch.cable();
    idle.send(&frame(255, 3, b"here"));
    assert_eq!(one.receive(), frame(255, 3, b"here"));
    for _ in 0..20_000 {
        one.send(&frame(3, 1, &[0; 1500]));
    }
    one.send(&frame(2, 1, b"past it"));
    while two.receive() != frame(2, 1, b"past it") {}
}

#[test]
fn names_count_when_that_is_told() {
    let switch = Switch::start();
    let mut cable = switch.cable();
    let names = Names {
        hosts: [("web".to_owned(), vec![Ipv4Addr::new(172, 18, 0, 9)])].into(),
        ..Names::default()
    };
    let text = serde_json::to_vec(&names).expect("JSON");
    std::fs::write(switch.folder.path().join("names.json"), text).expect("written");
    cable.send(&[]);
    assert_eq!(cable.receive(), b"");
    // ARP: who has the gateway? 172.18.0.5 asks.
    let mut arp = frame(255, 5, &[0, 1, 8, 0, 6, 4, 0, 1]);
    arp[12..14].copy_from_slice(&[8, 6]);
    arp.extend([
        2, 0, 0, 0, 0, 5, 172, 18, 0, 5, 0, 0, 0, 0, 0, 0, 172, 18, 0, 1,
    ]);
    cable.send(&arp);
    let gateway = cable.receive()[6..12].to_vec();
    // A question for web's address.
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01";
    let udp = [
        &[0x20, 0, 0, 53, 0, 8 + question.len() as u8, 0, 0][..],
        question,
    ]
    .concat();
    let mut ip = vec![0x45, 0, 0, 20 + udp.len() as u8, 0, 0, 0, 0, 64, 17, 0, 0];
    ip.extend([172, 18, 0, 5, 172, 18, 0, 1]);
    let words = ip
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut asked = frame(0, 5, &[ip, udp].concat());
    asked[..6].copy_from_slice(&gateway);
    asked[12..14].copy_from_slice(&[8, 0]);
    cable.send(&asked);
    let answer = cable.receive();
    assert!(answer.ends_with(&[172, 18, 0, 9]), "{answer:?}");
}

#[test]
fn a_network_is_served_once_and_its_socket_is_for_the_owner() {
    let mut switch = Switch::start();
    let _cable = switch.cable();
    let output = command(switch.folder.path()).output().expect("vmx");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("switch: ") && told.contains("in use"),
        "{told}"
    );
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(switch.socket())
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Of one that was killed nothing hinders the next.
    switch.process.kill().expect("killed");
    switch.process.wait().expect("an end");
    switch.process = command(switch.folder.path()).spawn().expect("vmx");
    drop(switch.cable());
}
