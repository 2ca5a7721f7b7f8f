//! What an end puts on the carrier, and when.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use serde::Serialize;

use super::endpoint::{GuestSide, Link, ListenerState, Repeat, Side};
use super::frame::{self, Head, Kind, MESSAGES_STREAM};
use super::handshake::{Hail, Hello, Identity, VERSION};
use super::proof::GuestProof;
use super::receive::ReceiveStream;
use super::seal::Seal;
use super::send::Wanted;
use super::{Channel, Event, HANDSHAKE_FIRST, HANDSHAKE_MOST, KEEPALIVE_TRIES, RTO_MOST, Stream};

/// Longest time between two of a guest's tellings of its clock.
const CLOCK_EVERY: Duration = Duration::from_secs(15);

impl Link {
    /// Appends whole frames to `out` while it is shorter than `limit`. Call it after every input
    /// and write, when the carrier takes bytes again, and at [`Link::poll_timeout`].
    pub fn poll_transmit(&mut self, now: Duration, out: &mut Vec<u8>, limit: usize) {
        self.clock(now);
        self.renew();
        self.handshake(now, out);
        if !self.established() {
            return;
        }
        let Some(seal) = self.seal.take() else {
            return;
        };
        let waited = self.waiting();
        let mut sealed = Sealed {
            out,
            seal,
            limit,
            scratch: Vec::new(),
        };
        self.answers(now, &mut sealed);
        self.messages(&mut sealed);
        self.data(&mut sealed);
        self.seal = Some(sealed.seal);
        if !waited {
            self.progress = now;
        }
    }

