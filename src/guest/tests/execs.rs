//! Sessions that are added to a running machine.

use super::bench::PRIMARY;
use super::{Bench, alone, shell};
use crate::config::model::Session;
use crate::link::{Channel, Control, Exec, ExitClass, Stream};

fn order(id: &str, args: &[&str]) -> Exec {
    Exec {
        id: id.into(),
        args: args.iter().map(|arg| (*arg).into()).collect(),
        ..Exec::default()
    }
}

/// A machine whose primary session waits for the end of its stdin.
fn bench() -> Bench {
    let mut bench = Bench::start(vec![Session {
        openstdin: true,
        env: vec!["PATH=/usr/bin:/bin".into(), "COLOUR=red".into()],
        dir: "/usr".into(),
        ..shell("cat")
    }]);
    bench.until("the primary runs", |bench| bench.is_running(PRIMARY));
    bench
}

impl Bench {
    fn exec(&mut self, order: Exec) {
        assert!(self.link.send(&Control::Exec(Box::new(order))));
    }

    /// The channel that the guest has given to this session.
    fn channel(&mut self, id: &str) -> Channel {
        let find = |bench: &Self| {
            bench.messages.iter().find_map(|message| match message {
                Control::Session {
                    channel, id: of, ..
                } if of == id => Some(*channel),
                _ => None,
            })
        };
        self.until("the announcement", |bench| find(bench).is_some());
        find(self).expect("it was there")
    }

    fn closed(&mut self, channel: Channel) {
        self.until("the channel closed", |bench| !bench.open.contains(&channel));
    }
}

#[test]
fn an_added_session_is_as_the_primary_one_where_it_says_nothing() {
    alone(
        "guest::tests::execs::an_added_session_is_as_the_primary_one_where_it_says_nothing",
        || {
            let mut bench = bench();
            let script = "pwd; echo $COLOUR $SIZE; echo oh >&2; exit 7";
            bench.exec(Exec {
                env: vec!["SIZE=big".into()],
                ..order("e1", &["sh", "-c", script])
            });
            let channel = bench.channel("e1");
            assert_ne!(channel, PRIMARY);
            let record = bench.ended(channel);
            assert_eq!((record.status, record.class), (7, ExitClass::Exited));
            assert_eq!(bench.stdout(channel), "/usr\nred big\n");
            assert_eq!(bench.text(channel, Stream::Stderr), "oh\n");
            bench.closed(channel);
            assert!(bench.record(PRIMARY).is_none(), "it goes on");

            bench.exec(Exec {
                env: vec!["COLOUR=blue".into()],
                dir: "/tmp".into(),
                ..order("e2", &["sh", "-c", "pwd; echo $COLOUR"])
            });
            let channel = bench.channel("e2");
            bench.ended(channel);
            assert_eq!(bench.stdout(channel), "/tmp\nblue\n");
        },
    );
}

#[test]
fn an_added_session_has_its_own_stdin_and_terminal() {
    alone(
        "guest::tests::execs::an_added_session_has_its_own_stdin_and_terminal",
        || {
            let mut bench = bench();
            bench.exec(Exec {
                openstdin: true,
                ..order("e1", &["cat"])
            });
            let channel = bench.channel("e1");
            assert_eq!(bench.link.write(channel, Stream::Stdin, b"to the exec"), 11);
            bench.link.finish(channel, Stream::Stdin);
            assert_eq!(bench.ended(channel).status, 0);
            assert_eq!(bench.stdout(channel), "to the exec");

            bench.exec(Exec {
                tty: true,
                rows: 33,
                columns: 111,
                ..order("e2", &["stty", "size"])
            });
            let channel = bench.channel("e2");
            bench.ended(channel);
            assert_eq!(bench.stdout(channel), "33 111\r\n");
        },
    );
}

#[test]
fn one_that_cannot_run_says_why_and_gives_its_channel_back() {
    alone(
        "guest::tests::execs::one_that_cannot_run_says_why_and_gives_its_channel_back",
        || {
            let mut bench = bench();
            bench.exec(order("e1", &["no-such-program"]));
            let channel = bench.channel("e1");
            let record = bench.ended(channel);
            assert_eq!((record.status, record.class), (127, ExitClass::NotFound));
            bench.closed(channel);
            bench.exec(order("a", &["true"]));
            bench.until("the refusal", |bench| {
                bench.messages.iter().any(|message| {
                    matches!(message, Control::Refused { what, message }
                        if what == "a" && message.contains("already"))
                })
            });
        },
    );
}

#[test]
fn channels_are_given_back_however_many_sessions_come() {
    alone(
        "guest::tests::execs::channels_are_given_back_however_many_sessions_come",
        || {
            let mut bench = bench();
            let mut channels = Vec::new();
            // More than the link has channels at a time, over connections that break.
            for number in 0..300 {
                let id = format!("e{number}");
                bench.exec(order(&id, &["echo", &id]));
                let channel = bench.channel(&id);
                if number % 50 == 17 {
                    bench.restart_listener();
                }
                assert_eq!(bench.ended(channel).status, 0);
                assert_eq!(bench.stdout(channel), format!("{id}\n"));
                channels.push(channel);
            }
            bench.until("all channels closed", |bench| bench.open.len() == 1);
            channels.dedup();
            assert_eq!(channels.len(), 300, "none was given twice in a row");
            assert_eq!(bench.machine.sessions().len(), 1);
        },
    );
}

#[test]
fn the_primary_s_end_is_theirs() {
    alone("guest::tests::execs::the_primary_s_end_is_theirs", || {
        let mut bench = bench();
        bench.exec(order("e1", &["sleep", "1000"]));
        let channel = bench.channel("e1");
        bench.until("it runs", |bench| bench.is_running(channel));
        assert!(bench.link.send(&Control::Stop { grace_s: 1 }));
        assert_eq!(bench.ended(channel).signal, Some(15));
        bench.ended(PRIMARY);
    });
}
