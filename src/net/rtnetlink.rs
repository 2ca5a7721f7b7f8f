//! Requests to the kernel to change interfaces, addresses and routes: `rtnetlink(7)`,
//! linux/rtnetlink.h, linux/if_addr.h. Numbers are in this machine's order, addresses in the network's.

use std::net::IpAddr;

use super::netlink::{ACKNOWLEDGE, Attributes, CREATE, Messages, REPLACE};
use crate::config::model::IpNet;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const UP: u32 = 1;
const LINK_MTU: u16 = 4;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;
/// No duplicate address detection: whoever gives us an address has made sure of it, and a second without an
/// address is long.
const NO_DAD: u32 = 2;
const ROUTE_TO: u16 = 1;
const ROUTE_DEVICE: u16 = 4;
const ROUTE_VIA: u16 = 5;
const TABLE_MAIN: u8 = 254;
/// Who has made the route: an administrator.
const BY_STATIC: u8 = 4;
const SCOPE_ANYWHERE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const UNICAST: u8 = 1;
/// The gateway is on this link, though no address says so.
const ON_LINK: u32 = 4;

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface goes up, with this MTU where one is given.
    Up {
        /// The interface.
        index: u32,
        /// Bytes.
        mtu: Option<u32>,
    },
    /// An interface gets an address. One that it has stays.
    AddAddress {
        /// The interface.
        index: u32,
        /// The address.
        net: IpNet,
    },
    /// An interface loses an address, and the routes that go with it.
    RemoveAddress {
        /// The interface.
        index: u32,
        /// The address.
        net: IpNet,
    },
    /// A route; of two to the same network the later one stays.
    AddRoute(Route),
    /// No such route any more.
    RemoveRoute(Route),
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub index: u32,
    /// Where to; a prefix of 0 bits is everywhere.
    pub to: IpNet,
    /// Through whom; none: they are neighbours.
    pub via: Option<IpAddr>,
    /// That one is a neighbour, though no address says so.
    pub on_link: bool,
}

/// The request for a change, as it is sent.
pub fn request(change: &Change) -> Vec<u8> {
    let mut message = Messages::default();
    let made = ACKNOWLEDGE | CREATE | REPLACE;
    match change {
        Change::Up { index, mtu } => message.add(NEW_LINK, ACKNOWLEDGE, |to| {
            to.raw(&[0; 4]);
            for number in [*index, UP, UP] {
                to.raw(&number.to_ne_bytes());
            }
            if let Some(mtu) = mtu {
                to.bytes(LINK_MTU, &mtu.to_ne_bytes());
            }
        }),
        Change::AddAddress { index, net } => {
            message.add(NEW_ADDRESS, made, |to| address(to, *index, net))
        }
        Change::RemoveAddress { index, net } => {
            message.add(DELETE_ADDRESS, ACKNOWLEDGE, |to| address(to, *index, net))
        }
        Change::AddRoute(route) => message.add(NEW_ROUTE, made, |to| way(to, route)),
        Change::RemoveRoute(route) => message.add(DELETE_ROUTE, ACKNOWLEDGE, |to| way(to, route)),
    }
    .take()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// `AF_INET`, `AF_INET6`.
const fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn address(to: &mut Attributes<'_>, index: u32, net: &IpNet) {
    to.raw(&[family(net.address), net.prefix, 0, SCOPE_ANYWHERE]);
    to.raw(&index.to_ne_bytes());
    let bytes = octets(net.address);
    to.bytes(ADDRESS_LOCAL, &bytes);
    to.bytes(ADDRESS_ADDRESS, &bytes);
    match net.broadcast() {
        Some(broadcast) => to.bytes(ADDRESS_BROADCAST, &broadcast.octets()),
        None if net.address.is_ipv6() => to.bytes(ADDRESS_FLAGS, &NO_DAD.to_ne_bytes()),
        None => {}
    }
}

fn way(to: &mut Attributes<'_>, route: &Route) {
    let net = route.to.network();
    let scope = route.via.map_or(SCOPE_LINK, |_| SCOPE_ANYWHERE);
    let flags = if route.on_link { ON_LINK } else { 0 };
    to.raw(&[family(net.address), net.prefix, 0, 0]);
    to.raw(&[TABLE_MAIN, BY_STATIC, scope, UNICAST]);
    to.raw(&flags.to_ne_bytes());
    if net.prefix > 0 {
        to.bytes(ROUTE_TO, &octets(net.address));
    }
    if let Some(via) = route.via {
        to.bytes(ROUTE_VIA, &octets(via));
    }
    to.bytes(ROUTE_DEVICE, &route.index.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// As `strace ip …` of iproute2 shows them, without numbers and with our flags.
    #[test]
    fn requests_are_as_the_kernel_reads_them() {
        assert_eq!(
            request(&Change::Up {
                index: 2,
                mtu: Some(1400)
            }),
            [
                40, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, // header
                0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // ifinfomsg
                8, 0, 4, 0, 120, 5, 0, 0,
            ]
        );
        assert_eq!(
            request(&Change::AddAddress {
                index: 2,
                net: net("10.0.2.15/24")
            }),
            [
                48, 0, 0, 0, 20, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, // header
                2, 24, 0, 0, 2, 0, 0, 0, // ifaddrmsg
                8, 0, 2, 0, 10, 0, 2, 15, 8, 0, 1, 0, 10, 0, 2, 15, 8, 0, 4, 0, 10, 0, 2, 255,
            ]
        );
        let everywhere = Route {
            index: 2,
            to: net("0.0.0.0/0"),
            via: Some("10.0.2.2".parse().unwrap()),
            on_link: true,
        };
        assert_eq!(
            request(&Change::AddRoute(everywhere)),
            [
                44, 0, 0, 0, 24, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, // header
                2, 0, 0, 0, 254, 4, 0, 1, 4, 0, 0, 0, // rtmsg
                8, 0, 5, 0, 10, 0, 2, 2, 8, 0, 4, 0, 2, 0, 0, 0,
            ]
        );
    }

    #[test]
    fn a_v6_address_is_used_at_once() {
        let bytes = request(&Change::AddAddress {
            index: 1,
            net: net("fd00::2/64"),
        });
        assert_eq!(bytes.len(), 16 + 8 + 20 + 20 + 8);
        assert!(bytes.ends_with(&[8, 0, 8, 0, 2, 0, 0, 0]));
    }

    #[test]
    fn a_route_goes_to_the_network_of_an_address() {
        let route = Route {
            index: 3,
            to: net("172.16.9.9/16"),
            via: None,
            on_link: false,
        };
        let bytes = request(&Change::AddRoute(route));
        assert!(
            bytes
                .windows(8)
                .any(|part| part == [8, 0, 1, 0, 172, 16, 0, 0])
        );
        assert_eq!(bytes[16 + 6], SCOPE_LINK);
    }
}
