//! The addresses of a network that is to be made: those that are asked for, or some that no other has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Wish;
use crate::config::model::IpNet;
use crate::provider::Network;

/// Where the network of a machine's own is, which leads outside.
const OUTSIDE: IpNet = IpNet {
    address: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 0)),
    prefix: 24,
};
/// Bits of the smallest and the largest network.
const PREFIX: std::ops::RangeInclusive<u8> = 8..=29;

/// A network, as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// Its addresses; none: some that no other has.
    pub subnet: Option<IpNet>,
    /// The addresses that are given out.
    pub range: Option<IpNet>,
    /// The host's own; none: the first.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses that are given to nobody, by names.
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Nothing leads outside.
    pub internal: bool,
    /// Docker's labels.
    pub labels: BTreeMap<String, String>,
}

/// A network's addresses: those that are asked for, or the first that no other has.
pub(super) fn lay_out(
    new: NewNetwork,
    others: &[IpNet],
    id: String,
    now_ns: u64,
) -> Result<Network, Wish> {
    let overlaps = |one: &IpNet| {
        let all = others.iter().chain([&OUTSIDE]);
        let meets = |other: &IpNet| one.contains(other.address) || other.contains(one.address);
        all.clone().any(meets)
    };
    let subnet = match new.subnet {
        Some(subnet) => {
            if !subnet.address.is_ipv4() || !PREFIX.contains(&subnet.prefix) {
                return Err(Wish::Refused(format!(
                    "subnet {subnet} is not possible: networks are of IPv4, of {} to {} bits",
                    PREFIX.start(),
                    PREFIX.end()
                )));
            }
            if subnet.network() != subnet {
                return Err(Wish::Bad(format!(
                    "invalid subnet {subnet}: it should be {}",
                    subnet.network()
                )));
            }
            if overlaps(&subnet) {
                return Err(Wish::Bad(
                    "invalid pool request: Pool overlaps with other one on this address space"
                        .into(),
                ));
            }
            subnet
        }
        None => pools().find(|pool| !overlaps(pool)).ok_or_else(|| {
            Wish::Bad("all predefined address pools have been fully subnetted".into())
        })?,
    };
    let inside = |what: &str, address: IpAddr| {
        let text = format!("no matching subnet for {what} {address}");
        if subnet.contains(address) {
            Ok(())
        } else {
            Err(Wish::Bad(text))
        }
    };
    let first = match subnet.address {
        IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) + 1),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let gateway = new.gateway.unwrap_or(first);
    inside("gateway", gateway.into())?;
    if let Some(range) = new.range {
        inside("range", range.address)?;
    }
    for address in new.reserved.values() {
        inside("address", (*address).into())?;
    }
    Ok(Network {
        id,
        name: new.name,
        created_ns: now_ns,
        subnet,
        range: new.range,
        gateway,
        reserved: new.reserved,
        internal: new.internal,
        labels: new.labels,
    })
}

/// Docker's pools.
fn pools() -> impl Iterator<Item = IpNet> {
    let net = |a, b, c, prefix| IpNet {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)),
        prefix,
    };
    let large = (18..=31).map(move |b| net(172, b, 0, 16));
    large.chain((0..=240).step_by(16).map(move |c| net(192, 168, c, 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn new(subnet: Option<&str>) -> NewNetwork {
        NewNetwork {
            name: "back".into(),
            subnet: subnet.map(net),
            ..NewNetwork::default()
        }
    }

    fn subnet(new: NewNetwork, others: &[&str]) -> Result<String, Wish> {
        let others: Vec<IpNet> = others.iter().map(|text| net(text)).collect();
        lay_out(new, &others, "id".into(), 1).map(|one| format!("{} {}", one.subnet, one.gateway))
    }

    #[test]
    fn networks_do_not_overlap() {
        assert_eq!(
            subnet(new(None), &[]),
            Ok("172.18.0.0/16 172.18.0.1".into())
        );
        let next = subnet(new(None), &["172.18.0.0/16", "172.19.5.0/24"]);
        assert_eq!(next, Ok("172.20.0.0/16 172.20.0.1".into()));
        let all: Vec<String> = (18..=31).map(|b| format!("172.{b}.0.0/16")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(
            subnet(new(None), &all),
            Ok("192.168.0.0/20 192.168.0.1".into())
        );
        for (asked, others) in [
            ("10.9.0.0/16", vec!["10.9.3.0/24"]),
            ("10.9.3.0/24", vec!["10.9.0.0/16"]),
            // A machine's own.
            ("10.0.0.0/8", vec![]),
            ("10.0.2.0/25", vec![]),
        ] {
            let told = subnet(new(Some(asked)), &others);
            assert!(
                matches!(told, Err(Wish::Bad(text)) if text.contains("overlaps")),
                "{asked}"
            );
        }
    }

    #[test]
    fn a_network_that_makes_no_sense_is_refused() {
        for wrong in ["10.9.0.1/16", "10.9.0.0/30", "fd00::/64"] {
            assert!(subnet(new(Some(wrong)), &[]).is_err(), "{wrong}");
        }
        let mut outside = new(Some("10.9.0.0/24"));
        outside.gateway = Some(Ipv4Addr::new(10, 8, 0, 1));
        assert!(subnet(outside, &[]).is_err());
        let mut own = new(Some("10.9.0.0/24"));
        own.gateway = Some(Ipv4Addr::new(10, 9, 0, 254));
        assert_eq!(subnet(own, &[]), Ok("10.9.0.0/24 10.9.0.254".into()));
    }
}
