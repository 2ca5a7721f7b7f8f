//! The kernel's announcements of devices (`NETLINK_KOBJECT_UEVENT`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::KOBJECT_UEVENT;
use rustix::net::{RecvFlags, recv};

use super::netlink;

/// Multicast group of the kernel's own events (2 is udev's).
const KERNEL_GROUP: u32 = 1;

/// A subscription to the kernel's device events.
#[derive(Debug)]
pub struct Uevents {
    fd: OwnedFd,
}

impl Uevents {
    /// Subscribes. Events from now on are kept for us by the kernel.
    ///
    /// # Errors
    /// The kernel has no netlink.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            fd: netlink::socket(Some(KOBJECT_UEVENT), KERNEL_GROUP)?,
        })
    }

    /// Copies the next event into `buffer`: NUL-separated texts, `ACTION=add`, `SUBSYSTEM=block` ….
    /// `None`: nothing waits. `ENOBUFS` says that events were lost.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub fn next<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        match recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(buffer.get(..length)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
