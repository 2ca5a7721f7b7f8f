//! One connection's bytes: the socket, and the dialect in which the line comes over it.
//!
//! Dialects are told apart by the first bytes. A VM behind a proxy speaks at once, and so does a
//! telnet client when it is asked; who says nothing is asked by the link itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::listener::vspc::{self, Port, Told};

/// Who says nothing for so long speaks no telnet.
const QUIET: Duration = Duration::from_millis(250);
/// A connection on which nothing has come for so long is asked by the kernel whether it is there, and
/// again after this pause, so often.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVES: u32 = 3;
/// A refused client gets so long to take its refusal.
const FAREWELL_MOST: Duration = Duration::from_secs(2);
/// An empty buffer keeps at most this capacity, in bytes.
const IDLE_BYTES: usize = 2 * 1024;

/// How the line comes over the socket.
#[derive(Debug)]
enum Dialect {
    /// Nothing was heard. A lone 255 may be half of telnet's beginning.
    Unheard { first: bool },
    /// The line's bytes as they are.
    Raw,
    /// VMware's telnet.
    Vspc(Box<Port>),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Carrier {
    socket: TcpStream,
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    dialect: Dialect,
    opened: Duration,
    /// Bytes for the socket; those before `sent` are on their way.
    out: Vec<u8>,
    sent: usize,
    /// Was read, and is to be read once more.
    unread: Vec<u8>,
}

impl Carrier {
    pub(super) fn new(socket: TcpStream, peer: SocketAddr, now: Duration) -> Self {
        if let Err(error) = prepare(&socket) {
            tracing::debug!(%peer, %error, "socket options");
        }
        Self {
            socket,
            peer,
            dialect: Dialect::Unheard { first: false },
            opened: now,
            out: vspc::QUESTION.to_vec(),
            sent: 0,
            unread: Vec::new(),
        }
    }

    /// When it was accepted.
    pub(super) fn opened(&self) -> Duration {
        self.opened
    }

    /// The port, where the dialect is the proxy's.
    pub(super) fn vspc(&mut self) -> Option<&mut Port> {
        match &mut self.dialect {
            Dialect::Vspc(port) => Some(port),
            Dialect::Unheard { .. } | Dialect::Raw => None,
        }
    }

    /// The link may speak on it. `Err`: not before this time, or, without one, not before the
    /// other side has said more.
    pub(super) fn ready(&self, now: Duration) -> Result<(), Option<Duration>> {
        match &self.dialect {
            Dialect::Raw => Ok(()),
            Dialect::Unheard { .. } if now >= self.opened + QUIET => Ok(()),
            Dialect::Unheard { .. } => Err(Some(self.opened + QUIET)),
            Dialect::Vspc(port) if port.about().service.is_some() => Ok(()),
            Dialect::Vspc(_) => Err(None),
        }
    }

    /// All that was queued is with the kernel.
    pub(super) fn flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Queues what `fill` appends: the line's own bytes. False: there were none.
    pub(super) fn queue(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let before = self.out.len();
        match &mut self.dialect {
            Dialect::Unheard { .. } | Dialect::Raw => fill(&mut self.out),
            Dialect::Vspc(_) => {
                let mut plain = Vec::new();
                fill(&mut plain);
                vspc::escape(&plain, &mut self.out);
            }
        }
        self.out.len() > before
    }

    /// Writes what is queued, as much as the socket takes now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Dialect::Vspc(port) = &mut self.dialect {
            if port.overfull() {
                return Err(io::Error::other("it asks more than it reads answers of"));
            }
            port.poll_transmit(&mut self.out);
        }
        while !self.out.is_empty() {
            match self.socket.try_write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
                if self.out.capacity() > IDLE_BYTES {
                    self.out = Vec::new();
                }
            }
        }
        Ok(())
    }

    /// One read into `buffer`. `None`: there is nothing now; `Some(0)`: there will be no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.unread[..count]);
            self.unread.drain(..count);
            return Ok(Some(count));
        }
        match self.socket.try_read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Was read too early: the next read brings it again.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Takes input apart, up to and with what has to be acted on: the number of bytes taken, the
    /// line's own bytes among them (in the input itself, or in `data`), what was told.
    pub(super) fn take<'a>(
        &mut self,
        input: &'a [u8],
        data: &'a mut Vec<u8>,
    ) -> (usize, &'a [u8], Option<Told>) {
        data.clear();
        if let Dialect::Unheard { first } = &self.dialect {
            let head = [
                if *first { &[vspc::FIRST][..] } else { &[] },
                &input[..input.len().min(2)],
            ]
            .concat();
            match vspc::is_telnet(&head) {
                None => {
                    self.dialect = Dialect::Unheard { first: true };
                    return (input.len(), &[], None);
                }
                Some(true) => {
                    let mut port = Port::default();
                    if *first {
                        port.take(&[vspc::FIRST], data);
                    }
                    self.dialect = Dialect::Vspc(Box::new(port));
                }
                Some(false) => {
                    // The link takes no harm from a byte that belongs to no frame.
                    self.dialect = Dialect::Raw;
                }
            }
        }
        match &mut self.dialect {
            Dialect::Unheard { .. } | Dialect::Raw => (input.len(), input, None),
            Dialect::Vspc(port) => {
                let (taken, told) = port.take(input, data);
                (taken, data, told)
            }
        }
    }

    /// Another connection takes this one's place: the VM has moved there, and asked for its
    /// service when it came up.
    pub(super) fn hand_over(&mut self, mut to: Self) {
        if let (Dialect::Vspc(old), Dialect::Vspc(new)) = (&self.dialect, &mut to.dialect) {
            new.succeed(old);
        }
        *self = to;
    }

    /// Waits until it can be read (if wanted), or written (if something is queued).
    pub(super) async fn moved(&self, reading: bool) -> io::Result<()> {
        let interest = match (reading, self.out.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => return std::future::pending().await,
        };
        self.socket.ready(interest).await.map(|_| ())
    }

    /// A last word for somebody who is no VM, delivered before the connection is closed.
    pub(super) async fn refuse(mut self, text: &str) {
        self.queue(|out| out.extend_from_slice(text.as_bytes()));
        if self.flush().is_err() || self.socket.shutdown().await.is_err() {
            return;
        }
        // Closed with input unread, the kernel would take the word back.
        let mut rest = [0; 256];
        let read = async { while matches!(self.socket.read(&mut rest).await, Ok(1..)) {} };
        let _ = timeout(FAREWELL_MOST, read).await;
    }
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    // Keystrokes and acknowledgements must not wait for each other.
    sockopt::set_tcp_nodelay(socket, true)?;
    // A host that lost its power says nothing: the kernel asks, and gives up what it does not take.
    sockopt::set_tcp_keepidle(socket, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_AGAIN)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVES)?;
    sockopt::set_socket_keepalive(socket, true)?;
    let most = KEEPALIVE + KEEPALIVE_AGAIN * KEEPALIVES;
    sockopt::set_tcp_user_timeout(socket, u32::try_from(most.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
