use std::time::Duration;

use super::bench::{OTHER, PRIMARY};
use super::{Bench, alone, shell};
use crate::config::model::{LinkConfig, Session};
use crate::guest::event_loop::now;
use crate::guest::helper::HelperError;
use crate::link::{Control, ExitClass};

#[test]
fn a_program_that_is_missing_or_cannot_run_is_told_by_class() {
    alone(
        "guest::tests::endings::a_program_that_is_missing_or_cannot_run_is_told_by_class",
        || {
            let cases = [
                (
                    "no-such-program",
                    127,
                    ExitClass::NotFound,
                    "executable file not found in $PATH",
                ),
                (
                    "/no/such/program",
                    127,
                    ExitClass::NotFound,
                    "no such file or directory",
                ),
                ("/etc", 126, ExitClass::NotExecutable, "is a directory"),
                (
                    "/etc/passwd",
                    126,
                    ExitClass::NotExecutable,
                    "permission denied",
                ),
                ("", 125, ExitClass::Failed, "no command"),
            ];
            for tty in [false, true] {
                for (path, status, class, reason) in cases {
                    let session = Session {
                        path: path.into(),
                        tty,
                        ..Session::default()
                    };
                    let mut bench = Bench::start(vec![session]);
                    let record = bench.ended(PRIMARY);
                    assert_eq!(
                        (record.status, record.class, record.code),
                        (status, class, None)
                    );
                    assert!(record.reason.contains(reason), "{}", record.reason);
                    assert!(!bench.is_running(PRIMARY));
                }
            }
        },
    );
}

#[test]
fn a_start_that_fails_leaves_the_other_sessions_alone() {
    alone(
        "guest::tests::endings::a_start_that_fails_leaves_the_other_sessions_alone",
        || {
            let missing = Session {
                path: "/no/such/program".into(),
                ..Session::default()
            };
            let mut bench = Bench::start(vec![shell("sleep 0.2; echo here"), missing]);
            assert_eq!(bench.ended(OTHER).status, 127);
            assert_eq!(bench.ended(PRIMARY).status, 0);
            assert_eq!(bench.stdout(PRIMARY), "here\n");
        },
    );
}

#[test]
fn a_grandchild_that_holds_stdout_neither_hangs_nor_loses_anything() {
    alone(
        "guest::tests::endings::a_grandchild_that_holds_stdout_neither_hangs_nor_loses_anything",
        || {
            let link = LinkConfig {
                stdio_grace: 1,
                ..LinkConfig::default()
            };
            let script = "(sleep 0.3; echo within the grace; exec sleep 60) & echo first; exit 2";
            let mut bench = Bench::start_with(vec![shell(script)], link);
            let record = bench.ended(PRIMARY);
            assert_eq!((record.status, record.stdio_held), (2, true));
            assert_eq!(bench.stdout(PRIMARY), "first\nwithin the grace\n");
            assert_eq!(record.stdout, "first\nwithin the grace\n".len() as u64);
        },
    );
}

#[test]
fn death_by_signal_is_never_a_code() {
    alone(
        "guest::tests::endings::death_by_signal_is_never_a_code",
        || {
            for (name, number) in [("SIGTERM", 15), ("kill", 9), ("RTMIN+3", 37), ("1", 1)] {
                let mut bench = Bench::start(vec![shell("exec sleep 60")]);
                bench.until("the start", |bench| bench.is_running(PRIMARY));
                assert!(bench.link.send(&Control::Signal {
                    channel: PRIMARY,
                    signal: name.into()
                }));
                let record = bench.ended(PRIMARY);
                assert_eq!(
                    (record.status, record.signal, record.code),
                    (128 + number, Some(number), None)
                );
                assert_eq!((record.class, record.oom), (ExitClass::Signaled, false));
            }
        },
    );
}

#[test]
fn a_signal_that_cannot_be_sent_is_refused_with_its_reason() {
    alone(
        "guest::tests::endings::a_signal_that_cannot_be_sent_is_refused_with_its_reason",
        || {
            let mut bench = Bench::start(vec![shell("exec sleep 60")]);
            bench.until("the start", |bench| bench.is_running(PRIMARY));
            for (channel, signal) in [(PRIMARY, "SIGNOPE"), (OTHER, "TERM")] {
                assert!(bench.link.send(&Control::Signal {
                    channel,
                    signal: signal.into()
                }));
            }
            let refused = |bench: &Bench, part: &str| {
                bench.messages.iter().any(|message| {
                matches!(message, Control::Refused { what, message } if what == "signal" && message.contains(part))
            })
            };
            bench.until("both refused", |bench| {
                refused(bench, "\"SIGNOPE\" is no signal")
                    && refused(bench, "no session on channel 2")
            });
            bench.machine.stop("test", Duration::ZERO);
            assert_eq!(bench.ended(PRIMARY).status, 143);
        },
    );
}

