//! Pseudo-terminals: the master end for us, the terminal itself for a process.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::termios::{SpecialCodeIndex, Winsize, tcgetattr, tcsetwinsize};

/// A new pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// Our end, non-blocking.
    pub master: OwnedFd,
    /// The process's end.
    pub terminal: OwnedFd,
    /// Path of the process's end, such as `/dev/pts/0`.
    pub path: CString,
}

impl Pty {
    /// Makes one in the given instance of devpts (a directory that holds a `ptmx`).
    ///
    /// # Errors
    /// The directory has no `ptmx`, or all terminals are in use.
    pub fn open(devpts: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let master = openat(devpts, "ptmx", flags, Mode::empty())?;
        unlockpt(&master)?;
        // By the master, not by its path: the path would be looked up in our own tree.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&master, flags)?;
        let path = ptsname(&master, Vec::new())?;
        Ok(Self {
            master,
            terminal,
            path,
        })
    }
}

/// Sets the terminal's size; the processes on it get SIGWINCH when it changes.
///
/// # Errors
/// The descriptor is no terminal.
pub fn resize(master: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    Ok(tcsetwinsize(
        master,
        Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?)
}

/// The character that means end of input on this terminal, Ctrl-D unless it was changed.
///
/// # Errors
/// The descriptor is no terminal.
pub fn end_of_input(master: impl AsFd) -> io::Result<u8> {
    Ok(tcgetattr(master)?.special_codes[SpecialCodeIndex::VEOF])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_path_a_size_and_an_end_character() {
        let devpts = openat(
            rustix::fs::CWD,
            "/dev/pts",
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .expect("devpts is mounted");
        let pty = Pty::open(devpts.as_fd()).expect("a terminal is free");
        assert!(pty.path.to_bytes().starts_with(b"/dev/pts/"));
        resize(&pty.master, 40, 132).expect("it is a terminal");
        let size = rustix::termios::tcgetwinsize(&pty.terminal).expect("it is a terminal");
        assert_eq!((size.ws_row, size.ws_col), (40, 132));
        assert_eq!(end_of_input(&pty.master).expect("it is a terminal"), 4);
    }
}
