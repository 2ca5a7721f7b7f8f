//! The sending half of a stream: what is not acknowledged is kept, and sent again when asked.

use std::collections::VecDeque;

use crate::frozen::{Record, Writer};

/// Credit that a sender has for a stream before the first acknowledgement, so that a new session's
/// first bytes do not wait for a round trip. No receiver's window may be smaller.
pub(super) const CREDIT_FIRST: u64 = 64 << 10;
/// Capacity that an empty buffer may keep.
const IDLE_CAPACITY: usize = 4 << 10;

/// Fields of a frozen one.
const BASE: u8 = 1;
const KEPT: u8 = 2;
const TAKEN: u8 = 3;
const FINISHED: u8 = 4;
const END_ACKNOWLEDGED: u8 = 5;

/// Positions are offsets in the stream; `base <= next <= base + kept (+ 1 for a sent end)`.
#[derive(Debug)]
pub(super) struct SendStream {
    /// Offset of the first byte kept: all below is acknowledged.
    base: u64,
    kept: VecDeque<u8>,
    /// Next offset to put on the wire.
    next: u64,
    /// The peer takes nothing at or past this offset.
    credit: u64,
    /// The peer has stored some of it. Being past 0 does not say so: the oldest may have been dropped.
    taken: bool,
    finished: bool,
    end_acknowledged: bool,
    /// The peer asked for bytes that are gone: tell it where the stream goes on.
    skip_due: bool,
    /// Only one chunk at a time until the peer shows a sign of life.
    probing: bool,
    /// Ask for an acknowledgement, though there is nothing that may be sent.
    poke_due: bool,
}

