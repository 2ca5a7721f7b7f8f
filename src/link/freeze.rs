//! A guest's end in another process's hands: what the two ends owe each other is kept, the handshake begins anew.

use super::endpoint::{Link, Side};
use super::messages::{Inbox, Outbox};
use super::receive::ReceiveStream;
use super::send::SendStream;
use super::{Channel, MESSAGES_MOST, Stream};
use crate::frozen::{Record, Writer};

/// Fields of the link.
const EPOCH: u8 = 1;
const WELCOMED: u8 = 2;
const WELCOMED_BY: u8 = 3;
const SENDING: u8 = 4;
const RECEIVING: u8 = 5;
const MESSAGES_BASE: u8 = 6;
const MESSAGE: u8 = 7;
const MESSAGES_NEXT: u8 = 8;
/// Fields of a stream.
const CHANNEL: u8 = 1;
const STREAM: u8 = 2;
const STATE: u8 = 3;

impl Link {
    /// Writes what another process needs to go on as this end. All events must have been taken.
    pub fn freeze(&self, to: &mut Writer) {
        let Side::Guest(guest) = &self.side else {
            return;
        };
        to.number(EPOCH, guest.identity.epoch);
        to.number(WELCOMED, guest.welcomed.0);
        to.number(WELCOMED_BY, guest.welcomed.1);
        for (key, stream) in &self.sending {
            to.record(SENDING, |to| {
                named(*key, to);
                to.record(STATE, |to| stream.freeze(to));
            });
        }
        for (key, stream) in &self.receiving {
            to.record(RECEIVING, |to| {
                named(*key, to);
                to.record(STATE, |to| stream.freeze(to));
            });
        }
        to.number(MESSAGES_BASE, self.outbox.acknowledged());
        for message in self.outbox.kept() {
            to.bytes(MESSAGE, message);
        }
        to.number(MESSAGES_NEXT, self.inbox.next());
    }

    /// A new guest's end goes on as the one that was frozen.
    pub fn thaw(&mut self, from: Record<'_>) {
        let window = self.options.window;
        let Side::Guest(guest) = &mut self.side else {
            return;
        };
        guest.identity.epoch = from.number(EPOCH);
        guest.welcomed = (from.number(WELCOMED), from.number(WELCOMED_BY));
        for one in from.records(SENDING) {
            if let (Some(key), Some(state)) = (name(one), one.record(STATE)) {
                self.sending.insert(key, Box::new(SendStream::thaw(state)));
            }
        }
        for one in from.records(RECEIVING) {
            if let (Some(key), Some(state)) = (name(one), one.record(STATE)) {
                let stream = ReceiveStream::thaw(state, window);
                self.receiving.insert(key, Box::new(stream));
            }
        }
        self.outbox = Outbox::starting_at(from.number(MESSAGES_BASE));
        for message in from.all(MESSAGE).take(MESSAGES_MOST) {
            self.outbox.push(message.to_vec());
        }
        self.inbox = Inbox::new(from.number(MESSAGES_NEXT));
    }
}

fn named((channel, stream): (Channel, Stream), to: &mut Writer) {
    to.number(CHANNEL, channel.0);
    to.number(STREAM, stream.number());
}

fn name(from: Record<'_>) -> Option<(Channel, Stream)> {
    let stream = Stream::from_number(from.number(STREAM))?;
    Some((Channel(from.number(CHANNEL)), stream))
}