    /// When [`Link::poll_transmit`] must be called again at the latest.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.established() {
            let timer = match &self.side {
                Side::Guest(guest) => &guest.timer,
                Side::Listener(side) => match side.state {
                    ListenerState::Asked(_) | ListenerState::Refused { reason: None, .. } => {
                        return None;
                    }
                    _ => &side.timer,
                },
            };
            return Some(timer.at.unwrap_or_default());
        }
        let repeat = self.waiting().then_some(self.progress + self.rto);
        let keepalive = self.keepalive_at();
        match (repeat, keepalive) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn keepalive_at(&self) -> Option<Duration> {
        let every = self.options.keepalive;
        (!every.is_zero()).then(|| self.heard + every * (self.asked + 1))
    }

    /// Something must be acknowledged, or needs credit, before this end can rest.
    fn waiting(&self) -> bool {
        self.outbox.in_flight() || self.sending.values().any(|s| s.in_flight() || s.blocked())
    }

    /// What the time alone brings about.
    fn clock(&mut self, now: Duration) {
        if !self.established() {
            return;
        }
        if self.keepalive_at().is_some_and(|at| at <= now) {
            if self.asked >= KEEPALIVE_TRIES {
                self.events.push_back(Event::Lost);
                self.disconnected();
                return;
            }
            self.asked += 1;
            self.ping_due = true;
        }
        if self.waiting() && self.progress + self.rto <= now {
            for stream in self.sending.values_mut() {
                stream.timed_out();
            }
            self.outbox.timed_out();
            self.progress = now;
            self.rto = (self.rto * 2).min(RTO_MOST);
        }
    }

    /// Listener: keys that have sealed enough frames are replaced, by a handshake in mid-stream.
    fn renew(&mut self) {
        if let Side::Listener(side) = &mut self.side
            && matches!(side.state, ListenerState::Established { .. })
            && let Some(cipher) = self.seal.as_mut().and_then(|seal| seal.cipher.as_mut())
            && cipher.is_worn(self.options.renew)
        {
            side.timer = Repeat::now();
            side.hail_due = true;
        }
    }

    fn handshake(&mut self, now: Duration, out: &mut Vec<u8>) {
        let noise = self.noise();
        match &mut self.side {
            Side::Guest(guest) => {
                // Once established, only a HAIL makes it say HELLO again.
                let due = if guest.established {
                    guest.timer.at.is_none()
                } else {
                    guest.timer.due(now)
                };
                if !due {
                    return;
                }
                guest.timer.again(now, noise);
                let hello = hello(now, guest, &self.receiving, self.inbox.next());
                match &mut guest.proof {
                    None => plain(out, Kind::Hello, &hello),
                    Some(proof) => proven(out, proof, &hello),
                }
            }
            Side::Listener(side) => {
                if let ListenerState::Refused { nonce, reason } = &mut side.state {
                    if let Some(reason) = reason.take() {
                        let head = Head {
                            number: *nonce,
                            ..Head::link(Kind::Refuse)
                        };
                        let text = reason.as_bytes();
                        let text = text.get(..frame::PAYLOAD_MOST).unwrap_or(text);
                        frame::encode(out, frame::PLAIN_SEED, head, [text, &[]]);
                    }
                    return;
                }
                if !side.timer.due(now) {
                    return;
                }
                match &side.state {
                    ListenerState::Welcomed { payload, .. } if !side.hail_due => {
                        put(out, Kind::Welcome, payload);
                    }
                    ListenerState::Established { .. } if !side.hail_due => {}
                    ListenerState::Asked(_) if !side.hail_due => return,
                    _ => {
                        let hail = Hail {
                            versions: vec![VERSION],
                            nonce: side.nonce,
                        };
                        plain(out, Kind::Hail, &hail);
                        side.hail_due = false;
                    }
                }
                if matches!(side.state, ListenerState::Established { .. }) {
                    side.timer.rest();
                } else {
                    side.timer.again(now, noise);
                }
            }
        }
    }

    /// Signs of life and acknowledgements: small, and everything else may hang on them.
    fn answers(&mut self, now: Duration, sealed: &mut Sealed<'_>) {
        let head = |kind, number| Head {
            number,
            ..Head::link(kind)
        };
        if let Some(question) = self.pong_due.take() {
            let up = millis(now).to_le_bytes();
            sealed.put(head(Kind::Pong, question), [&up, &[]]);
        }
        // A guest that is never silent is asked for its clock all the same.
        let clock_due = !self.is_guest() && self.asked_clock + CLOCK_EVERY <= now;
        if std::mem::take(&mut self.ping_due) || clock_due {
            self.asked_clock = now;
            let time = self
                .wall
                .map(|wall| millis(wall.saturating_add(now)).to_le_bytes());
            let time = time.as_ref().map_or(&[][..], |time| time);
            sealed.put(head(Kind::Ping, self.question), [time, &[]]);
        }
        if let Some((number, ack)) = self.inbox.poll(now) {
            let head = Head {
                kind: Kind::Ack,
                stream: MESSAGES_STREAM,
                channel: 0,
                number,
            };
            sealed.put(head, [&ack.encode(), &[]]);
        }
        for ((channel, stream), receiver) in &mut self.receiving {
            if let Some((number, ack)) = receiver.poll(now) {
                let (stream, channel) = (stream.number(), channel.0);
                let head = Head {
                    kind: Kind::Ack,
                    stream,
                    channel,
                    number,
                };
                sealed.put(head, [&ack.encode(), &[]]);
            }
        }
    }

    fn messages(&mut self, sealed: &mut Sealed<'_>) {
        let head = |kind, number| Head {
            kind,
            stream: MESSAGES_STREAM,
            channel: 0,
            number,
        };
        if let Some(base) = self.outbox.poll_skip() {
            sealed.put(head(Kind::Skip, base), [&[], &[]]);
        }
        while sealed.has_room() {
            let Some((sequence, message)) = self.outbox.poll() else {
                break;
            };
            sealed.put(head(Kind::Message, sequence), [message, &[]]);
        }
    }

    /// Streams in turn, one frame each, so that none starves another.
    fn data(&mut self, sealed: &mut Sealed<'_>) {
        let mut idle = 0;
        while sealed.has_room() && idle <= self.sending.len() {
            let after = (Bound::Excluded(self.turn), Bound::Unbounded);
            let Some((key, stream)) = self.sending.range_mut(after).next() else {
                if self.turn == (Channel::LINK, Stream::Stdin) {
                    return;
                }
                self.turn = (Channel::LINK, Stream::Stdin);
                idle += 1;
                continue;
            };
            self.turn = *key;
            let head = |kind, number| Head {
                kind,
                stream: key.1.number(),
                channel: key.0.0,
                number,
            };
            idle = match stream.poll(self.options.chunk) {
                None => idle + 1,
                Some(wanted) => {
                    match wanted {
                        Wanted::Skip { to } => sealed.put(head(Kind::Skip, to), [&[], &[]]),
                        Wanted::Data { offset, parts } => {
                            sealed.put(head(Kind::Data, offset), parts);
                        }
                        Wanted::End { offset } => sealed.put(head(Kind::End, offset), [&[], &[]]),
                    }
                    0
                }
            };
        }
    }
}

