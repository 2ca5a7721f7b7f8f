//! The listener decides about a guest: is its proof good, is it let in or sent away.

use std::collections::BTreeMap;

use super::endpoint::{Asked, Link, ListenerState, Proof, Repeat, Side};
use super::handshake::{Fresh, Resume, Welcome, next_nonce, seed};
use super::messages::{Inbox, Outbox};
use super::receive::ReceiveStream;
use super::seal::Seal;
use super::send::SendStream;
use super::{Hello, Stream};

impl Link {
    /// What the guest of the last [`Event::Hello`](super::Event::Hello) says under its link key, to be
    /// called when that hello is `sealed`. `random` is 32 random bytes for this call alone.
    /// None: it has another key, or none. Until this is called it cannot be accepted.
    #[cfg(feature = "appliance")]
    pub fn unseal(&mut self, key: &super::Key, random: [u8; 32]) -> Option<Hello> {
        let Side::Listener(side) = &mut self.side else {
            return None;
        };
        let ListenerState::Asked(asked) = &mut side.state else {
            return None;
        };
        let Asked { hello, proof, .. } = &mut **asked;
        let Some(Proof::Given { prologue, message }) = proof else {
            return None;
        };
        let secrets = super::noise::Secrets { key, random };
        let (pending, told) = super::noise::respond(&secrets, prologue, message)?;
        let mut told: Hello = serde_json::from_slice(&told).ok()?;
        if told.nonce != hello.nonce || told.identity.id != hello.identity.id {
            return None;
        }
        told.sealed = true;
        *hello = told.clone();
        *proof = Some(Proof::Held(pending));
        Some(told)
    }

    /// Lets the guest of the last [`Event::Hello`] in; `resume` is what is stored of its epoch.
    /// What was written and sent before is forgotten: the owner goes on from what the guest has
    /// received, as the hello says.
    pub fn accept(&mut self, resume: Resume) {
        if let Some((hello, seal)) = self.let_in(&resume, None) {
            self.seal = Some(seal);
            self.begin_streams(&hello, &resume);
        }
    }

    /// Tells the guest of the last [`Event::Hello`](super::Event::Hello) that it is a copy of another, and
    /// must come as a boot of its own. `fresh` is random, for this call alone.
    pub fn accept_as_another(&mut self, fresh: Fresh) {
        if self.let_in(&Resume::default(), Some(fresh)).is_some() {
            // No frame is for the link of the one before.
            self.seal = None;
        }
    }

    /// Answers the hello: it, and what is sealed with from here on.
    fn let_in(&mut self, resume: &Resume, another: Option<Fresh>) -> Option<(Hello, Seal)> {
        let Side::Listener(side) = &mut self.side else {
            return None;
        };
        let waiting = std::mem::replace(&mut side.state, ListenerState::Waiting);
        let ListenerState::Asked(asked) = waiting else {
            side.state = waiting;
            return None;
        };
        let Asked {
            hello,
            nonce,
            proof,
        } = *asked;
        let whole = serde_json::to_vec(&Welcome::of(&hello, resume, another)).unwrap_or_default();
        let (cipher, payload) = match proof {
            None => (None, whole),
            Some(Proof::Held(pending)) => {
                let (cipher, message) = pending.answer(&whole)?;
                // What is stored goes under the key alone.
                let shown = Welcome::of(&hello, &Resume::default(), None);
                let line = serde_json::to_vec(&shown).unwrap_or_default();
                (
                    Some(Box::new(cipher)),
                    [&line, &b"\n"[..], &message].concat(),
                )
            }
            // Nobody has looked at its key.
            Some(Proof::Given { .. }) => return None,
        };
        side.nonce = next_nonce(&mut self.nonces);
        side.timer = Repeat::now();
        side.state = ListenerState::Welcomed {
            nonce: hello.nonce,
            payload,
        };
        let seed = seed(hello.nonce, nonce);
        Some((hello, Seal { seed, cipher }))
    }

    fn begin_streams(&mut self, hello: &Hello, resume: &Resume) {
        self.peer_up_ms = hello.up_ms;
        // The guest's own count is where ours begins, whoever sent what it has.
        self.outbox = Outbox::starting_at(hello.messages);
        let mut sending = BTreeMap::new();
        self.receiving.clear();
        for (channel, stream, next) in &resume.streams {
            let fresh = ReceiveStream::new(*next, self.options.window);
            self.receiving.insert((*channel, *stream), Box::new(fresh));
            let key = (*channel, Stream::Stdin);
            sending
                .entry(key)
                .or_insert_with(|| Box::new(SendStream::new(0)));
        }
        for (channel, stream, next) in &hello.streams {
            if *stream != Stream::Stdin {
                continue;
            }
            let key = (*channel, *stream);
            let known = if hello.ended.contains(channel) {
                SendStream::ended(*next)
            } else {
                SendStream::new(*next)
            };
            sending.insert(key, Box::new(known));
        }
        self.sending = sending;
        self.inbox = Inbox::new(resume.messages);
    }

    /// No answer to the guest of the last [`Event::Hello`](super::Event::Hello) yet: its next one is
    /// an event again.
    pub fn not_yet(&mut self) {
        if let Side::Listener(side) = &mut self.side {
            side.state = ListenerState::Waiting;
        }
    }

    /// Sends the guest of the last [`Event::Hello`] away, with a reason for its operator.
    pub fn refuse(&mut self, reason: &str) {
        let Side::Listener(side) = &mut self.side else {
            return;
        };
        if let ListenerState::Asked(asked) = &side.state {
            let reason = Some(reason.to_owned());
            side.state = ListenerState::Refused {
                nonce: asked.hello.nonce,
                reason,
            };
        }
    }
}
