//! What an end makes of the bytes it receives.

use std::time::Duration;

use super::control::{self, Incoming};
#[cfg(feature = "appliance")]
use super::endpoint::Asked;
use super::endpoint::{Link, ListenerState, Repeat, Side};
use super::frame::{Head, Kind, MESSAGES_STREAM};
use super::handshake::{Hail, VERSION, Welcome, lines, next_nonce, seed};
use super::receive::{Ack, Taken};
use super::seal::Seal;
use super::{Channel, Control, Event, RTO_FIRST, RTO_MOST, Stream};

impl Link {
    /// Takes bytes of the carrier: any bytes, in any split.
    pub fn handle_input(&mut self, now: Duration, bytes: &[u8]) {
        let mut reader = std::mem::take(&mut self.reader);
        let mut seal = self.seal.take();
        let mut plain = Vec::new();
        reader.feed(bytes);
        while let Some((head, payload)) = reader.next(seal.as_mut(), &mut plain) {
            self.frame(now, head, payload);
            // A handshake has come to its end.
            if let Some(fresh) = self.seal.take() {
                seal = Some(fresh);
            }
        }
        self.seal = seal;
        self.reader = reader;
    }

    fn frame(&mut self, now: Duration, head: Head, payload: &[u8]) {
        match head.kind {
            Kind::Hail => self.hail(payload),
            #[cfg(feature = "appliance")]
            Kind::Hello => self.hello(payload),
            #[cfg(not(feature = "appliance"))]
            Kind::Hello => {}
            Kind::Welcome => self.welcome(now, payload),
            Kind::Refuse => self.refused(now, head.number, payload),
            _ => self.sealed(now, head, payload),
        }
    }

    /// Guest: a listener asks who is there.
    fn hail(&mut self, payload: &[u8]) {
        let Side::Guest(guest) = &mut self.side else {
            return;
        };
        let Some(hail) = Hail::read(payload) else {
            return;
        };
        if !hail.versions.contains(&VERSION) {
            let reason = format!("the listener speaks only versions {:?}", hail.versions);
            self.events.push_back(Event::Refused { reason });
            return;
        }
        if guest.established && hail.nonce == guest.welcomed.1 {
            // A late copy of what was answered.
            return;
        }
        if hail.nonce != guest.hail {
            // One nonce for one question, however often it is asked: both ends then agree
            // whichever copies get through.
            guest.hail = hail.nonce;
            guest.nonce = next_nonce(&mut self.nonces);
        }
        guest.timer = Repeat::now();
    }

    /// Listener: a guest says who it is.
    #[cfg(feature = "appliance")]
    fn hello(&mut self, payload: &[u8]) {
        let Side::Listener(side) = &mut self.side else {
            return;
        };
        let (line, message) = lines(payload);
        let Ok(mut hello) = serde_json::from_slice::<super::Hello>(line) else {
            return;
        };
        hello.sealed = message.is_some();
        match &side.state {
            ListenerState::Asked(asked) if asked.hello.nonce == hello.nonce => return,
            // It has taken WELCOME since.
            ListenerState::Established { nonce } if *nonce == hello.nonce => return,
            ListenerState::Welcomed { nonce, .. } if *nonce == hello.nonce => {
                // Our WELCOME was lost: say it again.
                side.timer = Repeat::now();
                return;
            }
            _ => {}
        }
        if hello.answer != side.nonce || !hello.versions.contains(&VERSION) {
            // It has not heard us yet, or it is an echo of another connection.
            side.timer = Repeat::now();
            side.hail_due = true;
            return;
        }
        side.state = ListenerState::Asked(Box::new(Asked {
            hello: hello.clone(),
            nonce: side.nonce,
            proof: message.map(|message| super::endpoint::Proof::Given {
                prologue: line.into(),
                message: message.into(),
            }),
        }));
        // Another one that waits for an answer is a process's before this one: the answer is to the last.
        self.events
            .retain(|event| !matches!(event, Event::Hello(_)));
        self.events.push_back(Event::Hello(hello));
    }

