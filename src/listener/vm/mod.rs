//! The task of one VM's connection: socket → link → store → acknowledgement → socket.
//!
//! A task that waits holds no buffers: reading and storing happen without a wait in between, so
//! all connections of a thread share theirs. What a read brought is stored with one write before
//! anything of it is acknowledged. When the store fails, nothing is read until it has taken what
//! is there: the VM's own buffers fill, then its processes wait.

mod carrier;
mod direct;
mod intake;
mod moving;
mod socket;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use self::carrier::Carrier;
use self::direct::DirectStream;
use self::intake::Brought;
pub use self::moving::Moves;
use self::moving::Moving;
use super::clock::{Monotonic, now_ns, wall_at_zero};
use super::container::{Absence, Connection, Container, Origin};
use super::execs::Execs;
use super::keys::Keys;
use super::last_words;
use super::machines::Machines;
use super::metrics::Counters;
use super::registry::Registry;
use super::store::Batch;
use super::strangers::{Stranger, Strangers};
use super::tls::Tls;
use super::vspc::Told;
use crate::link::{Link, Options};

/// Bytes taken from a VM's socket at a time.
const READ_BYTES: usize = 128 * 1024;
/// Reads in a row before other tasks get their turn.
const READS_IN_A_ROW: u32 = 16;
/// Bytes prepared for a VM's socket at a time.
const SEND_BYTES: usize = 32 * 1024;
/// Bytes of stdin that the link keeps per session until acknowledged.
const LINK_BYTES: usize = 64 * 1024;
/// A connection that has not become a VM's in this time is closed. Long: a VM connects its serial
/// port when it is switched on, and its guest may then boot, check disks and wait for networks.
const SILENT_MOST: Duration = Duration::from_secs(15 * 60);
/// A VM behind a proxy that has not asked for its service by then is none.
const SERVICE_MOST: Duration = Duration::from_secs(10);
/// What a telnet client is told.
const NO_TERMINAL: &str = "\r\nThis port is for the serial ports of virtual machines. To attach to a \
                           container, use `vch attach ID` on the appliance.\r\n";
/// Pause before a failed write to the store is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A log into which nothing has come for so long is closed.
const REST_AFTER: Duration = Duration::from_secs(1);
/// A kernel's panic counts when no frame has come for so long after it.
const PANIC_BELIEVED: Duration = Duration::from_secs(2);
/// Shortest sleep: a deadline that has just passed must not make the task spin.
const SLEEP_LEAST: Duration = Duration::from_millis(1);

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

