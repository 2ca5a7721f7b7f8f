//! One connection's bytes: the socket, and the dialect in which the line comes over it.
//!
//! Dialects are told apart by the first bytes. A VM behind a proxy speaks at once, and so does who
//! wants TLS; a telnet client does when it is asked; who says nothing is asked by the link itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::socket::Socket;
use crate::listener::tls::Tls;
use crate::listener::vspc::{self, Port, Told};

/// Who says nothing for so long wants no TLS, and is asked for telnet.
const ASK_AFTER: Duration = Duration::from_millis(150);
/// Who says nothing for so long speaks no telnet.
const QUIET: Duration = Duration::from_millis(300);
/// The first byte of TLS: a handshake's record; its second is the major version.
const TLS: [u8; 2] = [0x16, 3];

/// How the line comes over the socket.
#[derive(Debug)]
enum Dialect {
    /// Nothing was heard but perhaps one byte that may begin something.
    Unheard { first: Option<u8>, asked: bool },
    /// The line's bytes as they are.
    Raw,
    /// VMware's telnet.
    Vspc(Box<Port>),
}

/// What first bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    Undecided,
    Tls,
    Telnet,
    Raw,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Carrier {
    socket: Socket,
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    dialect: Dialect,
    opened: Duration,
    /// When the other side could speak: it was accepted, or TLS has begun.
    clear: Duration,
}

impl Carrier {
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr, now: Duration) -> Self {
        Self {
            socket: Socket::new(tcp, peer),
            peer,
            dialect: Dialect::Unheard {
                first: None,
                asked: false,
            },
            opened: now,
            clear: now,
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

    /// It is in TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }

    /// The link may speak on it. `Err`: not before this time, or, without one, not before the
    /// other side has said more.
    pub(super) fn ready(&self, now: Duration) -> Result<(), Option<Duration>> {
        match &self.dialect {
            Dialect::Raw => Ok(()),
            Dialect::Unheard { .. } if now >= self.clear + QUIET => Ok(()),
            Dialect::Unheard { asked: false, .. } => Err(Some(self.clear + ASK_AFTER)),
            Dialect::Unheard { .. } => Err(Some(self.clear + QUIET)),
            Dialect::Vspc(port) if port.about().service.is_some() => Ok(()),
            Dialect::Vspc(_) => Err(None),
        }
    }

    /// All that was queued is with the kernel.
    pub(super) fn flushed(&self) -> bool {
        self.socket.flushed()
    }

    /// Queues what `fill` appends: the line's own bytes. False: there were none.
    pub(super) fn queue(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        match &self.dialect {
            Dialect::Unheard { .. } | Dialect::Raw => self.socket.queue(fill),
            Dialect::Vspc(_) => self.socket.queue(|out| {
                let mut plain = Vec::new();
                fill(&mut plain);
                vspc::escape(&plain, out);
            }),
        }
    }

    /// Writes what is queued, as much as the socket takes now.
    pub(super) fn flush(&mut self, now: Duration) -> io::Result<()> {
        match &mut self.dialect {
            Dialect::Unheard { asked, .. } if !*asked && now >= self.clear + ASK_AFTER => {
                *asked = true;
                self.socket
                    .queue(|out| out.extend_from_slice(&vspc::QUESTION));
            }
            Dialect::Vspc(port) if port.overfull() => {
                return Err(io::Error::other("it asks more than it reads answers of"));
            }
            Dialect::Vspc(port) => {
                self.socket.queue(|out| port.poll_transmit(out));
            }
            Dialect::Unheard { .. } | Dialect::Raw => {}
        }
        self.socket.flush()
    }

    /// One read into `buffer`. `None`: there is nothing now; `Some(0)`: there will be no more.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.socket.read(buffer)
    }

    /// Was read too early: the next read brings it again.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.socket.unread(bytes);
    }

    /// Takes input apart, up to and with what has to be acted on: the number of bytes taken, the
    /// line's own bytes among them (in the input itself, or in `data`), what was told.
    pub(super) fn take<'a>(
        &mut self,
        input: &'a [u8],
        data: &'a mut Vec<u8>,
        tls: &Tls,
        now: Duration,
    ) -> (usize, &'a [u8], Option<Told>) {
        data.clear();
        if let Dialect::Unheard { first, asked } = self.dialect {
            let head: Vec<u8> = first
                .into_iter()
                .chain(input.iter().copied().take(2))
                .collect();
            match self.beginning(&head) {
                Beginning::Undecided => {
                    let first = head.first().copied();
                    self.dialect = Dialect::Unheard { first, asked };
                    return (input.len(), &[], None);
                }
                Beginning::Tls => {
                    let whole: Vec<u8> = first.into_iter().chain(input.iter().copied()).collect();
                    self.begin_tls(&whole, tls, now);
                    return (input.len(), &[], None);
                }
                Beginning::Telnet => {
                    let mut port = Port::new(asked);
                    port.take(first.as_slice(), data);
                    self.dialect = Dialect::Vspc(Box::new(port));
                }
                // The link takes no harm from a byte less that belonged to no frame.
                Beginning::Raw => self.dialect = Dialect::Raw,
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

    fn beginning(&self, head: &[u8]) -> Beginning {
        match (head, vspc::is_telnet(head)) {
            (_, Some(true)) => Beginning::Telnet,
            ([0x16], _) if !self.socket.is_tls() => Beginning::Undecided,
            ([a, b, ..], _) if [*a, *b] == TLS && !self.socket.is_tls() => Beginning::Tls,
            (_, None) => Beginning::Undecided,
            (_, Some(false)) => Beginning::Raw,
        }
    }

    /// Inside, the dialects are the same.
    fn begin_tls(&mut self, first: &[u8], tls: &Tls, now: Duration) {
        self.dialect = Dialect::Unheard {
            first: None,
            asked: false,
        };
        self.clear = now;
        let begun = match tls.vms() {
            Some(config) => self.socket.begin_tls(config, first),
            None => Err(io::Error::other(
                "it wants TLS: give the listener a certificate with --tls-cert and --tls-key",
            )),
        };
        if let Err(error) = begun {
            self.socket.fail(error);
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
        self.socket.moved(reading).await
    }

    /// A last word for somebody who is no VM, delivered before the connection is closed.
    pub(super) async fn refuse(mut self, text: &str) {
        self.queue(|out| out.extend_from_slice(text.as_bytes()));
        self.socket.end().await;
    }
}
