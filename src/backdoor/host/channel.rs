//! One channel on the host: what the guest is sending, and what waits for it.

use super::little_endian;
use crate::backdoor::protocol::{WORD, word};

/// Which way a channel's requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The guest asks, the host answers.
    Rpci,
    /// The host asks, the guest polls and answers.
    Tclo,
}

/// What tells a channel's owner from another process of the same guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) high: u32,
    pub(super) low: u32,
}

#[derive(Debug)]
pub(super) struct Channel {
    protocol: Protocol,
    /// `None`: the guest opened it without, as the first tools did.
    cookie: Option<Cookie>,
    /// The guest's message so far.
    incoming: Vec<u8>,
    /// Its whole length; `None`: no message is under way.
    expected: Option<usize>,
    /// The host's message, kept until the guest says that it has it.
    outgoing: Option<Vec<u8>>,
    /// Bytes of it that went out.
    sent: usize,
    /// The guest has a request whose answer is its next message (TCLO).
    answer_due: bool,
}

impl Channel {
    pub(super) fn new(protocol: Protocol, cookie: Option<Cookie>) -> Channel {
        Channel {
            protocol,
            cookie,
            incoming: Vec::new(),
            expected: None,
            outgoing: None,
            sent: 0,
            answer_due: false,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn admits(&self, cookie: Cookie) -> bool {
        self.cookie.is_none_or(|own| own == cookie)
    }

    /// A message of `length` bytes begins; whatever was under way is forgotten.
    pub(super) fn expect(&mut self, length: u32, limit: usize) -> bool {
        self.incoming.clear();
        self.outgoing = None;
        self.sent = 0;
        self.expected = usize::try_from(length)
            .ok()
            .filter(|length| *length <= limit);
        self.expected.is_some()
    }

    fn missing(&self) -> usize {
        self.expected
            .map_or(0, |length| length.saturating_sub(self.incoming.len()))
    }

    /// Whether the message under way has room for `length` more bytes.
    pub(super) fn wants(&self, length: usize) -> bool {
        length <= self.missing()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// The next four bytes, or what is left of the message.
    pub(super) fn append_word(&mut self, word: u32) -> bool {
        let missing = self.missing();
        self.incoming
            .extend(word.to_le_bytes().into_iter().take(missing));
        missing > 0
    }

    /// The guest's message, once it is whole.
    pub(super) fn take_message(&mut self) -> Option<Vec<u8>> {
        if self.expected? != self.incoming.len() {
            return None;
        }
        self.expected = None;
        Some(std::mem::take(&mut self.incoming))
    }

    /// What the guest gets when it asks next.
    pub(super) fn offer(&mut self, message: Vec<u8>) {
        self.outgoing = Some(message);
        self.sent = 0;
    }

    /// Starts the receiving (again): the length of what waits.
    pub(super) fn rewind(&mut self) -> Option<u32> {
        self.sent = 0;
        self.outgoing
            .as_ref()
            .map(|message| word(message.len() as u64))
    }

    /// The next `length` bytes that wait, if there are as many.
    pub(super) fn peek(&self, length: usize) -> Option<&[u8]> {
        let end = self.sent.checked_add(length)?;
        self.outgoing.as_ref()?.get(self.sent..end)
    }

    pub(super) fn skip(&mut self, length: usize) {
        self.sent = self.sent.saturating_add(length);
    }

    /// The next four bytes, or what is left with zeros behind.
    pub(super) fn next_word(&mut self) -> Option<u32> {
        let rest = self.outgoing.as_ref()?.get(self.sent..)?;
        let length = rest.len().min(WORD);
        let bytes = rest.get(..length).filter(|bytes| !bytes.is_empty())?;
        let next = little_endian(bytes);
        self.skip(length);
        Some(next)
    }

    /// The guest says that it has the message; whether there was one.
    pub(super) fn received(&mut self) -> bool {
        let there = self.outgoing.take().is_some();
        self.sent = 0;
        self.answer_due |= there;
        there
    }

    /// Whether the guest's message answers a request.
    pub(super) fn take_answer_due(&mut self) -> bool {
        std::mem::take(&mut self.answer_due)
    }
}
