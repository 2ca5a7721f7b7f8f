use std::time::Duration;

use super::bench::PRIMARY;
use super::{Bench, alone, shell};
use crate::config::model::Session;
use crate::guest::event_loop::now;
use crate::link::{Control, Stream};

/// Types all of it, as fast as the link takes it, and the end.
fn type_in(bench: &mut Bench, bytes: &[u8]) {
    bench.until("the start", |bench| bench.is_running(PRIMARY));
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = bench.link.write(PRIMARY, Stream::Stdin, rest);
        rest = rest.get(taken..).expect("no more than it was given");
        if !rest.is_empty() {
            bench.until("room", |bench| bench.link.room(PRIMARY, Stream::Stdin) > 0);
        }
    }
    bench.link.finish(PRIMARY, Stream::Stdin);
}

fn open(script: &str) -> Session {
    Session {
        openstdin: true,
        ..shell(script)
    }
}

#[test]
fn stdin_of_more_than_a_pipe_reaches_a_process_that_does_not_read_yet() {
    alone(
        "guest::tests::input::stdin_of_more_than_a_pipe_reaches_a_process_that_does_not_read_yet",
        || {
            for length in [65_535, 65_536, 65_537, 2_000_000] {
                let bytes: Vec<u8> = (0..length).map(|at: u32| b'!' + (at % 89) as u8).collect();
                let mut bench = Bench::start(vec![open("sleep 0.1; exec cat")]);
                type_in(&mut bench, &bytes);
                assert_eq!(bench.ended(PRIMARY).status, 0);
                assert!(
                    bench.stdout(PRIMARY).as_bytes() == bytes,
                    "{length} bytes came back different"
                );
                bench.until("stdin acknowledged", |bench| {
                    bench.link.unacknowledged().is_zero()
                });
            }
        },
    );
}

#[test]
fn input_that_comes_before_the_process_is_its_own() {
    alone(
        "guest::tests::input::input_that_comes_before_the_process_is_its_own",
        || {
            for length in [0, 3, 300_000] {
                let bytes: Vec<u8> = (0..length).map(|at: u32| b'!' + (at % 89) as u8).collect();
                let held = Session {
                    runblock: true,
                    ..open("exec cat")
                };
                let mut bench = Bench::start(vec![held]);
                bench.until("the session", |bench| bench.open.contains(&PRIMARY));
                let taken = bench.link.write(PRIMARY, Stream::Stdin, &bytes);
                if taken == bytes.len() {
                    bench.link.finish(PRIMARY, Stream::Stdin);
                }
                let later = now() + Duration::from_millis(100);
                bench.until("a while", |_| now() > later);
                assert!(!bench.is_running(PRIMARY), "it waits for its start");
                assert!(bench.link.send(&Control::Start { channel: PRIMARY }));
                type_in(&mut bench, &bytes[taken..]);
                assert_eq!(bench.ended(PRIMARY).status, 0);
                assert!(
                    bench.stdout(PRIMARY).as_bytes() == bytes,
                    "{length} bytes came back different"
                );
            }
        },
    );
}

#[test]
fn a_session_without_stdin_reads_its_end_at_once() {
    alone(
        "guest::tests::input::a_session_without_stdin_reads_its_end_at_once",
        || {
            let mut bench = Bench::start(vec![shell("cat; echo end")]);
            assert_eq!(bench.ended(PRIMARY).status, 0);
            assert_eq!(bench.stdout(PRIMARY), "end\n");
        },
    );
}

#[test]
fn input_that_the_process_does_not_want_is_acknowledged_all_the_same() {
    alone(
        "guest::tests::input::input_that_the_process_does_not_want_is_acknowledged_all_the_same",
        || {
            let mut bench = Bench::start(vec![open("exec 0<&-; sleep 0.3; echo still here")]);
            type_in(&mut bench, &[b'x'; 1_000_000]);
            assert_eq!(bench.ended(PRIMARY).status, 0);
            assert_eq!(bench.stdout(PRIMARY), "still here\n");
            bench.until("stdin acknowledged", |bench| {
                bench.link.unacknowledged().is_zero()
            });
        },
    );
}

#[test]
fn the_end_of_input_ends_a_terminal_s_reader_in_the_middle_of_a_line_too() {
    alone(
        "guest::tests::input::the_end_of_input_ends_a_terminal_s_reader_in_the_middle_of_a_line_too",
        || {
            for typed in ["one\ntwo\n", "one\ntwo", ""] {
                let script = "stty -echo -onlcr; echo ready; cat; echo .; exit 6";
                let mut bench = Bench::start(vec![Session {
                    tty: true,
                    ..open(script)
                }]);
                bench.until("the terminal is set", |bench| {
                    bench.stdout(PRIMARY) == "ready\n"
                });
                type_in(&mut bench, typed.as_bytes());
                assert_eq!(bench.ended(PRIMARY).status, 6);
                assert_eq!(bench.stdout(PRIMARY), format!("ready\n{typed}.\n"));
            }
        },
    );
}

#[test]
fn a_resize_reaches_the_terminal_and_does_nothing_to_a_pipe() {
    alone(
        "guest::tests::input::a_resize_reaches_the_terminal_and_does_nothing_to_a_pipe",
        || {
            let script = "stty -echo -onlcr; echo ready; read x; stty size";
            for (tty, expected) in [(true, "ready\n50 132\n"), (false, "ready\n")] {
                let mut bench = Bench::start(vec![Session {
                    tty,
                    ..open(script)
                }]);
                bench.until("the terminal is set", |bench| {
                    bench.stdout(PRIMARY) == "ready\n"
                });
                assert!(bench.link.send(&Control::Resize {
                    channel: PRIMARY,
                    rows: 50,
                    columns: 132
                }));
                type_in(&mut bench, b"\n");
                bench.ended(PRIMARY);
                assert_eq!(bench.stdout(PRIMARY), expected);
            }
        },
    );
}
