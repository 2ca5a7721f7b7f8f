//! stdin of a session: from the link into the process's pipe or terminal.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::Desk;
use crate::guest::event_loop::{Interest, Token};
use crate::link::{Channel, Stream};
use crate::sys::pty;

/// End of input on a terminal that does not say which character it is: Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// The writing end, with what waits for it. Bounded by the credit of the link's stream: bytes are
/// acknowledged when the process's pipe has taken them.
#[derive(Debug)]
pub struct Input {
    pub(super) channel: Channel,
    /// None: no process reads. What comes is acknowledged and dropped, unless one is expected.
    pub(super) fd: Option<OwnedFd>,
    /// A process will read: what comes before it waits for it.
    pub(super) expected: bool,
    pub(super) terminal: bool,
    pub(super) waiting: VecDeque<u8>,
    /// Offset behind `waiting`.
    pub(super) received: u64,
    /// The stream ends behind `waiting`.
    pub(super) ends: bool,
    /// The last byte that a terminal was given ended a line.
    pub(super) at_line_start: bool,
    pub(super) watched: bool,
}

impl Input {
    /// An input that takes nothing.
    pub fn none(channel: Channel) -> Self {
        Self {
            channel,
            fd: None,
            expected: false,
            terminal: false,
            waiting: VecDeque::new(),
            received: 0,
            ends: false,
            at_line_start: true,
            watched: false,
        }
    }

    /// The input of a process that has yet to start.
    pub fn expected(channel: Channel) -> Self {
        Self {
            expected: true,
            ..Self::none(channel)
        }
    }

    /// The input of a pipe, non-blocking.
    pub fn pipe(channel: Channel, fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            ..Self::none(channel)
        }
    }

    /// The input of a terminal: its master end, non-blocking.
    pub fn terminal(channel: Channel, master: OwnedFd) -> Self {
        Self {
            terminal: true,
            ..Self::pipe(channel, master)
        }
    }

    /// It goes on where an earlier run's has ended, with what has come since.
    pub fn after(self, earlier: &mut Self) -> Self {
        Self {
            received: earlier.received,
            ends: earlier.ends,
            waiting: std::mem::take(&mut earlier.waiting),
            ..self
        }
    }

    /// A process may read now: what came before it is its own, the end too.
    pub fn begin(&mut self, desk: &mut Desk<'_>) {
        if self.ends {
            self.end(self.received, desk);
        } else {
            self.pump(desk);
        }
    }

    /// Bytes have come, behind all before them.
    pub fn data(&mut self, offset: u64, bytes: &[u8], desk: &mut Desk<'_>) {
        self.received = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if (self.fd.is_some() || self.expected) && !self.ends {
            self.waiting.extend(bytes);
        }
        self.pump(desk);
    }

    /// The stream ends behind what has come.
    pub fn end(&mut self, offset: u64, desk: &mut Desk<'_>) {
        self.received = offset;
        self.ends = true;
        if self.terminal && self.fd.is_some() {
            self.end_terminal();
        }
        self.pump(desk);
    }

    /// On a terminal the end is a character. In the middle of a line it only hands the line over:
    /// a second one is the end.
    fn end_terminal(&mut self) {
        let at_line_start = match self.waiting.back() {
            Some(last) => is_line_end(*last),
            None => self.at_line_start,
        };
        let known = self.fd.as_ref().and_then(|fd| pty::end_of_input(fd).ok());
        let character = known
            .filter(|character| *character != 0)
            .unwrap_or(END_OF_INPUT);
        self.waiting.push_back(character);
        if !at_line_start {
            self.waiting.push_back(character);
        }
    }

    /// Writes what waits, as much as the process takes now.
    pub fn pump(&mut self, desk: &mut Desk<'_>) {
        while let Some(fd) = &self.fd {
            let (bytes, _) = self.waiting.as_slices();
            if bytes.is_empty() {
                break;
            }
            match rustix::io::write(fd, bytes) {
                Ok(length) => {
                    let length = length.min(bytes.len());
                    let last = length.checked_sub(1).and_then(|at| bytes.get(at));
                    self.at_line_start = last.copied().map_or(self.at_line_start, is_line_end);
                    self.waiting.drain(..length);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The process has closed its end (EPIPE), the terminal has lost its last user (EIO).
                Err(_) => self.close(desk),
            }
        }
        if self.waiting.is_empty() && self.ends && !self.terminal {
            self.close(desk);
        }
        self.acknowledge(desk);
        self.watch(desk);
    }

    /// The process is gone, or wants no input: what comes is dropped.
    pub fn close(&mut self, desk: &mut Desk<'_>) {
        if let Some(fd) = self.fd.take()
            && self.watched
            && let Err(error) = desk.events.unwatch(&fd)
        {
            log::error!("unwatching stdin of a session: {error}");
        }
        self.watched = false;
        self.expected = false;
        self.waiting = VecDeque::new();
        self.acknowledge(desk);
    }

    fn acknowledge(&self, desk: &mut Desk<'_>) {
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        let mut stored = self.received.saturating_sub(waiting);
        if self.ends && self.waiting.is_empty() {
            // The end itself counts as one more.
            stored = self.received.saturating_add(1);
        }
        desk.link.stored(self.channel, Stream::Stdin, stored);
    }

    /// Watched only while something waits.
    fn watch(&mut self, desk: &mut Desk<'_>) {
        let Some(fd) = &self.fd else { return };
        let wanted = !self.waiting.is_empty();
        if wanted == self.watched {
            return;
        }
        let token = Token::Stream(self.channel, Stream::Stdin);
        let changed = if wanted {
            desk.events.watch(fd, token, Interest::Writable)
        } else {
            desk.events.unwatch(fd)
        };
        match changed {
            Ok(()) => self.watched = wanted,
            Err(error) => log::error!("watching stdin of a session: {error}"),
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
