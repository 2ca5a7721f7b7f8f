//! Ended children, one at a time. Whoever calls this must own every child of the process.

use std::io;

use rustix::process::{WaitOptions, wait};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It returned a code, 0 to 255.
    Exited {
        /// The code.
        code: i32,
    },
    /// A signal killed it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// It left a core dump.
        core: bool,
    },
}

/// What [`next()`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child is gone; its number may be used again from now on.
    Child {
        /// Its process ID.
        pid: i32,
        /// How it ended.
        end: End,
    },
    /// There are children, none has ended.
    NoneEnded,
    /// There are no children: below PID 1, no process at all but the kernel's.
    NoChildren,
}

/// The core-dump bit of a wait status, see `WCOREDUMP` in `wait(2)`.
const CORE: i32 = 0x80;

/// Takes one ended child off the process table, without waiting for any.
///
/// # Errors
/// None that `waitpid(2)` documents for these arguments.
pub fn next() -> io::Result<Reaped> {
    loop {
        let (pid, status) = match wait(WaitOptions::NOHANG) {
            Ok(Some(child)) => child,
            Ok(None) => return Ok(Reaped::NoneEnded),
            Err(rustix::io::Errno::CHILD) => return Ok(Reaped::NoChildren),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => End::Exited { code },
            (None, Some(signal)) => End::Signaled {
                signal,
                core: status.as_raw() & CORE != 0,
            },
            // Stopped or continued: not asked for, and no end.
            (None, None) => continue,
        };
        return Ok(Reaped::Child {
            pid: pid.as_raw_nonzero().get(),
            end,
        });
    }
}
