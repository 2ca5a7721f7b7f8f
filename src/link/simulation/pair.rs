//! Both ends and a carrier with faults between them, in one struct with one clock.

use std::time::Duration;

use super::wire::{Faults, PERFECT, Random, Wire};
use crate::link::*;

/// Virtual time of one step.
pub(super) const STEP: Duration = Duration::from_millis(20);
/// Virtual time in which a healed carrier must have delivered everything.
const HEALED_MOST: Duration = Duration::from_secs(60);

/// What the listener has on its disk: survives its death.
#[derive(Default)]
struct Store {
    epoch: Option<u64>,
    streams: [Vec<u8>; 3],
    ended: [bool; 3],
    sessions: u64,
    exits: Vec<ExitRecord>,
    messages: u64,
    known: bool,
}

pub(super) struct Pair {
    pub(super) now: Duration,
    random: Random,
    pub(super) faults: Faults,
    pub(super) guest: Link,
    pub(super) listener: Link,
    pub(super) up: Wire,
    pub(super) down: Wire,
    store: Store,
    output: [Vec<u8>; 3],
    written: [usize; 3],
    exit: Option<ExitRecord>,
    announced: bool,
    stdin: Vec<u8>,
    stdin_written: usize,
    stdin_received: Vec<u8>,
    stdin_ended: bool,
    peak: usize,
    pub(super) key: Option<Key>,
    pub(super) handshakes: usize,
    drops: bool,
    /// Bytes that the listener was told are gone.
    pub(super) lost: u64,
    /// All that was put on the carrier, where a test wants it.
    pub(super) seen: Option<Vec<u8>>,
}

const SESSION: Channel = Channel(1);

/// What a guest says first, and again to a listener that has forgotten.
pub(super) fn announce(guest: &mut Link) {
    guest.send(&Control::Session {
        channel: SESSION,
        id: "c1".into(),
        name: String::new(),
        path: "/bin/x".into(),
        args: Vec::new(),
        tty: false,
        openstdin: true,
        attach: true,
        primary: true,
        direct: false,
    });
}

impl Pair {
    pub(super) fn new(seed: u64, faults: Faults, sizes: [usize; 3]) -> Self {
        let mut random = Random(seed);
        let identity = Identity {
            id: "c1".into(),
            epoch: random.next(),
            ..Default::default()
        };
        let options = Options {
            buffer: 100_000,
            window: 70_000,
            chunk: 3_000,
            ..Default::default()
        };
        let mut output = [Vec::new(), Vec::new(), Vec::new()];
        for (bytes, size) in output.iter_mut().zip(sizes) {
            while bytes.len() < size {
                bytes.extend_from_slice(&random.next().to_le_bytes());
            }
            bytes.truncate(size);
        }
        let stdin = std::mem::take(&mut output[0]);
        let guest = Link::guest(identity, random.next(), options.clone());
        let listener = Link::listener(random.next(), options);
        Self {
            now: Duration::ZERO,
            random,
            faults,
            guest,
            listener,
            up: Wire::default(),
            down: Wire::default(),
            store: Store::default(),
            output,
            written: [0; 3],
            exit: None,
            announced: false,
            stdin,
            stdin_written: 0,
            stdin_received: Vec::new(),
            stdin_ended: false,
            peak: 0,
            key: None,
            handshakes: 0,
            drops: false,
            lost: 0,
            seen: None,
        }
    }

    /// Both ends have this key, and get new ones of it after so many frames.
    pub(super) fn with_key(mut self, key: Key, renew: u64) -> Self {
        let seed = self.bytes();
        self.guest.require(key.clone(), seed);
        let options = Options {
            renew,
            ..self.listener.options.clone()
        };
        self.listener = Link::listener(self.random.next(), options);
        self.key = Some(key);
        self
    }

    /// A guest whose buffer never makes its program wait.
    pub(super) fn dropping(mut self) -> Self {
        self.guest.drop_oldest(SESSION);
        self.drops = true;
        self
    }

