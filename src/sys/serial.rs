//! A serial port, raw and non-blocking.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use serialport::{DataBits, FlowControl, Parity, StopBits, TTYPort};

/// Bits a second of a containerVM's serial ports.
pub const BAUD: u32 = 115_200;

/// Who keeps a sender from overrunning the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The RTS and CTS lines.
    Hardware,
    /// Nobody.
    None,
}

/// Opens a port: 115200 8N1, modem lines ignored, nobody else may open it. The crate only opens and sets up: its own reads and writes wait with an empty signal mask,
/// which takes blocked signals away from a signalfd.
///
/// # Errors
/// There is no such port, somebody holds it, or it refuses the settings.
pub fn open(path: &str, flow: Flow) -> io::Result<OwnedFd> {
    let flow = match flow {
        Flow::Hardware => FlowControl::Hardware,
        Flow::None => FlowControl::None,
    };
    let settings = serialport::new(path, BAUD)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(flow);
    let port = TTYPort::open(&settings)?;
    // SAFETY: the crate gives its descriptor away, and this becomes its only owner.
    let fd = unsafe { OwnedFd::from_raw_fd(port.into_raw_fd()) };
    // The crate has cleared it.
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

/// Bytes that were written and have not left the driver's buffer yet.
///
/// # Errors
/// The descriptor is no terminal.
pub fn unsent(port: &OwnedFd) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one integer, which is alive until the call has returned.
    if unsafe { libc::ioctl(port.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_raw_and_non_blocking() {
        let devpts = rustix::fs::open(
            "/dev/pts",
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .expect("devpts is mounted");
        let pty =
            crate::sys::pty::Pty::open(std::os::fd::AsFd::as_fd(&devpts)).expect("a terminal");
        let port =
            open(pty.path.to_str().expect("ASCII"), Flow::Hardware).expect("a terminal is a port");
        let mut byte = [0; 8];
        let error = rustix::io::read(&port, &mut byte).expect_err("nothing there");
        assert_eq!(error, rustix::io::Errno::AGAIN);
        // Raw: neither an echo nor a translated line end.
        rustix::io::write(&pty.master, b"\r\n\x03").expect("room");
        assert_eq!(rustix::io::read(&port, &mut byte).expect("three bytes"), 3);
        assert_eq!(byte.get(..3), Some(b"\r\n\x03".as_slice()));
        assert_eq!(
            rustix::io::read(&pty.master, &mut byte).expect_err("no echo"),
            rustix::io::Errno::AGAIN
        );
    }
}
