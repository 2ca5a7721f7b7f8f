//! The listener decides about a guest: is its proof good, is it let in or sent away.

use std::collections::BTreeMap;

use super::endpoint::{Link, ListenerState, Proof, Repeat, Side};
use super::handshake::{Fresh, Resume, Welcome, next_nonce, seed};
use super::messages::{Inbox, Outbox};
use super::noise::Cipher;
use super::receive::ReceiveStream;
use super::seal::Seal;
use super::send::SendStream;
use super::{Hello, Stream};

/// The hello that is answered, the listener's nonce in it, and under a key the cipher and the message.
type Answer = (Hello, u64, Option<Cipher>, Option<Vec<u8>>);

impl Link {
    /// What the guest of the last [`Event::Hello`](super::Event::Hello) says under its link key, to be
    /// called when that hello is `sealed`. `random` is 32 random bytes for this call alone.
    /// None: it has another key, or none. Until this is called it cannot be accepted.
    #[cfg(feature = "appliance")]
    pub fn unseal(&mut self, key: &super::Key, random: [u8; 32]) -> Option<Hello> {
        let Side::Listener(side) = &mut self.side else {
            return None;
        };
        let ListenerState::Asked { hello, proof, .. } = &mut side.state else {
            return None;
        };
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
        let Some((hello, nonce, cipher, message)) = self.answer(&resume, None) else {
            return;
        };
        self.seal = Some(Seal {
            seed: seed(hello.nonce, nonce),
            cipher,
        });
        self.begin_streams(&hello, &resume);
        self.welcomed(hello, resume, None, message);
    }

    /// Tells the guest of the last [`Event::Hello`](super::Event::Hello) that it is a copy of another, and
    /// must come as a boot of its own. `fresh` is random, for this call alone.
    pub fn accept_as_another(&mut self, fresh: Fresh) {
        let resume = Resume::default();
        if let Some((hello, _, _, message)) = self.answer(&resume, Some(fresh)) {
            // No frame is for the link of the one before.
            self.seal = None;
            self.welcomed(hello, resume, Some(fresh), message);
        }
    }

    /// What goes into WELCOME under the key, and what is sealed with from here on.
    fn answer(&mut self, resume: &Resume, another: Option<Fresh>) -> Option<Answer> {
        let Side::Listener(side) = &mut self.side else {
            return None;
        };
        let waiting = std::mem::replace(&mut side.state, ListenerState::Waiting);
        let ListenerState::Asked {
            hello,
            nonce,
            proof,
        } = waiting
        else {
            side.state = waiting;
            return None;
        };
        match proof {
            None => Some((hello, nonce, None, None)),
            Some(Proof::Held(pending)) => {
                let welcome = Welcome::of(&hello, resume, another);
                let told = serde_json::to_vec(&welcome).unwrap_or_default();
                let (cipher, message) = pending.answer(&told)?;
                Some((hello, nonce, Some(cipher), Some(message)))
            }
            // Nobody has looked at its key.
            Some(Proof::Given { .. }) => None,
        }
    }

    fn welcomed(
        &mut self,
        hello: Hello,
        resume: Resume,
        another: Option<Fresh>,
        message: Option<Vec<u8>>,
    ) {
        if let Side::Listener(side) = &mut self.side {
            side.nonce = next_nonce(&mut self.nonces);
            side.timer = Repeat::now();
            side.state = ListenerState::Welcomed {
                hello,
                resume,
                another,
                message,
            };
        }
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
        if let ListenerState::Asked { hello, .. } = &side.state {
            let reason = Some(reason.to_owned());
            side.state = ListenerState::Refused {
                nonce: hello.nonce,
                reason,
            };
        }
    }
}
