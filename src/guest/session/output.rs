//! One output of a session: from the process's pipe or terminal into the link.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::Desk;
use crate::guest::event_loop::{Interest, Token};
use crate::link::{Channel, Stream};

/// Bytes taken from one output in one turn of the loop, so that none keeps it from the others.
const READ_A_TURN: usize = 128 << 10;

/// The reading end.
#[derive(Debug)]
pub struct Output {
    pub(super) channel: Channel,
    pub(super) stream: Stream,
    /// None: ended, or never there.
    pub(super) fd: Option<OwnedFd>,
    pub(super) watched: bool,
    /// Offset up to which the process had written when it ended.
    pub(super) owed: u64,
    /// The end of the pipe is not the end of the stream: another run goes on with it.
    pub(super) goes_on: bool,
    /// The stream has ended, and somebody still writes: it is read, and nobody is told.
    pub(super) cut: bool,
}

impl Output {
    /// An output that never has a byte.
    pub fn none(channel: Channel, stream: Stream) -> Self {
        Self {
            channel,
            stream,
            fd: None,
            watched: false,
            owed: 0,
            goes_on: false,
            cut: false,
        }
    }

    /// The output of a descriptor, non-blocking.
    pub fn new(channel: Channel, stream: Stream, fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            ..Self::none(channel, stream)
        }
    }

    /// Only its session's record ends the stream.
    pub fn going_on(self, goes_on: bool) -> Self {
        Self { goes_on, ..self }
    }

    /// Somebody may still write, and it counts.
    pub fn is_open(&self) -> bool {
        self.is_held() && !self.cut
    }

    /// Somebody may still write.
    pub fn is_held(&self) -> bool {
        self.fd.is_some()
    }

    /// Bytes that the process has left were not read yet.
    pub fn is_owed(&self, desk: &Desk<'_>) -> bool {
        self.is_open() && desk.link.written(self.channel, self.stream) < self.owed
    }

    /// The process has ended: what its pipe holds now is its own.
    pub fn process_ended(&mut self, desk: &Desk<'_>) {
        let Some(fd) = &self.fd else { return };
        let waiting = rustix::io::ioctl_fionread(fd).unwrap_or_default();
        self.owed = desk
            .link
            .written(self.channel, self.stream)
            .saturating_add(waiting);
    }

    /// Reads what is there and what the link has room for; watches the rest, or, without room,
    /// leaves it in the pipe, where the process waits for it.
    pub fn pump(&mut self, desk: &mut Desk<'_>) {
        if self.cut {
            self.discard(desk);
            return;
        }
        let mut left = READ_A_TURN;
        while let Some(fd) = &self.fd {
            let room = desk.link.room(self.channel, self.stream).min(left);
            if room == 0 {
                break;
            }
            let length = room.min(desk.scratch.len());
            let Some(piece) = desk.scratch.get_mut(..length) else {
                break;
            };
            match rustix::io::read(fd, &mut *piece) {
                // A terminal whose other end is closed says EIO.
                Ok(0) | Err(Errno::IO) if self.goes_on => self.let_go(desk),
                Ok(0) | Err(Errno::IO) => self.close(desk),
                Ok(length) => {
                    let bytes = piece.get(..length).unwrap_or_default();
                    let taken = desk.link.write(self.channel, self.stream, bytes);
                    debug_assert_eq!(taken, length, "no more was read than there was room for");
                    left = left.saturating_sub(length);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    log::warn!(
                        "reading {:?} of a session: {}",
                        self.stream,
                        std::io::Error::from(error)
                    );
                    self.close(desk);
                }
            }
        }
        self.watch(desk);
    }

    fn discard(&mut self, desk: &mut Desk<'_>) {
        let mut left = READ_A_TURN;
        while let Some(fd) = &self.fd {
            match rustix::io::read(fd, &mut *desk.scratch) {
                Ok(length @ 1..) if length < left => left = left.saturating_sub(length),
                Err(Errno::INTR) => {}
                Ok(1..) | Err(Errno::AGAIN) => break,
                Ok(0) | Err(_) => self.close(desk),
            }
        }
        self.watch(desk);
    }

    /// Watched while there is room for what comes.
    fn watch(&mut self, desk: &mut Desk<'_>) {
        let Some(fd) = &self.fd else { return };
        let wanted = self.cut || desk.link.room(self.channel, self.stream) > 0;
        if wanted == self.watched {
            return;
        }
        let token = Token::Stream(self.channel, self.stream);
        let changed = if wanted {
            desk.events.watch(fd, token, Interest::Readable)
        } else {
            desk.events.unwatch(fd)
        };
        match changed {
            Ok(()) => self.watched = wanted,
            Err(error) => log::error!("watching {:?} of a session: {error}", self.stream),
        }
    }

    /// There was no room the last time, and there may be now.
    pub fn is_waiting_for_room(&self) -> bool {
        self.is_open() && !self.watched
    }

    /// Ends the stream where it is. Whoever still holds the other end writes to nobody: SIGPIPE would kill a
    /// daemon at its next word, which with docker it outlives, or in the middle of its own orderly end.
    pub fn cut(&mut self, desk: &mut Desk<'_>) {
        desk.link.finish(self.channel, self.stream);
        self.cut = true;
        self.pump(desk);
    }

    /// Ends the stream where it is, and nobody reads it any more.
    pub fn close(&mut self, desk: &mut Desk<'_>) {
        self.let_go(desk);
        desk.link.finish(self.channel, self.stream);
    }

    /// Nobody reads it any more; the stream may go on.
    pub fn let_go(&mut self, desk: &mut Desk<'_>) {
        if let Some(fd) = self.fd.take() {
            // Taken off first: a copy of the descriptor in a child would keep it in the set.
            if self.watched
                && let Err(error) = desk.events.unwatch(fd.as_fd())
            {
                log::error!("unwatching {:?} of a session: {error}", self.stream);
            }
            self.watched = false;
        }
    }
}
