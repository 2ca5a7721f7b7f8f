//! Starting a program: everything is prepared before the fork, the child only makes system calls,
//! and what stopped it comes back through a pipe that a successful `execve` closes.

mod child;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;

use super::fork;
use super::namespaces::{self, Namespaces};

/// What to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// The namespaces it lives in; none: our own.
    pub namespaces: Option<&'a Namespaces>,
    /// It is the first process of new namespaces, and furnishes them before anything else.
    pub first: Option<Furnish<'a>>,
    /// Root of the tree it lives in, where its namespaces have none of their own; none: ours.
    pub root: Option<BorrowedFd<'a>>,
    /// Path of its terminal that it is to find as `/dev/console`, too.
    pub console: Option<&'a CStr>,
    /// Paths to try in turn, as `execvp(3)` does: the first that can be executed is taken.
    pub candidates: &'a [CString],
    /// Arguments, its own name first.
    pub arguments: &'a [CString],
    /// Environment, `NAME=value`.
    pub environment: &'a [CString],
    /// Directories to make where `directory` is missing, outermost first; the last is `directory`.
    pub directories: &'a [CString],
    /// Where it starts.
    pub directory: &'a CString,
    /// Who it runs as; none: as we do.
    pub identity: Option<Identity<'a>>,
    /// Limits of its resources: the kernel's number, what counts, and what it may be raised to.
    pub limits: &'a [(u8, u64, u64)],
    /// What is taken from the modes of its files.
    pub umask: u32,
    /// How willingly the kernel ends it when memory is short; none: as us.
    pub oom_score: Option<&'a CStr>,
    /// Nothing that it executes gets it more rights.
    pub no_new_privileges: bool,
    /// The kernel's filter of its system calls: operation, two jumps, operand; empty: none.
    pub filter: &'a [(u16, u8, u8, u32)],
}

/// What the first process of namespaces does in them. The value is the number of an error.
#[derive(Clone, Copy)]
pub struct Furnish<'a>(pub &'a dyn Fn() -> Result<(), i32>);

impl std::fmt::Debug for Furnish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Furnish")
    }
}

/// A user, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
    /// Supplementary groups.
    pub groups: &'a [u32],
}

/// The three descriptors that a program starts with.
#[derive(Debug)]
pub enum Stdio {
    /// One for each.
    Apart {
        /// Read from.
        stdin: OwnedFd,
        /// Written to.
        stdout: OwnedFd,
        /// Written to.
        stderr: OwnedFd,
    },
    /// A terminal that becomes all three, and the program's controlling terminal.
    Terminal(OwnedFd),
}

/// A program on its way.
#[derive(Debug)]
pub struct Started {
    /// Process ID.
    pub pid: i32,
    /// The process, whatever its number is used for later. Readable when it has ended.
    pub pidfd: OwnedFd,
    /// Readable when it is known whether the program runs, see [`outcome`].
    pub outcome: OwnedFd,
}

/// What the child did when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// `setsid(2)`.
    Session = 1,
    /// Make the terminal its controlling one.
    Terminal,
    /// Put stdin, stdout and stderr in place.
    Stdio,
    /// Reset the out-of-memory score.
    Score,
    /// Change to the container's root.
    Root,
    /// Make and enter the working directory.
    Directory,
    /// Set the limits.
    Limits,
    /// Become the user.
    Identity,
    /// Give up getting rights.
    Privileges,
    /// Filter its system calls.
    Filter,
    /// Reset signals.
    Signals,
    /// Execute the program.
    Execute,
}

/// What else is known of a failed [`Step::Execute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Note {
    /// Nothing.
    None = 0,
    /// The path leads to a directory.
    Directory,
    /// The program is there; what it asks for to run it (`#!`, the dynamic loader) is not.
    Interpreter,
}

/// Why a program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartError {
    /// What was attempted.
    pub step: Step,
    /// More of it.
    pub note: Note,
    /// Which of the candidates.
    pub candidate: u16,
    /// The system's error number.
    pub errno: i32,
}

