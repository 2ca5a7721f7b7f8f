//! The daemon under a service manager: sockets handed over, readiness told, figures.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use tether::link::Stream;

use crate::appliance::{Appliance, LIMIT};
use crate::guest::{Guest, ID, generated};

/// A tool of Debian's that the tests can do without where it is not required.
fn tool(command: &mut Command) -> Option<Child> {
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) if std::env::var_os("TETHER_REQUIRE_TOOLS").is_none() => {
            eprintln!("left out: {command:?}: {error}");
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// Ends it whatever happens.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// systemd's own activator: the daemon is started by the first that connects, and its sockets were
/// open before.
#[test]
fn started_by_its_sockets_it_serves_them() {
    let appliance = Appliance::not_yet(&[]);
    let mut command = Command::new("systemd-socket-activate");
    command
        .args(["-l", &appliance.port.to_string(), "-l"])
        .arg(appliance.socket())
        .args(["--fdname=vms:clients", "-E", "PATH"])
        .arg(env!("CARGO_BIN_EXE_vch"))
        .args(["listen", "--allow-plain", "--state"])
        .arg(appliance.state())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Some(child) = tool(&mut command) else {
        return;
    };
    let _child = Ended(child);
    let mut guest = Guest::run(appliance.port);
    let data = generated(1, 1 << 20);
    guest.print(Stream::Stdout, &data);
    guest.exit(0);
    guest.settle();
    assert!(appliance.vch(&["logs", ID]).stdout == data);
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}

/// The same sockets go to one daemon after the other; nobody who connects is turned away.
#[test]
fn a_daemon_that_is_replaced_loses_no_connection_and_no_byte() {
    let mut appliance = Appliance::not_yet(&[]);
    let vms = std::net::TcpListener::bind(appliance.port).expect("the port");
    let clients = std::os::unix::net::UnixListener::bind(appliance.socket()).expect("the socket");
    let start = |appliance: &mut Appliance| {
        let mut command = Command::new("sh");
        let script = r#"exec 3<&0 4<&2 0</dev/null 2>/dev/null
            LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=vms:clients exec "$0" listen --allow-plain --state "$1""#;
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_vch")])
            .arg(appliance.state())
            .stdin(std::os::fd::OwnedFd::from(vms.try_clone().expect("a copy")))
            .stderr(std::os::fd::OwnedFd::from(
                clients.try_clone().expect("a copy"),
            ))
            .stdout(Stdio::null());
        appliance.adopt(command.spawn().expect("sh"));
    };
    start(&mut appliance);
    let mut guest = Guest::run(appliance.port);
    let data = generated(2, 4 << 20);
    for part in data.chunks(1 << 20) {
        guest.print(Stream::Stdout, part);
        assert_eq!(appliance.terminate(), Some(0));
        // It is accepted by the kernel, and waits for the next daemon.
        let waiting = UnixStream::connect(appliance.socket());
        assert!(waiting.is_ok(), "turned away: {waiting:?}");
        start(&mut appliance);
    }
    guest.exit(7);
    guest.settle();
    assert!(appliance.vch(&["logs", ID]).stdout == data);
    assert_eq!(appliance.ok(&["wait", ID]), "7\n");
}

#[test]
fn a_socket_of_another_name_is_named() {
    let appliance = Appliance::not_yet(&[]);
    let script = r#"exec 3<&0 0</dev/null
        LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$0" listen --state "$1""#;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let output: Output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_vch")])
        .arg(appliance.state())
        .stdin(std::os::fd::OwnedFd::from(socket))
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("called \"web\""),
        "{said}"
    );
}

#[test]
fn the_service_manager_is_told() {
    let mut appliance = Appliance::not_yet(&[]);
    let path = appliance.state().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut heard = String::new();
    let mut hear = |what: &str| {
        let begin = Instant::now();
        while !heard.contains(what) {
            assert!(begin.elapsed() < LIMIT, "no {what} in {heard}");
            let mut buffer = [0; 1000];
            let count = manager.recv(&mut buffer).expect("a word");
            heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
            heard.push('\n');
        }
    };
    appliance.environment("NOTIFY_SOCKET", path.to_str().expect("text"));
    appliance.environment("WATCHDOG_USEC", "300000");
    appliance.run();
    hear("READY=1");
    hear("WATCHDOG=1");
    assert_eq!(appliance.terminate(), Some(0));
    hear("STOPPING=1");
}

#[test]
fn its_units_are_good() {
    let dir = tempfile::tempdir().expect("folder");
    let appliance = Appliance::not_yet(&[]);
    let folder = dir.path().to_str().expect("text");
    let listed = appliance.ok(&["units", folder]);
    assert_eq!(listed.lines().count(), 3);
    let service = std::fs::read_to_string(dir.path().join("vch.service")).expect("a unit");
    assert!(service.contains(&format!("ExecStart={} listen", env!("CARGO_BIN_EXE_vch"))));
    // Not over what somebody may have changed.
    assert!(appliance.fails(&["units", folder]).contains("File exists"));
    let mut command = Command::new("systemd-analyze");
    command
        .arg("verify")
        .args(listed.lines())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Some(child) = tool(&mut command) else {
        return;
    };
    let output = child.wait_with_output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // It looks at the machine's other units, too.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("vch")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn figures_are_there_for_prometheus() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, &generated(3, 100_000));
    guest.settle();
    let mut socket = UnixStream::connect(appliance.socket()).expect("connect");
    write!(
        socket,
        "GET /metrics HTTP/1.1\r\nHost: vch\r\nConnection: close\r\n\r\n"
    )
    .expect("a request");
    let mut page = String::new();
    socket.read_to_string(&mut page).expect("a page");
    let value = |name: &str| -> u64 {
        let line = page.lines().find(|l| l.starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {page}"));
        line[name.len() + 1..].parse().expect("a number")
    };
    assert_eq!(value("vch_links_up"), 1);
    assert_eq!(value("vch_containers{state=\"running\"}"), 1);
    assert_eq!(value("vch_vms_admitted_total"), 1);
    assert_eq!(value("vch_vms_refused_total"), 0);
    assert!(value("vch_received_bytes_total") > 100_000);
    assert!(value("vch_log_bytes") > 100_000);
    for line in page.lines().filter(|l| l.starts_with("vch_")) {
        let name = line.split([' ', '{']).next().expect("a name");
        assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn its_own_log_can_be_json() {
    let appliance = Appliance::not_yet(&[]);
    let mut command = appliance.command("listen");
    command
        .args([
            "--port",
            &appliance.port.to_string(),
            "--log-format",
            "json",
        ])
        .env("VCH_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("vch");
    // Refused, as nobody has said --allow-plain: a line.
    let mut guest = Guest::start(appliance.port, &crate::guest::Container::default());
    guest.until("a refusal", |guest| guest.refused.is_some());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    child.wait().expect("its end");
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    assert!(
        lines
            .iter()
            .any(|l| l["message"] == "VM refused" && l["level"] == "WARN"),
        "{said}"
    );
}
