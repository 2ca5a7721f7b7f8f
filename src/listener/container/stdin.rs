//! Bytes on their way from clients to a session's stdin. What the guest has not acknowledged is
//! kept here and not only in the link, because a link lives as long as one connection of the VM.

use std::collections::VecDeque;

use crate::link::{Channel, Link, Stream};

/// Bytes of stdin kept for one session; clients wait past it.
pub const STDIN_BYTES: usize = 64 * 1024;

/// Positions are offsets in the stream: `base <= base + written <= base + bytes.len()`.
#[derive(Debug, Default)]
pub(super) struct Stdin {
    /// Offset of the first byte kept: all below is in the guest.
    base: u64,
    bytes: VecDeque<u8>,
    /// Bytes of `bytes` that the current link has taken.
    written: usize,
    /// Offset at which the stream ends, once a client has closed it.
    end: Option<u64>,
    /// The end is in the guest, or the current link has been told of it.
    end_told: bool,
}

impl Stdin {
    /// A stream of which the guest has all below `base`.
    pub(super) fn new(base: u64, end: Option<u64>) -> Self {
        let mut stdin = Self {
            base,
            ..Self::default()
        };
        if let Some(end) = end {
            // Bytes between are lost with the listener that had them; the end still holds.
            let delivered = base > end;
            stdin.end = Some(if delivered { end } else { base });
            stdin.end_told = delivered;
        }
        stdin
    }

    /// Takes as many bytes as there is room for; 0 once it is closed.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let room = STDIN_BYTES.saturating_sub(self.bytes.len());
        let count = if self.end.is_some() {
            0
        } else {
            room.min(bytes.len())
        };
        self.bytes.extend(&bytes[..count]);
        count
    }

    /// The stream ends after what was pushed: its length.
    pub(super) fn close(&mut self) -> u64 {
        let length = self.base + self.bytes.len() as u64;
        *self.end.get_or_insert(length)
    }

    /// No more bytes are taken.
    pub(super) fn closed(&self) -> bool {
        self.end.is_some()
    }

    /// A new connection of the VM: the guest has all below `next`, the end counted as one.
    pub(super) fn resume(&mut self, next: u64) {
        let have = next.saturating_sub(self.base).min(self.bytes.len() as u64) as usize;
        self.bytes.drain(..have);
        self.base += have as u64;
        self.written = 0;
        self.end_told = self.end.is_some_and(|end| next > end);
    }

    /// Hands bytes to the link, and forgets what the guest has. True when there is room again.
    pub(super) fn feed(&mut self, link: &mut Link, channel: Channel, buffer: usize) -> bool {
        while self.written < self.bytes.len() {
            let (head, tail) = self.bytes.as_slices();
            let next = head
                .get(self.written..)
                .filter(|part| !part.is_empty())
                .or_else(|| tail.get(self.written - head.len()..))
                .unwrap_or_default();
            let taken = link.write(channel, Stream::Stdin, next);
            if taken == 0 {
                break;
            }
            self.written += taken;
        }
        if self.end.is_some() && !self.end_told && self.written == self.bytes.len() {
            link.finish(channel, Stream::Stdin);
            self.end_told = true;
        }
        // Only stdin goes this way, so what fills the session's buffer is what is not acknowledged.
        let in_link = buffer.saturating_sub(link.room(channel, Stream::Stdin));
        let arrived = self.written.saturating_sub(in_link);
        self.bytes.drain(..arrived);
        self.base += arrived as u64;
        self.written -= arrived;
        if self.bytes.is_empty() {
            self.bytes = VecDeque::new();
        }
        arrived > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_room() {
        let mut stdin = Stdin::new(0, None);
        assert_eq!(stdin.push(&vec![1; STDIN_BYTES + 5]), STDIN_BYTES);
        assert_eq!(stdin.push(b"x"), 0);
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let mut stdin = Stdin::new(10, None);
        assert_eq!(stdin.push(b"abc"), 3);
        assert_eq!(stdin.close(), 13);
        assert_eq!(stdin.push(b"x"), 0);
        assert_eq!(stdin.close(), 13);
        assert!(stdin.closed());
    }

    #[test]
    fn a_new_connection_sends_what_the_guest_has_not() {
        let mut stdin = Stdin::new(10, None);
        stdin.push(b"abcdef");
        stdin.written = 6;
        stdin.resume(12);
        assert_eq!((stdin.base, stdin.written), (12, 0));
        assert_eq!(stdin.bytes, b"cdef");
    }

    #[test]
    fn an_end_that_arrived_is_not_told_again() {
        let mut stdin = Stdin::new(10, None);
        stdin.push(b"ab");
        stdin.close();
        stdin.resume(11);
        assert!(!stdin.end_told);
        stdin.resume(13);
        assert!(stdin.end_told && stdin.bytes.is_empty());
    }

    #[test]
    fn a_restarted_listener_still_ends_what_was_closed() {
        assert!(Stdin::new(13, Some(12)).end_told, "the guest has the end");
        let lost = Stdin::new(5, Some(12));
        assert_eq!((lost.end, lost.end_told), (Some(5), false));
    }
}
