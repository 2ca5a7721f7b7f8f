//! A container on networks that machines share: docker's endpoints → addresses, the machine's adapters and what its
//! guest is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fields::{Fields, Wish};
use super::ports::{NETWORK, forwarded};
use super::spec::Spec;
use crate::config::model::{IpNet, Network as Endpoint};
use crate::provider::vmx::{CABLES_MOST, NIC_SLOT, lan_slot};
use crate::provider::{Cable, Network, Wiring};

/// VMware's prefix for addresses that are given; the fourth byte is at most 3f.
const MAC_PREFIX: [u8; 3] = [0x00, 0x50, 0x56];

/// A network that a container is to be on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, its ID or the beginning of that.
    pub network: String,
    /// Other names of the container there.
    pub aliases: Vec<String>,
    /// The address that it wants.
    pub address: Option<Ipv4Addr>,
    /// The adapter's; empty: made from the address.
    pub mac: String,
}

/// A network that a container is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The network's ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The container's address, with the network's bits.
    pub address: IpNet,
    /// The network's own.
    pub gateway: Ipv4Addr,
    /// The adapter's.
    pub mac: String,
    /// Other names of the container there.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The address was asked for.
    #[serde(default)]
    pub fixed: bool,
    /// Nothing leads outside.
    #[serde(default)]
    pub internal: bool,
}

impl Wanted {
    /// Docker's endpoint configuration of a network.
    ///
    /// # Errors
    /// Something of it cannot be had.
    pub fn parse(network: &str, endpoint: &Value) -> Result<Self, Wish> {
        let fields = Fields::of("EndpointsConfig", endpoint)?;
        let no_ipam = Value::Null;
        let ipam = Fields::of("IPAMConfig", fields.value("IPAMConfig").unwrap_or(&no_ipam))?;
        let address = match ipam.text("IPv4Address")? {
            "" => None,
            text => {
                let bad = |_| Wish::Bad(format!("invalid IPv4 address: {text}"));
                Some(text.parse().map_err(bad)?)
            }
        };
        let mut aliases = fields.texts("Aliases")?.unwrap_or_default();
        aliases.retain(|alias| !alias.is_empty());
        let mac = fields.text("MacAddress")?;
        if !mac.is_empty() && !is_mac(mac) {
            return Err(Wish::Bad(format!("invalid MAC address: {mac}")));
        }
        // What a client copies from an endpoint that it was shown.
        for shown in [
            "NetworkID",
            "EndpointID",
            "DNSNames",
            "Gateway",
            "IPAddress",
            "IPPrefixLen",
        ] {
            fields.value(shown);
        }
        ipam.rest(
            &[],
            &[("IPv6Address", "is not possible: addresses are IPv4")],
        )?;
        fields.rest(
            &[],
            &[(
                "Links",
                "is not possible: a container has names of its own on a network (--network-alias)",
            )],
        )?;
        Ok(Self {
            network: network.to_owned(),
            aliases,
            address,
            mac: mac.to_ascii_lowercase(),
        })
    }
}

/// The network that is meant by a name, an ID, or the beginning of one.
pub(super) fn find<'a>(all: &'a [Network], wanted: &str) -> Option<&'a Network> {
    let by_name = all
        .iter()
        .find(|one| one.name == wanted || one.id == wanted);
    by_name.or_else(|| {
        let mut begins = all
            .iter()
            .filter(|one| !wanted.is_empty() && one.id.starts_with(wanted));
        begins.next().filter(|_| begins.next().is_none())
    })
}

