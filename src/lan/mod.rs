//! A network that machines of one host share: a switch between them, and a host on it that knows their names (what
//! docker calls a user-defined network). Frames in, frames out: the owner has the sockets and the clock.
//!
//! ```text
//!  machine ──frames──▶ table ──▶ the other machines
//!                        └─────▶ gateway: ARP, echo, DNS ──▶ names ──▶ an answer, or a question for the servers outside
//! ```
//!
//! A machine's frames come over a stream, each behind its length: four bytes, big-endian (QEMU's `-netdev stream`).

mod gateway;
mod names;
mod table;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

pub use names::{Guest, Names};

use gateway::Gateway;
use table::{Table, To};

/// Bytes of the longest frame: what a machine's adapter hands over at most, its header included.
pub const FRAME_MOST: usize = 65_550;
/// An Ethernet header: two addresses, a type.
const HEADER: usize = 14;

/// A machine's place on the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(pub u64);

/// A hardware address.
type Mac = [u8; 6];

/// What the owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// Send this frame to the machine there.
    Frame(Port, Arc<[u8]>),
    /// Ask one of these servers; what it says goes to [`Lan::answered`].
    Ask(Question),
}

/// A question about a name that is not of this network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose answer it is to be.
    pub number: u64,
    /// Servers, the best first; none: the host's own.
    pub servers: Vec<IpAddr>,
    /// The DNS message.
    pub message: Vec<u8>,
}

/// A network's state.
#[derive(Debug)]
pub struct Lan {
    table: Table,
    gateway: Gateway,
    out: Vec<Out>,
}

impl Lan {
    /// A network of this name, on which the gateway has this address; `outside`: names that nobody here has are asked
    /// for elsewhere.
    pub fn new(name: &str, address: Ipv4Addr, prefix: u8, outside: bool) -> Self {
        Self {
            table: Table::default(),
            gateway: Gateway::new(name, address, prefix, outside),
            out: Vec::new(),
        }
    }

    /// Who is on it from now on.
    pub fn set_names(&mut self, names: Names) {
        self.gateway.names = names;
    }

    /// A machine has sent a frame. `now_ms` grows.
    pub fn frame(&mut self, from: Port, frame: &[u8], now_ms: u64) {
        let Some((to, source)) = addresses(frame) else {
            return;
        };
        // An address of many cannot be one machine's, and the gateway's is nobody else's.
        if is_group(source) || source == self.gateway.mac() {
            return;
        }
        self.table.learn(source, from, now_ms);
        let own = to == self.gateway.mac();
        if !own {
            self.send(Some(from), to, frame, now_ms);
        }
        if own || is_group(to) {
            self.gateway.receive(frame);
            self.turn(now_ms);
        }
    }

    /// A machine is there.
    pub fn joined(&mut self, port: Port) {
        self.table.join(port);
    }

    /// It is gone.
    pub fn left(&mut self, port: Port) {
        self.table.leave(port);
    }

    /// What a server has said to a question.
    pub fn answered(&mut self, number: u64, message: &[u8], now_ms: u64) {
        self.gateway.answered(number, message);
        self.turn(now_ms);
    }

    /// Nobody has said anything to a question: whoever has asked hears that.
    pub fn unanswered(&mut self, question: &Question, now_ms: u64) {
        if let Some(message) = names::failure(&question.message) {
            self.answered(question.number, &message, now_ms);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) {
        self.turn(now_ms);
    }

    /// Milliseconds until [`Lan::tick`] has something to do.
    pub fn due(&mut self, now_ms: u64) -> Option<u64> {
        self.gateway.due(now_ms)
    }

    /// What is to be done.
    pub fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    fn turn(&mut self, now_ms: u64) {
        self.gateway.turn(now_ms);
        for question in self.gateway.take_questions() {
            self.out.push(Out::Ask(question));
        }
        for frame in self.gateway.take_frames() {
            if let Some((to, _)) = addresses(&frame) {
                self.send(None, to, &frame, now_ms);
            }
        }
    }

    fn send(&mut self, from: Option<Port>, to: Mac, frame: &[u8], now_ms: u64) {
        let frame: Arc<[u8]> = frame.into();
        match self.table.find(to, from, now_ms) {
            To::One(port) => self.out.push(Out::Frame(port, frame)),
            To::All => {
                let others = self.table.ports().filter(|port| Some(*port) != from);
                let frames = others.map(|port| Out::Frame(port, Arc::clone(&frame)));
                self.out.extend(frames);
            }
            To::Nobody => {}
        }
    }
}

/// To and from; none: it is no frame.
fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    let header = frame.get(..HEADER)?;
    let to = header.first_chunk()?;
    let from = header.get(6..)?.first_chunk()?;
    Some((*to, *from))
}

/// An address of many, or of all (IEEE 802: the lowest bit of the first byte).
fn is_group(address: Mac) -> bool {
    let [first, ..] = address;
    first & 1 == 1
}

#[cfg(test)]
mod tests;
