//! A container's network endpoints: which vNIC each is on, how it comes by its address, its routes, and
//! the three files that tell the container.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::PublishedPort;
use crate::config::model::{ContainerVm, IpNet, Network, TrustLevel};
use crate::config::names::Names;

/// A vNIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// At this place of the PCI bus.
    Pci(PciPlace),
    /// With this address.
    Mac([u8; 6]),
    /// The first that no other endpoint has taken.
    Any,
}

/// Where VMware's slot numbers lead (knowledge base, 2047927): five bits each of device and of bus, three of
/// function. Buses but the first are behind bridges, the one of bus 1 in slot 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciPlace {
    /// Slot and function on the root bus of the device, or of the bridge that it is behind.
    pub root: (u8, u8),
    /// Slot behind the bridge.
    pub behind: Option<u8>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name in the configuration.
    pub name: String,
    /// Where it is.
    pub nic: Nic,
    /// Its address; none: DHCP.
    pub address: Option<IpNet>,
    /// Its way out, where one is configured.
    pub gateway: Option<IpAddr>,
    /// All that no other route leads to goes through it.
    pub default: bool,
    /// What else is behind its gateway.
    pub destinations: Vec<IpNet>,
    /// Who knows names.
    pub nameservers: Vec<IpAddr>,
    /// Who may reach it.
    pub trust: TrustLevel,
    /// On which ports anybody may.
    pub ports: Vec<PublishedPort>,
}

/// The endpoints, by name. Where none is said to have the default route, a single one has it.
pub fn endpoints(vm: &ContainerVm) -> Vec<Endpoint> {
    let alone = vm.networks.len() == 1;
    let endpoint = |(name, network): (&String, &Network)| Endpoint {
        name: name.clone(),
        nic: nic(&network.slot),
        address: network.address,
        gateway: network.gateway.map(|gateway| gateway.address),
        default: network.default || (alone && !network.internal),
        destinations: network.destinations.clone(),
        nameservers: network.nameservers.clone(),
        trust: network.trust,
        // What is none was refused with the configuration.
        ports: network
            .ports
            .iter()
            .filter_map(|port| port.parse().ok())
            .collect(),
    };
    vm.networks.iter().map(endpoint).collect()
}

/// What a slot says (`config::validate` lets nothing else through).
fn nic(slot: &str) -> Nic {
    if let Ok(number) = slot.parse() {
        return Nic::Pci(place(number));
    }
    mac(slot).map_or(Nic::Any, Nic::Mac)
}

fn place(number: u32) -> PciPlace {
    let bits = |from: u32, count: u32| {
        let mask = (1 << count) - 1;
        u8::try_from(number.checked_shr(from).unwrap_or_default() & mask).unwrap_or_default()
    };
    let (device, bus, function) = (bits(0, 5), bits(5, 5), bits(10, 3));
    match bus {
        0 => PciPlace {
            root: (device, function),
            behind: None,
        },
        _ => PciPlace {
            root: ((bus + 16) & 31, function),
            behind: Some(device),
        },
    }
}

/// `00:50:56:2c:f7:f4`, colons or hyphens between.
pub fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split([':', '-']);
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// What an endpoint uses, from its configuration or from a DHCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Its address.
    pub address: IpNet,
    /// Its routes, in the order in which they can be made.
    pub routes: Vec<(IpNet, Option<IpAddr>)>,
    /// Who knows names.
    pub nameservers: Vec<IpAddr>,
    /// What names are in.
    pub domain: String,
}

/// What a DHCP server has to say for an endpoint that has no address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The address.
    pub address: IpNet,
    /// The way out.
    pub gateway: Option<IpAddr>,
    /// Other routes; through an unspecified address: a neighbour.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// Who knows names.
    pub nameservers: Vec<IpAddr>,
    /// What names are in.
    pub domain: String,
}

