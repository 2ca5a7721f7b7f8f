//! The container's network: begun before the disk is looked for, so that a DHCP server answers meanwhile,
//! and waited for before the first process.

mod attached;
mod error;
mod files;
mod freeze;
mod nic;
mod report;

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use rustix::io::Errno;

use self::attached::Attached;
pub use self::error::NetworkError;
use self::files::File;
use super::disk;
use super::event_loop::{EventLoop, Interest, Token, now};
use super::host::Host;
use super::machine::Machine;
use crate::config::model::{ContainerVm, TrustLevel};
use crate::config::names::Names;
use crate::net::dhcp::{CLIENT_PORT, Client, Event, Lease, SERVER_PORT};
use crate::net::firewall::{self, Guarded};
use crate::net::rtnetlink::{self, Change, Route};
use crate::net::{netlink, nftables};
use crate::plan::network::{self as plan, Given, InUse};
use crate::sys::datagram::Datagrams;
use crate::sys::inside::Inside;
use crate::sys::netlink::Asking;
use crate::sys::random;

/// How long an interface or a DHCP server may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Where there are no announcements of devices, they are looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The kernel's own number for the loopback interface.
const LOOPBACK: u32 = 1;
/// Longest DHCP message, and more than the kernel answers to a change.
const MOST: usize = 1500;

/// All endpoints.
#[derive(Debug, Default)]
pub struct Network {
    routing: Option<Asking>,
    hostname: String,
    domain: String,
    names: Names,
    attached: Vec<Attached>,
    /// The container's files are to follow what changes.
    furnished: bool,
    /// Something has changed that the listener is to know.
    news: bool,
}

/// Begins: the loopback goes up, fixed addresses are there when this returns, others are asked for.
///
/// # Errors
/// The kernel refuses an address or a route.
pub fn begin(machine: &mut Machine, vm: &ContainerVm, hostname: &str) -> Result<(), NetworkError> {
    let routing = Asking::routing().inspect_err(|error| log::warn!("no network: {error}"));
    let mut network = Network {
        routing: routing.ok(),
        hostname: hostname.to_owned(),
        domain: vm.domainname.clone(),
        names: vm.names.clone(),
        attached: Vec::new(),
        furnished: false,
        news: false,
    };
    let up = Change::Up {
        index: LOOPBACK,
        mtu: None,
    };
    if let Err(error) = network.change(&up) {
        log::warn!("the loopback interface stays down: {error}");
    }
    network.attached = plan::endpoints(vm).into_iter().map(Attached::new).collect();
    machine.network = network;
    let Machine {
        network,
        events,
        host,
        ..
    } = machine;
    network.attach(events, host)
}

/// Waits until each endpoint has its address.
///
/// # Errors
/// One of them does not get it in time, or the machine is to stop.
pub fn wait_for_addresses(machine: &mut Machine) -> Result<(), NetworkError> {
    match machine.network.missing() {
        Some(_) => wait(machine),
        None => Ok(()),
    }
}

/// The same, and lets the container know.
///
/// # Errors
/// As [`wait_for_addresses`].
pub fn settle(machine: &mut Machine, root: &Inside) -> Result<(), NetworkError> {
    wait_for_addresses(machine)?;
    let network = &mut machine.network;
    network.furnished = true;
    network.tell();
    files::write(File::Hostname, &format!("{}\n", network.hostname));
    files::mount(root, File::Hosts);
    files::mount(root, File::Hostname);
    // Where nobody is known who knows names, the image's own may be as good.
    if network.knows_names() {
        files::mount(root, File::ResolvConf);
    }
    Ok(())
}

