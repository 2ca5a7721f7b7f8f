//! Netlink sockets: one that listens to the kernel, and one that asks it for changes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
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

/// The kernel's interfaces, addresses and routes.
#[derive(Debug)]
pub struct Routing(OwnedFd);

impl Routing {
    /// # Errors
    /// The kernel has no network.
    pub fn open() -> io::Result<Self> {
        socket(None, 0).map(Self)
    }

    /// Sends a request, and puts the answer into `buffer`: the kernel has it ready when the call that asks
    /// returns.
    ///
    /// # Errors
    /// The request cannot be sent, or there is no answer.
    pub fn ask<'b>(&self, request: &[u8], buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        send(&self.0, request, SendFlags::empty())?;
        let (length, _) = recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }
}
