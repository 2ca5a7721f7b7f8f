//! Netlink sockets: one that listens to the kernel, and one that asks it for changes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with,
};

/// A socket that never waits, of a protocol (none: `NETLINK_ROUTE`, number 0) and in its multicast groups (a
/// mask).
pub(super) fn socket(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&fd, &SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}

/// Asks the kernel for changes.
#[derive(Debug)]
pub struct Asking(OwnedFd);

impl Asking {
    /// Of interfaces, addresses and routes.
    ///
    /// # Errors
    /// The kernel has no network.
    pub fn routing() -> io::Result<Self> {
        socket(None, 0).map(Self)
    }

    /// Of its packet filter.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn netfilter() -> io::Result<Self> {
        socket(Some(NETFILTER), 0).map(Self)
    }

    /// Sends a request, and puts the answer into `buffer`: the kernel has it ready when the call that asks
    /// returns.
    ///
    /// # Errors
    /// The request cannot be sent, or there is no answer.
    pub fn ask<'b>(&self, request: &[u8], buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        send(&self.0, request, SendFlags::empty())?;
        match self.next(buffer)? {
            Some(answer) => Ok(answer),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Another answer, in `buffer`; `None`: there is none.
    ///
    /// # Errors
    /// The kernel had more to say than there was room for.
    pub fn next<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        match recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => Ok(Some(buffer.get(..length).unwrap_or_default())),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