#[derive(Default)]
struct Scratch {
    input: Vec<u8>,
    /// The line's own bytes, where they are not the input itself.
    data: Vec<u8>,
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
    /// vMotions under way.
    pub moves: Moves,
    /// The listener's certificate.
    pub tls: Tls,
    /// What has happened.
    pub counters: Counters,
    /// Connections that are no VM's yet.
    pub strangers: Arc<Strangers>,
    /// Where the appliance makes VMs itself: them and their images.
    pub machines: Option<Arc<Machines>>,
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
pub async fn serve(socket: TcpStream, peer: SocketAddr, stranger: Stranger, shared: Arc<Shared>) {
    let options = Options {
        buffer: LINK_BYTES,
        ..Options::default()
    };
    // Boxed, so that its future is small: what lives is the task, and not the room for its parts after it.
    let mut task = Box::new(Task {
        carrier: Carrier::new(socket, peer, shared.clock.now()),
        link: Link::listener(nonce(), options),
        connection: Connection::new(peer),
        container: None,
        stranger: Some(stranger),
        moving: None,
        direct: Vec::new(),
        unstored: None,
        in_trouble: false,
        stored_at: None,
        panic_at: None,
        shared,
    });
    let end = task.run().await;
    let Task {
        carrier,
        link,
        shared,
        connection,
        container,
        moving,
        ..
    } = *task;
    shared.counters.ended.add(1);
    if let Some(moving) = moving {
        shared.moves.end(&moving);
    }
    if let Some(container) = container {
        let peer = connection.origin().peer;
        tracing::info!(id = container.id(), %peer, %end, "VM's connection closed");
        if let Some(absence) = container.disconnected(&connection, link.last_noise(), now_ns()) {
            shared.expect_back(&container, absence);
        }
        return;
    }
    tracing::debug!(%peer, %end, "connection closed; it never became a VM's");
    match end {
        End::Telnet => Box::pin(carrier.refuse(NO_TERMINAL)).await,
        End::Peer(cookie) => shared.moves.join(&cookie, carrier),
        _ => {}
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
    #[error("a telnet client, no VM")]
    Telnet,
    #[error("it is a moved VM's, with this cookie")]
    Peer(Vec<u8>),
    #[error("{0}")]
    Io(#[from] io::Error),
}

struct Task {
    carrier: Carrier,
    link: Link,
    connection: Arc<Connection>,
    container: Option<Arc<Container>>,
    /// Until the first VM has proved itself on it.
    stranger: Option<Stranger>,
    /// The VM's vMotion, from the go-ahead on.
    moving: Option<Box<Moving>>,
    /// Streams that go past the store.
    direct: Vec<DirectStream>,
    /// What the store did not take.
    unstored: Option<Box<Brought>>,
    in_trouble: bool,
    /// When something was stored last; `None`: the log is closed.
    stored_at: Option<Duration>,
    /// When a kernel's panic was read.
    panic_at: Option<Duration>,
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
            self.meet();
            self.flush_arriving();
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
            let deadline = self.deadline()?;
            tokio::select! {
                moved = self.carrier.moved(reading), if !self.has_left() => self.ended_old(moved)?,
                _ = Moving::moved(self.moving.as_deref(), reading) => {}
                () = self.connection.wake.notified() => {}
                () = sleep_until(deadline) => {
                    self.retry();
                    self.rest();
                    self.believe_panic();
                }
            }
        }
    }

    /// A container could print a panic on the port, but its link would go on.
    fn believe_panic(&mut self) {
        if let Some(container) = &self.container
            && let Some(at) = self.panic_at
            && self.shared.clock.now() >= at + PANIC_BELIEVED
        {
            container.panicked(&self.connection, self.link.last_noise(), now_ns());
            self.panic_at = None;
        }
    }

    /// An idle VM holds no descriptor of its log.
    fn rest(&mut self) {
        if let Some(container) = &self.container
            && let Some(stored) = self.stored_at
            && self.shared.clock.now() >= stored + REST_AFTER
        {
            container.rest(&self.connection);
            self.stored_at = None;
        }
    }

    /// When to come back without being woken.
    fn deadline(&mut self) -> Result<Instant, End> {
        let now = self.shared.clock.now();
        let mut deadline = now + SILENT_MOST;
        if self.container.is_none() {
            deadline = self.carrier.opened() + SILENT_MOST;
            if deadline <= now {
                return Err(End::Silent);
            }
        }
        match (self.carrier.ready(now), self.carrier.flushed()) {
            // While bytes wait for the socket the link has nothing to add.
            (Ok(()), true) if self.moving.is_none() => {
                if let Some(timeout) = self.link.poll_timeout() {
                    deadline = deadline.min(timeout);
                }
            }
            (Err(Some(ready)), _) => deadline = deadline.min(ready),
            // A VM behind a proxy asks for its service at once.
            (Err(None), _) => {
                let limit = self.carrier.opened() + SERVICE_MOST;
                if limit <= now {
                    return Err(End::Telnet);
                }
                deadline = deadline.min(limit);
            }
            _ => {}
        }
        if let Some(stored) = self.stored_at {
            deadline = deadline.min(stored + REST_AFTER);
        }
        if let Some(at) = self.panic_at {
            deadline = deadline.min(at + PANIC_BELIEVED);
        }
        if let Some(limit) = self.move_limit(now)? {
            deadline = deadline.min(limit);
        }
        if self.unstored.is_some() {
            deadline = deadline.min(now + RETRY_PAUSE);
        }
        Ok(self.shared.clock.at(deadline.max(now + SLEEP_LEAST)))
    }

    /// Writes what the link and the clients have for the VM, as much as the socket takes now.
    fn transmit(&mut self) -> Result<(), End> {
        loop {
            let filled = self.carrier.flushed() && self.fill();
            if !self.has_left() {
                let flushed = self.carrier.flush(self.shared.clock.now());
                self.ended_old(flushed)?;
            }
            if !filled || !self.carrier.flushed() {
                return Ok(());
            }
        }
    }

    /// Queues what the link has to say. While the VM moves, that waits.
    fn fill(&mut self) -> bool {
        let now = self.shared.clock.now();
        if self.moving.is_some() || self.carrier.ready(now).is_err() {
            return false;
        }
        if let Some(container) = &self.container {
            if let Some(number) = self.connection.take_question() {
                self.link.ask(number);
            }
            container.feed(&self.connection, &mut self.link, LINK_BYTES);
        }
        if !self.direct.is_empty() {
            self.acknowledge_direct();
        }
        // Anew each time: this machine's own clock may be set.
        self.link.tell_time(wall_at_zero(now));
        let (link, sent) = (&mut self.link, &self.shared.counters.sent);
        let filled = self.carrier.queue(|out| {
            let before = out.len();
            link.poll_transmit(now, out, SEND_BYTES);
            sent.add((out.len() - before) as u64);
        });
        self.take_events_alone();
        filled
    }

    /// One read, down to the acknowledgement. False: there is nothing to read now.
    fn read(&mut self) -> Result<bool, End> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.input.resize(READ_BYTES, 0);
            if !self.has_left() && self.read_line(scratch)? {
                return Ok(true);
            }
            Ok(self.read_arriving(scratch))
        })
    }

    fn read_line(&mut self, scratch: &mut Scratch) -> Result<bool, End> {
        let count = match self.carrier.read(&mut scratch.input) {
            Ok(Some(0)) => return self.ended_old(Err(End::Closed)),
            Ok(Some(count)) => count,
            Ok(None) => return Ok(false),
            Err(error) => return self.ended_old(Err(error)),
        };
        let now = self.shared.clock.now();
        let mut input = &scratch.input[..count];
        while !input.is_empty() {
            let (taken, data, told) =
                self.carrier
                    .take(input, &mut scratch.data, &self.shared.tls, now);
            input = &input[taken..];
            if !data.is_empty() {
                self.shared.counters.received.add(data.len() as u64);
                self.link.handle_input(now, data);
                if last_words::panic(self.link.last_noise()).is_some() {
                    self.panic_at = Some(now);
                }
                self.take_events(&mut scratch.batch);
                self.heard(now);
                let link = &self.link;
                self.connection.heard(link.answered(), link.peer_up_ms());
            }
            match told {
                None => {}
                Some(Told::Declined) => return Err(End::Telnet),
                Some(Told::Peer(cookie)) => {
                    self.carrier.unread(input);
                    return Err(End::Peer(cookie));
                }
                Some(Told::About) => self.introduce(),
                Some(Told::Begin(sequence)) => self.begin_move(sequence, now),
                Some(Told::Abort) => self.stay("it was aborted"),
                // Of a vMotion that this connection has nothing to do with.
                Some(Told::Complete(_)) => {}
            }
        }
        Ok(true)
    }

    /// Where the VM calls from, and what its host says of the port, is shown with the container.
    fn introduce(&mut self) {
        let (peer, tls) = (self.carrier.peer, self.carrier.is_tls());
        let serial_port = self.carrier.vspc().map(|port| port.about().clone());
        self.connection.comes_from(Origin {
            peer,
            tls,
            serial_port,
        });
    }

    fn take_events_alone(&mut self) {
        // What the clock brings (a lost link) carries no data.
        SCRATCH.with_borrow_mut(|scratch| self.take_events(&mut scratch.batch));
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