/// What a stream wants on the wire next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    Skip { to: u64 },
    Data { offset: u64, parts: [&'a [u8]; 2] },
    End { offset: u64 },
}

impl SendStream {
    /// A stream whose next byte has this offset.
    pub(super) fn new(base: u64) -> Self {
        Self {
            base,
            kept: VecDeque::new(),
            next: base,
            credit: base + CREDIT_FIRST,
            taken: base > 0,
            finished: false,
            end_acknowledged: false,
            skip_due: false,
            probing: false,
            poke_due: false,
        }
    }

    /// A stream that another one has sent to its end, which counts as the last of `next`.
    pub(super) fn ended(next: u64) -> Self {
        let base = next.saturating_sub(1);
        Self {
            next,
            finished: true,
            end_acknowledged: true,
            ..Self::new(base)
        }
    }

    /// Where it stands on the wire is the next handshake's to say.
    pub(super) fn freeze(&self, to: &mut Writer) {
        let (first, second) = self.kept.as_slices();
        to.number(BASE, self.base);
        to.pieces(KEPT, &[first, second]);
        to.number(TAKEN, self.taken);
        to.number(FINISHED, self.finished);
        to.number(END_ACKNOWLEDGED, self.end_acknowledged);
    }

    pub(super) fn thaw(from: Record<'_>) -> Self {
        Self {
            kept: from.bytes(KEPT).to_vec().into(),
            taken: from.flag(TAKEN),
            finished: from.flag(FINISHED),
            end_acknowledged: from.flag(END_ACKNOWLEDGED),
            ..Self::new(from.number(BASE))
        }
    }

    /// The peer has stored some of it.
    pub(super) fn taken(&self) -> bool {
        self.taken
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Offset after the last byte written.
    pub(super) fn length(&self) -> u64 {
        self.base + self.kept.len() as u64
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        if !self.finished {
            self.kept.extend(bytes);
        }
    }

    /// Forgets the oldest bytes, so many if there are: how many. The peer is told where the stream goes
    /// on when it asks for them, or when it was never sent them.
    pub(super) fn drop_oldest(&mut self, count: usize) -> usize {
        let count = count.min(self.kept.len());
        self.kept.drain(..count);
        self.base += count as u64;
        if self.next < self.base {
            self.next = self.base;
            self.skip_due = true;
        }
        count
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Bytes, and the end as one more, that the peer has not stored.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.kept.len() as u64 + u64::from(self.finished && !self.end_acknowledged)
    }

    /// Nothing more will be written.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Something is on the wire and not acknowledged.
    pub(super) fn in_flight(&self) -> bool {
        self.next > self.base + u64::from(self.end_acknowledged)
    }

    /// There are bytes to send, and no credit for them.
    pub(super) fn blocked(&self) -> bool {
        self.next < self.length() && self.next >= self.credit
    }

    /// The peer has stored all below `offset` and takes bytes up to `credit`.
    /// True when that is news.
    pub(super) fn acknowledge(&mut self, offset: u64, credit: u64) -> bool {
        let length = self.length();
        let mut news = credit > self.credit;
        self.credit = self.credit.max(credit);
        if offset > self.base && offset <= length {
            let count = (offset - self.base) as usize;
            self.kept.drain(..count);
            self.base = offset;
            self.taken = true;
            news = true;
        } else if offset == length + 1 && self.finished && !self.end_acknowledged {
            self.kept.clear();
            self.base = length;
            self.end_acknowledged = true;
            self.taken = true;
            news = true;
        }
        self.next = self.next.max(self.base + u64::from(self.end_acknowledged));
        if news {
            self.probing = false;
        }
        if self.kept.is_empty() && self.kept.capacity() > IDLE_CAPACITY {
            self.kept = VecDeque::new();
        }
        news
    }

    /// The peer expects `from` next: go back to it.
    pub(super) fn rewind(&mut self, from: u64) {
        if from < self.base {
            self.skip_due = true;
        }
        if from < self.next {
            self.next = from.max(self.base + u64::from(self.end_acknowledged));
        }
    }

    /// A new connection: the peer has `from`, and grants credit anew.
    pub(super) fn resume(&mut self, from: u64) {
        self.acknowledge(from, 0);
        self.skip_due = from < self.base;
        // An end that nobody remembers is repeated until it is acknowledged, and brings the gap with it
        // where that is lost.
        self.end_acknowledged &= from > self.length();
        self.next = from.clamp(self.base, self.length()) + u64::from(self.end_acknowledged);
        self.credit = self.base + CREDIT_FIRST;
        self.probing = false;
        self.poke_due = false;
    }

    /// Nothing was heard for too long: send one chunk again, then wait.
    pub(super) fn timed_out(&mut self) {
        if self.in_flight() {
            self.rewind(self.base);
            self.probing = true;
        } else if self.blocked() {
            self.poke_due = true;
        }
    }

    /// The next frame, if one may be sent: at most `chunk` bytes.
    pub(super) fn poll(&mut self, chunk: usize) -> Option<Wanted<'_>> {
        if self.skip_due {
            self.skip_due = false;
            return Some(Wanted::Skip { to: self.base });
        }
        if self.probing && self.in_flight() {
            return None;
        }
        let length = self.length();
        let reach = length.min(self.credit);
        if self.next < reach {
            let count = ((reach - self.next) as usize).min(chunk);
            let offset = self.next;
            let at = (offset - self.base) as usize;
            self.next += count as u64;
            self.poke_due = false;
            return Some(Wanted::Data {
                offset,
                parts: slices(&self.kept, at, count),
            });
        }
        if self.finished && self.next == length && !self.end_acknowledged {
            self.next = length + 1;
            return Some(Wanted::End { offset: length });
        }
        if self.poke_due {
            self.poke_due = false;
            return Some(Wanted::Data {
                offset: self.next,
                parts: [&[], &[]],
            });
        }
        None
    }
}

/// `count` bytes from index `at` of a ring, in its two pieces.
fn slices(ring: &VecDeque<u8>, at: usize, count: usize) -> [&[u8]; 2] {
    let (head, tail) = ring.as_slices();
    let first = head
        .get(at.min(head.len())..(at + count).min(head.len()))
        .unwrap_or_default();
    let skip = at.saturating_sub(head.len());
    let second = tail
        .get(skip..skip + count - first.len())
        .unwrap_or_default();
    [first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(stream: &mut SendStream, chunk: usize) -> Option<(u64, Vec<u8>)> {
        match stream.poll(chunk)? {
            Wanted::Data { offset, parts } => Some((offset, parts.concat())),
            other => panic!("wanted {other:?}"),
        }
    }

    #[test]
    fn nothing_is_sent_without_credit_and_no_more_than_it_with() {
        let mut stream = SendStream::new(0);
        let first = CREDIT_FIRST as usize;
        stream.write(&vec![b'x'; first + 5]);
        assert_eq!(
            take(&mut stream, usize::MAX).map(|(_, bytes)| bytes.len()),
            Some(first)
        );
        assert_eq!(stream.poll(100), None);
        assert!(stream.blocked());
        stream.acknowledge(0, CREDIT_FIRST + 3);
        assert_eq!(
            take(&mut stream, 100),
            Some((CREDIT_FIRST, b"xxx".to_vec()))
        );
        assert_eq!(stream.poll(100), None);
    }

    #[test]
    fn the_end_follows_the_last_byte_and_is_acknowledged_as_one_more() {
        let mut stream = SendStream::new(0);
        stream.acknowledge(0, 100);
        stream.write(b"bye");
        stream.finish();
        assert_eq!(take(&mut stream, 100), Some((0, b"bye".to_vec())));
        assert_eq!(stream.poll(100), Some(Wanted::End { offset: 3 }));
        stream.acknowledge(3, 100);
        assert_eq!(stream.unacknowledged(), 1);
        stream.timed_out();
        assert_eq!(stream.poll(100), Some(Wanted::End { offset: 3 }));
        stream.acknowledge(4, 100);
        assert_eq!(stream.unacknowledged(), 0);
        assert!(!stream.in_flight());
    }

    #[test]
    fn after_a_silence_one_chunk_goes_first() {
        let mut stream = SendStream::new(0);
        stream.acknowledge(0, 100);
        stream.write(b"abcdef");
        take(&mut stream, 2);
        take(&mut stream, 2);
        stream.timed_out();
        assert_eq!(take(&mut stream, 2), Some((0, b"ab".to_vec())));
        assert_eq!(stream.poll(2), None);
        stream.acknowledge(4, 100);
        assert_eq!(take(&mut stream, 2), Some((4, b"ef".to_vec())));
    }

    #[test]
    fn bytes_that_are_gone_are_skipped_aloud() {
        let mut stream = SendStream::new(0);
        stream.acknowledge(0, 100);
        stream.write(b"abcdef");
        take(&mut stream, 10);
        stream.acknowledge(4, 100);
        stream.resume(0);
        assert_eq!(stream.poll(10), Some(Wanted::Skip { to: 4 }));
        assert_eq!(take(&mut stream, 10), Some((4, b"ef".to_vec())));
    }

    #[test]
    fn what_was_dropped_is_skipped_aloud_whether_it_was_sent_or_not() {
        let mut stream = SendStream::new(0);
        stream.acknowledge(0, 100);
        stream.write(b"abcdef");
        take(&mut stream, 2);
        // Sent, and perhaps there: nobody asks.
        assert_eq!(stream.drop_oldest(2), 2);
        assert_eq!(take(&mut stream, 1), Some((2, b"c".to_vec())));
        // Not sent.
        assert_eq!(stream.drop_oldest(2), 2);
        assert_eq!(stream.poll(10), Some(Wanted::Skip { to: 4 }));
        assert_eq!(take(&mut stream, 10), Some((4, b"ef".to_vec())));
        // Was not there after all.
        stream.rewind(0);
        assert_eq!(stream.poll(10), Some(Wanted::Skip { to: 4 }));
        assert_eq!(stream.drop_oldest(10), 2);
        assert_eq!(stream.poll(10), Some(Wanted::Skip { to: 6 }));
        assert_eq!(stream.poll(10), None);
        stream.finish();
        assert_eq!(stream.poll(10), Some(Wanted::End { offset: 6 }));
    }

    #[test]
    fn a_chunk_may_cross_the_rings_seam() {
        let mut stream = SendStream::new(0);
        stream.acknowledge(0, u64::MAX);
        let mut sent = Vec::new();
        let mut wanted = Vec::new();
        for round in 0..200u8 {
            let bytes = [round; 37];
            wanted.extend_from_slice(&bytes);
            stream.write(&bytes);
            while let Some((offset, bytes)) = take(&mut stream, 10) {
                assert_eq!(offset, sent.len() as u64);
                sent.extend(bytes);
            }
            let behind = (sent.len() as u64).saturating_sub(20);
            stream.acknowledge(behind, u64::MAX);
        }
        assert_eq!(sent, wanted);
    }

    #[test]
    fn acknowledgements_of_what_was_never_sent_are_ignored() {
        let mut stream = SendStream::new(10);
        stream.write(b"abc");
        assert!(!stream.acknowledge(14, 0));
        assert!(!stream.acknowledge(5, 0));
        assert_eq!(stream.kept(), 3);
    }
}
