//! The link's promises, over a serial port that really breaks: nothing lost, nothing doubled, the
//! exit status after the last byte.

use crate::bytes::{assert_same, seq};
use crate::machine::{ID, Machine};
use crate::noise::{Noise, Plan};

/// Bytes of garbage that a test throws into the port.
const GARBAGE: usize = 1 << 20;

#[test]
fn fifty_mebibytes_and_an_exit_at_once_all_arrive() {
    const LAST: u32 = 6_700_000;
    let wanted = seq(1, LAST);
    assert!(wanted.len() >= 50 << 20, "{}", wanted.len());
    let mut machine = Machine::new(&["/bin/seq", "1", &LAST.to_string()]);
    assert_eq!(machine.run(), "0");
    assert_same(&machine.output().0, &wanted);
}

#[test]
fn output_waits_for_a_listener_that_comes_late() {
    let mut machine = Machine::new(&["/bin/sh", "-c", "echo kept"]);
    machine.boot();
    // It has run by the time that its start stands in the .vmx.
    machine.until("the container has started", |m| {
        m.written("started").as_deref() == Some("true")
    });
    machine.listen();
    machine.off();
    assert_eq!(machine.status(), "0");
    assert_eq!(machine.output().0, b"kept\n");
}

/// Told to lose the oldest rather than make the command wait: it ends without a listener, and the one that
/// comes shows the newest behind a note of exactly what is missing.
#[test]
fn a_command_that_must_not_wait_loses_the_oldest_and_the_log_says_how_much() {
    const LAST: u32 = 200_000;
    const KEPT: usize = 65_536;
    let mut machine = Machine::new(&["/bin/seq", "1", &LAST.to_string()]);
    machine.set(
        "guestinfo./tether/link",
        &format!("buffer={KEPT},full=drop-oldest,exitWait=300"),
    );
    machine.boot();
    machine.until("the command has ended", |m| m.written("status").is_some());
    machine.listen();
    machine.off();
    assert_eq!(machine.status(), "0");
    let whole = seq(1, LAST);
    let lost = whole.len() - KEPT;
    let output = machine.vch(&["logs", ID]);
    assert_same(&output.stdout, &whole[lost..]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, format!("[{lost} bytes of stdout are missing here]\n"));
}

#[test]
fn a_listener_killed_in_mid_stream_loses_and_doubles_nothing() {
    const LAST: u32 = 1_000_000;
    let mut machine = Machine::new(&["/bin/seq", "1", &LAST.to_string()]);
    machine.listen();
    machine.boot();
    for kept in [1usize << 18, 1 << 20, 1 << 21] {
        machine.until("enough is kept", |m| m.output_so_far().len() > kept);
        machine.kill_listener();
        machine.listen();
    }
    machine.off();
    assert_eq!(machine.status(), "0");
    assert_same(&machine.output().0, &seq(1, LAST));
}

/// Less than the guest keeps: the command has ended long before the listener is found.
#[test]
fn garbage_before_and_between_the_frames_is_skipped() {
    through_garbage(100_000);
}

/// More than the guest keeps: the command cannot end before the listener is found.
#[test]
fn a_command_that_waits_behind_garbage_goes_on() {
    through_garbage(400_000);
}

fn through_garbage(last: u32) {
    let mut machine = Machine::new(&["/bin/seq", "1", &last.to_string()]);
    let listener = machine.port();
    // Between the machine's port and the listener: garbage first, then pieces of it in both
    // directions at places that ignore where a frame begins.
    let noise = Noise::start(
        listener,
        Plan {
            before: GARBAGE / 2,
            during: GARBAGE / 2,
        },
    );
    machine.set(
        "serial0.fileName",
        &format!("tcp://127.0.0.1:{}", noise.port()),
    );
    assert_eq!(machine.run(), "0");
    assert_same(&machine.output().0, &seq(1, last));
    assert!(
        noise.thrown() >= GARBAGE,
        "only {} bytes of garbage were thrown in",
        noise.thrown()
    );
}