    /// Guest: the listener lets us in.
    fn welcome(&mut self, now: Duration, payload: &[u8]) {
        let Side::Guest(guest) = &mut self.side else {
            return;
        };
        let (line, message) = lines(payload);
        let Some(mut welcome) = Welcome::read(line) else {
            return;
        };
        if welcome.version != VERSION {
            return;
        }
        if guest.established && welcome.answer == guest.welcomed.0 {
            // Repeated: nothing of ours has reached it yet.
            self.ping_due = true;
            return;
        }
        if welcome.answer != guest.nonce {
            return;
        }
        let mut cipher = None;
        if let Some(proof) = &mut guest.proof {
            // Only who has the key may say what it has stored, and only under the key.
            let Some((told, sealing)) = message.and_then(|m| proof.conclude(guest.nonce, m)) else {
                return;
            };
            let Some(told) = Welcome::read(&told).filter(|told| told.answer == guest.nonce) else {
                return;
            };
            (welcome, cipher) = (told, Some(Box::new(sealing)));
        }
        if let Some(fresh) = welcome.another {
            guest.nonce = next_nonce(&mut self.nonces);
            self.events.push_back(Event::Copy { fresh });
            return;
        }
        self.seal = Some(Seal {
            seed: seed(guest.nonce, guest.hail),
            cipher,
        });
        guest.established = true;
        guest.welcomed = (guest.nonce, guest.hail);
        guest.nonce = next_nonce(&mut self.nonces);
        guest.timer.rest();

        let resume = welcome.resume;
        let forgotten = resume.is_empty() && self.anything_acknowledged();
        for (key, stream) in &mut self.sending {
            let known = resume.streams.iter().find(|(c, s, _)| (*c, *s) == *key);
            stream.resume(known.map_or(0, |(_, _, next)| *next));
        }
        for stream in self.receiving.values_mut() {
            stream.resume();
        }
        self.outbox.resume(resume.messages);
        self.inbox.resume();
        self.begin(now, forgotten);
        // Whatever is sent next proves that we heard; with nothing to say, this.
        self.ping_due = true;
    }

    fn anything_acknowledged(&self) -> bool {
        self.outbox.acknowledged() > 0 || self.sending.values().any(|s| s.taken())
    }

    fn begin(&mut self, now: Duration, forgotten: bool) {
        self.heard = now;
        self.asked = 0;
        self.rto = RTO_FIRST;
        self.progress = now;
        self.events.push_back(Event::Established { forgotten });
    }

    /// Guest: the listener will not have us.
    fn refused(&mut self, now: Duration, answer: u64, payload: &[u8]) {
        let Side::Guest(guest) = &mut self.side else {
            return;
        };
        if answer != guest.nonce {
            return;
        }
        guest.nonce = next_nonce(&mut self.nonces);
        guest.timer = Repeat {
            at: Some(now + RTO_MOST),
            wait: RTO_MOST,
            noise: u64::MAX,
        };
        let reason = String::from_utf8_lossy(payload).into_owned();
        self.events.push_back(Event::Refused { reason });
    }

