//! VMs whose serial port has a proxy: told from others, moved from host to host, nothing lost.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Guest, ID, NAME, generated};
use crate::host::{Host, UUID};

/// Messages of the extension.
const BEGIN: u8 = 40;
const GO_AHEAD: u8 = 41;
const PEER_OK: u8 = 45;
const COMPLETE: u8 = 46;
const ABORT: u8 = 48;

/// Long enough for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// The VM stands still and asks to move: the cookie.
pub fn begin(guest: &mut Guest, sequence: &[u8]) -> Vec<u8> {
    begin_on(guest.host(), sequence).expect("a listener")
}

/// The same for a host; `None`: the listener has gone.
pub fn begin_on(host: &mut Host, sequence: &[u8]) -> Option<Vec<u8>> {
    host.flushed();
    host.said.clear();
    host.say(BEGIN, sequence);
    let cookie = host.wait(GO_AHEAD)?;
    assert!(
        cookie.starts_with(sequence) && cookie.len() >= sequence.len() + 4,
        "{cookie:?}"
    );
    Some(cookie)
}

/// The new host's connection, up to the listener's word that it is known.
fn arrive(appliance: &Appliance, cookie: &[u8], sequence: &[u8]) -> Host {
    let mut new = Host::peer(appliance.port, None, cookie);
    assert_eq!(new.wait(PEER_OK).as_deref(), Some(sequence));
    new
}

/// The VM moves, the old connection's end before or after the word of the new one.
pub fn moved(appliance: &Appliance, guest: &mut Guest, sequence: &[u8], old_first: bool) {
    let cookie = begin(guest, sequence);
    let mut new = Host::peer(appliance.port, guest.tls.as_ref(), &cookie);
    assert_eq!(new.wait(PEER_OK).as_deref(), Some(sequence));
    if old_first {
        guest.host().hang_up();
        std::thread::sleep(Duration::from_millis(20));
    }
    new.say(COMPLETE, sequence);
    new.flushed();
    drop(guest.moved_to(new));
}

/// The machine moves to a host that connects here: its connection, with the VM on it.
#[cfg(feature = "vm-tests")]
pub fn arrived(listener: std::net::SocketAddr, cookie: &[u8], sequence: &[u8]) -> Option<Host> {
    let mut new = Host::peer(listener, None, cookie);
    assert_eq!(new.wait(PEER_OK)?, sequence);
    new.say(COMPLETE, sequence);
    new.flushed();
    Some(new)
}

#[test]
fn a_vm_behind_a_proxy_is_the_same_container() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    let data = generated(3, 3 << 20);
    guest.print(Stream::Stdout, &data);
    guest.settle();
    appliance.until(ID, "/Vch/SerialPort/Port", "\"link\"");
    appliance.until(ID, "/Vch/SerialPort/VmName", &format!("{NAME:?}"));
    appliance.until(ID, "/Vch/SerialPort/VmUuid", &format!("{UUID:?}"));
    guest.exit(4);
    guest.settle();
    assert!(
        appliance.vch(&["logs", ID]).stdout == data,
        "the log differs"
    );
    assert_eq!(appliance.ok(&["wait", ID]), "4\n");
}

#[test]
fn all_bytes_go_both_ways_in_fragments_and_over_a_restart() {
    let mut appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    guest.host().dribbles = true;
    let every: Vec<u8> = (0..=255).chain([255; 16]).chain(0..=255).collect();
    guest.print(Stream::Stdout, &every);
    let mut client = appliance.spawn(&["attach", ID]);
    let mut stdin = client.stdin.take().expect("piped");
    stdin.write_all(&every).expect("stdin");
    drop(stdin);
    guest.until("all of stdin", |guest| guest.stdin_ended);
    assert!(guest.stdin == every);
    appliance.kill();
    appliance.run();
    guest.print(Stream::Stdout, b"after");
    guest.exit(0);
    guest.settle();
    guest.until_ended(client);
    let expected = [&every[..], b"after"].concat();
    assert!(appliance.vch(&["logs", ID]).stdout == expected);
}

#[test]
fn twenty_moves_in_mid_stream_lose_no_byte_either_way() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    let (output, input) = (generated(5, 5 << 20), generated(6, 2 << 20));
    let mut client = appliance.spawn(&["attach", ID]);
    let mut stdin = client.stdin.take().expect("piped");
    let typed = input.clone();
    let typing = std::thread::spawn(move || stdin.write_all(&typed));
    for (n, part) in output.chunks(output.len() / 20 + 1).enumerate() {
        guest.print(Stream::Stdout, part);
        // Sequences with 255 at each place, of other lengths too.
        let mut sequence = vec![n as u8; 4 + n % 3];
        let at = n % sequence.len();
        sequence[at] = 255;
        moved(&appliance, &mut guest, &sequence, n % 2 == 0);
    }
    guest.until("all of stdin", |guest| guest.stdin_ended);
    typing.join().expect("no panic").expect("typed");
    assert!(guest.stdin == input, "stdin differs");
    guest.exit(0);
    guest.settle();
    guest.until_ended(client);
    assert!(
        appliance.vch(&["logs", ID]).stdout == output,
        "the log differs"
    );
    // One connection: the guest's end of the link has not noticed.
    assert_eq!(guest.connections, 1);
}

