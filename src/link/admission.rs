//! The listener decides about a guest: is its proof good, is it let in or sent away.

use std::collections::BTreeMap;

use super::Stream;
use super::endpoint::{Link, ListenerState, Proof, Repeat, Side};
use super::handshake::{Resume, Welcome, next_nonce, seed};
use super::messages::{Inbox, Outbox};
use super::receive::ReceiveStream;
use super::seal::Seal;
use super::send::SendStream;

impl Link {
    /// What the guest of the last [`Event::Hello`](super::Event::Hello) says under its link key, to be
    /// called when that hello is `sealed`. `random` is 32 random bytes for this call alone.
    /// None: it has another key, or none. Until this is called it cannot be accepted.
    #[cfg(feature = "appliance")]
    pub fn unseal(&mut self, key: &super::Key, random: [u8; 32]) -> Option<super::Hello> {
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
        let mut told: super::Hello = serde_json::from_slice(&told).ok()?;
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
        let Side::Listener(side) = &mut self.side else {
            return;
        };
        let waiting = std::mem::replace(&mut side.state, ListenerState::Waiting);
        let ListenerState::Asked {
            hello,
            nonce,
            proof,
        } = waiting
        else {
            side.state = waiting;
            return;
        };
        let (cipher, message) = match proof {
            None => (None, None),
            Some(Proof::Held(pending)) => {
                let welcome = Welcome::of(&hello, &resume);
                let told = serde_json::to_vec(&welcome).unwrap_or_default();
                let Some((cipher, message)) = pending.answer(&told) else {
                    return;
                };
                (Some(cipher), Some(message))
            }
            // Nobody has looked at its key.
            Some(Proof::Given { .. }) => return,
        };
        self.seal = Some(Seal {
            seed: seed(hello.nonce, nonce),
            cipher,
        });
        side.nonce = next_nonce(&mut self.nonces);
        side.timer = Repeat::now();
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
        let Side::Listener(side) = &mut self.side else {
            return;
        };
        side.state = ListenerState::Welcomed {
            hello,
            resume,
            message,
        };
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
