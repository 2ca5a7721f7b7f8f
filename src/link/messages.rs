//! Control messages both ways: a stream whose unit is one message.

use std::collections::VecDeque;
use std::time::Duration;

use super::MESSAGES_MOST;
use super::receive::{Ack, ReceiveStream, Taken};

/// Messages that wait to be acknowledged. Same rules as a stream's sending half, counted.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    base: u64,
    kept: VecDeque<Vec<u8>>,
    next: u64,
    skip_due: bool,
}

impl Outbox {
    /// Another one's messages were counted before ours: the first of them gets this number.
    pub(super) fn starting_at(count: u64) -> Self {
        Self {
            base: count,
            next: count,
            ..Self::default()
        }
    }

    /// False: full, the message is not taken.
    pub(super) fn push(&mut self, message: Vec<u8>) -> bool {
        if self.kept.len() >= MESSAGES_MOST {
            return false;
        }
        self.kept.push_back(message);
        true
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &[u8]> {
        self.kept.iter().map(Vec::as_slice)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.base
    }

    pub(super) fn unacknowledged(&self) -> u64 {
        self.kept.len() as u64
    }

    pub(super) fn in_flight(&self) -> bool {
        self.next > self.base
    }

    pub(super) fn acknowledge(&mut self, count: u64) -> bool {
        let most = self.base + self.kept.len() as u64;
        if count <= self.base || count > most {
            return false;
        }
        self.kept.drain(..(count - self.base) as usize);
        self.base = count;
        self.next = self.next.max(count);
        true
    }

    pub(super) fn rewind(&mut self, from: u64) {
        if from < self.base {
            self.skip_due = true;
        }
        if from < self.next {
            self.next = from.max(self.base);
        }
    }

    /// A new connection: the peer has `from`.
    pub(super) fn resume(&mut self, from: u64) {
        self.acknowledge(from);
        self.rewind(from);
    }

    pub(super) fn timed_out(&mut self) {
        self.rewind(self.base);
    }

    /// Where the sequence goes on, when the peer must be told.
    pub(super) fn poll_skip(&mut self) -> Option<u64> {
        std::mem::take(&mut self.skip_due).then_some(self.base)
    }

    pub(super) fn poll(&mut self) -> Option<(u64, &[u8])> {
        let message = self.kept.get((self.next - self.base) as usize)?;
        let sequence = self.next;
        self.next += 1;
        Some((sequence, message))
    }
}

/// Messages received: in order, none twice.
#[derive(Debug)]
pub(super) struct Inbox(ReceiveStream);

impl Inbox {
    pub(super) fn new(next: u64) -> Self {
        Self(ReceiveStream::new(next, MESSAGES_MOST as u32))
    }

    pub(super) fn next(&self) -> u64 {
        self.0.next()
    }

    /// True when this is the next message.
    pub(super) fn take(&mut self, now: Duration, sequence: u64) -> bool {
        // One unit a message: the rules of a stream of single bytes.
        matches!(self.0.data(now, sequence, &[0]), Taken::Bytes(..))
    }

    pub(super) fn skip(&mut self, to: u64) {
        self.0.skip(to);
    }

    pub(super) fn stored(&mut self, sequence: u64) {
        self.0.stored(sequence.saturating_add(1));
    }

    pub(super) fn poll(&mut self, now: Duration) -> Option<(u64, Ack)> {
        self.0.poll(now)
    }

    pub(super) fn resume(&mut self) {
        self.0.resume();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_sent_again_until_acknowledged() {
        let mut outbox = Outbox::default();
        outbox.push(b"a".to_vec());
        outbox.push(b"b".to_vec());
        assert_eq!(outbox.poll().map(|(n, _)| n), Some(0));
        assert_eq!(outbox.poll().map(|(n, _)| n), Some(1));
        assert_eq!(outbox.poll(), None);
        outbox.acknowledge(1);
        outbox.timed_out();
        assert_eq!(
            outbox.poll().map(|(n, m)| (n, m.to_vec())),
            Some((1, b"b".to_vec()))
        );
        outbox.acknowledge(2);
        assert_eq!(outbox.unacknowledged(), 0);
    }

    #[test]
    fn a_message_is_taken_once_and_in_order() {
        let mut inbox = Inbox::new(0);
        let now = Duration::ZERO;
        assert!(!inbox.take(now, 1));
        assert!(inbox.take(now, 0));
        assert!(!inbox.take(now, 0));
        assert!(inbox.take(now, 1));
    }

    #[test]
    fn a_full_outbox_says_so() {
        let mut outbox = Outbox::default();
        while outbox.push(Vec::new()) {}
        assert_eq!(outbox.unacknowledged(), MESSAGES_MOST as u64);
    }
}
