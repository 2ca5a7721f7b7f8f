//! What the tests stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::UnwindSafe;
use std::time::Duration;

use rustix::io::Errno;

use crate::config::model::{self, ContainerVm, LinkConfig};
use crate::guest::carrier::{Carrier, Pace};
use crate::guest::event_loop::now;
use crate::guest::host::Host;
use crate::guest::machine::Machine;
use crate::guest::reaper::oom_kills;
use crate::guest::session::Place;
use crate::link::{Channel, Control, Event, ExitRecord, Link, Options, Resume, Stream};
use crate::sys::{fork, signals};

/// The primary session's channel, and that of the other one.
pub(super) const PRIMARY: Channel = Channel(1);
pub(super) const OTHER: Channel = Channel(2);
/// A test that has not come to its end by then never will.
const LIMIT: Duration = Duration::from_secs(60);
/// One turn, when nothing happens.
const TURN: Duration = Duration::from_millis(5);
/// Says to the child which test it is.
const ALONE: &str = "TETHER_TEST_ALONE";

/// Runs a test's body in a process of its own that has one thread, with signals blocked: the test
/// program once more for this test, and a fork of that, because the body is not on its first thread.
pub(super) fn alone(name: &str, body: impl FnOnce() + UnwindSafe) {
    if std::env::var(ALONE).is_ok_and(|alone| alone == name) {
        let passes = fork::passes(|| {
            signals::block_all().expect("signals can be blocked");
            body();
        });
        assert!(passes, "see above");
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().expect("a test program"))
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(ALONE, name)
        .status()
        .expect("it can be run");
    assert!(status.success(), "{name} failed in its own process");
}

/// A session that runs a script.
pub(super) fn shell(script: &str) -> model::Session {
    model::Session {
        path: "/bin/sh".into(),
        args: vec!["sh".into(), "-c".into(), script.into()],
        env: vec!["PATH=/usr/bin:/bin".into()],
        ..model::Session::default()
    }
}

/// A listener that forgets nothing: what a real one keeps on disk.
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) link: Link,
    socket: OwnedFd,
    outgoing: Vec<u8>,
    nonce: u64,
    /// What has come of each stream, and whether it has ended.
    pub(super) streams: BTreeMap<(Channel, Stream), Vec<u8>>,
    pub(super) ends: BTreeMap<(Channel, Stream), u64>,
    pub(super) messages: Vec<Control>,
    /// Channels of the sessions that are announced and not closed.
    pub(super) open: BTreeSet<Channel>,
    started: Duration,
    /// The listener reads and writes.
    pub(super) listening: bool,
}

impl Bench {
    /// A machine with these sessions, the first one the primary, that has not started yet.
    pub(super) fn new(sessions: Vec<model::Session>, link: LinkConfig) -> Self {
        Self::with_carrier(sessions, link, true)
    }

