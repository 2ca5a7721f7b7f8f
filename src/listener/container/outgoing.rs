//! Control messages on their way to a guest. Kept until acknowledged, because a link lives as long
//! as one connection of the VM.

use std::collections::VecDeque;

use crate::link::{Control, Link};

/// Control messages that may wait for one VM.
pub const OUTGOING_MOST: usize = 64;

/// `base` is the number that the guest counts for the first message kept.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    base: u64,
    kept: VecDeque<Control>,
    /// Messages of `kept` that the current link has taken.
    sent: usize,
}

impl Outgoing {
    /// False: too many wait already. Of many sizes for one terminal the last two are kept: a client
    /// that wants a redraw changes the size and changes it back.
    pub(super) fn push(&mut self, message: Control) -> bool {
        if let Control::Resize { channel, .. } = message {
            let same =
                |m: &&mut Control| matches!(m, Control::Resize { channel: c, .. } if *c == channel);
            let mut waiting = self.kept.iter_mut().skip(self.sent).filter(same);
            if let (Some(_), Some(last)) = (waiting.next(), waiting.last()) {
                *last = message;
                return true;
            }
        }
        if self.kept.len() >= OUTGOING_MOST {
            return false;
        }
        self.kept.push_back(message);
        true
    }

    /// Messages that the guest is not known to have.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// A new connection: the guest has counted `received` messages.
    pub(super) fn resume(&mut self, received: u64) {
        let have = received
            .saturating_sub(self.base)
            .min(self.kept.len() as u64) as usize;
        self.kept.drain(..have);
        self.base = received;
        self.sent = 0;
    }

    /// The VM was booted: what was meant for the boot before is void.
    pub(super) fn forget(&mut self, received: u64) {
        *self = Self {
            base: received,
            ..Self::default()
        };
    }

    /// Hands messages to the link, and forgets what the guest has.
    pub(super) fn feed(&mut self, link: &mut Link) {
        while let Some(message) = self.kept.get(self.sent) {
            if !link.send(message) {
                break;
            }
            self.sent += 1;
        }
        let waiting = usize::try_from(link.unacknowledged().messages).unwrap_or(usize::MAX);
        let arrived = self.sent.saturating_sub(waiting);
        self.kept.drain(..arrived);
        self.base += arrived as u64;
        self.sent -= arrived;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Channel;

    fn stop(grace_s: u32) -> Control {
        Control::Stop { grace_s }
    }

    fn resize(channel: u16, rows: u16) -> Control {
        Control::Resize {
            channel: Channel(channel),
            rows,
            columns: 80,
        }
    }

    #[test]
    fn a_new_connection_sends_what_the_guest_has_not() {
        let mut outgoing = Outgoing::default();
        outgoing.forget(5);
        for n in 0..3 {
            assert!(outgoing.push(stop(n)));
        }
        outgoing.sent = 3;
        outgoing.resume(6);
        assert_eq!(outgoing.kept, [stop(1), stop(2)]);
        assert_eq!((outgoing.base, outgoing.sent), (6, 0));
    }

    #[test]
    fn only_the_last_two_sizes_of_a_terminal_wait() {
        let mut outgoing = Outgoing::default();
        for message in [resize(1, 24), resize(2, 24), resize(1, 25), resize(1, 26)] {
            assert!(outgoing.push(message));
        }
        assert_eq!(outgoing.kept, [resize(1, 24), resize(2, 24), resize(1, 26)]);
    }

    #[test]
    fn a_full_queue_says_so() {
        let mut outgoing = Outgoing::default();
        while outgoing.push(stop(1)) {}
        assert_eq!(outgoing.kept.len(), OUTGOING_MOST);
    }
}
