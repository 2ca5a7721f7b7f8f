//! The host on a network that is none of its machines: it answers ARP and echo, and knows names. The IP stack is
//! smoltcp's.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket, UdpMetadata};
use smoltcp::time::Instant as Moment;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::names::{Names, Verdict};
use super::{Mac, Question};

/// Before its IP address in its hardware address: of those that anybody may give out.
const MAC_PREFIX: [u8; 2] = [0x02, 0x42];
/// DNS.
const DNS_PORT: u16 = 53;
/// Questions on their way outside; of more the oldest is forgotten.
const ASKED_MOST: usize = 512;
/// Datagrams that wait, and their bytes.
const DATAGRAMS_MOST: usize = 128;
const DATAGRAM_BYTES: usize = 128 << 10;
/// Bytes of an IP packet on this network.
const MTU: usize = 1500;
/// An Ethernet header.
const HEADER: usize = 14;

/// The gateway.
pub(super) struct Gateway {
    pub(super) names: Names,
    network: String,
    outside: bool,
    mac: Mac,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    dns: SocketHandle,
    /// Who has asked what is on its way outside.
    asked: BTreeMap<u64, UdpMetadata>,
    questions: Vec<Question>,
    number: u64,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("network", &self.network)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    pub(super) fn new(network: &str, address: Ipv4Addr, prefix: u8, outside: bool) -> Self {
        let ([a, b, c, d], [x, y]) = (address.octets(), MAC_PREFIX);
        let mac = [x, y, a, b, c, d];
        let mut wire = Wire::default();
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        let mut interface = Interface::new(config, &mut wire, Moment::from_millis(0));
        interface.update_ip_addrs(|addresses| {
            // The first of an empty list has room.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), prefix.min(32)));
        });
        let buffer = || {
            PacketBuffer::new(
                vec![PacketMetadata::EMPTY; DATAGRAMS_MOST],
                vec![0; DATAGRAM_BYTES],
            )
        };
        let mut socket = Socket::new(buffer(), buffer());
        // A socket that is new takes a port that is not 0.
        let _ = socket.bind(DNS_PORT);
        let mut sockets = SocketSet::new(Vec::new());
        let dns = sockets.add(socket);
        Self {
            names: Names::default(),
            network: network.to_owned(),
            outside,
            mac,
            interface,
            wire,
            sockets,
            dns,
            asked: BTreeMap::new(),
            questions: Vec::new(),
            number: 0,
        }
    }

    pub(super) fn mac(&self) -> Mac {
        self.mac
    }

    pub(super) fn receive(&mut self, frame: &[u8]) {
        self.wire.inbox.push_back(frame.to_vec());
    }

    pub(super) fn answered(&mut self, number: u64, message: &[u8]) {
        if let Some(to) = self.asked.remove(&number) {
            self.say(message, to);
        }
    }

    pub(super) fn turn(&mut self, now_ms: u64) {
        self.poll(now_ms);
        let mut heard = Vec::new();
        let socket = self.sockets.get_mut::<Socket<'_>>(self.dns);
        while let Ok((message, from)) = socket.recv() {
            heard.push((message.to_vec(), from));
        }
        if heard.is_empty() {
            return;
        }
        for (message, from) in heard {
            self.hear(message, from);
        }
        self.poll(now_ms);
    }

    pub(super) fn due(&mut self, now_ms: u64) -> Option<u64> {
        let delay = self.interface.poll_delay(at(now_ms), &self.sockets);
        delay.map(|delay| delay.total_millis())
    }

    pub(super) fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    pub(super) fn take_frames(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.wire.outbox)
    }

    fn poll(&mut self, now_ms: u64) {
        self.interface
            .poll(at(now_ms), &mut self.wire, &mut self.sockets);
    }

    fn hear(&mut self, message: Vec<u8>, from: UdpMetadata) {
        let IpAddress::Ipv4(by) = from.endpoint.addr;
        self.number += 1;
        let turn = usize::try_from(self.number).unwrap_or_default();
        match self
            .names
            .asked(&self.network, by, &message, self.outside, turn)
        {
            Verdict::Answer(answer) => self.say(&answer, from),
            Verdict::Ask(servers) => {
                if self.asked.len() >= ASKED_MOST {
                    self.asked.pop_first();
                }
                self.asked.insert(self.number, from);
                self.questions.push(Question {
                    number: self.number,
                    servers,
                    message,
                });
            }
            Verdict::Nothing => {}
        }
    }

    fn say(&mut self, message: &[u8], to: UdpMetadata) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.dns);
        // Whoever hears nothing asks again.
        let _ = socket.send_slice(message, to);
    }
}

fn at(now_ms: u64) -> Moment {
    Moment::from_millis(i64::try_from(now_ms).unwrap_or(i64::MAX))
}

/// Frames on their way into the stack, and out of it.
#[derive(Debug, Default)]
struct Wire {
    inbox: VecDeque<Vec<u8>>,
    outbox: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);

struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Moment) -> Option<(Rx, Tx<'_>)> {
        let frame = self.inbox.pop_front()?;
        Some((Rx(frame), Tx(&mut self.outbox)))
    }

    fn transmit(&mut self, _: Moment) -> Option<Tx<'_>> {
        Some(Tx(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut all = DeviceCapabilities::default();
        all.medium = Medium::Ethernet;
        all.max_transmission_unit = MTU + HEADER;
        all
    }
}

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let done = f(&mut frame);
        self.0.push(frame);
        done
    }
}
