//! Which machine has which address, learned from what they send.

use std::collections::{BTreeSet, HashMap};

use super::{Mac, Port, is_group};

/// An address that was not heard of for so long may be anywhere, milliseconds (as Linux's bridge).
const AGE_MOST: u64 = 300_000;
/// Addresses that are known at once; a machine that makes up more fills no memory.
const KNOWN_MOST: usize = 4096;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    One(Port),
    /// Whoever is there but the sender.
    All,
    /// The sender itself has the address.
    Nobody,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    ports: BTreeSet<Port>,
    known: HashMap<Mac, (Port, u64)>,
}

impl Table {
    pub(super) fn join(&mut self, port: Port) {
        self.ports.insert(port);
    }

    pub(super) fn leave(&mut self, port: Port) {
        self.ports.remove(&port);
        self.known.retain(|_, (own, _)| *own != port);
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = Port> {
        self.ports.iter().copied()
    }

    pub(super) fn learn(&mut self, address: Mac, port: Port, now_ms: u64) {
        if self.known.len() >= KNOWN_MOST && !self.known.contains_key(&address) {
            self.known.retain(|_, (_, heard)| is_fresh(*heard, now_ms));
            if self.known.len() >= KNOWN_MOST {
                return;
            }
        }
        self.known.insert(address, (port, now_ms));
    }

    pub(super) fn find(&self, address: Mac, from: Option<Port>, now_ms: u64) -> To {
        if is_group(address) {
            return To::All;
        }
        match self.known.get(&address) {
            Some((port, _)) if Some(*port) == from => To::Nobody,
            Some((port, heard)) if is_fresh(*heard, now_ms) => To::One(*port),
            _ => To::All,
        }
    }
}

fn is_fresh(heard: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(heard) < AGE_MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn an_address_is_where_it_was_heard_last_and_nowhere_once_that_is_long_ago() {
        let mut table = Table::default();
        assert_eq!(table.find(A, None, 0), To::All);
        table.learn(A, Port(1), 0);
        assert_eq!(table.find(A, Some(Port(2)), 1), To::One(Port(1)));
        assert_eq!(table.find(A, Some(Port(1)), 1), To::Nobody);
        table.learn(A, Port(3), 2);
        assert_eq!(table.find(A, None, 3), To::One(Port(3)));
        assert_eq!(table.find(A, None, 2 + AGE_MOST), To::All);
        table.leave(Port(3));
        assert_eq!(table.find(A, None, 3), To::All);
    }

    #[test]
    fn one_that_makes_up_addresses_fills_no_memory_and_keeps_nobody_out_for_long() {
        let mut table = Table::default();
        let made_up = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            [2, 9, a, b, c, d]
        };
        for n in 0..10_000 {
            table.learn(made_up(n), Port(1), 0);
        }
        assert_eq!(table.known.len(), KNOWN_MOST);
        table.learn(A, Port(2), 1);
        assert_eq!(table.find(A, None, 1), To::All);
        table.learn(A, Port(2), AGE_MOST);
        assert_eq!(table.find(A, None, AGE_MOST), To::One(Port(2)));
    }
}
