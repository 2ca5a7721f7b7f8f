//! A DHCPv4 client (RFC 2131) for one interface: from nothing to a lease, and the lease kept.
//!
//! It probes nobody's address before it takes it: that is a second or more in the way of every start,
//! and the server's to know.

mod freeze;
mod message;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::Duration;

use self::message::{Answer, Kind, Question};
use crate::config::model::IpNet;

/// UDP ports of both sides.
pub const SERVER_PORT: u16 = 67;
/// See [`SERVER_PORT`].
pub const CLIENT_PORT: u16 = 68;

/// The first question is asked again after this, and each later one after twice as long: a link that has
/// just come up often loses the first.
const FIRST_AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(16);
/// A server that has made an offer and does not keep it is given up after so many questions.
const REQUESTS_MOST: u32 = 6;
/// While there is a lease it is asked again in half of the time that is left, and not before.
const RENEWAL_LEAST: Duration = Duration::from_secs(60);

/// What a server lets an interface have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpNet,
    /// Who has it to give.
    pub server: Ipv4Addr,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Ways to some networks, through a router; one of 0.0.0.0 is a neighbour.
    pub routes: Vec<(IpNet, Ipv4Addr)>,
    /// Who knows names.
    pub nameservers: Vec<Ipv4Addr>,
    /// What names are in.
    pub domain: String,
    /// Bytes that a packet may have.
    pub mtu: Option<u16>,
    /// From its beginning until it is renewed, renewed by anybody, and over; none: it never ends.
    pub times: Option<[Duration; 3]>,
}

/// A datagram to be sent from [`CLIENT_PORT`] to [`SERVER_PORT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom; the broadcast address while there is no lease.
    pub to: Ipv4Addr,
    /// What.
    pub bytes: Vec<u8>,
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a lease; or it is another one than before.
    Bound(Box<Lease>),
    /// It is over, and nobody has renewed it.
    Lost,
}

#[derive(Debug)]
enum State {
    /// Everybody is asked.
    Selecting,
    /// The one who has offered this is asked.
    Requesting(Box<Lease>),
    /// There is a lease, since then.
    Bound(Box<Lease>, Duration),
}

/// The client.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    hostname: String,
    state: State,
    began: Duration,
    /// Number of the current conversation.
    number: u32,
    /// Questions asked in it without an answer.
    asked: u32,
    /// When the next question is due.
    next: Option<Duration>,
    /// What the last server that refused has said.
    refusal: String,
    random: u64,
}

impl Client {
    /// A client that asks at once. `random`: different for each start of each machine.
    pub fn new(mac: [u8; 6], hostname: &str, random: u64, now: Duration) -> Self {
        let mut client = Self {
            mac,
            hostname: hostname.to_owned(),
            state: State::Selecting,
            began: now,
            number: 0,
            asked: 0,
            next: None,
            refusal: String::new(),
            random,
        };
        client.begin(now);
        client
    }

    /// When [`Client::poll`] has something to do if nothing comes before.
    pub fn timeout(&self) -> Option<Duration> {
        self.next
    }

    /// Why there is no lease yet, where a server has said.
    pub fn refusal(&self) -> &str {
        &self.refusal
    }

    /// What is due now: a question, an event, or both.
    pub fn poll(&mut self, now: Duration) -> (Option<Transmit>, Option<Event>) {
        if self.next.is_none_or(|next| now < next) {
            return (None, None);
        }
        let mut event = None;
        match &self.state {
            State::Requesting(_) if self.asked >= REQUESTS_MOST => self.begin(now),
            State::Bound(lease, since) if left(lease, *since, now, 2).is_zero() => {
                event = Some(Event::Lost);
                self.begin(now);
            }
            State::Selecting | State::Requesting(_) | State::Bound(..) => {}
        }
        let transmit = self.question(now);
        self.next = self.next_question(now);
        (Some(transmit), event)
    }

    /// Takes a datagram that has come to [`CLIENT_PORT`].
    pub fn receive(&mut self, now: Duration, bytes: &[u8]) -> Option<Event> {
        let answer = Answer::from_bytes(bytes, self.number, self.mac)?;
        match (answer.kind, &self.state) {
            (Kind::Offer, State::Selecting) => {
                self.state = State::Requesting(Box::new(answer.lease?));
                self.asked = 0;
                self.next = Some(now);
                None
            }
            (Kind::Ack, State::Requesting(offer)) if answer.server == Some(offer.server) => {
                self.bind(now, answer.lease?)
            }
            (Kind::Ack, State::Bound(..)) if self.asked > 0 => self.bind(now, answer.lease?),
            (Kind::Nak, State::Requesting(offer)) if answer.server == Some(offer.server) => {
                self.refuse(now, answer.text);
                None
            }
            (Kind::Nak, State::Bound(..)) if self.asked > 0 => {
                self.refuse(now, answer.text);
                Some(Event::Lost)
            }
            _ => None,
        }
    }

