//! `vch exec`: other processes in a running machine.

use std::io::Write as _;
use std::process::Stdio;

use crate::machine::{ID, Machine};

/// A machine that runs until it is told to stop.
fn running() -> Machine {
    let mut machine = Machine::new(&[
        "/bin/sh",
        "-c",
        "trap 'exit 9' TERM; echo up; while :; do sleep 1; done",
    ]);
    machine.listen();
    machine.boot();
    machine.until("the container runs", |m| m.output_so_far() == b"up\n");
    machine
}

#[test]
fn an_exec_has_its_own_streams_and_status_and_the_container_goes_on() {
    let mut machine = running();
    let script = "echo out; echo err >&2; exit 3";
    let output = machine.vch(&["exec", ID, "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );

    let output = machine.vch(&[
        "exec",
        "-w",
        "/bin",
        "-e",
        "A=b c",
        ID,
        "sh",
        "-c",
        "pwd; echo $A",
    ]);
    assert_eq!(output.stdout, b"/bin\nb c\n", "{output:?}");

    // 1 MiB there and back, then the end of stdin.
    let sent: Vec<u8> = (0..1u32 << 20).map(|n| (n * 7 + n / 251) as u8).collect();
    let mut child = machine
        .vch_command(&["exec", "-i", ID, "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("vch exec");
    let mut stdin = child.stdin.take().expect("a pipe");
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("its output");
    writing.join().expect("no panic").expect("all is taken");
    assert!(output.status.success() && output.stdout == sent);

    let output = machine.vch(&["exec", ID, "no-such-program"]);
    assert_eq!(output.status.code(), Some(127));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("executable file not found"), "{said}");

    // Nothing of it is the container's own output, and none of it is left in the machine.
    assert_eq!(machine.output_so_far(), b"up\n");
    let listed = machine.vch(&["inspect", ID]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("\"sessions\""), "{listed}");

    assert!(machine.vch(&["stop", ID]).status.success());
    machine.off();
    assert_eq!(machine.status(), "9");
    let output = machine.vch(&["exec", ID, "true"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is not running"), "{said}");
}

#[test]
fn forty_execs_at_once_each_get_their_own_output() {
    let mut machine = running();
    let children: Vec<_> = (0..40)
        .map(|number| {
            let script = format!("seq {number} {}; exit {number}", number + 2000);
            let child = machine
                .vch_command(&["exec", ID, "sh", "-c", &script])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn();
            (number, child.expect("vch exec"))
        })
        .collect();
    for (number, child) in children {
        let output = child.wait_with_output().expect("its output");
        assert_eq!(output.status.code(), Some(number as i32));
        assert!(
            output.stdout == crate::bytes::seq(number, number + 2000),
            "{number}"
        );
    }
    assert!(machine.vch(&["stop", ID]).status.success());
    machine.off();
}

/// Its output is held by a daemon when it has ended: the record does not wait for that, and the daemon's next
/// word does not kill it.
#[test]
fn a_daemon_outlives_the_exec_that_started_it() {
    let mut machine = running();
    let script = "(sleep 4; echo late; echo late >&2; echo alive >/alive; sleep 1000) & exit 5";
    let output = machine.vch(&["exec", ID, "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(output.stdout, b"");
    machine.until("the daemon lives", |m| {
        m.vch(&["exec", ID, "cat", "/alive"]).stdout == b"alive\n"
    });
    machine.vch(&["kill", ID]);
    machine.off();
}
