//! Children that end with us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// The child gets SIGTERM when the thread that starts it ends, however it ends: a virtual machine
/// must not run on without the host that answers it. Start it from a thread that stays (`prctl(2)`,
/// `PR_SET_PDEATHSIG`).
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have ended before that.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    // SAFETY: between fork and exec only what is async-signal-safe may be done. The closure makes
    // two system calls without going through libc's locks, and builds its errors from a number or a
    // kind, which allocates nothing.
    unsafe { command.pre_exec(prepare) };
}
