//! ptrace: starts a program as a tracee, and follows it and all that it starts.
//!
//! Not nix's face for it: that one cannot pass on the real-time signals that threads use.

mod spawn;

use std::io;
use std::mem::MaybeUninit;

pub use spawn::{SpawnError, spawn};

/// All registers of a stopped task.
pub type AllRegisters = libc::user_regs_struct;

/// A traced thread, by its kernel ID; a process's first thread has the process's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task(i32);

/// Why a task stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A signal is about to be delivered: [`Task::resume`] with it, or with 0 to swallow it.
    Signal(i32),
    /// Job control has stopped it: [`Task::listen`].
    Group,
    /// A program has been loaded, none of it has run yet.
    Exec,
    /// It asks for executable memory: [`Task::resume_to_call_end`] if the answer matters.
    WantsExecutable,
    /// The system call after that is done.
    CallEnd,
    /// It has just begun, or something else that only needs [`Task::resume`] with 0.
    Other,
}

/// What happened to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It stands still until it is resumed.
    Stopped(Task, Stop),
    /// It has ended with this code.
    Exited(Task, i32),
    /// This signal has ended it.
    Killed(Task, i32),
}

/// Waits for the next event; `None`: no task is left.
///
/// # Errors
/// What `waitpid` says.
pub fn wait() -> io::Result<Option<Event>> {
    wait_for(-1)
}

fn wait_for(id: i32) -> io::Result<Option<Event>> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is writable for the call.
        let id = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) };
        if id > 0 {
            return Ok(Some(decode(Task(id), status)));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(None),
            _ => return Err(error),
        }
    }
}

fn decode(task: Task, status: i32) -> Event {
    if libc::WIFEXITED(status) {
        return Event::Exited(task, libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Event::Killed(task, libc::WTERMSIG(status));
    }
    /// Marks a stop at a system call (PTRACE_O_TRACESYSGOOD).
    const CALL: i32 = libc::SIGTRAP | 0x80;
    let signal = libc::WSTOPSIG(status);
    let stop = match (status >> 16, signal) {
        (0, CALL) => Stop::CallEnd,
        (0, signal) => Stop::Signal(signal),
        (libc::PTRACE_EVENT_EXEC, _) => Stop::Exec,
        (libc::PTRACE_EVENT_SECCOMP, _) => Stop::WantsExecutable,
        (
            libc::PTRACE_EVENT_STOP,
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU,
        ) => Stop::Group,
        _ => Stop::Other,
    };
    Event::Stopped(task, stop)
}

impl Task {
    /// The kernel's ID.
    pub fn id(self) -> i32 {
        self.0
    }

    /// Its registers, while it is stopped.
    ///
    /// # Errors
    /// When it is not: it was killed meanwhile.
    pub fn registers(self) -> io::Result<AllRegisters> {
        let mut registers = MaybeUninit::<AllRegisters>::uninit();
        // SAFETY: the request writes one `user_regs_struct` to the fourth argument, and reads
        // nothing of ours.
        let result = unsafe {
            libc::ptrace(
                libc::PTRACE_GETREGS,
                self.0,
                std::ptr::null_mut::<libc::c_void>(),
                registers.as_mut_ptr(),
            )
        };
        succeeded(result)?;
        // SAFETY: the request succeeded, so all of it is written.
        Ok(unsafe { registers.assume_init() })
    }

    /// Sets them.
    ///
    /// # Errors
    /// When it is not stopped.
    pub fn set_registers(self, registers: &AllRegisters) -> io::Result<()> {
        // SAFETY: the request reads one `user_regs_struct` from the fourth argument.
        succeeded(unsafe {
            libc::ptrace(
                libc::PTRACE_SETREGS,
                self.0,
                std::ptr::null_mut::<libc::c_void>(),
                std::ptr::from_ref(registers),
            )
        })
    }

    /// Goes on; `signal` is delivered first, 0 is none.
    ///
    /// # Errors
    /// When it is not stopped.
    pub fn resume(self, signal: i32) -> io::Result<()> {
        self.restart(libc::PTRACE_CONT, signal)
    }

    /// Goes on to the end of the system call it is in.
    ///
    /// # Errors
    /// When it is not stopped.
    pub fn resume_to_call_end(self) -> io::Result<()> {
        self.restart(libc::PTRACE_SYSCALL, 0)
    }

    /// Leaves it stopped until job control continues it.
    ///
    /// # Errors
    /// When it is not stopped.
    pub fn listen(self) -> io::Result<()> {
        self.restart(libc::PTRACE_LISTEN, 0)
    }

    fn restart(self, request: libc::c_uint, signal: i32) -> io::Result<()> {
        // SAFETY: these requests touch no memory of ours; the fourth argument is a number.
        succeeded(unsafe {
            libc::ptrace(
                request,
                self.0,
                std::ptr::null_mut::<libc::c_void>(),
                libc::c_long::from(signal),
            )
        })
    }
}

/// Makes this process ignore a signal.
///
/// # Errors
/// When there is no such signal.
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: only the disposition changes; no handler of ours is involved.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn succeeded(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
