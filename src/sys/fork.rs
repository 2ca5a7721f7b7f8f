//! Child processes: one that runs our own code, for calls that may block without end (a mount on a dead
//! disk, a sync), so that the one thread of PID 1 never waits in them; and one with a descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;

/// Runs `work` in a child process and returns the child's ID. Its result, cut to 8 bits, is the
/// child's exit code.
///
/// # Errors
/// This process has more than one thread (a lock that another one holds would never open in the
/// child), or no process can be made.
pub fn run(work: impl FnOnce() -> u8) -> io::Result<i32> {
    only_one_thread()?;
    fork(work)
}

/// Runs `work` in a child process, which ends with what that returns; its ID and its pidfd. It has no
/// descriptors but the first three and those in `kept`: a copy of any other would keep a pipe open.
///
/// # Errors
/// As [`run`].
pub fn with_work(kept: &[BorrowedFd<'_>], work: impl FnOnce() -> u8) -> io::Result<(i32, OwnedFd)> {
    only_one_thread()?;
    let mut kept: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd().unsigned_abs())
        .collect();
    kept.sort_unstable();
    let work = || {
        close_all_but(&kept);
        work()
    };
    // SAFETY: there is one thread.
    unsafe { with_pidfd(0, ends_with, work) }
}

/// For a child that ends without dropping anything of its parent's. `kept` is in order.
fn close_all_but(kept: &[u32]) {
    // The log's is among them.
    log::set_max_level(log::LevelFilter::Off);
    let mut first = 3;
    for next in kept.iter().copied().chain([u32::MAX]) {
        if first < next {
            // SAFETY: descriptors are integers; nobody uses these any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, next.saturating_sub(1), 0) };
        }
        first = first.max(next.saturating_add(1));
    }
}

fn ends_with(work: impl FnOnce() -> u8) -> ! {
    let code = i32::from(work());
    // SAFETY: ends the child without running what belongs to the parent.
    unsafe { libc::_exit(code) }
}

/// An error in a process with more than one.
pub(super) fn only_one_thread() -> io::Result<()> {
    // A folder has two links, and one for each folder in it: a thread's.
    if std::fs::metadata("/proc/self/task")?.nlink() == 3 {
        Ok(())
    } else {
        Err(io::Error::other("only a process with one thread may fork"))
    }
}

/// Forks. The child, in the new namespaces that `flags` (`CLONE_NEW…`) ask for, calls `child` with `its`; the
/// parent gets its ID and its pidfd.
///
/// # Safety
/// Where this process has a second thread, `child` makes only system calls: locks that the other one
/// holds (the allocator's) never open in it.
pub(super) unsafe fn with_pidfd<T>(
    flags: libc::c_int,
    child: fn(T) -> !,
    its: T,
) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child has its own copy of everything; our caller answers for what it
    // does with it. `pidfd` is alive until the call has returned.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags),
            std::ptr::null::<u8>(),
            &raw mut pidfd,
            std::ptr::null::<u8>(),
            std::ptr::null::<u8>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => child(its),
        pid => {
            // SAFETY: CLONE_PIDFD has made this descriptor for us alone.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok((i32::try_from(pid).map_err(io::Error::other)?, pidfd))
        }
    }
}

fn fork(work: impl FnOnce() -> u8) -> io::Result<i32> {
    // SAFETY: our callers have made sure that no other thread holds a lock that `work` may want, so
    // that the child's copy of memory is complete.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => ends_with(work),
        pid => Ok(pid),
    }
}

/// Runs a test's body in a process with one thread and returns true when it passes. To be called in
/// a test program that runs this test alone: its first thread only waits then.
#[cfg(test)]
pub(crate) fn passes(body: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    let child = fork(|| u8::from(std::panic::catch_unwind(body).is_err())).expect("a process");
    let child = rustix::process::Pid::from_raw(child).expect("not 0");
    let end = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
    end.expect("our child")
        .is_some_and(|(_, status)| status.exit_status() == Some(0))
}
