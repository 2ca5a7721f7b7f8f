//! What carries the link: a virtio port by its name, or the first serial port. Never blocks; only
//! this file reads and writes it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::event_loop::Ready;
use crate::link::Link;
use crate::sys::{file, serial};

/// Name of the virtio-serial port that carries a link.
pub const VIRTIO_PORT: &str = "tether.link";
/// The serial port that carries a link where there is no such port.
const SERIAL_PORT: &str = "/dev/ttyS0";
/// Where the kernel lists virtio ports, each a folder with a file `name`.
const VIRTIO_PORTS: &str = "/sys/class/virtio-ports";
/// Type of a serial port that has a name but no chip behind it (`PORT_UNKNOWN`).
const NO_CHIP: &str = "0";

/// Bytes made ready for a serial port at a time: what its driver buffers. The less waits here, the
/// sooner a control message gets past the data.
const SERIAL_OUT: usize = 4 << 10;
/// The same for a virtio port: frames are added below this, so that two of the largest make one
/// buffer of its ring (32 KiB) and no third spills over into a write of its own.
const VIRTIO_OUT: usize = 31 << 10;
/// Payload of a data frame on a serial port: at 115200 bits a second it takes 180 ms, which is how
/// long a control message may have to wait.
const SERIAL_CHUNK: usize = 2 << 10;
/// The same for a port that takes a buffer at once: half of one, with room for the frame's header.
const VIRTIO_CHUNK: usize = (16 << 10) - 64;
/// Bytes read at a time.
const READ: usize = 16 << 10;
/// Bytes read in one turn of the loop, so that a flood does not keep it from all else.
const READ_A_TURN: usize = 256 << 10;

/// There is nothing that could carry a link.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// Neither kind of port.
    #[error(
        "no port for the link: neither a virtio port named {VIRTIO_PORT} nor a serial port {SERIAL_PORT}"
    )]
    None,
    /// The port is there and cannot be used.
    #[error("cannot open {path} for the link: {cause}")]
    Open {
        /// The port's path.
        path: String,
        /// Why.
        cause: io::Error,
    },
}

/// How much is handed over at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A port that takes its time for each byte.
    Serial,
    /// A port that takes a buffer at once.
    Virtio,
}

impl Pace {
    const fn out(self) -> usize {
        match self {
            Self::Serial => SERIAL_OUT,
            Self::Virtio => VIRTIO_OUT,
        }
    }
}

/// An open carrier.
#[derive(Debug)]
pub struct Carrier {
    fd: OwnedFd,
    /// Where it came from, for the log.
    name: String,
    /// Whole frames on their way; the first `sent` bytes are gone.
    out: Vec<u8>,
    sent: usize,
    pace: Pace,
    /// The last write took everything it was given.
    writable: bool,
    /// Not all that has come was read.
    more: bool,
    input: Box<[u8]>,
}

impl Carrier {
    /// Opens the virtio port if there is one, the serial port otherwise.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub fn find() -> Result<Self, CarrierError> {
        if let Some(path) = virtio_port(VIRTIO_PORT) {
            let flags = rustix::fs::OFlags::RDWR
                | rustix::fs::OFlags::NONBLOCK
                | rustix::fs::OFlags::CLOEXEC;
            let opened = rustix::fs::open(&path, flags, rustix::fs::Mode::empty());
            return match opened {
                Ok(fd) => Ok(Self::new(fd, path, Pace::Virtio)),
                Err(cause) => Err(CarrierError::Open {
                    path,
                    cause: cause.into(),
                }),
            };
        }
        if !is_serial_port("ttyS0") {
            return Err(CarrierError::None);
        }
        match serial::open(SERIAL_PORT, serial::Flow::Hardware) {
            Ok(fd) => Ok(Self::new(fd, SERIAL_PORT.into(), Pace::Serial)),
            Err(cause) => Err(CarrierError::Open {
                path: SERIAL_PORT.into(),
                cause,
            }),
        }
    }

    /// Any byte stream, non-blocking.
    pub fn new(fd: OwnedFd, name: String, pace: Pace) -> Self {
        let input = vec![0; READ].into_boxed_slice();
        Self {
            fd,
            name,
            out: Vec::new(),
            sent: 0,
            pace,
            writable: true,
            more: false,
            input,
        }
    }

    /// Where it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of another process's go first: the rest of what that has begun to write.
    pub fn after(mut self, unsent: &[u8]) -> Self {
        self.out = unsent.to_vec();
        // What came before it was watched is announced by nobody.
        self.more = true;
        self
    }

    /// What was made ready and is not written yet.
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// How much it takes at a time.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Payload of a data frame that suits it, bytes.
    pub fn chunk(&self) -> usize {
        match self.pace {
            Pace::Serial => SERIAL_CHUNK,
            Pace::Virtio => VIRTIO_CHUNK,
        }
    }

    /// There is something to read that no event will announce.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// The kernel says that something has changed.
    pub fn changed(&mut self, ready: Ready, link: &mut Link) {
        self.writable = true;
        self.more = true;
        if ready.hangup {
            // A virtio port whose host end is closed takes nothing and forgets nothing of ours, but
            // a frame may be cut: it is sent again after the handshake.
            self.out.clear();
            self.sent = 0;
            link.disconnected();
        }
    }

    /// Reads what has come, up to a turn's share.
    pub fn receive(&mut self, now: Duration, link: &mut Link) {
        let mut left = READ_A_TURN;
        while self.more && left > 0 {
            match rustix::io::read(&self.fd, &mut *self.input) {
                Ok(0) | Err(Errno::AGAIN) => self.more = false,
                Ok(length) => {
                    left = left.saturating_sub(length);
                    link.handle_input(now, self.input.get(..length).unwrap_or_default());
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.more = false;
                    log::warn!("link: reading {}: {}", self.name, io::Error::from(error));
                }
            }
        }
    }

    /// Writes what the link has to say, as much as the port takes.
    pub fn transmit(&mut self, now: Duration, link: &mut Link) {
        loop {
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
                link.poll_transmit(now, &mut self.out, self.pace.out());
            }
            let waiting = self.out.get(self.sent..).unwrap_or_default();
            if waiting.is_empty() || !self.writable {
                return;
            }
            match rustix::io::write(&self.fd, waiting) {
                Ok(length) => self.sent = self.sent.saturating_add(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(error) => {
                    self.writable = false;
                    log::warn!("link: writing {}: {}", self.name, io::Error::from(error));
                }
            }
        }
    }

    /// Everything that the link had to say is written.
    pub fn is_flushed(&self) -> bool {
        self.sent == self.out.len()
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// True when the serial port of that name (`ttyS1`) has a chip behind it.
pub fn is_serial_port(name: &str) -> bool {
    let kind = file::text(&format!("/sys/class/tty/{name}/type"));
    !kind.is_empty() && kind.trim() != NO_CHIP
}

pub fn virtio_port(wanted: &str) -> Option<String> {
    for entry in std::fs::read_dir(VIRTIO_PORTS).ok()?.flatten() {
        let name = file::text(entry.path().join("name").to_str()?);
        if name.trim() == wanted {
            return Some(format!("/dev/{}", entry.file_name().to_str()?));
        }
    }
    None
}
