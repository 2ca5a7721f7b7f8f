//! The receiving half of a stream: in order, none twice, acknowledged when stored.

use std::time::Duration;

use crate::frozen::{Record, Writer};

/// After a gap was reported, the same one is reported again only after this long: the frames that
/// were under way meanwhile say nothing new.
const GAP_REPEAT: Duration = Duration::from_millis(500);

/// What a sender may have under way is what it sends in this time, as far as the window allows: more would
/// only wait in the carrier, and a keystroke's echo behind it.
const UNDER_WAY_MS: u64 = 2;
/// But never less than this, bytes.
const UNDER_WAY_LEAST: u64 = 64 << 10;
/// The rate is taken anew after so long, ms.
const RATE_EVERY_MS: u32 = 10;

/// Payload of an ACK frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Offset up to which bytes are taken.
    pub credit: u64,
    /// Go back to this offset; `None`: all well.
    pub resend_from: Option<u64>,
}

impl Ack {
    /// 16 bytes, little endian; no gap is all ones.
    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (credit, resend) = bytes.split_at_mut(8);
        credit.copy_from_slice(&self.credit.to_le_bytes());
        resend.copy_from_slice(&self.resend_from.unwrap_or(u64::MAX).to_le_bytes());
        bytes
    }

    /// `None`: not an acknowledgement of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let credit = u64::from_le_bytes(*bytes.first_chunk()?);
        let resend = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        Some(Self {
            credit,
            resend_from: (resend != u64::MAX).then_some(resend),
        })
    }
}

/// Fields of a frozen one.
const NEXT: u8 = 1;
const STORED: u8 = 2;
const ENDED: u8 = 3;
const GRANTED: u8 = 4;

/// `stored <= next`; the end, when it has come, counts as one more in both.
#[derive(Debug)]
pub(super) struct ReceiveStream {
    next: u64,
    stored: u64,
    window: u64,
    ended: bool,
    ack_due: bool,
    gap_due: bool,
    gap_told: Option<(u64, Duration)>,
    rate: Rate,
    /// Highest credit given: it is never taken back.
    granted: u64,
}

/// How much comes, to grant no more than is of use. In 32 bits each, which wrap: only differences count.
#[derive(Debug, Default)]
struct Rate {
    /// Since when, ms, and what was stored then.
    since_ms: u32,
    stored: u32,
    /// Bytes that come in [`UNDER_WAY_MS`].
    under_way: u32,
}

impl Rate {
    fn at(&mut self, now: Duration, stored: u64) -> u64 {
        let (now_ms, stored) = (now.as_millis() as u32, stored as u32);
        let elapsed = now_ms.wrapping_sub(self.since_ms);
        if elapsed >= RATE_EVERY_MS {
            let come = u64::from(stored.wrapping_sub(self.stored));
            let under_way = come * UNDER_WAY_MS / u64::from(elapsed);
            self.under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
            (self.since_ms, self.stored) = (now_ms, stored);
        }
        u64::from(self.under_way)
    }
}

/// What came of a data frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// The next bytes of the stream and their offset.
    Bytes(u64, &'a [u8]),
    Nothing,
}

impl ReceiveStream {
    /// A stream of which all below `next` is stored.
    pub(super) fn new(next: u64, window: u32) -> Self {
        Self {
            next,
            stored: next,
            window: u64::from(window),
            ended: false,
            // The first thing a peer needs is credit.
            ack_due: true,
            gap_due: false,
            gap_told: None,
            rate: Rate {
                stored: next as u32,
                ..Rate::default()
            },
            granted: 0,
        }
    }

    pub(super) fn freeze(&self, to: &mut Writer) {
        to.number(NEXT, self.next);
        to.number(STORED, self.stored);
        to.number(ENDED, self.ended);
        to.number(GRANTED, self.granted);
    }

    pub(super) fn thaw(from: Record<'_>, window: u32) -> Self {
        Self {
            next: from.number(NEXT),
            ended: from.flag(ENDED),
            granted: from.number(GRANTED),
            ..Self::new(from.number(STORED), window)
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    pub(super) fn data<'a>(&mut self, now: Duration, offset: u64, bytes: &'a [u8]) -> Taken<'a> {
        if offset > self.next || self.ended {
            self.missing(now, offset);
            return Taken::Nothing;
        }
        let known = (self.next - offset).min(bytes.len() as u64) as usize;
        let fresh = bytes.get(known..).unwrap_or_default();
        let limit = self.stored + self.window;
        if fresh.is_empty() || self.next + fresh.len() as u64 > limit {
            // Repeated, or past what was granted: the peer needs to hear where we are.
            self.ack_due = true;
            return Taken::Nothing;
        }
        let at = self.next;
        self.next += fresh.len() as u64;
        Taken::Bytes(at, fresh)
    }

    /// The end came; true when it is news.
    pub(super) fn end(&mut self, now: Duration, offset: u64) -> bool {
        if self.ended || offset != self.next {
            self.missing(now, offset);
            return false;
        }
        self.ended = true;
        self.next += 1;
        true
    }

