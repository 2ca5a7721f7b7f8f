//! Datagrams of one interface, also while it has no address.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
    sockopt,
};

/// A UDP socket that never waits.
#[derive(Debug)]
pub struct Datagrams(OwnedFd);

impl Datagrams {
    /// What comes to `port` over the interface of this name, broadcasts too.
    ///
    /// # Errors
    /// There is no such interface, or the port is taken.
    pub fn open(interface: &str, port: u16) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_broadcast(&fd, true)?;
        // Before the port: each interface has its own then.
        setsockopt(&fd, BindToDevice, &OsString::from(interface))?;
        bind(&fd, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
        Ok(Self(fd))
    }

    /// Sends one.
    ///
    /// # Errors
    /// There is no way to that address, or no room.
    pub fn send(&self, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        sendto(&self.0, bytes, SendFlags::empty(), &to)?;
        Ok(())
    }

    /// The next one, in `buffer`; `None`: none waits.
    ///
    /// # Errors
    /// The interface is down.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        match recv(&self.0, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(buffer.get(..length)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
