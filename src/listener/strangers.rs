//! Connections on the port for VMs on which no VM has proved itself: so many an address, no more.
//!
//! Somebody who opens connections and says nothing, or never enough, takes up his own share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Unproven connections of one address, unless told otherwise: a host's VMs may all be booting.
pub const MOST: usize = 4096;

/// All of them, counted.
#[derive(Debug)]
pub struct Strangers {
    most: usize,
    counts: Mutex<HashMap<IpAddr, Count>>,
}

#[derive(Debug, Default)]
struct Count {
    connections: usize,
    /// Refused since there was room.
    refused: u64,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Stranger {
    all: Arc<Strangers>,
    address: IpAddr,
}

impl Strangers {
    /// At most so many of one address; 0: no limit.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: if most == 0 { usize::MAX } else { most },
            counts: Mutex::default(),
        })
    }

    /// One more of this address. `None`: there are too many.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = site(address);
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if count.connections >= self.most {
            count.refused += 1;
            if count.refused == 1 {
                let most = self.most;
                tracing::warn!(%address, most, "connections refused: no VM has spoken on the others");
            }
            return None;
        }
        count.connections += 1;
        Some(Stranger {
            all: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = self.all.lock();
        let Some(count) = counts.get_mut(&self.address) else {
            return;
        };
        count.connections -= 1;
        // Said once for each time that it was full, not for each connection around the limit.
        if count.refused > 0 && count.connections <= self.all.most / 2 {
            let (address, refused) = (self.address, count.refused);
            tracing::info!(%address, refused, "there is room for connections again");
            count.refused = 0;
        }
        if count.connections == 0 {
            counts.remove(&self.address);
        }
    }
}

/// One host may have all of a /64.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_share_and_gets_it_back() {
        let all = Strangers::new(2);
        let a: IpAddr = "192.0.2.1".parse().expect("an address");
        let b: IpAddr = "192.0.2.2".parse().expect("an address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        let first = all.enter(a).expect("one");
        let _second = all.enter(mapped).expect("two");
        assert!(all.enter(a).is_none());
        assert!(all.enter(b).is_some());
        drop(first);
        assert!(all.enter(a).is_some());
        assert_eq!(all.lock().len(), 1, "nobody is kept who is not there");
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let all = Strangers::new(1);
        let one = |text: &str| all.enter(text.parse().expect("an address"));
        let _first = one("2001:db8::1").expect("one");
        assert!(one("2001:db8::ffff:2").is_none());
        assert!(one("2001:db8:0:1::1").is_some());
    }
}