impl Endpoint {
    /// What it uses. The configuration counts before what a server gives.
    pub fn in_use(&self, given: Option<&Given>) -> Option<InUse> {
        let address = self.address.or(given.map(|given| given.address))?;
        let gateway = self.gateway.or(given.and_then(|given| given.gateway));
        let everywhere = IpNet {
            address: match address.address {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            },
            prefix: 0,
        };
        let mut routes: Vec<(IpNet, Option<IpAddr>)> = given
            .into_iter()
            .flat_map(|given| given.routes.iter())
            .filter(|(to, _)| to.prefix > 0 || (self.default && self.gateway.is_none()))
            .map(|(to, via)| (*to, Some(*via).filter(|via| !via.is_unspecified())))
            .collect();
        // Neighbours first: the others may be behind them.
        routes.sort_by_key(|(_, via)| via.is_some());
        if let Some(gateway) = gateway {
            let behind = self.destinations.iter().copied();
            routes.extend(behind.map(|to| (to, Some(gateway))));
            if self.default {
                routes.push((everywhere, Some(gateway)));
            }
        }
        let of_given = |given: &Given| given.nameservers.clone();
        Some(InUse {
            address,
            routes,
            nameservers: match self.nameservers.as_slice() {
                [] => given.map(of_given).unwrap_or_default(),
                own => own.to_vec(),
            },
            domain: given.map(|given| given.domain.clone()).unwrap_or_default(),
        })
    }
}