    /// 32 random bytes.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.random.next() as u8)
    }

    fn chance(&mut self, many: u64) -> bool {
        many > 0 && self.random.one_in(many)
    }

    /// The guest's program: announces, writes its output, ends, exits.
    fn guest_works(&mut self) {
        if !self.announced {
            self.announced = true;
            assert!(self.guest.open(SESSION));
            announce(&mut self.guest);
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = usize::from(stream.number());
            let rest = &self.output[index][self.written[index]..];
            let piece = rest.len().min(1 + self.random.below(9_000) as usize);
            self.written[index] += self.guest.write(SESSION, stream, &rest[..piece]);
            if self.written[index] == self.output[index].len() {
                self.guest.finish(SESSION, stream);
            }
        }
        if self.exit.is_none() && (1..3).all(|n| self.written[n] == self.output[n].len()) {
            let mut record = ExitRecord::failed(ExitClass::Exited, String::new(), 0);
            record.status = 3;
            record.stdout = self.guest.written(SESSION, Stream::Stdout);
            record.stderr = self.guest.written(SESSION, Stream::Stderr);
            self.guest.send(&Control::Exit {
                channel: SESSION,
                record: record.clone(),
            });
            self.exit = Some(record);
        }
        while let Some(event) = self.guest.poll_event() {
            match event {
                Event::Data {
                    channel,
                    stream,
                    offset,
                    bytes,
                } => {
                    assert_eq!(
                        offset,
                        self.stdin_received.len() as u64,
                        "stdin out of order"
                    );
                    self.stdin_received.extend(bytes);
                    self.guest
                        .stored(channel, stream, self.stdin_received.len() as u64);
                }
                Event::End {
                    channel,
                    stream,
                    offset,
                } => {
                    assert_eq!(
                        offset,
                        self.stdin_received.len() as u64,
                        "stdin ends too early"
                    );
                    self.stdin_ended = true;
                    self.guest.stored(channel, stream, offset + 1);
                }
                Event::Established { forgotten: true } => panic!("the store never forgets"),
                Event::Established { .. } | Event::Time(_) | Event::Lost => {}
                other => panic!("guest got {other:?}"),
            }
        }
    }

    /// The listener's program: stores, then acknowledges.
    fn listener_works(&mut self) {
        while let Some(event) = self.listener.poll_event() {
            match event {
                Event::Hello(hello) => {
                    self.handshakes += 1;
                    assert_eq!(hello.sealed, self.key.is_some());
                    let hello = match self.key.clone() {
                        Some(key) => {
                            let random = self.bytes();
                            let told = self.listener.unseal(&key, random);
                            told.expect("the guest has the key")
                        }
                        None => hello,
                    };
                    let store = &mut self.store;
                    assert!(
                        store
                            .epoch
                            .is_none_or(|epoch| epoch == hello.identity.epoch)
                    );
                    store.epoch = Some(hello.identity.epoch);
                    let streams = if store.known {
                        [Stream::Stdout, Stream::Stderr]
                            .map(|s| (SESSION, s, store.position(s)))
                            .into()
                    } else {
                        Vec::new()
                    };
                    self.listener.accept(Resume {
                        messages: store.messages,
                        streams,
                    });
                }
                Event::Data {
                    channel,
                    stream,
                    offset,
                    bytes,
                } => {
                    self.store.known = true;
                    let log = &mut self.store.streams[usize::from(stream.number())];
                    assert_eq!(offset, log.len() as u64, "{stream:?} out of order");
                    log.extend(bytes);
                    let stored = log.len() as u64;
                    self.listener.stored(channel, stream, stored);
                }
                Event::Gap {
                    channel,
                    stream,
                    from,
                    to,
                } => {
                    assert!(self.drops, "{stream:?} has a gap");
                    self.store.known = true;
                    let index = usize::from(stream.number());
                    let log = &mut self.store.streams[index];
                    assert_eq!(from, log.len() as u64, "{stream:?}: a gap out of order");
                    // What is lost is of that length exactly: all that follows is in its place.
                    log.extend(&self.output[index][from as usize..to as usize]);
                    self.lost += to - from;
                    self.listener.stored(channel, stream, to);
                }
                Event::End {
                    channel,
                    stream,
                    offset,
                } => {
                    self.store.known = true;
                    let index = usize::from(stream.number());
                    assert_eq!(offset, self.store.streams[index].len() as u64);
                    self.store.ended[index] = true;
                    self.listener.stored(channel, stream, offset + 1);
                }
                Event::Message { sequence, message } => {
                    assert_eq!(sequence, self.store.messages, "message out of order");
                    self.store.messages += 1;
                    match message {
                        Control::Session { .. } => {
                            self.store.known = true;
                            self.store.sessions += 1;
                        }
                        Control::Exit { record, .. } => self.store.exits.push(record),
                        other => panic!("listener got {other:?}"),
                    }
                    self.listener.message_stored(sequence);
                }
                Event::Established { .. } => {
                    // The client types on from what this guest has received.
                    self.stdin_written = self.listener.written(SESSION, Stream::Stdin) as usize;
                }
                Event::Time(_) | Event::Lost => {}
                other => panic!("listener got {other:?}"),
            }
        }
        if self.listener.established() {
            let rest = &self.stdin[self.stdin_written..];
            let piece = rest.len().min(1 + self.random.below(5_000) as usize);
            self.stdin_written += self.listener.write(SESSION, Stream::Stdin, &rest[..piece]);
            if self.stdin_written == self.stdin.len() && self.store.sessions > 0 {
                self.listener.finish(SESSION, Stream::Stdin);
            }
        }
    }

    pub(super) fn step(&mut self) {
        self.now += STEP;
        if self.chance(self.faults.reconnect) {
            // The TCP side of the port comes anew; what was on its way is lost.
            self.reconnect();
        }
        if self.chance(self.faults.listener_dies) {
            self.up.lose();
            self.new_listener();
        }
        self.guest_works();
        if self.chance(self.faults.upgrade) {
            self.upgrade();
        }
        self.listener_works();

        let limit = self.faults.capacity;
        let mut out = Vec::new();
        if self.up.waiting() < limit {
            self.guest.poll_transmit(self.now, &mut out, limit);
            self.up.carry(&mut self.random, &self.faults, &out);
        }
        out.clear();
        if self.down.waiting() < limit {
            self.listener.poll_transmit(self.now, &mut out, limit);
            self.down.carry(&mut self.random, &self.faults, &out);
        }
        if self.up.take_cut() || self.down.take_cut() {
            self.reconnect();
        }
        let arrived = self.up.arrive(&mut self.random);
        self.listener.handle_input(self.now, &arrived);
        let arrived = self.down.arrive(&mut self.random);
        self.guest.handle_input(self.now, &arrived);
        self.peak = self.peak.max(self.guest.unacknowledged().bytes as usize);
    }

    /// A process that knows the guest's ID and key, and what the one before has left it.
    pub(super) fn upgrade(&mut self) {
        let mut frozen = crate::frozen::Writer::default();
        self.guest.freeze(&mut frozen);
        let identity = Identity {
            id: "c1".into(),
            ..Default::default()
        };
        let options = self.guest.options.clone();
        let mut guest = Link::guest(identity, self.random.next(), options);
        if let Some(key) = self.key.clone() {
            guest.require(key, self.bytes());
        }
        guest.thaw(crate::frozen::Record::new(&frozen.done()));
        if self.drops {
            guest.drop_oldest(SESSION);
        }
        assert_eq!(guest.unacknowledged(), self.guest.unacknowledged());
        self.guest = guest;
    }

    fn reconnect(&mut self) {
        self.up.lose();
        self.down.lose();
        self.new_listener();
    }

    /// One step over a carrier without faults, in which `guest_heard` and `listener_heard` do the
    /// programs' work. Returns the bytes that both ends sent.
    pub(super) fn exchange(
        &mut self,
        mut listener_heard: impl FnMut(&mut Link),
        mut guest_heard: impl FnMut(&mut Link),
    ) -> usize {
        self.now += STEP;
        let (mut up, mut down) = (Vec::new(), Vec::new());
        self.guest
            .poll_transmit(self.now, &mut up, PERFECT.capacity);
        self.listener.handle_input(self.now, &up);
        listener_heard(&mut self.listener);
        self.listener
            .poll_transmit(self.now, &mut down, PERFECT.capacity);
        self.guest.handle_input(self.now, &down);
        if let Some(seen) = &mut self.seen {
            seen.extend_from_slice(&up);
            seen.extend_from_slice(&down);
        }
        guest_heard(&mut self.guest);
        up.len() + down.len()
    }

    pub(super) fn new_listener(&mut self) {
        let nonce = self.random.next();
        self.listener = Link::listener(nonce, self.listener.options.clone());
    }

    pub(super) fn done(&self) -> bool {
        self.exit.is_some() && self.guest.unacknowledged().is_zero() && self.stdin_ended
    }

    /// Runs until everything has arrived, which must take a bounded time.
    pub(super) fn finish(&mut self) {
        let healed = self.now;
        while !self.done() {
            assert!(
                self.now - healed < HEALED_MOST,
                "not all had arrived after {HEALED_MOST:?}"
            );
            self.step();
        }
    }

    pub(super) fn check(&self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = usize::from(stream.number());
            assert!(
                self.store.streams[index] == self.output[index],
                "{stream:?} differs"
            );
            assert!(self.store.ended[index], "{stream:?} has no end");
        }
        assert!(self.stdin_received == self.stdin, "stdin differs");
        assert_eq!(
            self.store.exits,
            Vec::from_iter(self.exit.clone()),
            "one exit record"
        );
        assert_eq!(self.store.sessions, 1, "one announcement");
        assert!(self.peak <= 100_000 + 2, "guest kept {} bytes", self.peak);
    }
}

impl Store {
    fn position(&self, stream: Stream) -> u64 {
        let index = usize::from(stream.number());
        self.streams[index].len() as u64 + u64::from(self.ended[index])
    }
}