fn wait(machine: &mut Machine) -> Result<(), NetworkError> {
    let limit = now().saturating_add(LIMIT);
    // Before the next look: what comes after it is announced.
    let uevents = disk::subscribe(machine);
    let waited = loop {
        let Machine {
            network,
            events,
            host,
            ..
        } = machine;
        network.attach(events, host)?;
        let Some(missing) = network.missing() else {
            break Ok(());
        };
        if let Some(stopping) = &machine.stopping {
            break Err(NetworkError::Stopped {
                name: missing.endpoint.name.clone(),
                reason: stopping.reason.clone(),
            });
        }
        if now() >= limit {
            break Err(missing.reason());
        }
        let until = match uevents {
            Some(_) => limit,
            None => limit.min(now().saturating_add(LOOK_AGAIN)),
        };
        machine.turn(Some(until));
        if let Some(uevents) = &uevents
            && machine.take_uevents()
        {
            // Whatever it was: all are looked for again.
            while matches!(uevents.next(&mut [0; MOST]), Ok(Some(_))) {}
        }
    };
    if let Some(uevents) = &uevents
        && let Err(error) = machine.events.unwatch(uevents)
    {
        log::warn!("unwatching the kernel's device events: {error}");
    }
    waited
}

impl Network {
    /// When there is something to do if nothing comes before.
    pub fn timeout(&self) -> Option<Duration> {
        let clients = self.attached.iter().filter_map(|one| one.dhcp.as_ref());
        clients.filter_map(|(client, _)| client.timeout()).min()
    }

    /// Takes what DHCP servers have sent, and asks what is due.
    pub fn turn(&mut self, host: &mut Host, now: Duration) {
        for place in 0..self.attached.len() {
            while let Some(event) = self.attached.get_mut(place).and_then(|one| one.turn(now)) {
                let Some(one) = self.attached.get(place) else {
                    return;
                };
                let in_use = match event {
                    Event::Bound(lease) => {
                        self.set_mtu(one, lease.mtu);
                        one.endpoint.in_use(Some(&given(&lease)))
                    }
                    Event::Lost => None,
                };
                if let Err(error) = self.apply(place, in_use, host) {
                    log::error!("{error}");
                    // What the kernel refuses is not in use: nothing starts on it.
                    if let Some(one) = self.attached.get_mut(place) {
                        one.in_use = None;
                    }
                }
                self.tell();
            }
        }
    }

    fn set_mtu(&self, one: &Attached, mtu: Option<u16>) {
        let (Some(mtu), Some(interface)) = (mtu, &one.interface) else {
            return;
        };
        let up = Change::Up {
            index: interface.index,
            mtu: Some(mtu.into()),
        };
        if let Err(error) = self.change(&up) {
            log::warn!("MTU {mtu} of {}: {error}", interface.name);
        }
    }

    /// Gives leased addresses back: this machine does not come again with them.
    pub fn release(&mut self) {
        for (client, socket) in self.attached.iter_mut().filter_map(|one| one.dhcp.as_mut()) {
            if let Some(transmit) = client.release() {
                let to = SocketAddrV4::new(transmit.to, SERVER_PORT);
                if let Err(error) = socket.send(&transmit.bytes, to) {
                    log::debug!("DHCP: {error}");
                }
            }
        }
    }

