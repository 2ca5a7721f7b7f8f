//! A carrier's two directions with their faults, and the randomness that all of it comes from.

use std::collections::VecDeque;

use crate::link::handshake;

/// The same numbers for the same seed, on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        handshake::next_nonce(&mut self.0)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(super) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// What may happen to the bytes on their way. Each is 'one in so many'; 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) drop_byte: u64,
    pub(super) flip_byte: u64,
    pub(super) noise: u64,
    pub(super) stall: u64,
    pub(super) duplicate: u64,
    pub(super) reconnect: u64,
    pub(super) listener_dies: u64,
    /// Another process goes on as the guest.
    pub(super) upgrade: u64,
    pub(super) capacity: usize,
}

/// A carrier that delivers everything.
pub(super) const PERFECT: Faults = Faults {
    drop_byte: 0,
    flip_byte: 0,
    noise: 0,
    stall: 0,
    duplicate: 0,
    reconnect: 0,
    listener_dies: 0,
    upgrade: 0,
    capacity: 40_000,
};

/// What may happen once, at a certain byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum Accident {
    Drop,
    Flip,
    Inject,
    /// The byte and those before it, again.
    Repeat,
    Stall,
    /// The connection ends, with all that is on its way, and another one is made.
    Cut,
}

impl Accident {
    pub(super) const ALL: [Self; 6] = [
        Self::Drop,
        Self::Flip,
        Self::Inject,
        Self::Repeat,
        Self::Stall,
        Self::Cut,
    ];
}

/// One direction.
#[derive(Default)]
pub(super) struct Wire {
    bytes: VecDeque<u8>,
    stalled: u64,
    /// Bytes put on it so far.
    pub(super) carried: u64,
    /// What happens when so many have been.
    pub(super) accident: Option<(u64, Accident)>,
    cut: bool,
    drop: Fault,
    flip: Fault,
}

/// Where the next fault of a kind is: drawn once, instead of a lot for each byte, so that the time of a
/// simulation goes to the link.
#[derive(Default)]
struct Fault(Option<u64>);

impl Fault {
    /// Bytes before it.
    fn after(&mut self, random: &mut Random, one_in: u64) -> u64 {
        if one_in == 0 {
            self.0 = None;
            return u64::MAX;
        }
        *self.0.get_or_insert_with(|| random.below(2 * one_in))
    }

    fn pass(&mut self, bytes: u64) {
        // Past the fault itself: the next one is drawn.
        self.0 = self.0.and_then(|left| left.checked_sub(bytes));
    }
}

impl Wire {
    pub(super) fn carry(&mut self, random: &mut Random, faults: &Faults, bytes: &[u8]) {
        let chance = |random: &mut Random, many: u64| many > 0 && random.one_in(many);
        if chance(random, faults.noise) {
            for _ in 0..random.below(200) {
                let byte = random.next() as u8;
                self.bytes.push_back(byte);
            }
        }
        let times = if chance(random, faults.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..times {
            self.carry_once(random, faults, bytes);
        }
        if chance(random, faults.stall) {
            self.stalled = random.below(100);
        }
    }

    fn carry_once(&mut self, random: &mut Random, faults: &Faults, bytes: &[u8]) {
        let from = self.carried;
        self.carried += bytes.len() as u64;
        let Some((at, accident)) = self.accident.take_if(|(at, _)| *at < self.carried) else {
            return self.damage(random, faults, bytes);
        };
        let at = (at - from) as usize;
        let (before, after) = bytes.split_at(at);
        self.damage(random, faults, before);
        let rest = match accident {
            Accident::Drop => &after[1..],
            Accident::Flip => {
                self.bytes.push_back(after[0] ^ 0x10);
                &after[1..]
            }
            Accident::Inject => {
                self.bytes.extend(b"\xb5\x1e\x02 kernel: something\n");
                after
            }
            Accident::Repeat => {
                self.bytes.extend(&bytes[at.saturating_sub(40)..=at]);
                after
            }
            Accident::Stall => {
                self.stalled = 150;
                after
            }
            Accident::Cut => {
                self.cut = true;
                after
            }
        };
        self.damage(random, faults, rest);
    }

    fn damage(&mut self, random: &mut Random, faults: &Faults, mut bytes: &[u8]) {
        loop {
            let to_drop = self.drop.after(random, faults.drop_byte);
            let to_flip = self.flip.after(random, faults.flip_byte);
            let whole = (bytes.len() as u64).min(to_drop).min(to_flip);
            let (carried, rest) = bytes.split_at(whole as usize);
            self.bytes.extend(carried);
            self.drop.pass(whole);
            self.flip.pass(whole);
            let Some((first, rest)) = rest.split_first() else {
                return;
            };
            if whole < to_drop {
                self.bytes.push_back(first ^ random.next() as u8);
            }
            self.drop.pass(1);
            self.flip.pass(1);
            bytes = rest;
        }
    }

    /// Bytes on their way.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// What is on its way is lost.
    pub(super) fn lose(&mut self) {
        self.bytes.clear();
        self.stalled = 0;
    }

    /// The connection has been cut since the last time.
    pub(super) fn take_cut(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }

    pub(super) fn arrive(&mut self, random: &mut Random) -> Vec<u8> {
        if self.stalled > 0 {
            self.stalled -= 1;
            return Vec::new();
        }
        let count = random.below(self.bytes.len() as u64 + 1) as usize;
        self.bytes.drain(..count).collect()
    }
}
