//! The network as a VMware host is told of it.

use std::net::IpAddr;

use super::Network;
use super::attached::Attached;
use crate::backdoor::nic_info::{Address, Nic, NicInfo, Origin, Route};
use crate::link::NetworkEndpoint;

impl Network {
    /// All interfaces in use, with their addresses and routes.
    pub fn report(&self) -> NicInfo {
        let mut info = NicInfo {
            hostname: self.hostname.clone(),
            domain: self.domain.clone(),
            ..NicInfo::default()
        };
        let used = self.attached.iter().filter_map(|one| {
            let (interface, in_use) = (one.interface.as_ref()?, one.in_use.as_ref()?);
            Some((one, interface, in_use))
        });
        for (place, (one, interface, in_use)) in (0..).zip(used) {
            let origin = if is_given(one) {
                Origin::Dhcp
            } else {
                Origin::Manual
            };
            info.nics.push(Nic {
                mac: interface.mac,
                addresses: vec![Address {
                    address: in_use.address.address,
                    prefix: in_use.address.prefix,
                    origin: Some(origin),
                    preferred: true,
                }],
            });
            info.routes
                .extend(in_use.routes.iter().map(|(to, via)| Route {
                    to: (to.address, to.prefix),
                    via: *via,
                    nic: place,
                    metric: 0,
                }));
            let known = in_use.nameservers.iter();
            info.nameservers.extend(known);
        }
        info
    }

    /// The same for the listener.
    pub fn endpoints(&self) -> Vec<NetworkEndpoint> {
        let used = self.attached.iter().filter_map(|one| {
            let (interface, in_use) = (one.interface.as_ref()?, one.in_use.as_ref()?);
            let mut ways = in_use.routes.iter().filter(|(to, _)| to.prefix == 0);
            let gateway = ways.next().and_then(|(_, via)| *via);
            let mac = interface.mac.map(|byte| format!("{byte:02x}"));
            Some(NetworkEndpoint {
                name: one.endpoint.name.clone(),
                mac: mac.join(":"),
                address: in_use.address.to_string(),
                gateway: gateway.map(|via| via.to_string()).unwrap_or_default(),
                dhcp: is_given(one),
            })
        });
        used.collect()
    }

    /// The machine's address: that of its default route, where it has one.
    pub fn primary(&self) -> Option<IpAddr> {
        let used = || {
            self.attached
                .iter()
                .filter_map(|one| Some((one, one.in_use.as_ref()?)))
        };
        let leads_out =
            used().find(|(_, in_use)| in_use.routes.iter().any(|(to, _)| to.prefix == 0));
        let (_, in_use) = leads_out.or_else(|| used().next())?;
        Some(in_use.address.address)
    }

    /// The machine's name.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }
}

/// A DHCP server gave its address.
fn is_given(one: &Attached) -> bool {
    one.dhcp.is_some()
}