    /// True once after each change.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// All endpoints and their addresses, in a line.
    pub fn describe(&self) -> Option<String> {
        let one = |one: &Attached| {
            let (interface, in_use) = (one.interface.as_ref()?, one.in_use.as_ref()?);
            let by = if one.dhcp.is_some() { " by DHCP" } else { "" };
            Some(format!(
                "{}: {} on {}{by}",
                one.endpoint.name, in_use.address, interface.name
            ))
        };
        let all: Vec<String> = self.attached.iter().filter_map(one).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Puts every endpoint that is not yet on its interface there, where that has come up.
    fn attach(&mut self, events: &EventLoop, host: &mut Host) -> Result<(), NetworkError> {
        for place in 0..self.attached.len() {
            let taken = self
                .attached
                .iter()
                .filter_map(|one| one.interface.as_ref());
            let taken: Vec<u32> = taken.map(|interface| interface.index).collect();
            let Some(one) = self
                .attached
                .get(place)
                .filter(|one| one.interface.is_none())
            else {
                continue;
            };
            let Some(interface) = nic::find(one.endpoint.nic, &taken) else {
                continue;
            };
            let fixed = one.endpoint.in_use(None);
            let up = Change::Up {
                index: interface.index,
                mtu: None,
            };
            if let Some(one) = self.attached.get_mut(place) {
                one.interface = Some(interface.clone());
            }
            // Before the first packet can come.
            self.guard()
                .map_err(self.refused(place, "put up the firewall"))?;
            self.change(&up).map_err(self.refused(place, "set it up"))?;
            let dhcp = match fixed {
                Some(_) => None,
                None => {
                    let ask = Datagrams::open(&interface.name, CLIENT_PORT).and_then(|socket| {
                        events.watch(&socket, Token::Dhcp, Interest::Readable)?;
                        Ok(socket)
                    });
                    let random = random::different_each_boot();
                    let client = Client::new(interface.mac, &self.hostname, random, now());
                    Some((
                        client,
                        ask.map_err(self.refused(place, "ask for an address"))?,
                    ))
                }
            };
            if let Some(one) = self.attached.get_mut(place) {
                one.dhcp = dhcp;
            }
            if fixed.is_some() {
                self.apply(place, fixed, host)?;
            }
        }
        // The first questions do not wait for a turn.
        self.turn(host, now());
        Ok(())
    }

    /// An endpoint that has no address yet.
    fn missing(&self) -> Option<&Attached> {
        self.attached.iter().find(|one| one.in_use.is_none())
    }

    /// From what an endpoint used to what it uses now.
    fn apply(
        &mut self,
        place: usize,
        in_use: Option<InUse>,
        host: &mut Host,
    ) -> Result<(), NetworkError> {
        let Some(one) = self.attached.get_mut(place) else {
            return Ok(());
        };
        let Some(interface) = one.interface.clone() else {
            return Ok(());
        };
        let name = one.endpoint.name.clone();
        let is_peer = one.endpoint.trust == TrustLevel::Peers;
        self.news = true;
        let before = std::mem::replace(&mut one.in_use, in_use.clone());
        let route = |used: &InUse, (to, via): &(_, Option<IpAddr>)| Route {
            index: interface.index,
            to: *to,
            via: *via,
            on_link: via.is_some_and(|via| !used.address.contains(via)),
        };
        if let Some(before) = &before {
            let kept = in_use.as_ref().map(|in_use| in_use.address);
            let gone = before.routes.iter().filter(|way| {
                !in_use
                    .as_ref()
                    .is_some_and(|in_use| in_use.routes.contains(way))
            });
            let mut changes: Vec<Change> = gone
                .map(|way| Change::RemoveRoute(route(before, way)))
                .collect();
            if kept != Some(before.address) {
                changes.push(Change::RemoveAddress {
                    index: interface.index,
                    net: before.address,
                });
            }
            for change in changes {
                if let Err(error) = self.change(&change) {
                    log::debug!("network {name:?}: {change:?}: {error}");
                }
            }
        }
        let Some(in_use) = in_use else {
            log::error!(
                "network {name:?}: the address on {} is lost",
                interface.name
            );
            return Ok(());
        };
        let add = Change::AddAddress {
            index: interface.index,
            net: in_use.address,
        };
        if is_peer {
            self.guard()
                .map_err(self.refused(place, "put up the firewall"))?;
        }
        self.change(&add)
            .map_err(self.refused(place, &format!("set the address {}", in_use.address)))?;
        for way in &in_use.routes {
            self.change(&Change::AddRoute(route(&in_use, way)))
                .map_err(self.refused(place, &format!("set the route to {}", way.0)))?;
        }
        log::info!("network {name:?}: {} on {}", in_use.address, interface.name);
        host.address(&name, &in_use.address);
        Ok(())
    }

    fn knows_names(&self) -> bool {
        let mut used = self.attached.iter().filter_map(|one| one.in_use.as_ref());
        used.any(|one| !one.nameservers.is_empty())
    }

    /// It was configured.
    fn is_fixed(&self, address: IpAddr) -> bool {
        let mut configured = self.attached.iter().filter_map(|one| one.endpoint.address);
        configured.any(|own| own.address == address)
    }

    /// Writes the files of the container that name addresses.
    fn tell(&self) {
        if !self.furnished {
            return;
        }
        let used = self.attached.iter().filter_map(|one| one.in_use.as_ref());
        let used: Vec<&InUse> = used.collect();
        // Those that were given to it by name come first: others know it by them.
        let (fixed, given): (Vec<&InUse>, Vec<&InUse>) = used
            .iter()
            .partition(|one| self.is_fixed(one.address.address));
        let addresses = fixed.iter().chain(&given).map(|one| one.address.address);
        let addresses: Vec<IpAddr> = addresses.collect();
        let given = used.iter().map(|one| one.domain.as_str());
        let domain = given.fold(self.domain.as_str(), |known, domain| {
            if known.is_empty() { domain } else { known }
        });
        files::write(
            File::Hosts,
            &plan::hosts(&self.hostname, domain, &addresses, &self.names),
        );
        if !self.attached.is_empty() {
            let servers: Vec<IpAddr> = used
                .iter()
                .flat_map(|one| one.nameservers.clone())
                .collect();
            files::write(
                File::ResolvConf,
                &plan::resolv_conf(&servers, domain, &self.names),
            );
        }
    }

    /// The kernel refuses an action on an endpoint's interface.
    fn refused(&self, place: usize, action: &str) -> impl FnOnce(io::Error) -> NetworkError {
        move |cause| {
            let one = self.attached.get(place);
            let interface = one.and_then(|one| one.interface.as_ref());
            NetworkError::Kernel {
                name: one.map(|one| one.endpoint.name.clone()).unwrap_or_default(),
                action: action.to_owned(),
                interface: interface
                    .map(|interface| interface.name.clone())
                    .unwrap_or_default(),
                cause,
            }
        }
    }

    /// The rules of all endpoints that have an interface; nothing where all are open.
    fn guard(&self) -> io::Result<()> {
        let guarded = self.attached.iter().filter_map(|one| {
            Some(Guarded {
                interface: one.interface.as_ref()?.index,
                trust: one.endpoint.trust,
                ports: &one.endpoint.ports,
                net: one.in_use.as_ref().map(|in_use| in_use.address),
                dhcp: one.endpoint.address.is_none(),
            })
        });
        let rules = firewall::rules(&guarded.collect::<Vec<_>>());
        if rules.is_empty() {
            return Ok(());
        }
        let netfilter = Asking::netfilter()?;
        let mut buffer = [0; MOST];
        let mut answer = netfilter.ask(&nftables::transaction(&rules), &mut buffer)?;
        loop {
            if let Some(Err(number)) = netlink::answer(answer) {
                return Err(io::Error::from_raw_os_error(number));
            }
            match netfilter.next(&mut buffer)? {
                Some(next) => answer = next,
                None => return Ok(()),
            }
        }
    }

    fn change(&self, change: &Change) -> io::Result<()> {
        let routing = self.routing.as_ref().ok_or(Errno::AFNOSUPPORT)?;
        let mut buffer = [0; MOST];
        let answer = routing.ask(&rtnetlink::request(change), &mut buffer)?;
        match netlink::answer(answer) {
            Some(Ok(())) => Ok(()),
            Some(Err(number)) => Err(io::Error::from_raw_os_error(number)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn given(lease: &Lease) -> Given {
    let routes = lease.routes.iter();
    Given {
        address: lease.address,
        gateway: lease.gateway.map(IpAddr::V4),
        routes: routes.map(|(to, via)| (*to, IpAddr::V4(*via))).collect(),
        nameservers: lease.nameservers.iter().copied().map(IpAddr::V4).collect(),
        domain: lease.domain.clone(),
    }
}