    /// The peer no longer has anything below `to`: the gap, when it is news.
    pub(super) fn skip(&mut self, to: u64) -> Option<(u64, u64)> {
        self.ack_due = true;
        if self.ended || to <= self.next {
            return None;
        }
        let from = self.next;
        self.next = to;
        Some((from, to))
    }

    pub(super) fn stored(&mut self, offset: u64) {
        if offset > self.stored && offset <= self.next {
            self.stored = offset;
            self.ack_due = true;
        }
    }

    /// The next acknowledgement, if one is due: what is stored, and its payload.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(u64, Ack)> {
        if !self.ack_due && !self.gap_due {
            return None;
        }
        let resend_from = self.gap_due.then_some(self.next);
        self.ack_due = false;
        self.gap_due = false;
        let under_way = self.rate.at(now, self.stored).max(UNDER_WAY_LEAST);
        let credit = self.stored + under_way.min(self.window);
        self.granted = self.granted.max(credit);
        Some((
            self.stored,
            Ack {
                credit: self.granted,
                resend_from,
            },
        ))
    }

    /// A new connection: the peer starts from `next`, and needs credit.
    pub(super) fn resume(&mut self) {
        self.ack_due = true;
        self.gap_due = false;
        self.gap_told = None;
    }

    fn missing(&mut self, now: Duration, offset: u64) {
        self.ack_due = true;
        if offset <= self.next {
            return;
        }
        let told = self
            .gap_told
            .is_some_and(|(next, at)| next == self.next && now.saturating_sub(at) < GAP_REPEAT);
        if !told {
            self.gap_told = Some((self.next, now));
            self.gap_due = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(9);

    #[test]
    fn repeated_bytes_are_cut_off() {
        let mut stream = ReceiveStream::new(0, 100);
        assert_eq!(stream.data(NOW, 0, b"abc"), Taken::Bytes(0, b"abc"));
        assert_eq!(stream.data(NOW, 1, b"bcde"), Taken::Bytes(3, b"de"));
        assert_eq!(stream.data(NOW, 1, b"bcde"), Taken::Nothing);
        assert_eq!(stream.next(), 5);
    }

    #[test]
    fn a_gap_is_reported_once_per_while() {
        let mut stream = ReceiveStream::new(0, 100);
        stream.poll(NOW);
        assert_eq!(stream.data(NOW, 4, b"efgh"), Taken::Nothing);
        assert_eq!(
            stream.poll(NOW).and_then(|(_, ack)| ack.resend_from),
            Some(0)
        );
        stream.data(NOW, 8, b"ijkl");
        assert_eq!(stream.poll(NOW).and_then(|(_, ack)| ack.resend_from), None);
        stream.data(NOW + GAP_REPEAT, 12, b"mnop");
        assert_eq!(
            stream.poll(NOW).and_then(|(_, ack)| ack.resend_from),
            Some(0)
        );
    }

    #[test]
    fn credit_grows_with_what_is_stored_only() {
        let mut stream = ReceiveStream::new(0, 4);
        assert_eq!(stream.poll(NOW).map(|(_, ack)| ack.credit), Some(4));
        assert_eq!(stream.data(NOW, 0, b"abcd"), Taken::Bytes(0, b"abcd"));
        assert_eq!(stream.poll(NOW), None);
        assert_eq!(stream.data(NOW, 4, b"e"), Taken::Nothing);
        stream.stored(4);
        assert_eq!(
            stream.poll(NOW).map(|(at, ack)| (at, ack.credit)),
            Some((4, 8))
        );
    }

    #[test]
    fn what_may_be_under_way_follows_the_rate() {
        let window = 256 << 10;
        let mut stream = ReceiveStream::new(0, window);
        let credit = |stream: &mut ReceiveStream, stored: u64, ms: u64| {
            (stream.next, stream.ack_due) = (stored, true);
            stream.stored(stored);
            let (_, ack) = stream.poll(NOW + Duration::from_millis(ms)).expect("due");
            ack.credit - stored
        };
        assert_eq!(credit(&mut stream, 0, 0), UNDER_WAY_LEAST);
        // 50 MB/s, then 1 GB/s, then nothing for a second.
        assert_eq!(credit(&mut stream, 500_000, 10), 100_000);
        assert_eq!(credit(&mut stream, 10_500_000, 20), u64::from(window));
        assert_eq!(
            credit(&mut stream, 10_600_000, 1020),
            u64::from(window) - 100_000
        );
        assert_eq!(credit(&mut stream, 11_000_000, 2020), UNDER_WAY_LEAST);
    }

    #[test]
    fn the_end_counts_once_all_bytes_are_there() {
        let mut stream = ReceiveStream::new(0, 100);
        assert!(!stream.end(NOW, 3));
        stream.data(NOW, 0, b"abc");
        assert!(stream.end(NOW, 3));
        assert!(!stream.end(NOW, 3));
        stream.stored(4);
        assert_eq!(stream.poll(NOW).map(|(at, _)| at), Some(4));
    }

    #[test]
    fn an_acknowledgement_survives_the_wire() {
        for resend_from in [None, Some(0), Some(77)] {
            let ack = Ack {
                credit: 1 << 40,
                resend_from,
            };
            assert_eq!(Ack::decode(&ack.encode()), Some(ack));
        }
        assert_eq!(Ack::decode(b"short"), None);
    }
}