/// Where sealed frames go, and how much of them is wanted.
struct Sealed<'a> {
    out: &'a mut Vec<u8>,
    seal: Seal,
    limit: usize,
    scratch: Vec<u8>,
}

impl Sealed<'_> {
    fn put(&mut self, head: Head, parts: [&[u8]; 2]) {
        self.seal.encode(self.out, head, parts, &mut self.scratch);
    }

    fn has_room(&self) -> bool {
        self.out.len() < self.limit
    }
}

impl Repeat {
    /// Sent now: the next time after a longer wait. Garbage since the last time is somebody who talks,
    /// perhaps to us, through damage: the more often it is said, the sooner it gets through.
    fn again(&mut self, now: Duration, noise: u64) {
        if noise > self.noise {
            self.wait = HANDSHAKE_FIRST;
        }
        self.noise = noise;
        self.at = Some(now + self.wait);
        self.wait = (self.wait * 2).min(HANDSHAKE_MOST);
    }

    /// Not again until asked.
    pub(super) fn rest(&mut self) {
        self.at = Some(Duration::MAX);
    }
}

/// A frame of the handshake. The payload is bounded by the limits of what goes into it; one that is
/// too long all the same is left out.
fn plain<T: Serialize>(out: &mut Vec<u8>, kind: Kind, payload: &T) {
    if let Ok(bytes) = serde_json::to_vec(payload) {
        put(out, kind, &bytes);
    }
}

fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    if payload.len() <= frame::PAYLOAD_MOST {
        frame::encode(out, frame::PLAIN_SEED, Head::link(kind), [payload, &[]]);
    }
}

/// Who the guest is and what it has received: `messages`, and bytes by stream.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hello(
    now: Duration,
    guest: &GuestSide,
    receiving: &BTreeMap<(Channel, Stream), Box<ReceiveStream>>,
    messages: u64,
) -> Hello {
    let ended = receiving.iter().filter(|(_, stream)| stream.ended());
    Hello {
        versions: vec![VERSION],
        identity: guest.identity.clone(),
        nonce: guest.nonce,
        answer: guest.hail,
        last: guest.welcomed.1,
        up_ms: millis(now),
        messages,
        streams: receiving
            .iter()
            .map(|((channel, stream), received)| (*channel, *stream, received.next()))
            .collect(),
        ended: ended.map(|((channel, _), _)| *channel).collect(),
        sealed: false,
    }
}

/// HELLO with a proof: who listens on the carrier sees the ID and the nonces.
fn proven(out: &mut Vec<u8>, proof: &mut GuestProof, hello: &Hello) {
    let shown = Hello {
        versions: hello.versions.clone(),
        identity: Identity {
            id: hello.identity.id.clone(),
            ..Identity::default()
        },
        nonce: hello.nonce,
        answer: hello.answer,
        ..Hello::default()
    };
    let (Ok(line), Ok(told)) = (serde_json::to_vec(&shown), serde_json::to_vec(hello)) else {
        return;
    };
    if hello.answer == 0 {
        // Nobody has asked yet: this only makes a listener ask.
        return put(out, Kind::Hello, &line);
    }
    if let Some(payload) = proof.hello(hello.nonce, &line, &told) {
        put(out, Kind::Hello, payload);
    }
}
