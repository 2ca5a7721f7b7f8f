//! An address and the size of its network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address with its prefix length, `172.16.0.2/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNet {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part: 0 to 32 or 128.
    pub prefix: u8,
}

impl IpNet {
    /// The network that the address is in: its other bits are zero.
    pub fn network(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32)));
                IpAddr::V4((u32::from(address) & mask.unwrap_or_default()).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128)));
                IpAddr::V6((u128::from(address) & mask.unwrap_or_default()).into())
            }
        };
        Self { address, ..*self }
    }

    /// The other address is in the same network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let other = Self { address, ..*self };
        address.is_ipv4() == self.address.is_ipv4() && other.network() == self.network()
    }

    /// The address of all in the network: with IPv4, where there are more than two.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.prefix < 31 => {
                Some((u32::from(address) | u32::MAX >> self.prefix).into())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A text that is not an address with a prefix length.
#[derive(Debug, thiserror::Error)]
#[error("expected ADDRESS/PREFIX, such as 172.16.0.2/16")]
pub struct IpNetError;

impl std::str::FromStr for IpNet {
    type Err = IpNetError;

    fn from_str(text: &str) -> Result<Self, IpNetError> {
        let (address, prefix) = text.split_once('/').ok_or(IpNetError)?;
        let address: IpAddr = address.parse().map_err(|_| IpNetError)?;
        let prefix: u8 = prefix.parse().map_err(|_| IpNetError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            Err(IpNetError)
        } else {
            Ok(Self { address, prefix })
        }
    }
}

impl Serialize for IpNet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpNet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_and_its_broadcast_address() {
        assert_eq!(net("172.16.9.2/16").network(), net("172.16.0.0/16"));
        assert_eq!(net("172.16.9.2/0").network(), net("0.0.0.0/0"));
        assert_eq!(net("172.16.9.2/32").network(), net("172.16.9.2/32"));
        assert_eq!(net("fd00:1::2/64").network(), net("fd00:1::/64"));
        assert_eq!(net("::1/0").network(), net("::/0"));
        assert_eq!(
            net("172.16.9.2/16").broadcast(),
            Some(Ipv4Addr::new(172, 16, 255, 255))
        );
        assert!(net("172.16.9.2/16").contains(net("172.16.0.1/16").address));
        assert!(!net("172.16.9.2/16").contains(net("172.17.0.1/16").address));
        assert!(!net("0.0.0.0/0").contains(net("::1/0").address));
        assert_eq!(net("172.16.9.2/31").broadcast(), None);
        assert_eq!(net("fd00::1/64").broadcast(), None);
    }
}
