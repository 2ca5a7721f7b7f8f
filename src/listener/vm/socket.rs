//! A socket that is never waited on while something else could be done, in TLS or plain.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An empty buffer keeps at most this capacity, in bytes.
const IDLE_BYTES: usize = 2 * 1024;
/// A connection on which nothing has come for so long is asked by the kernel whether it is there, and
/// again after this pause, so often.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVES: u32 = 3;
/// A read of fewer bytes after so long a pause is somebody typing: less than a segment.
const TYPED_BYTES: usize = 1200;
const TYPED_AFTER: Duration = Duration::from_millis(10);
/// A refused client gets so long to take its refusal.
const FAREWELL_MOST: Duration = Duration::from_secs(2);

/// One socket.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Bytes for the kernel; those before `sent` are with it.
    out: Vec<u8>,
    sent: usize,
    /// Came, and is to be read again or for the first time.
    unread: Vec<u8>,
    /// Why nothing can be read any more.
    failed: Option<io::Error>,
    /// When something came last.
    read_at: Instant,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr) -> Self {
        if let Err(error) = prepare(&tcp) {
            tracing::debug!(%peer, %error, "socket options");
        }
        Self {
            tcp,
            tls: None,
            out: Vec::new(),
            sent: 0,
            unread: Vec::new(),
            failed: None,
            read_at: Instant::now(),
        }
    }

    /// These bytes, which were read, begin TLS.
    pub(super) fn begin_tls(&mut self, config: Arc<ServerConfig>, first: &[u8]) -> io::Result<()> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        self.tls = Some(Box::new(tls));
        self.decipher(first)
    }

    /// It is in TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Nothing more can come of it.
    pub(super) fn fail(&mut self, error: io::Error) {
        self.failed = Some(error);
    }

    /// All that was queued is with the kernel.
    pub(super) fn flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Queues bytes.
    pub(super) fn queue(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        let before = self.out.len();
        if let Some(tls) = &mut self.tls {
            let mut plain = Vec::new();
            fill(&mut plain);
            // Neither can fail: there is no limit to either buffer.
            let _ = tls.writer().write_all(&plain);
            while tls.wants_write() && tls.write_tls(&mut self.out).is_ok() {}
        } else {
            fill(&mut self.out);
        }
        self.out.len() > before
    }

    /// Writes what is queued, as much as the kernel takes now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.tcp.try_write(&self.out[self.sent..]) {
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
        loop {
            if !self.unread.is_empty() {
                let count = self.unread.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.unread[..count]);
                self.unread.drain(..count);
                return Ok(Some(count));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            let count = match self.tcp.try_read(buffer) {
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) => return Err(e),
            };
            self.acknowledge(count);
            if self.tls.is_none() || count == 0 {
                return Ok(Some(count));
            }
            self.decipher(&buffer[..count])?;
        }
    }

    /// The host may hold a keystroke's echo back until what it sent before it is acknowledged (Nagle's
    /// rule, which QEMU and ESXi keep), and the kernel waits 40 ms with that: not then. A serial port's
    /// bulk, handfuls of bytes one after another, is better gathered.
    fn acknowledge(&mut self, count: usize) {
        let now = Instant::now();
        let pause = now.duration_since(std::mem::replace(&mut self.read_at, now));
        if pause >= TYPED_AFTER && (1..TYPED_BYTES).contains(&count) {
            // Without it, it only takes longer.
            let _ = sockopt::set_tcp_quickack(&self.tcp, true);
        }
    }

    /// Was read too early: the next read brings it again.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.unread.splice(0..0, bytes.iter().copied());
    }

    /// Takes TLS's bytes; what they hold is read next, what is answered is queued.
    fn decipher(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let mut result = Ok(());
        while !bytes.is_empty() && result.is_ok() {
            if tls.read_tls(&mut bytes)? == 0 {
                break;
            }
            match tls.process_new_packets() {
                // The end without word of the end is told by the socket itself.
                Ok(_) => match tls.reader().read_to_end(&mut self.unread) {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => result = Err(e),
                    Ok(_) | Err(_) => {}
                },
                Err(e) => result = Err(io::Error::other(e)),
            }
        }
        // An alert says why, also after an error.
        while tls.wants_write() {
            tls.write_tls(&mut self.out)?;
        }
        if result.is_err() {
            let _ = self.flush();
        }
        result
    }

    /// Waits until it can be read (if wanted), or written (if something is queued).
    pub(super) async fn moved(&self, reading: bool) -> io::Result<()> {
        if reading && !self.unread.is_empty() {
            return Ok(());
        }
        let interest = match (reading, self.out.is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => Interest::WRITABLE,
            (false, true) => return std::future::pending().await,
        };
        self.tcp.ready(interest).await.map(|_| ())
    }

    /// Ends it so that what was queued is delivered.
    pub(super) async fn end(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() && tls.write_tls(&mut self.out).is_ok() {}
        }
        if self.flush().is_err() || self.tcp.shutdown().await.is_err() {
            return;
        }
        // Closed with input unread, the kernel would take the last word back.
        let mut rest = [0; 256];
        let read = async { while matches!(self.tcp.read(&mut rest).await, Ok(1..)) {} };
        let _ = timeout(FAREWELL_MOST, read).await;
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    // Keystrokes and acknowledgements must not wait for each other.
    sockopt::set_tcp_nodelay(tcp, true)?;
    // A host that lost its power says nothing: the kernel asks, and gives up what it does not take.
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_AGAIN)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVES)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    let most = KEEPALIVE + KEEPALIVE_AGAIN * KEEPALIVES;
    sockopt::set_tcp_user_timeout(tcp, u32::try_from(most.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