/// Length of a [`StartError`] in the pipe.
const RECORD: usize = 8;

impl StartError {
    const STEPS: [Step; 12] = [
        Step::Session,
        Step::Terminal,
        Step::Stdio,
        Step::Score,
        Step::Root,
        Step::Directory,
        Step::Limits,
        Step::Identity,
        Step::Privileges,
        Step::Filter,
        Step::Signals,
        Step::Execute,
    ];

    fn to_bytes(self) -> [u8; RECORD] {
        let [c0, c1] = self.candidate.to_ne_bytes();
        let [e0, e1, e2, e3] = self.errno.to_ne_bytes();
        [self.step as u8, self.note as u8, c0, c1, e0, e1, e2, e3]
    }

    fn from_bytes([step, note, c0, c1, e0, e1, e2, e3]: [u8; RECORD]) -> Option<Self> {
        let note = match note {
            1 => Note::Directory,
            2 => Note::Interpreter,
            _ => Note::None,
        };
        Some(Self {
            step: Self::STEPS.into_iter().find(|known| *known as u8 == step)?,
            note,
            candidate: u16::from_ne_bytes([c0, c1]),
            errno: i32::from_ne_bytes([e0, e1, e2, e3]),
        })
    }
}

/// Forks and returns at once; [`Started::outcome`] tells later whether the program runs. The child
/// is reaped by whoever reaps all.
///
/// # Errors
/// No process or descriptor is left.
pub fn start(program: &Program<'_>, stdio: Stdio) -> io::Result<Started> {
    let (outcome, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let report = above_standard(report)?;
    rustix::io::ioctl_fionbio(&outcome, true)?;
    let stdio = match stdio {
        Stdio::Apart {
            stdin,
            stdout,
            stderr,
        } => Stdio::Apart {
            stdin: above_standard(stdin)?,
            stdout: above_standard(stdout)?,
            stderr: above_standard(stderr)?,
        },
        Stdio::Terminal(terminal) => Stdio::Terminal(above_standard(terminal)?),
    };
    let prepared = child::Prepared::new(program, &stdio, report.as_fd());
    match (program.first, program.namespaces) {
        (Some(_), _) => {
            fork::only_one_thread()?;
            clone(namespaces::MADE, &prepared, outcome)
        }
        (None, Some(namespaces)) => namespaces.with_children(|| clone(0, &prepared, outcome))?,
        (None, None) => clone(0, &prepared, outcome),
    }
}

fn clone(
    made: libc::c_int,
    prepared: &child::Prepared<'_>,
    outcome: OwnedFd,
) -> io::Result<Started> {
    // SAFETY: the child makes only system calls; one that furnishes namespaces does more, and is the child of
    // a process with one thread.
    let (pid, pidfd) = unsafe { fork::with_pidfd(made, child::run, prepared) }?;
    Ok(Started {
        pid,
        pidfd,
        outcome,
    })
}

/// What came of a start, once [`Started::outcome`] is readable. `Ok(true)`: the program runs (or
/// was killed on the way). `Ok(false)`: not known yet.
///
/// # Errors
/// `Err`: it does not run.
pub fn outcome(started: BorrowedFd<'_>) -> Result<bool, StartError> {
    let mut record = [0u8; RECORD];
    match rustix::io::read(started, &mut record) {
        Ok(RECORD) => match StartError::from_bytes(record) {
            Some(error) => Err(error),
            None => Ok(true),
        },
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        // The pipe's end: closed by `execve`. Anything else a pipe cannot answer.
        Ok(_) | Err(_) => Ok(true),
    }
}

/// The child overwrites 0, 1 and 2: what it still needs must not be there.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    const FIRST_FREE: RawFd = 3;
    if fd.as_raw_fd() >= FIRST_FREE {
        Ok(fd)
    } else {
        Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_FREE)?)
    }
}

#[cfg(test)]
mod tests;