#[test]
fn while_a_vm_moves_what_is_typed_waits_and_nothing_goes_to_the_old_host() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    let mut client = appliance.spawn(&["attach", ID]);
    let mut stdin = client.stdin.take().expect("piped");
    guest.until("a client", |_| true);
    for ending in [COMPLETE, ABORT, BEGIN] {
        let sequence = [9, 9, 255, ending];
        let cookie = begin(&mut guest, &sequence);
        guest.host().pending().clear();
        stdin.write_all(b"typed").expect("stdin");
        guest.host().linger(A_WHILE);
        assert!(
            guest.host().pending().is_empty(),
            "input came after the go-ahead"
        );
        match ending {
            COMPLETE => {
                let mut new = arrive(&appliance, &cookie, &sequence);
                new.linger(A_WHILE);
                assert!(new.pending().is_empty(), "input came before the VM");
                new.say(COMPLETE, &sequence);
                drop(guest.moved_to(new));
            }
            ABORT => guest.host().say(ABORT, &[]),
            _ => {
                // A newer one, which then is aborted.
                begin(&mut guest, &[1]);
                guest.host().say(ABORT, &[]);
                let mut late = Host::peer(appliance.port, None, &cookie);
                assert!(late.linger(Duration::from_secs(5)), "an old cookie is good");
            }
        }
        let before = guest.stdin.len();
        guest.until("what was typed", |guest| guest.stdin.len() == before + 5);
    }
    drop(stdin);
    guest.exit(0);
    guest.settle();
    guest.until_ended(client);
    assert_eq!(guest.stdin, b"typedtypedtyped");
}

#[test]
fn a_wrong_cookie_gets_nothing_and_changes_nothing() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    let sequence = [1, 2, 3, 4];
    let cookie = begin(&mut guest, &sequence);
    let mut wrong = cookie.clone();
    wrong[7] ^= 1;
    // It even has the victim's UUID and name.
    for bad in [&wrong[..], &sequence[..], b"", &cookie[1..]] {
        let mut impostor = Host::peer(appliance.port, None, bad);
        impostor.say(COMPLETE, &sequence);
        assert!(impostor.linger(Duration::from_secs(5)), "not closed");
        assert_eq!(impostor.heard(PEER_OK), None);
    }
    let mut new = arrive(&appliance, &cookie, &sequence);
    // For one use.
    let mut second = Host::peer(appliance.port, None, &cookie);
    assert!(
        second.linger(Duration::from_secs(5)),
        "a cookie is good twice"
    );
    // A word of another sequence is not the VM's.
    new.say(COMPLETE, b"other");
    new.linger(A_WHILE);
    new.say(COMPLETE, &sequence);
    drop(guest.moved_to(new));
    guest.print(Stream::Stdout, b"here");
    guest.exit(0);
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "here");
}

#[test]
fn a_move_that_fails_on_the_new_host_leaves_the_vm_on_the_old_one() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    let cookie = begin(&mut guest, &[7; 4]);
    drop(arrive(&appliance, &cookie, &[7; 4]));
    std::thread::sleep(A_WHILE);
    guest.host().say(ABORT, &[]);
    guest.print(Stream::Stdout, b"still here");
    // And the next one comes about.
    moved(&appliance, &mut guest, &[8; 4], false);
    guest.exit(3);
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "still here");
    assert_eq!(appliance.ok(&["wait", ID]), "3\n");
}

#[test]
fn a_vm_whose_go_ahead_came_too_late_goes_on_without_a_word() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    begin(&mut guest, &[3; 4]);
    std::thread::sleep(Duration::from_millis(6500));
    guest.print(Stream::Stdout, b"resumed");
    // It is acknowledged: the line goes both ways again.
    guest.exit(0);
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "resumed");
}

#[test]
fn thousands_who_connect_and_close_do_no_harm() {
    let appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    for n in 0..3000 {
        let mut socket = TcpStream::connect(appliance.port).expect("connect");
        if n % 3 == 1 {
            let _ = socket.write_all(&[255, 251]);
        }
        if n % 3 == 2 {
            let _ = socket.write_all(&[255, 253, 232, 255, 250, 232, 44]);
        }
        if n % 100 == 0 {
            guest.print(Stream::Stdout, b".");
        }
    }
    guest.exit(0);
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]), ".".repeat(30));
}

#[test]
fn an_http_client_and_a_lone_255_are_no_telnet() {
    let appliance = Appliance::start();
    for first in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[255],
        &[255, 255, 1],
        &[255, 0],
    ] {
        let mut socket = TcpStream::connect(appliance.port).expect("connect");
        socket.write_all(first).expect("write");
        socket.set_read_timeout(Some(A_WHILE)).expect("limit");
        let mut seen = Vec::new();
        let _ = socket.read_to_end(&mut seen);
        assert!(
            !seen.windows(4).any(|w| w == b"port"),
            "{first:?}: {seen:?}"
        );
    }
}

/// Debian's own client.
#[test]
fn telnet_is_refused_politely() {
    let appliance = Appliance::start();
    let telnet = Command::new("telnet")
        .args([
            appliance.port.ip().to_string(),
            appliance.port.port().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut telnet = match telnet {
        Ok(telnet) => telnet,
        Err(error) if std::env::var_os("TETHER_REQUIRE_TOOLS").is_none() => {
            return eprintln!("left out: telnet: {error}");
        }
        Err(error) => panic!("telnet: {error}"),
    };
    // At the end of its input it would end by itself.
    let stdin = telnet.stdin.take();
    let output = telnet.wait_with_output().expect("telnet");
    drop(stdin);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("vch attach"), "{output:?}");
    assert!(text.is_ascii(), "{text:?}");
}
