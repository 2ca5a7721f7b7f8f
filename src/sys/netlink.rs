//! A netlink socket that listens to the kernel.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, bind, socket_with};

/// A socket that never waits, of a protocol and in its multicast groups (a mask).
pub(super) fn socket(protocol: Protocol, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        Some(protocol),
    )?;
    bind(&fd, &SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}
