//! Another tether that takes over while the container runs. It is the same one under another version's name.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;
use crate::program::{of_version, patched};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// How far another session counts: some 30 MB.
const NUMBERS: u64 = 4_000_000;
/// How many lines the container prints, one about every 20 ms.
const LINES: usize = 400;

impl Machine {
    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// Prints numbers, answers what it reads, and ends by itself.
fn script() -> String {
    format!(
        "exec 3<&0; (while read line <&3; do echo \"read $line\"; done; echo end of input) & \
         i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); usleep 20000; done; \
         wait; grep CapInh /proc/self/status; exit 7"
    )
}

fn numbers(log: &str) -> Vec<usize> {
    log.lines().filter_map(|line| line.parse().ok()).collect()
}

impl Appliance {
    /// Milliseconds that an upgrade took, as process 1 has said it last.
    fn milliseconds(&self, from: &str, to: &str) -> u64 {
        let stage = self.field(ID, "/Vch/Record/run/stage/text");
        let text = format!("\"tether {to} has taken over from {from} in ");
        let rest = stage.strip_prefix(&text);
        let rest = rest.unwrap_or_else(|| panic!("no {text:?} in {stage}"));
        let digits = rest.split(' ').next().expect("a number");
        digits.parse().expect("a number")
    }
}

#[test]
fn the_container_does_not_notice() {
    let appliance = Appliance::start();
    let mut adding = appliance.spawn(&["key", "add", ID]);
    let mut stdin = adding.stdin.take().expect("piped");
    stdin.write_all(KEY.as_bytes()).expect("a key");
    drop(stdin);
    assert!(adding.wait().expect("its end").success());
    let mut machine =
        Machine::new(appliance.port, &["/bin/sh", "-c", &script()]).with_top("linkkey", json!(KEY));
    machine.boot();
    machine.until_running(&appliance);
    let mut typist = appliance.spawn(&["attach", ID]);
    let mut typed = typist.stdin.take().expect("piped");
    writeln!(typed, "before").expect("typed");
    machine.until("an answer", || {
        appliance.ok(&["logs", ID]).contains("read before")
    });
    let descriptors = || {
        let told = appliance.ok(&["debug", ID]);
        let (_, rest) = told.split_once("\ndescriptors: ").expect("their number");
        rest.lines().next().expect("a line").to_owned()
    };
    let before = descriptors();
    // Other sessions: one with a terminal, one that has more to say than any buffer holds.
    let terminal = "stty size; sleep 4; stty size; read line; echo typed $line; exit 9";
    let terminal = appliance.spawn(&["exec", "-i", "-t", ID, "sh", "-c", terminal]);
    let flood = appliance.spawn(&["exec", ID, "seq", &NUMBERS.to_string()]);
    let flood = std::thread::spawn(|| flood.wait_with_output().expect("its end"));

    let ours = env!("CARGO_PKG_VERSION");
    let first = machine.file("first", &of_version("9.1.0"));
    let told = appliance.ok(&["upgrade", ID, &first]);
    assert_eq!(
        told,
        format!(
            "tether 9.1.0 takes over from {}\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let mut took = [appliance.milliseconds(ours, "9.1.0"), 0];
    writeln!(typed, "between").expect("typed");
    // The one that has come hands over, too.
    let second = machine.file("second", &of_version("9.2.0"));
    let told = appliance.ok(&["upgrade", ID, &second]);
    assert_eq!(told, "tether 9.2.0 takes over from 9.1.0\n");
    took[1] = appliance.milliseconds("9.1.0", "9.2.0");
    writeln!(typed, "after").expect("typed");

    let known = appliance.ok(&["debug", ID]);
    for part in [
        "tether: 9.2.0\n",
        "program: /memfd:tether (deleted)\n",
        "/bin/sh: runs as process ",
    ] {
        assert!(known.contains(part), "no {part:?} in\n{known}");
    }
    let software = appliance.field(ID, "/Vch/Record/software");
    assert_eq!(software, "\"tether 9.2.0\"");
    let mut terminal_stdin = terminal.stdin.as_ref().expect("piped");
    writeln!(terminal_stdin, "much").expect("typed");
    let terminal = terminal.wait_with_output().expect("its end");
    let shown = String::from_utf8_lossy(&terminal.stdout);
    assert_eq!(terminal.status.code(), Some(9), "{shown}");
    assert!(
        shown.matches("24 80").count() == 2 && shown.contains("typed much"),
        "{shown}"
    );
    let flood = flood.join().expect("a thread");
    assert_eq!((flood.status.code(), flood.stderr.len()), (Some(0), 0));
    let counted = String::from_utf8(flood.stdout).expect("digits");
    assert!(
        counted
            .lines()
            .map(|line| line.parse::<u64>().expect("a number"))
            .eq(1..=NUMBERS)
    );
    machine.until("as many descriptors as before", || descriptors() == before);
    // The container's own session ends when its input does.
    drop(typed);
    assert_eq!(typist.wait().expect("its end").code(), Some(7));
    machine.off();
    let log = appliance.ok(&["logs", ID]);
    assert_eq!(numbers(&log), Vec::from_iter(0..LINES), "{log}");
    for part in [
        "read before\n",
        "read between\n",
        "read after\n",
        "end of input\n",
        "CapInh:\t0000000000000000\n",
    ] {
        assert_eq!(log.matches(part).count(), 1, "{part:?} in\n{log}");
    }
    assert_eq!(appliance.field(ID, "/State/ExitCode"), "7");
    println!("the upgrades took {took:?} ms");
}

#[test]
fn what_is_no_tether_changes_nothing() {
    let appliance = Appliance::start();
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", &script()]);
    machine.boot();
    machine.until_running(&appliance);
    let whole = of_version("9.1.0");
    // What it goes on in is elsewhere: it fails after the trial, and the one before goes on again.
    let lost = patched("/newroot", "/newrout");
    let busybox = fs::read("/bin/busybox").expect("busybox-static");
    for (name, program, why) in [
        ("text", &b"no program"[..], "cannot be executed"),
        ("half", &whole[..whole.len() / 2], ""),
        ("other", &busybox[..], "applet not found"),
        ("lost", &lost[..], "tree of the container: No such file"),
    ] {
        let file = machine.file(name, program);
        let output = appliance.vch(&["upgrade", ID, &file]);
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(
            !output.status.success() && told.contains(why),
            "{name}: {told}"
        );
        let known = appliance.ok(&["debug", ID]);
        let ours = format!("tether: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(known.contains(&ours), "{name}:\n{known}");
    }
    let told = signed_otherwise(&appliance, &whole);
    assert!(told.contains("not the program that was signed"), "{told}");
    machine.until("the last number", || {
        appliance
            .ok(&["logs", ID])
            .contains(&format!("\n{}\n", LINES - 1))
    });
    assert!(appliance.vch(&["stop", "-t", "0", ID]).status.success());
    machine.off();
    let log = appliance.ok(&["logs", ID]);
    assert_eq!(numbers(&log), Vec::from_iter(0..LINES), "{log}");
}

/// Announces another program than it sends.
fn signed_otherwise(appliance: &Appliance, program: &[u8]) -> String {
    let request = |socket: &mut UnixStream, path: &str, body: &Value, more: &str| {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).expect("request");
    };
    let connect = || UnixStream::connect(appliance.socket()).expect("the listener");
    let mut socket = connect();
    let create = json!({ "Upgrade": "00".repeat(32), "AttachStdin": true, "AttachStdout": true });
    let path = format!("/containers/{ID}/exec");
    request(&mut socket, &path, &create, "Connection: close\r\n");
    let answer = std::io::read_to_string(&mut socket).expect("answer");
    let (_, id) = answer.split_once("\"Id\":\"").expect("an ID");
    let (id, _) = id.split_once('"').expect("an ID");
    let mut socket = connect();
    let more = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    request(&mut socket, &format!("/exec/{id}/start"), &json!({}), more);
    socket.write_all(program).expect("the program");
    socket.shutdown(std::net::Shutdown::Write).expect("its end");
    socket
        .set_read_timeout(Some(Duration::from_secs(120)))
        .expect("a limit");
    let mut told = Vec::new();
    let read = std::io::Read::read_to_end(&mut socket, &mut told);
    read.expect("its words");
    String::from_utf8_lossy(&told).into_owned()
}