    /// The same, with or without anything that carries the link.
    pub(super) fn with_carrier(
        sessions: Vec<model::Session>,
        link: LinkConfig,
        carried: bool,
    ) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let mut machine = Machine::new(Host::default()).expect("descriptors");
        machine.oom_kills = oom_kills();
        let named = sessions
            .into_iter()
            .zip(b'a'..=b'z')
            .map(|(session, letter)| {
                let id = char::from(letter).to_string();
                (id.clone(), model::Session { id, ..session })
            });
        let vm = ContainerVm {
            id: "a".into(),
            sessions: named.collect(),
            link,
            ..ContainerVm::default()
        };
        let carrier = Carrier::new(theirs.into(), "a socket".into(), Pace::Virtio);
        machine
            .connect(&vm, [7, 8], None, carried.then_some(carrier))
            .expect("a socket can be watched");
        Self {
            machine,
            link: Link::listener(1, Options::default()),
            socket: ours.into(),
            outgoing: Vec::new(),
            nonce: 1,
            streams: BTreeMap::new(),
            ends: BTreeMap::new(),
            messages: Vec::new(),
            open: BTreeSet::new(),
            started: now(),
            listening: true,
        }
    }

    /// The same, and its sessions start.
    pub(super) fn start(sessions: Vec<model::Session>) -> Self {
        Self::start_with(sessions, LinkConfig::default())
    }

    pub(super) fn start_with(sessions: Vec<model::Session>, link: LinkConfig) -> Self {
        let mut bench = Self::new(sessions, link);
        bench.begin();
        bench
    }

    pub(super) fn begin(&mut self) {
        self.machine.start_sessions(Place {
            hostname: "bench".into(),
            ..Place::default()
        });
    }

    /// Turns until something is so.
    pub(super) fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            assert!(
                now() < self.started + LIMIT,
                "{what}: never; messages {:?}",
                self.messages
            );
            self.machine.turn(Some(now() + TURN));
            if self.listening {
                self.listen();
            }
        }
    }

    /// Turns until a session's exit record and the ends of its outputs are there.
    pub(super) fn ended(&mut self, channel: Channel) -> ExitRecord {
        let done = |bench: &Self| {
            let end = |stream| bench.ends.contains_key(&(channel, stream));
            bench.record(channel).is_some() && end(Stream::Stdout) && end(Stream::Stderr)
        };
        self.until("the exit record", done);
        self.record(channel).expect("it was there")
    }

    /// The primary session's status, as the machine itself has it.
    pub(super) fn status(&self) -> Option<i32> {
        self.machine.record().map(|record| record.status)
    }

    pub(super) fn record(&self, channel: Channel) -> Option<ExitRecord> {
        self.messages.iter().find_map(|message| match message {
            Control::Exit {
                channel: of,
                record,
            } if *of == channel => Some(record.clone()),
            _ => None,
        })
    }

    pub(super) fn is_running(&self, channel: Channel) -> bool {
        let started = |message: &Control| matches!(message, Control::Started { channel: of, .. } if *of == channel);
        self.messages.iter().any(started)
    }

    /// What a session has printed on its stdout.
    pub(super) fn stdout(&self, channel: Channel) -> String {
        self.text(channel, Stream::Stdout)
    }

    pub(super) fn text(&self, channel: Channel, stream: Stream) -> String {
        let bytes = self
            .streams
            .get(&(channel, stream))
            .cloned()
            .unwrap_or_default();
        String::from_utf8(bytes).expect("UTF-8")
    }

    /// Another listener in the place of this one, with the same store.
    pub(super) fn restart_listener(&mut self) {
        self.nonce += 1;
        self.link = Link::listener(self.nonce, Options::default());
        self.outgoing.clear();
    }

    fn listen(&mut self) {
        let mut piece = [0; 16 << 10];
        loop {
            match rustix::io::read(&self.socket, &mut piece) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(length) => self
                    .link
                    .handle_input(now(), piece.get(..length).expect("as long")),
                Err(error) => panic!("reading the socket: {error}"),
            }
        }
        while let Some(event) = self.link.poll_event() {
            self.store(event);
        }
        self.link.poll_transmit(now(), &mut self.outgoing, 64 << 10);
        match rustix::io::write(&self.socket, &self.outgoing) {
            Ok(length) => drop(self.outgoing.drain(..length)),
            Err(error) => assert_eq!(error, Errno::AGAIN, "writing the socket"),
        }
    }

    fn store(&mut self, event: Event) {
        match event {
            Event::Hello(_) => {
                let next = |key| {
                    let length = self.streams.get(&key).map_or(0, |bytes| bytes.len() as u64);
                    length + u64::from(self.ends.contains_key(&key))
                };
                let keys = self.open.iter().flat_map(|channel| {
                    [Stream::Stdout, Stream::Stderr].map(|stream| (*channel, stream))
                });
                let streams = keys.map(|key| (key.0, key.1, next(key))).collect();
                self.link.accept(Resume {
                    messages: self.messages.len() as u64,
                    streams,
                });
            }
            Event::Data {
                channel,
                stream,
                offset,
                bytes,
            } => {
                let known = self.streams.entry((channel, stream)).or_default();
                assert_eq!(known.len() as u64, offset, "in order, none twice");
                known.extend_from_slice(&bytes);
                let stored = known.len() as u64;
                self.link.stored(channel, stream, stored);
            }
            Event::End {
                channel,
                stream,
                offset,
            } => {
                self.ends.insert((channel, stream), offset);
                self.link.stored(channel, stream, offset + 1);
            }
            Event::Message { sequence, message } => {
                assert_eq!(self.messages.len() as u64, sequence, "in order, none twice");
                match &message {
                    Control::Session { channel, .. } => {
                        self.open.insert(*channel);
                    }
                    Control::Closed { channel } => {
                        self.open.remove(channel);
                    }
                    _ => {}
                }
                self.messages.push(message);
                self.link.message_stored(sequence);
            }
            Event::Established { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
