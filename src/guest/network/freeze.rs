//! The network in another process's hands: the interfaces stay as they are, a lease goes on being renewed.

use std::io;

use super::attached::Attached;
use super::nic::Interface;
use super::{Network, given};
use crate::config::model::ContainerVm;
use crate::frozen::{Record, Writer};
use crate::guest::event_loop::{EventLoop, Interest, Token, now};
use crate::net::dhcp::{CLIENT_PORT, Client};
use crate::plan::network as plan;
use crate::sys::datagram::Datagrams;
use crate::sys::netlink::Asking;
use crate::sys::random;

/// Fields of the network.
const HOSTNAME: u8 = 1;
const ENDPOINT: u8 = 2;
/// Fields of an endpoint.
const NAME: u8 = 1;
const INTERFACE: u8 = 2;
const INDEX: u8 = 3;
const MAC: u8 = 4;
const DHCP: u8 = 5;

impl Network {
    /// Writes what is not configured.
    pub fn freeze(&self, to: &mut Writer) {
        to.bytes(HOSTNAME, self.hostname.as_bytes());
        for one in &self.attached {
            to.record(ENDPOINT, |to| {
                to.bytes(NAME, one.endpoint.name.as_bytes());
                if let Some(interface) = &one.interface {
                    to.bytes(INTERFACE, interface.name.as_bytes());
                    to.number(INDEX, interface.index);
                    to.bytes(MAC, &interface.mac);
                }
                if let Some((client, _)) = &one.dhcp {
                    to.record(DHCP, |to| client.freeze(to));
                }
            });
        }
    }

    /// The network that was frozen, of this machine.
    ///
    /// # Errors
    /// A socket cannot be opened again.
    pub fn thaw(from: Record<'_>, vm: &ContainerVm, events: &EventLoop) -> io::Result<Self> {
        let hostname = from.text(HOSTNAME);
        let mut attached = Vec::new();
        for endpoint in plan::endpoints(vm) {
            let mut one = Attached::new(endpoint);
            let name = one.endpoint.name.as_bytes();
            let known = from.records(ENDPOINT).find(|one| one.bytes(NAME) == name);
            if let Some(known) = known {
                one.thaw(known, &hostname, events)?;
            }
            attached.push(one);
        }
        Ok(Self {
            routing: Asking::routing().ok(),
            hostname,
            domain: vm.domainname.clone(),
            names: vm.names.clone(),
            attached,
            furnished: true,
            news: false,
        })
    }
}

impl Attached {
    fn thaw(&mut self, from: Record<'_>, hostname: &str, events: &EventLoop) -> io::Result<()> {
        let Some(mac) = from.bytes(MAC).first_chunk() else {
            return Ok(());
        };
        let interface = Interface {
            name: from.text(INTERFACE),
            index: from.number(INDEX),
            mac: *mac,
        };
        self.in_use = self.endpoint.in_use(None);
        if let Some(known) = from.record(DHCP) {
            let socket = Datagrams::open(&interface.name, CLIENT_PORT)?;
            events.watch(&socket, Token::Dhcp, Interest::Readable)?;
            let random = random::different_each_boot();
            let mut client = Client::new(interface.mac, hostname, random, now());
            let lease = client.thaw(known);
            let lease = lease.as_ref().map(given);
            self.in_use = lease.and_then(|lease| self.endpoint.in_use(Some(&lease)));
            self.dhcp = Some((client, socket));
        }
        self.interface = Some(interface);
        Ok(())
    }
}