    /// Gives the lease back: what is to be sent. The client has nothing more to do.
    pub fn release(&mut self) -> Option<Transmit> {
        self.next = None;
        let State::Bound(lease, _) = &self.state else {
            return None;
        };
        let (server, address) = (lease.server, v4(lease.address));
        let question = Question {
            server: Some(server),
            ..self.plain(Kind::Release, Some(address))
        };
        Some(Transmit {
            to: server,
            bytes: question.to_bytes(),
        })
    }

    fn begin(&mut self, now: Duration) {
        self.state = State::Selecting;
        self.began = now;
        self.renumber();
        self.next = Some(now);
    }

    /// A new conversation.
    fn renumber(&mut self) {
        self.number = u32::try_from(self.draw() >> 32).unwrap_or_default();
        self.asked = 0;
    }

    fn bind(&mut self, now: Duration, lease: Lease) -> Option<Event> {
        // The time runs from the question on, which is not much earlier.
        let before = std::mem::replace(&mut self.state, State::Bound(Box::new(lease.clone()), now));
        self.renumber();
        self.next = lease.times.map(|[renew, ..]| now.saturating_add(renew));
        self.refusal.clear();
        match before {
            State::Bound(before, _) if *before == lease => None,
            _ => Some(Event::Bound(Box::new(lease))),
        }
    }

    fn refuse(&mut self, now: Duration, text: String) {
        self.refusal = text;
        self.begin(now);
        // Not at once: it may well refuse again.
        self.next = Some(now.saturating_add(self.jitter(FIRST_AGAIN)));
    }

    fn question(&mut self, now: Duration) -> Transmit {
        self.asked = self.asked.saturating_add(1);
        let elapsed = now.saturating_sub(self.began);
        let (to, question) = match &self.state {
            State::Selecting => (Ipv4Addr::BROADCAST, self.plain(Kind::Discover, None)),
            State::Requesting(offer) => {
                let question = Question {
                    requested: Some(v4(offer.address)),
                    server: Some(offer.server),
                    ..self.plain(Kind::Request, None)
                };
                (Ipv4Addr::BROADCAST, question)
            }
            State::Bound(lease, since) => {
                let anybody = left(lease, *since, now, 1).is_zero();
                let to = if anybody {
                    Ipv4Addr::BROADCAST
                } else {
                    lease.server
                };
                (to, self.plain(Kind::Request, Some(v4(lease.address))))
            }
        };
        let question = Question {
            elapsed,
            ..question
        };
        Transmit {
            to,
            bytes: question.to_bytes(),
        }
    }

    fn plain(&self, kind: Kind, address: Option<Ipv4Addr>) -> Question<'_> {
        Question {
            kind,
            number: self.number,
            elapsed: Duration::ZERO,
            mac: self.mac,
            address,
            requested: None,
            server: None,
            hostname: &self.hostname,
        }
    }

    /// After the one that is asked now.
    fn next_question(&mut self, now: Duration) -> Option<Duration> {
        let wait = match &self.state {
            State::Selecting | State::Requesting(_) => {
                let doubled = FIRST_AGAIN.saturating_mul(1 << self.asked.saturating_sub(1).min(10));
                self.jitter(doubled.min(AGAIN_MOST))
            }
            State::Bound(lease, since) => {
                let (to_anybody, to_end) =
                    (left(lease, *since, now, 1), left(lease, *since, now, 2));
                let phase = if to_anybody.is_zero() {
                    to_end
                } else {
                    to_anybody
                };
                (phase / 2).max(RENEWAL_LEAST).min(phase)
            }
        };
        Some(now.saturating_add(wait))
    }

    /// Up to a quarter more: machines that start together do not ask together.
    fn jitter(&mut self, wait: Duration) -> Duration {
        let part = u32::try_from(self.draw() >> 56).unwrap_or_default();
        wait.saturating_add(wait.saturating_mul(part) / 1024)
    }

    /// A well-mixed number (splitmix64); nothing here is secret.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn v4(net: IpNet) -> Ipv4Addr {
    match net.address {
        std::net::IpAddr::V4(address) => address,
        // A lease has none.
        std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

/// Until one of a lease's times; for ever where it has none.
fn left(lease: &Lease, since: Duration, now: Duration, which: usize) -> Duration {
    let time = lease.times.and_then(|times| times.get(which).copied());
    time.map_or(Duration::MAX, |time| {
        since.saturating_add(time).saturating_sub(now)
    })
}
