//! What a service tells: entries, contents and the end, in pieces that a pipe takes at a time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::files::{Entry, Failure, Trouble, write_end};
use crate::sys::file;

/// Bytes that are written at a time.
const PIECE: usize = 64 << 10;

/// Where it goes.
pub(super) struct Out<'a> {
    to: BorrowedFd<'a>,
    waiting: Vec<u8>,
}

impl<'a> Out<'a> {
    pub(super) fn new(to: &'a OwnedFd) -> Self {
        let waiting = Vec::with_capacity(PIECE);
        Self {
            to: to.as_fd(),
            waiting,
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        entry.write(&mut self.waiting);
        self.send_if_full()
    }

    /// Bytes of the file before, or a text.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.waiting.extend_from_slice(bytes);
        self.send_if_full()
    }

    pub(super) fn end(mut self, end: &Result<(), Failure>) -> Result<(), Failure> {
        write_end(end, &mut self.waiting);
        self.send()
    }

    fn send_if_full(&mut self) -> Result<(), Failure> {
        if self.waiting.len() < PIECE {
            return Ok(());
        }
        self.send()
    }

    pub(super) fn send(&mut self) -> Result<(), Failure> {
        let sent = file::write_all(self.to, &self.waiting);
        self.waiting.clear();
        sent.map_err(|error| Failure {
            trouble: Trouble::Failed,
            text: error.to_string(),
        })
    }
}

/// What a call on a path has come to.
pub(super) fn failed(path: &[u8]) -> impl Fn(Errno) -> Failure + '_ {
    move |error| Failure {
        trouble: match error {
            Errno::NOENT => Trouble::NotFound,
            Errno::ROFS => Trouble::ReadOnly,
            _ => Trouble::Failed,
        },
        text: format!(
            "{}: {}",
            String::from_utf8_lossy(path),
            std::io::Error::from(error)
        ),
    }
}

pub(super) fn bad(text: String) -> Failure {
    Failure {
        trouble: Trouble::Bad,
        text,
    }
}
