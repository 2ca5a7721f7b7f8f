//! A configuration that comes over a virtio port of its own: the host writes it, and then a zero byte, or closes
//! its end.

use std::io;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::carrier::virtio_port;
use super::event_loop::{Interest, Token, now};
use super::machine::Machine;

/// Its name.
pub const PORT: &str = "tether.config";
/// How long the host may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest document, bytes.
const MOST: usize = 1 << 20;

/// The document; none: there is no such port.
pub fn read(machine: &mut Machine) -> Option<io::Result<Vec<u8>>> {
    virtio_port(PORT).map(|path| from(machine, &path))
}

fn from(machine: &mut Machine, path: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::fs::open(path, flags, Mode::empty())?;
    machine
        .events
        .watch(&port, Token::Document, Interest::Changes)?;
    let limit = now().saturating_add(LIMIT);
    let (mut document, mut piece) = (Vec::new(), [0; 4096]);
    let outcome = loop {
        match rustix::io::read(&port, &mut piece) {
            // Nobody is there yet, or nobody is there any more.
            Ok(0) if !document.is_empty() => break Ok(document),
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) if now() < limit => machine.turn(Some(limit)),
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => break Err(io::ErrorKind::TimedOut.into()),
            Ok(length) if piece.get(..length).is_some_and(|piece| piece.contains(&0)) => {
                let whole = piece.split(|byte| *byte == 0).next().unwrap_or_default();
                document.extend_from_slice(whole);
                break Ok(document);
            }
            Ok(length) if document.len().saturating_add(length) <= MOST => {
                document.extend_from_slice(piece.get(..length).unwrap_or_default());
            }
            Ok(_) => break Err(Errno::FBIG.into()),
            Err(error) => break Err(error.into()),
        }
    };
    machine.events.unwatch(&port)?;
    outcome
}
