//! A child process that runs our own code: for calls that may block without end (a mount on a dead
//! disk, a sync), so that the one thread of PID 1 never waits in them.

use std::io;

/// Runs `work` in a child process and returns the child's ID. Its result, cut to 8 bits, is the
/// child's exit code.
///
/// # Errors
/// This process has more than one thread (a lock that another one holds would never open in the
/// child), or no process can be made.
pub fn run(work: impl FnOnce() -> u8) -> io::Result<i32> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("only a process with one thread may fork"));
    }
    // SAFETY: one thread, checked above, so that the child's copy of memory is complete and no
    // lock in it is held.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = i32::from(work());
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}
