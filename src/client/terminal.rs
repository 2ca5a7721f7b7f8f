//! The terminal that a client runs on: its size, and raw mode that never outlives the client.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

/// Bytes taken from stdin at a time.
const READ_BYTES: usize = 16 * 1024;

/// A job in the background that writes to its terminal, or sets it up, gets SIGTTOU and stops.
/// Blocked (not ignored, which children would inherit), the call goes through.
pub(super) fn never_stop_for_output() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTTOU);
    signals.thread_block().map_err(io::Error::from)
}

/// True when stdin may be read: it is no terminal, or ours to read now. A job in the background
/// that reads its terminal is stopped.
pub(super) fn may_read_stdin() -> bool {
    !isatty(rustix::stdio::stdin()) || in_foreground()
}

fn in_foreground() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Lines and characters a line of the terminal, if there is one.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdin())
        .or_else(|_| tcgetwinsize(rustix::stdio::stdout()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The terminal in raw mode: every key goes to the container. Dropping it (a panic unwinds through
/// here too) restores the mode that was found.
pub(super) struct RawTerminal {
    found: Termios,
}

impl RawTerminal {
    /// Sets raw mode; `None` when stdin is no terminal, or not ours now.
    pub(super) fn enter() -> io::Result<Option<Self>> {
        if !isatty(rustix::stdio::stdin()) || !in_foreground() {
            return Ok(None);
        }
        let raw = Self {
            found: tcgetattr(rustix::stdio::stdin())?,
        };
        raw.set()?;
        Ok(Some(raw))
    }

    /// Sets raw mode again: whoever stopped us has set their own.
    pub(super) fn set(&self) -> io::Result<()> {
        if !in_foreground() {
            return Ok(());
        }
        let mut mode = self.found.clone();
        mode.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &mode)?;
        Ok(())
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let restored = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.found);
        if let Err(error) = restored {
            eprintln!("vch: the terminal's mode was not restored ({error}): `stty sane` will");
        }
    }
}

/// What is typed, piece by piece. A thread of its own reads it, because a terminal or pipe shared
/// with other programs must not be made non-blocking; the process ends without waiting for it.
pub(super) fn typed() -> mpsc::Receiver<Vec<u8>> {
    let (pieces, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if pieces.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                // A terminal that hung up, a descriptor that is not open: nothing more will come.
                Err(_) => return,
            }
        }
    });
    receiver
}
