//! This process's own pages.

use std::io;

/// Keeps all pages that this process has or will have used, whatever else wants memory: none is read from
/// anywhere before it is needed.
///
/// # Errors
/// This process may not.
pub fn keep_all() -> io::Result<()> {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: no memory is passed; what is locked stays as it is.
    match unsafe { libc::mlockall(flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
