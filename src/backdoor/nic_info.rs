//! The report of a machine's interfaces that a VMware host shows (`GuestInfo.net`): version 3, in XDR.
//!
//! Public source: open-vm-tools `lib/guestRpc/nicinfo.x` (the layout), RFC 4506 (XDR), RFC 4001 and 4293 (the
//! numbers).

use std::net::IpAddr;

/// What there is to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicInfo {
    /// The interfaces.
    pub nics: Vec<Nic>,
    /// Their routes.
    pub routes: Vec<Route>,
    /// The machine's name.
    pub hostname: String,
    /// Its domain.
    pub domain: String,
    /// Who is asked for names.
    pub nameservers: Vec<IpAddr>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<Address>,
}

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that are the network's.
    pub prefix: u8,
    /// Where it is from, if that is to be told.
    pub origin: Option<Origin>,
    /// It is known to be good: nobody else has it.
    pub preferred: bool,
}

/// `IpAddressOrigin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Origin {
    /// Somebody has configured it.
    Manual = 2,
    /// A DHCP server gave it.
    Dhcp = 4,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub to: (IpAddr, u8),
    /// Through whom; none: there is nobody in between.
    pub via: Option<IpAddr>,
    /// Index of its interface in [`NicInfo::nics`].
    pub nic: u32,
    /// The lower, the better.
    pub metric: u32,
}

/// The limits of the layout; a host takes no report that is beyond them.
const NICS_MOST: usize = 16;
const ADDRESSES_MOST: usize = 2048;
const ROUTES_MOST: usize = 100;
const SERVERS_MOST: usize = 16;

/// `NicInfoVersion`.
const VERSION: u32 = 3;
/// `InetAddressType`.
const IPV4: u32 = 1;
const IPV6: u32 = 2;
/// `IpAddressStatus`.
const PREFERRED: u32 = 1;
const UNKNOWN: u32 = 5;
/// `InetCidrRouteType`: open-vm-tools does not say it.
const NO_TYPE: u32 = 0;

/// The report's bytes, as they follow `SetGuestInfo  10 `.
pub fn encode(info: &NicInfo) -> Vec<u8> {
    let mut xdr = Xdr::default();
    xdr.number(VERSION);
    xdr.present(true);
    xdr.list(&info.nics, NICS_MOST, |xdr, nic| {
        xdr.opaque(mac_text(nic.mac).as_bytes());
        xdr.list(&nic.addresses, ADDRESSES_MOST, |xdr, address| {
            xdr.address(address.address);
            xdr.number(u32::from(address.prefix));
            xdr.present(address.origin.is_some());
            if let Some(origin) = address.origin {
                xdr.number(origin as u32);
            }
            xdr.present(true);
            xdr.number(if address.preferred {
                PREFERRED
            } else {
                UNKNOWN
            });
        });
        // Neither names, WINS nor DHCP settings of this interface alone.
        (0..4).for_each(|_| xdr.present(false));
    });
    xdr.list(&info.routes, ROUTES_MOST, |xdr, route| {
        let (to, prefix) = route.to;
        xdr.address(to);
        xdr.number(u32::from(prefix));
        xdr.present(route.via.is_some());
        if let Some(via) = route.via {
            xdr.address(via);
        }
        xdr.number(route.nic);
        xdr.number(NO_TYPE);
        xdr.number(route.metric);
    });
    xdr.present(true);
    xdr.name(&info.hostname);
    xdr.name(&info.domain);
    xdr.list(&info.nameservers, SERVERS_MOST, |xdr, server| {
        xdr.address(*server);
    });
    let suffix = Some(info.domain.as_bytes()).filter(|domain| !domain.is_empty());
    xdr.list(suffix.as_slice(), 1, |xdr, suffix| xdr.opaque(suffix));
    // Neither WINS nor DHCP settings.
    (0..3).for_each(|_| xdr.present(false));
    xdr.0
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// XDR: everything is big endian, in units of four bytes.
#[derive(Default)]
struct Xdr(Vec<u8>);

impl Xdr {
    fn number(&mut self, number: u32) {
        self.0.extend(number.to_be_bytes());
    }

    /// Of something that may be missing.
    fn present(&mut self, there: bool) {
        self.number(u32::from(there));
    }

    fn list<T>(&mut self, items: &[T], most: usize, mut write: impl FnMut(&mut Self, &T)) {
        let items = items.get(..most).unwrap_or(items);
        self.number(u32::try_from(items.len()).unwrap_or_default());
        for item in items {
            write(self, item);
        }
    }

    fn opaque(&mut self, bytes: &[u8]) {
        const UNIT: usize = 4;
        self.number(u32::try_from(bytes.len()).unwrap_or_default());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(UNIT), 0);
    }

    fn name(&mut self, name: &str) {
        const MOST: usize = 255;
        self.present(true);
        let bytes = name.as_bytes();
        self.opaque(bytes.get(..MOST).unwrap_or(bytes));
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.number(IPV4);
                self.opaque(&address.octets());
            }
            IpAddr::V6(address) => {
                self.number(IPV6);
                self.opaque(&address.octets());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What open-vm-tools 12.2.0 itself reported of a machine (the name server's address was changed).
    const OPEN_VM_TOOLS: &[u8] = include_bytes!("../../tests/fixtures/nic_info_v3.bin");

    fn address(text: &str, prefix: u8) -> Address {
        let address: IpAddr = text.parse().expect("an address");
        Address {
            address,
            prefix,
            origin: None,
            // As open-vm-tools has it.
            preferred: address.is_ipv4(),
        }
    }

    fn route(to: &str, prefix: u8, via: Option<&str>, metric: u32) -> Route {
        Route {
            to: (to.parse().expect("an address"), prefix),
            via: via.map(|via| via.parse().expect("an address")),
            nic: 0,
            metric,
        }
    }

    #[test]
    fn the_report_of_the_same_machine_is_open_vm_tools_own_to_the_byte() {
        let info = NicInfo {
            nics: vec![Nic {
                mac: [0x02, 0xfc, 0, 0, 0, 0x01],
                addresses: vec![
                    address("192.0.2.2", 24),
                    address("fd00::2", 64),
                    address("fe80::fc:ff:fe00:1", 64),
                ],
            }],
            routes: vec![
                route("0.0.0.0", 0, Some("192.0.2.1"), 0),
                route("192.0.2.0", 24, None, 0),
                route("fd00::", 64, None, 256),
                route("fe80::", 64, None, 256),
                route("::", 0, Some("fd00::1"), 1024),
                route("fd00::2", 128, None, 0),
                route("fe80::fc:ff:fe00:1", 128, None, 0),
                route("ff00::", 8, None, 256),
            ],
            hostname: "vm".into(),
            domain: String::new(),
            nameservers: vec!["192.0.2.53".parse().expect("an address")],
        };
        assert!(encode(&info) == OPEN_VM_TOOLS, "{:02x?}", encode(&info));
    }

    #[test]
    fn no_more_than_a_host_takes_is_reported() {
        let nic = Nic {
            mac: [0; 6],
            addresses: Vec::new(),
        };
        let info = NicInfo {
            nics: vec![nic; NICS_MOST + 1],
            hostname: "h".repeat(300),
            domain: "example.org".into(),
            ..NicInfo::default()
        };
        let bytes = encode(&info);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes.get(11), Some(&16));
    }
}
