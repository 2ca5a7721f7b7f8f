//! Why a container has no network.

use std::fmt;
use std::io;
use std::time::Duration;

use super::nic::Interface;
use crate::plan::network::Nic;

/// Why the container has no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refuses.
    #[error("network {name:?}: cannot {action} on {interface}: {cause}")]
    Kernel {
        /// The endpoint.
        name: String,
        /// What was attempted.
        action: String,
        /// Where.
        interface: String,
        /// Why not.
        cause: io::Error,
    },
    /// Its vNIC is not there.
    #[error("network {name:?}: no vNIC {} came up within {} s; there are: {}", Place(nic), .limit.as_secs(), List(.seen))]
    NoNic {
        /// The endpoint.
        name: String,
        /// Where it was to be.
        nic: Nic,
        /// How long it was waited for.
        limit: Duration,
        /// What there is instead.
        seen: Vec<Interface>,
    },
    /// There is nobody to give it an address.
    #[error("network {name:?}: no DHCP server gave {interface} an address within {} s{refusal}", .limit.as_secs())]
    NoLease {
        /// The endpoint.
        name: String,
        /// Its interface.
        interface: String,
        /// How long it was waited for.
        limit: Duration,
        /// What a server has said.
        refusal: String,
    },
    /// Somebody wanted the machine to stop before.
    #[error("stopped while waiting for network {name:?}: {reason}")]
    Stopped {
        /// The endpoint.
        name: String,
        /// Who.
        reason: String,
    },
}

struct Place<'a>(&'a Nic);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Nic::Any => f.write_str("that is free"),
            Nic::Mac(mac) => write!(f, "with the address {}", Mac(*mac)),
            Nic::Pci(place) => {
                let (slot, function) = place.root;
                write!(f, "at PCI 00:{slot:02x}.{function}")?;
                match place.behind {
                    Some(behind) => write!(f, ", device {behind:02x} behind that bridge"),
                    None => Ok(()),
                }
            }
        }
    }
}

struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

struct List<'a>(&'a [Interface]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, interface) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({})", interface.name, Mac(interface.mac))?;
        }
        Ok(())
    }
}
