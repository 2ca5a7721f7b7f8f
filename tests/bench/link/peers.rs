//! The same bytes into the log of others: socat (the floor), conserver, ser2net. Bytes a second; `None`
//! where one is not installed.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

/// Ends with the scope.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // conserver leaves its children behind when it is killed.
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

fn spawn(command: &mut Command) -> Option<Process> {
    use std::os::unix::process::CommandExt as _;
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.ok().map(Process)
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address").port()
}

fn connect(port: u16) -> TcpStream {
    let begin = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(socket) => return socket,
            Err(e) => assert!(begin.elapsed() < LIMIT, "port {port}: {e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// From the first byte sent to the last one in the log.
fn push(mut socket: TcpStream, bytes: usize, log: &Path) -> f64 {
    let block = b"0123456789".repeat(6_553);
    let size = || fs::metadata(log).map_or(0, |m| m.len());
    std::thread::sleep(Duration::from_millis(500));
    let (base, begin) = (size(), Instant::now());
    let mut left = bytes;
    while left > 0 {
        let count = left.min(block.len());
        socket.write_all(&block[..count]).expect("the peer reads");
        left -= count;
    }
    while size() - base < bytes as u64 {
        assert!(
            begin.elapsed() < LIMIT,
            "{} has {} bytes",
            log.display(),
            size()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    bytes as f64 / begin.elapsed().as_secs_f64()
}

pub fn socat(bytes: usize) -> Option<f64> {
    let dir = tempfile::tempdir().expect("a folder");
    let (port, log) = (free_port(), dir.path().join("log"));
    let _socat = spawn(Command::new("socat").args([
        "-u".to_owned(),
        "-b".to_owned(),
        "65536".to_owned(),
        format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr"),
        format!("OPEN:{},creat,append", log.display()),
    ]))?;
    Some(push(connect(port), bytes, &log))
}

/// It dials out to its consoles.
pub fn conserver(bytes: usize) -> Option<f64> {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let vm = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let vm_port = vm.local_addr().expect("its address").port();
    let log = dir.path().join("vm.log");
    let config = format!(
        "config * {{ primaryport {port}; secondaryport 0; }}\n\
         default * {{ master localhost; type host; host 127.0.0.1; port {vm_port}; protocol raw; \
         rw *; logfile {}; timestamp \"\"; }}\naccess * {{ trusted 127.0.0.1; }}\nconsole vm {{ }}\n",
        log.display()
    );
    let file = dir.path().join("conserver.cf");
    fs::write(&file, config).expect("a file");
    let _conserver = spawn(Command::new("conserver").arg("-C").arg(&file).args([
        "-p",
        &port.to_string(),
        "-b",
        "0",
        "-M",
        "127.0.0.1",
    ]))?;
    let (socket, _) = vm.accept().expect("a call");
    Some(push(socket, bytes, &log))
}

pub fn ser2net(bytes: usize) -> Option<f64> {
    let dir = tempfile::tempdir().expect("a folder");
    let (port, log) = (free_port(), dir.path().join("vm.log"));
    let file = dir.path().join("ser2net.yaml");
    let config = format!(
        "%YAML 1.1\n---\nconnection: &vm\n  accepter: tcp,127.0.0.1,{port}\n  \
         connector: file(outfile={},create)\n",
        log.display()
    );
    fs::write(&file, config).expect("a file");
    let _ser2net = spawn(Command::new("ser2net").args(["-n", "-u", "-c"]).arg(&file))?;
    Some(push(connect(port), bytes, &log))
}
