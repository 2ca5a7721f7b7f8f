//! The end of the machine. Every call is refused unless this is PID 1.

use std::io;

use rustix::system::{RebootCommand, reboot};

/// `EPERM` unless this process is PID 1: a test or a mistake must not end the machine it runs on.
///
/// # Errors
/// This is not PID 1.
pub fn only_pid_1() -> io::Result<()> {
    if std::process::id() == 1 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

/// What ends the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Power off.
    Off,
    /// Start again.
    Reboot,
}

/// Ends the machine at once: nothing is written out, no process is asked. Returns only on failure.
///
/// # Errors
/// This is not PID 1, or the kernel refuses.
pub fn end(how: Ending) -> io::Result<()> {
    only_pid_1()?;
    let command = match how {
        Ending::Off => RebootCommand::PowerOff,
        Ending::Reboot => RebootCommand::Restart,
    };
    Ok(reboot(command)?)
}

/// Makes Ctrl-Alt-Del a SIGINT to PID 1 instead of a reset.
///
/// # Errors
/// This is not PID 1, or the kernel refuses.
pub fn catch_ctrl_alt_del() -> io::Result<()> {
    only_pid_1()?;
    Ok(reboot(RebootCommand::CadOff)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_pid_1_ends_the_machine() {
        for how in [Ending::Off, Ending::Reboot] {
            assert_eq!(
                end(how).expect_err("a test is not PID 1").raw_os_error(),
                Some(libc::EPERM)
            );
        }
        let error = crate::sys::signals::send_to_all(0).expect_err("a test is not PID 1");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