/// `/etc/hosts`: this host by its name, and by that with its domain.
pub fn hosts(hostname: &str, domain: &str, addresses: &[IpAddr], names: &Names) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    let short = hostname.split('.').next().unwrap_or_default();
    let full = if hostname.contains('.') || domain.is_empty() {
        hostname.to_owned()
    } else {
        format!("{hostname}.{domain}")
    };
    let own_names = if full == short {
        full
    } else {
        format!("{full} {short}")
    };
    // As Debian has it where a host has no address of its own.
    let own = [IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1))];
    let addresses = if addresses.is_empty() {
        &own
    } else {
        addresses
    };
    for address in addresses {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "{address}\t{own_names}");
    }
    for (name, address) in names.hosts() {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// `/etc/resolv.conf`. Domains that are asked for stand in the place of its own.
pub fn resolv_conf(nameservers: &[IpAddr], domain: &str, names: &Names) -> String {
    let mut text = String::new();
    let search = match names.search.as_slice() {
        [] => domain.to_owned(),
        [none] if none == "." => String::new(),
        asked => asked.join(" "),
    };
    if !search.is_empty() {
        let _ = writeln!(text, "search {search}");
    }
    let mut told: Vec<&IpAddr> = Vec::new();
    for server in nameservers {
        if !told.contains(&server) {
            let _ = writeln!(text, "nameserver {server}");
            told.push(server);
        }
    }
    if !names.options.is_empty() {
        let _ = writeln!(text, "options {}", names.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(networks: &str) -> ContainerVm {
        let document = format!(
            r#"{{"id":"a1","networks":{networks},"sessions":{{"a1":{{"path":"/bin/true"}}}}}}"#
        );
        crate::config::from_document(document.as_bytes()).expect("a configuration")
    }

    #[test]
    fn slot_numbers_lead_where_vmware_has_them() {
        let behind = |root, slot| PciPlace {
            root,
            behind: Some(slot),
        };
        // The blog's vNIC; pciBridge5.pciSlotNumber is 22.
        assert_eq!(place(192), behind((22, 0), 0));
        assert_eq!(place(160), behind((21, 0), 0));
        assert_eq!(place(33), behind((17, 0), 1));
        assert_eq!(place(1184), behind((21, 1), 0));
        let on_root = PciPlace {
            root: (3, 0),
            behind: None,
        };
        assert_eq!(place(3), on_root);
        assert_eq!(
            nic("00:50:56:2C:f7:f4"),
            Nic::Mac([0, 0x50, 0x56, 0x2c, 0xf7, 0xf4])
        );
        assert_eq!(nic(""), Nic::Any);
    }

    #[test]
    fn a_fixed_address_has_its_routes_and_the_only_endpoint_the_default_one() {
        let vm = vm(
            r#"{"b":{"address":"10.0.2.15/24","gateway":"10.0.2.2/24","destinations":["10.9.0.0/16"],"nameservers":["10.0.2.3"]}}"#,
        );
        let all = endpoints(&vm);
        let used = all[0].in_use(None).expect("it has an address");
        let via = Some("10.0.2.2".parse().unwrap());
        assert_eq!(
            used.routes,
            [
                ("10.9.0.0/16".parse().unwrap(), via),
                ("0.0.0.0/0".parse().unwrap(), via)
            ]
        );
        assert_eq!(used.nameservers, ["10.0.2.3".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn of_several_endpoints_the_one_that_is_said_has_the_default_route() {
        let vm = vm(
            r#"{"a":{"address":"10.0.2.15/24","gateway":"10.0.2.2/24"},"b":{"default":true},"c":{"internal":true}}"#,
        );
        let default: Vec<bool> = endpoints(&vm)
            .iter()
            .map(|endpoint| endpoint.default)
            .collect();
        assert_eq!(default, [false, true, false]);
    }

    #[test]
    fn what_a_server_gives_fills_what_the_configuration_leaves_open() {
        let given = Given {
            address: "10.0.2.15/24".parse().unwrap(),
            gateway: Some("10.0.2.2".parse().unwrap()),
            routes: vec![
                ("10.8.0.0/16".parse().unwrap(), "10.0.2.9".parse().unwrap()),
                ("10.7.0.0/16".parse().unwrap(), "0.0.0.0".parse().unwrap()),
            ],
            nameservers: vec!["10.0.2.3".parse().unwrap()],
            domain: "example.test".into(),
        };
        let mut endpoint = endpoints(&vm(r#"{"a":{}}"#)).remove(0);
        assert_eq!(endpoint.in_use(None), None);
        let used = endpoint.in_use(Some(&given)).expect("an address");
        assert_eq!(used.routes.len(), 3);
        assert_eq!(used.routes[0], ("10.7.0.0/16".parse().unwrap(), None));
        assert_eq!(used.domain, "example.test");
        endpoint.default = false;
        endpoint.nameservers = vec!["9.9.9.9".parse().unwrap()];
        let used = endpoint.in_use(Some(&given)).expect("an address");
        assert!(used.routes.iter().all(|(to, _)| to.prefix > 0));
        assert_eq!(used.nameservers, ["9.9.9.9".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn files_name_the_host_and_who_knows_names() {
        let none = Names::default();
        let names = Names {
            hosts: vec!["db:10.0.0.7".into(), "six=[fd00::8]".into()],
            search: vec!["a.test".into(), "b.test".into()],
            options: vec!["ndots:1".into(), "rotate".into()],
        };
        let text = hosts(
            "web",
            "example.test",
            &["10.0.2.15".parse().unwrap()],
            &names,
        );
        assert!(
            text.ends_with("10.0.2.15\tweb.example.test web\n10.0.0.7\tdb\nfd00::8\tsix\n"),
            "{text}"
        );
        assert!(hosts("web", "", &[], &none).ends_with("127.0.1.1\tweb\n"));
        assert!(hosts("a.b", "c", &[], &none).ends_with("127.0.1.1\ta.b a\n"));
        let server: IpAddr = "10.0.2.3".parse().unwrap();
        assert_eq!(
            resolv_conf(&[server, server], "example.test", &none),
            "search example.test\nnameserver 10.0.2.3\n"
        );
        assert_eq!(
            resolv_conf(&[server], "example.test", &names),
            "search a.test b.test\nnameserver 10.0.2.3\noptions ndots:1 rotate\n"
        );
        let nowhere = Names {
            search: vec![".".into()],
            ..Names::default()
        };
        let text = resolv_conf(&[server], "example.test", &nowhere);
        assert_eq!(text, "nameserver 10.0.2.3\n");
    }
}
