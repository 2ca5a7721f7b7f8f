use super::bench::{OTHER, PRIMARY};
use super::{Bench, alone, shell};
use crate::config::model::{LinkConfig, Session};
use crate::link::{ExitClass, Stream};

/// Bytes of every value that repeat in no power of two, printed by awk without its buffering.
fn counted(lines: u32) -> (String, String) {
    let script = format!("i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done");
    let expected = (0..lines).map(|line| format!("line {line}\n")).collect();
    (script, expected)
}

#[test]
fn stdout_and_stderr_arrive_apart_and_then_the_status() {
    alone(
        "guest::tests::output::stdout_and_stderr_arrive_apart_and_then_the_status",
        || {
            let mut bench = Bench::start(vec![shell("echo out; echo err >&2; exit 3")]);
            let record = bench.ended(PRIMARY);
            assert_eq!(bench.text(PRIMARY, Stream::Stdout), "out\n");
            assert_eq!(bench.text(PRIMARY, Stream::Stderr), "err\n");
            assert_eq!(
                (record.status, record.code, record.class),
                (3, Some(3), ExitClass::Exited)
            );
            assert_eq!(
                (record.stdout, record.stderr, record.stdio_held),
                (4, 4, false)
            );
            assert!(bench.is_running(PRIMARY));
            bench.until("all acknowledged", |bench| {
                bench.machine.unacknowledged().is_zero()
            });
            assert_eq!(bench.machine.status(), Some(3));
        },
    );
}

#[test]
fn what_was_printed_right_before_the_exit_is_complete() {
    alone(
        "guest::tests::output::what_was_printed_right_before_the_exit_is_complete",
        || {
            // Four times what the link keeps, and more than a pipe.
            let link = LinkConfig {
                buffer: 64 << 10,
                ..LinkConfig::default()
            };
            let bytes = 256 << 10;
            let mut bench =
                Bench::start_with(vec![shell(&format!("head -c {bytes} /dev/zero"))], link);
            let record = bench.ended(PRIMARY);
            assert_eq!(record.stdout, bytes);
            assert_eq!(bench.stdout(PRIMARY).len() as u64, bytes);
        },
    );
}

#[test]
fn a_listener_that_restarts_in_the_middle_has_every_byte_once() {
    alone(
        "guest::tests::output::a_listener_that_restarts_in_the_middle_has_every_byte_once",
        || {
            let (script, expected) = counted(20_000);
            let link = LinkConfig {
                buffer: 16 << 10,
                ..LinkConfig::default()
            };
            let mut bench = Bench::start_with(vec![shell(&script)], link);
            for bytes in [10_000, 50_000, 100_000] {
                bench.until("some output", |bench| bench.stdout(PRIMARY).len() > bytes);
                bench.restart_listener();
            }
            let record = bench.ended(PRIMARY);
            assert!(
                bench.stdout(PRIMARY) == expected,
                "not the bytes that were printed"
            );
            assert_eq!(record.stdout, expected.len() as u64);
        },
    );
}

#[test]
fn output_waits_for_a_listener_that_comes_late() {
    alone(
        "guest::tests::output::output_waits_for_a_listener_that_comes_late",
        || {
            let (script, expected) = counted(1000);
            let mut bench = Bench::new(vec![shell(&script)], LinkConfig::default());
            bench.listening = false;
            bench.begin();
            bench.until("the end", |bench| bench.machine.status().is_some());
            assert!(bench.messages.is_empty());
            bench.listening = true;
            assert_eq!(bench.ended(PRIMARY).status, 0);
            assert!(
                bench.stdout(PRIMARY) == expected,
                "not the bytes that were printed"
            );
        },
    );
}

#[test]
fn output_that_nobody_takes_is_given_up_and_its_length_told() {
    alone(
        "guest::tests::output::output_that_nobody_takes_is_given_up_and_its_length_told",
        || {
            let link = LinkConfig {
                buffer: 4096,
                exit_wait: 1,
                ..LinkConfig::default()
            };
            // More than the link keeps, less than a pipe: the process does not wait.
            let mut bench = Bench::new(vec![shell("head -c 20000 /dev/zero; exit 5")], link);
            bench.listening = false;
            bench.begin();
            bench.until("the end", |bench| bench.machine.status().is_some());
            assert_eq!(bench.machine.status(), Some(5));
            let left = bench.machine.unacknowledged();
            assert!(left.bytes >= 4096 && left.messages > 0, "{left:?}");
            bench.listening = true;
            let record = bench.ended(PRIMARY);
            assert_eq!(
                (record.status, record.stdout, record.stdio_held),
                (5, 4096, true)
            );
        },
    );
}

#[test]
fn a_session_that_waits_for_the_listener_does_not_hold_up_another() {
    alone(
        "guest::tests::output::a_session_that_waits_for_the_listener_does_not_hold_up_another",
        || {
            let link = LinkConfig {
                buffer: 4096,
                ..LinkConfig::default()
            };
            let sessions = vec![
                shell("head -c 1000000 /dev/zero"),
                shell("echo done; exit 4"),
            ];
            let mut bench = Bench::new(sessions, link);
            bench.listening = false;
            bench.begin();
            bench.until("the other's end", |bench| {
                bench.machine.sessions().iter().any(|session| {
                    !session.is_primary()
                        && session.record().is_some_and(|record| record.status == 4)
                })
            });
            assert_eq!(bench.machine.status(), None);
            bench.listening = true;
            assert_eq!(bench.ended(OTHER).status, 4);
            assert_eq!(bench.ended(PRIMARY).stdout, 1_000_000);
        },
    );
}

#[test]
fn a_terminal_is_one_stream_with_a_size() {
    alone(
        "guest::tests::output::a_terminal_is_one_stream_with_a_size",
        || {
            let script = "stty -onlcr; stty size; echo err >&2; test -t 0 && echo $TERM";
            let mut bench = Bench::start(vec![Session {
                tty: true,
                ..shell(script)
            }]);
            let record = bench.ended(PRIMARY);
            assert_eq!(bench.stdout(PRIMARY), "24 80\nerr\nxterm\n");
            assert_eq!((record.status, record.stderr), (0, 0));
        },
    );
}