#[test]
fn a_stop_asks_by_the_session_s_own_signal_and_kills_after_the_grace() {
    alone(
        "guest::tests::endings::a_stop_asks_by_the_session_s_own_signal_and_kills_after_the_grace",
        || {
            let polite = Session {
                stop_signal: "USR1".into(),
                ..shell("trap 'echo bye; exit 7' USR1; echo up; while :; do sleep 0.05; done")
            };
            let deaf = shell("trap '' TERM; echo up; while :; do sleep 0.05; done");
            let mut bench = Bench::start(vec![polite, deaf]);
            bench.until("both up", |bench| {
                bench.stdout(PRIMARY) == "up\n" && bench.stdout(OTHER) == "up\n"
            });
            assert!(bench.link.send(&Control::Stop { grace_s: 1 }));
            assert_eq!(bench.ended(PRIMARY).status, 7);
            assert_eq!(bench.stdout(PRIMARY), "up\nbye\n");
            let record = bench.ended(OTHER);
            assert_eq!((record.status, record.signal), (137, Some(9)));
        },
    );
}

#[test]
fn a_stop_before_the_start_is_kept() {
    alone(
        "guest::tests::endings::a_stop_before_the_start_is_kept",
        || {
            let mut bench = Bench::new(vec![shell("echo never")], LinkConfig::default());
            bench.until("the listener", |bench| bench.link.established());
            bench.machine.stop("the operator", Duration::from_secs(1));
            bench.begin();
            let record = bench.ended(PRIMARY);
            assert_eq!((record.status, record.class), (125, ExitClass::Failed));
            assert!(record.reason.contains("the operator"), "{}", record.reason);
            assert_eq!(record.stdout, 0);
        },
    );
}

#[test]
fn orphans_are_reaped_and_the_status_is_still_the_session_s_own() {
    alone(
        "guest::tests::endings::orphans_are_reaped_and_the_status_is_still_the_session_s_own",
        || {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("allowed");
            let script = "i=0; while [ $i -lt 300 ]; do (exec true &); i=$((i+1)); done; exit 9";
            let mut bench = Bench::start(vec![shell(script)]);
            assert_eq!(bench.ended(PRIMARY).status, 9);
            bench.until("nobody left", |bench| bench.machine.is_childless());
        },
    );
}

#[test]
fn a_call_that_does_not_come_back_holds_up_nothing() {
    alone(
        "guest::tests::endings::a_call_that_does_not_come_back_holds_up_nothing",
        || {
            let mut bench = Bench::start(vec![shell("echo going on")]);
            let forever = || {
                loop {
                    rustix::event::pause();
                }
            };
            let result = bench.machine.help(Duration::from_millis(200), forever);
            assert!(matches!(result, Err(HelperError::Limit(_))), "{result:?}");
            assert_eq!(bench.ended(PRIMARY).status, 0);
            let refused = bench
                .machine
                .help(Duration::from_secs(10), || Err(rustix::io::Errno::INVAL));
            assert_eq!(
                refused.expect_err("refused").to_string(),
                "invalid argument"
            );
            bench
                .machine
                .help(Duration::from_secs(10), || Ok(()))
                .expect("it comes back");
        },
    );
}

#[test]
fn an_idle_machine_does_not_wake_up() {
    alone(
        "guest::tests::endings::an_idle_machine_does_not_wake_up",
        || {
            let mut bench = Bench::start(vec![shell("exec sleep 60")]);
            bench.until("the start", |bench| bench.is_running(PRIMARY));
            bench.until("all acknowledged", |bench| {
                bench.machine.unacknowledged().is_zero()
            });
            // The listener's own words are still to be read: until nothing comes for a while.
            let (pause, mut waited) = (Duration::from_millis(300), Duration::ZERO);
            for _ in 0..20 {
                let before = now();
                bench.machine.turn(Some(before + pause));
                waited = now() - before;
                if waited >= pause {
                    break;
                }
            }
            assert!(
                waited >= pause,
                "it woke up twenty times with nothing to do"
            );
        },
    );
}

#[test]
fn the_end_is_noticed_without_a_link_to_wake_anybody() {
    alone(
        "guest::tests::endings::the_end_is_noticed_without_a_link_to_wake_anybody",
        || {
            let sessions = vec![shell("echo out; exit 8")];
            let mut bench = Bench::with_carrier(sessions, LinkConfig::default(), false);
            bench.begin();
            let (start, limit) = (now(), Duration::from_secs(20));
            while bench.machine.status().is_none() && now() < start + limit {
                bench.machine.turn(Some(start + limit));
            }
            assert!(
                now() < start + limit,
                "it slept over the end of its session"
            );
            assert_eq!(bench.machine.status(), Some(8));
        },
    );
}