/// Gives a container its place on a network. `taken`: the addresses that others have there.
///
/// # Errors
/// The address is not to be had, or there is no other.
pub(super) fn join(
    network: &Network,
    wanted: &Wanted,
    taken: &BTreeSet<Ipv4Addr>,
) -> Result<Joined, Wish> {
    let address = match wanted.address {
        Some(address) => {
            if !is_host(network, address) {
                return Err(Wish::Bad(format!(
                    "invalid address {address}: it is not a container's address in {} of network {}",
                    network.subnet, network.name
                )));
            }
            if taken.contains(&address) {
                return Err(Wish::Bad("Address already in use".into()));
            }
            address
        }
        None => free_address(network, taken).ok_or_else(|| {
            Wish::Bad(format!(
                "no available IPv4 addresses on network {}",
                network.name
            ))
        })?,
    };
    Ok(Joined {
        id: network.id.clone(),
        name: network.name.clone(),
        address: IpNet {
            address: IpAddr::V4(address),
            prefix: network.subnet.prefix,
        },
        gateway: network.gateway,
        mac: match wanted.mac.as_str() {
            "" => mac(&network.id, address),
            own => own.to_owned(),
        },
        aliases: wanted.aliases.clone(),
        fixed: wanted.address.is_some(),
        internal: network.internal,
    })
}

/// One machine's: `02:42:00:00:00:01`.
fn is_mac(text: &str) -> bool {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| {
            u8::from_str_radix(part, 16)
                .ok()
                .filter(|_| part.len() == 2)
        })
        .collect();
    matches!(bytes.as_deref(), Some([first, _, _, _, _, _]) if first & 1 == 0)
}

/// A container may have it.
fn is_host(network: &Network, address: Ipv4Addr) -> bool {
    let own = IpAddr::V4(address);
    network.subnet.contains(own)
        && address != network.gateway
        && !network.reserved.values().any(|one| *one == address)
        && own != network.subnet.network().address
        && Some(address) != network.subnet.broadcast()
}

/// The lowest that is free.
fn free_address(network: &Network, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let range = network.range.unwrap_or(network.subnet);
    let IpAddr::V4(first) = range.network().address else {
        return None;
    };
    let first = u32::from(first);
    let last = first
        | u32::MAX
            .checked_shr(u32::from(range.prefix))
            .unwrap_or_default();
    let mut all = (first..=last).map(Ipv4Addr::from);
    all.find(|address| is_host(network, *address) && !taken.contains(address))
}

/// Of an address on a network: no two machines there have the same, as long as its networks have 16 bits or fewer.
fn mac(network: &str, address: Ipv4Addr) -> String {
    let digest: [u8; 32] = Sha256::digest(network.as_bytes()).into();
    let ([a, b, c], [_, _, x, y], [own, ..]) = (MAC_PREFIX, address.octets(), digest);
    let own = own & 0x3f;
    format!("{a:02x}:{b:02x}:{c:02x}:{own:02x}:{x:02x}:{y:02x}")
}

