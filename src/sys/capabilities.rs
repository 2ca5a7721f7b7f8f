//! Capabilities of this process and of what it executes (`capabilities(7)`).

use std::io;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Takes capabilities that are not in `kept` out of what this process and all that it starts can ever get.
/// Those that it has it keeps until it executes something.
///
/// # Errors
/// None that the kernel documents for process 1.
pub fn bound(kept: u64) -> io::Result<()> {
    for number in 0..u64::BITS {
        if kept & (1 << number) != 0 {
            continue;
        }
        // SAFETY: no memory is passed.
        let done =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        if done == -1 {
            let error = io::Error::last_os_error();
            // Past the kernel's last capability.
            if error.raw_os_error() == Some(libc::EINVAL) {
                return Ok(());
            }
            return Err(error);
        }
    }
    Ok(())
}

/// What this process executes from now on gets all that it has, whatever bounds it. To be called before
/// [`bound`].
///
/// # Errors
/// None that the kernel documents for process 1.
pub fn pass_on() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted;
    Ok(set_capabilities(None, sets)?)
}

/// What this process executes gets what bounds it, and no more. For a child between fork and exec: system calls
/// alone.
pub(super) fn pass_nothing_on() -> rustix::io::Result<()> {
    let mut sets = capabilities(None)?;
    if sets.inheritable.is_empty() {
        return Ok(());
    }
    sets.inheritable = CapabilitySet::empty();
    set_capabilities(None, sets)
}
