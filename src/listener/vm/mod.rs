//! The task of one VM's connection: socket → link → store → acknowledgement → socket.
//!
//! A task that waits holds no buffers: reading and storing happen without a wait in between, so
//! all connections of a thread share theirs. What a read brought is stored with one write before
//! anything of it is acknowledged. When the store fails, nothing is read until it has taken what
//! is there: the VM's own buffers fill, then its processes wait.

mod intake;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use self::intake::Brought;
use super::clock::{Monotonic, now_ns};
use super::container::{Absence, Connection, Container};
use super::execs::Execs;
use super::keys::Keys;
use super::registry::Registry;
use super::store::Batch;
use crate::link::{Link, Options};

/// Bytes taken from a VM's socket at a time.
const READ_BYTES: usize = 128 * 1024;
/// Reads in a row before other tasks get their turn.
const READS_IN_A_ROW: u32 = 16;
/// Bytes prepared for a VM's socket at a time.
const SEND_BYTES: usize = 32 * 1024;
/// An empty buffer keeps at most this capacity, in bytes.
const IDLE_BYTES: usize = 2 * 1024;
/// Bytes of stdin that the link keeps per session until acknowledged.
const LINK_BYTES: usize = 64 * 1024;
/// A connection that has not become a VM's in this time is closed. Long: a VM connects its serial
/// port when it is switched on, and its guest may then boot, check disks and wait for networks.
const SILENT_MOST: Duration = Duration::from_secs(15 * 60);
/// Pause before a failed write to the store is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Shortest sleep: a deadline that has just passed must not make the task spin.
const SLEEP_LEAST: Duration = Duration::from_millis(1);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

#[derive(Default)]
struct Scratch {
    input: Vec<u8>,
    batch: Batch,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The containers.
    pub registry: Registry,
    /// Processes that clients have added.
    pub execs: Execs,
    /// The links' clock.
    pub clock: Monotonic,
    /// A VM without link is given up after this.
    pub lost_after: Duration,
    /// The VMs' link keys.
    pub keys: Keys,
    /// VMs without a link key are let in, where none is known of them.
    pub allow_plain: bool,
}

impl Shared {
    /// Gives a VM up when its absence has lasted too long.
    pub fn expect_back(&self, container: &Arc<Container>, absence: Absence) {
        let (container, wait) = (Arc::clone(container), self.lost_after);
        tokio::spawn(async move {
            sleep(wait).await;
            container.give_up(absence, now_ns());
        });
    }
}

/// Serves one connection until it ends.
pub async fn serve(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    // Keystrokes and acknowledgements must not wait for each other.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY");
    }
    let options = Options {
        buffer: LINK_BYTES,
        ..Options::default()
    };
    let mut task = Task {
        socket,
        link: Link::listener(nonce(), options),
        out: Vec::new(),
        sent: 0,
        connection: Connection::new(peer),
        container: None,
        unstored: None,
        in_trouble: false,
        opened: shared.clock.now(),
        shared,
    };
    let end = task.run().await;
    let Task {
        shared,
        connection,
        container,
        ..
    } = task;
    let Some(container) = container else {
        tracing::debug!(%peer, %end, "connection closed; it never became a VM's");
        return;
    };
    tracing::info!(id = container.id(), %peer, %end, "VM's connection closed");
    if let Some(absence) = container.disconnected(&connection, now_ns()) {
        shared.expect_back(&container, absence);
    }
}

/// Why a connection was closed.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the other side closed it")]
    Closed,
    #[error("a newer connection of the VM replaced it, or the container was removed")]
    Replaced,
    #[error("no VM spoke on it for {} seconds", SILENT_MOST.as_secs())]
    Silent,
    #[error("{0}")]
    Io(#[from] io::Error),
}

struct Task {
    socket: TcpStream,
    link: Link,
    /// Bytes for the socket; those before `sent` are on their way.
    out: Vec<u8>,
    sent: usize,
    connection: Arc<Connection>,
    container: Option<Arc<Container>>,
    /// What the store did not take.
    unstored: Option<Box<Brought>>,
    in_trouble: bool,
    opened: Duration,
    shared: Arc<Shared>,
}

impl Task {
    async fn run(&mut self) -> End {
        match self.work().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn work(&mut self) -> Result<std::convert::Infallible, End> {
        let mut reads = 0;
        loop {
            self.transmit()?;
            if self.connection.closed() {
                return Err(End::Replaced);
            }
            let reading = self.unstored.is_none();
            if reading && self.read()? {
                reads += 1;
                if reads % READS_IN_A_ROW == 0 {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let interest = match (reading, self.out.is_empty()) {
                (true, true) => Some(Interest::READABLE),
                (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
                (false, false) => Some(Interest::WRITABLE),
                (false, true) => None,
            };
            let deadline = self.deadline()?;
            tokio::select! {
                ready = ready(&self.socket, interest) => ready?,
                () = self.connection.wake.notified() => {}
                () = sleep_until(deadline) => self.retry(),
            }
        }
    }

    /// When to come back without being woken.
    fn deadline(&self) -> Result<Instant, End> {
        let now = self.shared.clock.now();
        let mut deadline = now + SILENT_MOST;
        if self.container.is_none() {
            deadline = self.opened + SILENT_MOST;
            if deadline <= now {
                return Err(End::Silent);
            }
        }
        // While bytes wait for the socket the link has nothing to add.
        if let Some(timeout) = self.link.poll_timeout().filter(|_| self.out.is_empty()) {
            deadline = deadline.min(timeout);
        }
        if self.unstored.is_some() {
            deadline = deadline.min(now + RETRY_PAUSE);
        }
        Ok(self.shared.clock.at(deadline.max(now + SLEEP_LEAST)))
    }

    /// Writes what the link and the clients have for the VM, as much as the socket takes now.
    fn transmit(&mut self) -> Result<(), End> {
        loop {
            if self.out.is_empty() {
                if let Some(container) = &self.container {
                    container.feed(&self.connection, &mut self.link, LINK_BYTES);
                }
                let now = self.shared.clock.now();
                self.link.poll_transmit(now, &mut self.out, SEND_BYTES);
                self.take_events_alone();
            }
            if self.out.is_empty() {
                return Ok(());
            }
            match self.socket.try_write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            if self.sent == self.out.len() {
                self.out.clear();
                self.sent = 0;
                if self.out.capacity() > IDLE_BYTES {
                    self.out = Vec::new();
                }
            }
        }
    }

    /// One read, down to the acknowledgement. False: there is nothing to read now.
    fn read(&mut self) -> Result<bool, End> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.input.resize(READ_BYTES, 0);
            let count = match self.socket.try_read(&mut scratch.input) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e.into()),
            };
            let now = self.shared.clock.now();
            self.link.handle_input(now, &scratch.input[..count]);
            self.take_events(&mut scratch.batch);
            Ok(true)
        })
    }

    fn take_events_alone(&mut self) {
        // What the clock brings (a lost link) carries no data.
        SCRATCH.with_borrow_mut(|scratch| self.take_events(&mut scratch.batch));
    }
}

async fn ready(socket: &TcpStream, interest: Option<Interest>) -> io::Result<()> {
    match interest {
        Some(interest) => socket.ready(interest).await.map(|_| ()),
        None => std::future::pending().await,
    }
}

fn nonce() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_le_bytes(bytes),
        // Old kernels before their pool is ready: the clock differs per connection, which is what
        // telling one connection from another needs.
        Ok(_) | Err(_) => now_ns(),
    }
}