    /// A frame of the link proper: its seal shows that the peer has echoed our nonce.
    fn sealed(&mut self, now: Duration, head: Head, payload: &[u8]) {
        if let Side::Listener(side) = &mut self.side {
            match &side.state {
                ListenerState::Welcomed { nonce, .. } => {
                    side.state = ListenerState::Established { nonce: *nonce };
                    side.timer.rest();
                    self.begin(now, false);
                    // With it goes the time.
                    self.ping_due |= self.wall.is_some();
                }
                ListenerState::Established { .. } => {}
                // Under the seal before: the owner is about to say what it has stored, and the guest
                // goes on from there.
                _ => return,
            }
        }
        self.heard = now;
        self.asked = 0;
        match head.kind {
            Kind::Ping => {
                self.pong_due = Some(head.number);
                if let Some(time) = payload.first_chunk().filter(|_| self.is_guest()) {
                    let time = Duration::from_millis(u64::from_le_bytes(*time));
                    self.events.push_back(Event::Time(time));
                }
            }
            Kind::Pong => {
                self.answered = head.number;
                if let Some(up) = payload.first_chunk() {
                    self.peer_up_ms = u64::from_le_bytes(*up);
                }
            }
            Kind::Message => self.message(now, head.number, payload),
            Kind::Ack => self.ack(now, head, payload),
            Kind::Skip if head.stream == MESSAGES_STREAM => self.inbox.skip(head.number),
            Kind::Data | Kind::End | Kind::Skip => self.stream(now, head, payload),
            Kind::Hail | Kind::Hello | Kind::Welcome | Kind::Refuse | Kind::Sealed => {}
        }
    }

    fn message(&mut self, now: Duration, sequence: u64, payload: &[u8]) {
        if !self.inbox.take(now, sequence) {
            return;
        }
        match self.parse(payload) {
            Incoming::Known(message) => {
                // Here and not at the owner's: data may come right behind it.
                match &message {
                    Control::Session { channel, .. } if !self.is_guest() => {
                        self.open(*channel);
                    }
                    Control::Closed { channel } if !self.is_guest() => self.close(*channel),
                    _ => {}
                }
                self.events.push_back(Event::Message { sequence, message });
            }
            Incoming::Unknown { what, message } => {
                self.inbox.stored(sequence);
                if what != "refused" {
                    self.send(&Control::Refused { what, message });
                }
            }
        }
    }

    fn parse(&self, payload: &[u8]) -> Incoming {
        #[cfg(feature = "appliance")]
        if !self.is_guest() {
            return control::from_guest(payload);
        }
        control::from_listener(payload)
    }

    fn ack(&mut self, now: Duration, head: Head, payload: &[u8]) {
        let Some(ack) = Ack::decode(payload) else {
            return;
        };
        let news = if head.stream == MESSAGES_STREAM {
            let news = self.outbox.acknowledge(head.number);
            if let Some(from) = ack.resend_from {
                self.outbox.rewind(from);
            }
            news
        } else {
            let Some(stream) = Stream::from_number(head.stream) else {
                return;
            };
            let Some(stream) = self.sending.get_mut(&(Channel(head.channel), stream)) else {
                return;
            };
            let news = stream.acknowledge(head.number, ack.credit);
            if let Some(from) = ack.resend_from {
                stream.rewind(from);
            }
            news
        };
        if news {
            self.progress = now;
            self.rto = RTO_FIRST;
        }
    }

    fn stream(&mut self, now: Duration, head: Head, payload: &[u8]) {
        let channel = Channel(head.channel);
        let Some(stream) = Stream::from_number(head.stream) else {
            return;
        };
        // Of a session that is not announced yet (its message was lost: all of it comes again), or that
        // is closed.
        let Some(receiver) = self.receiving.get_mut(&(channel, stream)) else {
            return;
        };
        match head.kind {
            Kind::Data => {
                if let Taken::Bytes(offset, bytes) = receiver.data(now, head.number, payload) {
                    let bytes = bytes.to_vec();
                    self.events.push_back(Event::Data {
                        channel,
                        stream,
                        offset,
                        bytes,
                    });
                }
            }
            Kind::End => {
                if receiver.end(now, head.number) {
                    self.events.push_back(Event::End {
                        channel,
                        stream,
                        offset: head.number,
                    });
                }
            }
            _ => {
                if let Some((from, to)) = receiver.skip(head.number) {
                    self.events.push_back(Event::Gap {
                        channel,
                        stream,
                        from,
                        to,
                    });
                }
            }
        }
    }
}
