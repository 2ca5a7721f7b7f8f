//! A lease in another process's hands.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::{Client, Lease, State};
use crate::config::model::IpNet;
use crate::frozen::{Record, Writer};

/// Fields of a client.
const LEASE: u8 = 1;
const SINCE: u8 = 2;
/// Fields of a lease.
const ADDRESS: u8 = 1;
const SERVER: u8 = 2;
const GATEWAY: u8 = 3;
const ROUTE: u8 = 4;
const NAMESERVER: u8 = 5;
const DOMAIN: u8 = 6;
const MTU: u8 = 7;
const TIME: u8 = 8;
/// Fields of a route.
const TO: u8 = 1;
const VIA: u8 = 2;

impl Client {
    /// Writes the lease, if there is one: a conversation that has not come to one begins anew.
    pub fn freeze(&self, to: &mut Writer) {
        if let State::Bound(lease, since) = &self.state {
            to.record(LEASE, |to| freeze(lease, to));
            to.time(SINCE, *since);
        }
    }

    /// A new client goes on with the lease that was frozen, which comes back.
    pub fn thaw(&mut self, from: Record<'_>) -> Option<Lease> {
        let lease = thaw(from.record(LEASE)?)?;
        let since = from.time(SINCE);
        let renewal = lease.times.map(|[renew, ..]| since.saturating_add(renew));
        self.state = State::Bound(Box::new(lease.clone()), since);
        self.next = renewal;
        Some(lease)
    }
}

fn freeze(lease: &Lease, to: &mut Writer) {
    to.bytes(ADDRESS, lease.address.to_string().as_bytes());
    to.bytes(SERVER, &lease.server.octets());
    if let Some(gateway) = lease.gateway {
        to.bytes(GATEWAY, &gateway.octets());
    }
    for (net, via) in &lease.routes {
        to.record(ROUTE, |to| {
            to.bytes(TO, net.to_string().as_bytes());
            to.bytes(VIA, &via.octets());
        });
    }
    for server in &lease.nameservers {
        to.bytes(NAMESERVER, &server.octets());
    }
    to.bytes(DOMAIN, lease.domain.as_bytes());
    to.number(MTU, lease.mtu.unwrap_or_default());
    for time in lease.times.iter().flatten() {
        to.bytes(TIME, &time.as_secs().to_le_bytes());
    }
}

fn thaw(from: Record<'_>) -> Option<Lease> {
    let times = from.all(TIME).filter_map(|bytes| bytes.first_chunk());
    let times: Vec<Duration> = times
        .map(|bytes| Duration::from_secs(u64::from_le_bytes(*bytes)))
        .collect();
    let routes = from.records(ROUTE);
    Some(Lease {
        address: net(from, ADDRESS)?,
        server: address(from.bytes(SERVER))?,
        gateway: address(from.bytes(GATEWAY)),
        routes: routes
            .filter_map(|route| Some((net(route, TO)?, address(route.bytes(VIA))?)))
            .collect(),
        nameservers: from.all(NAMESERVER).filter_map(address).collect(),
        domain: from.text(DOMAIN),
        mtu: from.maybe(MTU),
        times: times.try_into().ok(),
    })
}

fn net(from: Record<'_>, field: u8) -> Option<IpNet> {
    from.text(field).parse().ok()
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_the_same_afterwards_and_so_is_its_renewal() {
        let least = Lease {
            address: "10.0.0.7/24".parse().expect("a net"),
            server: Ipv4Addr::new(10, 0, 0, 1),
            gateway: None,
            routes: Vec::new(),
            nameservers: Vec::new(),
            domain: String::new(),
            mtu: None,
            times: None,
        };
        let most = Lease {
            gateway: Some(Ipv4Addr::new(10, 0, 0, 2)),
            routes: vec![("10.9.0.0/16".parse().expect("a net"), Ipv4Addr::UNSPECIFIED)],
            nameservers: vec![Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(9, 9, 9, 9)],
            domain: "example.org".into(),
            mtu: Some(1400),
            times: Some([100, 200, 300].map(Duration::from_secs)),
            ..least.clone()
        };
        let now = Duration::from_secs(50);
        for lease in [least, most] {
            let mut client = Client::new([2; 6], "one", 1, now);
            client.state = State::Bound(Box::new(lease.clone()), now);
            let mut to = Writer::default();
            client.freeze(&mut to);
            let bytes = to.done();
            let mut other = Client::new([2; 6], "one", 2, now);
            assert_eq!(other.thaw(Record::new(&bytes)), Some(lease.clone()));
            let renewal = lease.times.map(|_| Duration::from_secs(150));
            assert_eq!(other.timeout(), renewal);
        }
    }

    #[test]
    fn without_a_lease_it_asks_anew() {
        let now = Duration::from_secs(5);
        let mut client = Client::new([2; 6], "one", 1, now);
        let mut to = Writer::default();
        client.freeze(&mut to);
        let bytes = to.done();
        assert_eq!(client.thaw(Record::new(&bytes)), None);
        assert_eq!(client.timeout(), Some(now));
    }
}