/// The adapters of a container as it is remembered.
///
/// # Errors
/// They are too many, or ports are published where nothing leads outside.
pub(super) fn wiring(spec: &Spec) -> Result<Wiring, Wish> {
    let joined = &spec.networks;
    if joined.len() > CABLES_MOST {
        let text = format!("a machine has at most {CABLES_MOST} networks beside its own");
        return Err(Wish::Refused(text));
    }
    // Its own way out, unless all that it is on have none.
    let outside = spec.has_bridge() || joined.iter().any(|one| !one.internal);
    let ports = forwarded(&spec.ports);
    if !outside && !ports.is_empty() {
        return Err(Wish::Bad(
            "a container without a network that leads outside publishes no ports".into(),
        ));
    }
    // The server that knows most, which is one that asks outside; it asks those that the container wants, too.
    let resolver = joined.iter().find(|one| !one.internal).or(joined.first());
    let resolver = resolver.map(|one| one.gateway);
    let mut endpoints = BTreeMap::new();
    if outside {
        let servers = match resolver {
            Some(gateway) => vec![IpAddr::V4(gateway)],
            None => spec.servers(),
        };
        let own = Endpoint {
            slot: NIC_SLOT.to_owned(),
            name: NETWORK.to_owned(),
            network: NETWORK.to_owned(),
            default: true,
            nameservers: servers,
            ports: spec.ports.keys().cloned().collect(),
            ..Endpoint::default()
        };
        endpoints.insert(NETWORK.to_owned(), own);
    }
    for (place, one) in joined.iter().enumerate() {
        let resolves = resolver == Some(one.gateway);
        let endpoint = Endpoint {
            slot: lan_slot(place),
            name: one.name.clone(),
            network: one.name.clone(),
            address: Some(one.address),
            gateway: Some(IpNet {
                address: IpAddr::V4(one.gateway),
                prefix: one.address.prefix,
            }),
            internal: true,
            nameservers: resolves
                .then_some(IpAddr::V4(one.gateway))
                .into_iter()
                .collect(),
            ..Endpoint::default()
        };
        endpoints.insert(one.name.clone(), endpoint);
    }
    let cables = joined.iter().map(|one| Cable {
        network: one.id.clone(),
        mac: one.mac.clone(),
    });
    Ok(Wiring {
        outside,
        ports,
        cables: cables.collect(),
        endpoints,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn network(subnet: &str, range: Option<&str>) -> Network {
        let subnet: IpNet = subnet.parse().expect("a subnet");
        let IpAddr::V4(first) = subnet.network().address else {
            panic!("IPv4");
        };
        Network {
            id: "abc123".into(),
            name: "back".into(),
            created_ns: 0,
            subnet,
            range: range.map(|range| range.parse().expect("a range")),
            gateway: Ipv4Addr::from(u32::from(first) + 1),
            reserved: [("router".to_owned(), Ipv4Addr::new(172, 30, 5, 1))].into(),
            internal: false,
            labels: Default::default(),
        }
    }

    fn address(joined: Result<Joined, Wish>) -> String {
        joined.expect("an address").address.to_string()
    }

    #[test]
    fn the_lowest_free_address_is_given_and_never_the_network_s_own() {
        let network = network("10.9.0.0/29", None);
        let mut taken = BTreeSet::new();
        for expected in 2..=6 {
            let joined = join(&network, &Wanted::default(), &taken);
            assert_eq!(address(joined), format!("10.9.0.{expected}/29"));
            taken.insert(Ipv4Addr::new(10, 9, 0, expected));
        }
        let full = join(&network, &Wanted::default(), &taken);
        assert!(matches!(full, Err(Wish::Bad(text)) if text.contains("no available")));
        taken.remove(&Ipv4Addr::new(10, 9, 0, 4));
        assert_eq!(
            address(join(&network, &Wanted::default(), &taken)),
            "10.9.0.4/29"
        );
    }

    #[test]
    fn addresses_are_given_out_of_the_range_and_may_be_asked_for_elsewhere() {
        let network = network("172.30.0.0/16", Some("172.30.5.0/24"));
        let taken = BTreeSet::new();
        assert_eq!(
            address(join(&network, &Wanted::default(), &taken)),
            "172.30.5.0/16"
        );
        let wanted = |text: &str| Wanted {
            address: Some(text.parse().expect("an address")),
            ..Wanted::default()
        };
        assert_eq!(
            address(join(&network, &wanted("172.30.9.9"), &taken)),
            "172.30.9.9/16"
        );
        for wrong in [
            "172.30.0.0",
            "172.30.0.1",
            "172.30.5.1",
            "172.30.255.255",
            "172.31.0.2",
        ] {
            assert!(join(&network, &wanted(wrong), &taken).is_err(), "{wrong}");
        }
        let taken = BTreeSet::from([Ipv4Addr::new(172, 30, 9, 9)]);
        assert!(join(&network, &wanted("172.30.9.9"), &taken).is_err());
    }

    #[test]
    fn machines_of_a_network_have_adapters_of_their_own() {
        let one = mac("abc", Ipv4Addr::new(172, 18, 0, 2));
        assert_ne!(one, mac("abc", Ipv4Addr::new(172, 18, 1, 2)));
        assert_ne!(one, mac("abd", Ipv4Addr::new(172, 18, 0, 2)));
        assert!(
            one.starts_with("00:50:56:") && one.ends_with(":00:02"),
            "{one}"
        );
    }

    fn joined(name: &str, internal: bool) -> Joined {
        Joined {
            id: format!("id of {name}"),
            name: name.into(),
            address: "10.9.0.2/24".parse().expect("an address"),
            gateway: Ipv4Addr::new(10, 9, 0, u8::from(internal) + 1),
            mac: "00:50:56:00:00:02".into(),
            aliases: Vec::new(),
            fixed: false,
            internal,
        }
    }

    #[test]
    fn a_machine_has_its_own_way_out_unless_its_networks_have_none() {
        for (mode, networks, outside, resolver) in [
            ("bridge", vec![], true, None),
            ("none", vec![], false, None),
            ("back", vec![joined("back", false)], true, Some("10.9.0.1")),
            ("dark", vec![joined("dark", true)], false, Some("10.9.0.2")),
            (
                "dark",
                vec![joined("dark", true), joined("back", false)],
                true,
                Some("10.9.0.1"),
            ),
            ("bridge", vec![joined("dark", true)], true, Some("10.9.0.2")),
        ] {
            let spec = Spec {
                host: json!({ "NetworkMode": mode }),
                networks: networks.clone(),
                ..Spec::default()
            };
            let wiring = wiring(&spec).expect("a wiring");
            assert_eq!(wiring.outside, outside, "{mode} {networks:?}");
            assert_eq!(wiring.cables.len(), networks.len());
            let mut named: Vec<String> = wiring
                .endpoints
                .values()
                .flat_map(|one| one.nameservers.iter().map(ToString::to_string))
                .collect();
            named.dedup();
            assert_eq!(named, Vec::from_iter(resolver), "{mode} {networks:?}");
            let defaults = wiring.endpoints.values().filter(|one| one.default);
            assert_eq!(defaults.count(), usize::from(outside));
        }
    }

    #[test]
    fn ports_are_published_where_something_leads_outside() {
        let spec = Spec {
            host: json!({ "NetworkMode": "dark" }),
            ports: [("80/tcp".to_owned(), vec![("127.0.0.1".to_owned(), 8080)])].into(),
            networks: vec![joined("dark", true)],
            ..Spec::default()
        };
        assert!(matches!(wiring(&spec), Err(Wish::Bad(_))));
        let spec = Spec {
            networks: vec![joined("back", false)],
            ..spec
        };
        let wiring = wiring(&spec).expect("a wiring");
        assert_eq!(wiring.ports[0].to_string(), "tcp:127.0.0.1:8080:80");
    }

    #[test]
    fn endpoints_are_read_whole_or_refused() {
        let endpoint = json!({
            "IPAMConfig": { "IPv4Address": "172.18.0.9" }, "Aliases": ["db", ""], "Links": null,
            "MacAddress": "02:42:00:00:00:0A", "DriverOpts": {}, "GwPriority": 0, "NetworkID": "abc",
        });
        let wanted = Wanted::parse("back", &endpoint).expect("an endpoint");
        assert_eq!(wanted.aliases, ["db"]);
        assert_eq!(wanted.mac, "02:42:00:00:00:0a");
        assert_eq!(wanted.address, Some(Ipv4Addr::new(172, 18, 0, 9)));
        for wrong in [
            json!({ "MacAddress": "01:00:5e:00:00:01" }),
            json!({ "MacAddress": "02:42:00" }),
            json!({ "Links": ["a:b"] }),
            json!({ "DriverOpts": { "a": "b" } }),
            json!({ "IPAMConfig": { "IPv6Address": "fd00::2" } }),
            json!({ "IPAMConfig": { "IPv4Address": "x" } }),
            json!({ "IPAMConfig": { "LinkLocalIPs": ["169.254.1.1"] } }),
        ] {
            assert!(Wanted::parse("back", &wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_comes_before_the_beginning_of_an_id() {
        let mut all = vec![network("10.9.0.0/24", None), network("10.8.0.0/24", None)];
        all[1].name = "abc1".into();
        all[1].id = "def".into();
        assert_eq!(find(&all, "abc1").map(|one| one.id.as_str()), Some("def"));
        assert_eq!(
            find(&all, "abc12").map(|one| one.id.as_str()),
            Some("abc123")
        );
        assert_eq!(find(&all, ""), None);
        assert_eq!(find(&all, "x"), None);
    }
}
