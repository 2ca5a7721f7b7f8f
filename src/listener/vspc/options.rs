//! Telnet's options, negotiated so that two sides never answer each other's answers (RFC 1143).
//!
//! Nothing here is ever switched off again by this side, so the states for a change of mind in
//! mid-negotiation are not needed. A peer that answers each answer with a new demand is not
//! answered for ever: [`ANSWERS_MOST`] a side of an option.

use super::telnet::{DO, DONT, IAC, WILL, WONT};

/// Transmit binary: all 256 values, no CR NUL (RFC 856).
pub const BINARY: u8 = 0;
/// Suppress go-ahead (RFC 858).
pub const SUPPRESS_GO_AHEAD: u8 = 3;

/// What is said of one side of one option on a connection, at most. Two options that a peer answers with demands
/// of both sides, each of which it answers again, so come to rest within 17 messages.
const ANSWERS_MOST: u8 = 2;

/// Whose use of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// DO and DONT ask for it, WILL and WONT are our answers.
    Ours,
    /// WILL and WONT offer it, DO and DONT are our answers.
    Theirs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    No,
    /// We have asked.
    Wanted,
    Yes,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    option: u8,
    side: Side,
    used: Use,
    answers: u8,
}

/// The options of one connection.
#[derive(Debug, Default)]
pub struct Options {
    /// Those that were spoken of.
    known: Vec<Known>,
}

impl Options {
    /// Asks for the other side's use of an option, unless it is known already.
    pub fn request(&mut self, option: u8, out: &mut Vec<u8>) {
        self.want(option, Side::Theirs, DO, out);
    }

    /// Offers our own use of an option, unless it is known already.
    pub fn offer(&mut self, option: u8, out: &mut Vec<u8>) {
        self.want(option, Side::Ours, WILL, out);
    }

    /// The question was asked by other means.
    pub fn requested(&mut self, option: u8) {
        self.known(option, Side::Theirs).used = Use::Wanted;
    }

    /// The other side uses the option.
    pub fn theirs(&self, option: u8) -> bool {
        let same = |k: &&Known| k.option == option && k.side == Side::Theirs;
        self.known
            .iter()
            .find(same)
            .is_some_and(|k| k.used == Use::Yes)
    }

    /// Takes one negotiation, and answers where there is something new to say. `accepted` are the
    /// options that may be used.
    pub fn handle(&mut self, command: u8, option: u8, accepted: &[u8], out: &mut Vec<u8>) {
        let (side, on, yes, no) = match command {
            WILL => (Side::Theirs, true, DO, DONT),
            WONT => (Side::Theirs, false, DO, DONT),
            DO => (Side::Ours, true, WILL, WONT),
            _ => (Side::Ours, false, WILL, WONT),
        };
        let may = accepted.contains(&option);
        let known = self.known(option, side);
        let (used, answer) = match (known.used, on) {
            (Use::No, true) if may => (Use::Yes, Some(yes)),
            (Use::No, true) => (Use::No, Some(no)),
            (Use::Wanted | Use::Yes, true) => (Use::Yes, None),
            (Use::Yes, false) => (Use::No, Some(no)),
            (Use::No | Use::Wanted, false) => (Use::No, None),
        };
        known.used = used;
        if let Some(answer) = answer
            && known.answers < ANSWERS_MOST
        {
            known.answers += 1;
            out.extend_from_slice(&[IAC, answer, option]);
        }
    }

    fn want(&mut self, option: u8, side: Side, command: u8, out: &mut Vec<u8>) {
        let known = self.known(option, side);
        if known.used == Use::No && known.answers == 0 {
            known.used = Use::Wanted;
            known.answers = 1;
            out.extend_from_slice(&[IAC, command, option]);
        }
    }

    fn known(&mut self, option: u8, side: Side) -> &mut Known {
        let same = |k: &Known| k.option == option && k.side == side;
        let at = self.known.iter().position(same).unwrap_or_else(|| {
            self.known.push(Known {
                option,
                side,
                used: Use::No,
                answers: 0,
            });
            self.known.len() - 1
        });
        &mut self.known[at]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACCEPTED: [u8; 3] = [BINARY, SUPPRESS_GO_AHEAD, 232];

    fn answer(options: &mut Options, command: u8, option: u8) -> Vec<u8> {
        let mut out = Vec::new();
        options.handle(command, option, &ACCEPTED, &mut out);
        out
    }

    #[test]
    fn each_demand_is_answered_once_and_an_agreement_is_not_repeated() {
        let mut options = Options::default();
        assert_eq!(answer(&mut options, WILL, 37), [IAC, DONT, 37]);
        assert_eq!(answer(&mut options, WILL, 232), [IAC, DO, 232]);
        assert!(options.theirs(232) && !options.theirs(37));
        assert!(answer(&mut options, WILL, 232).is_empty());
        assert_eq!(answer(&mut options, DO, 1), [IAC, WONT, 1]);
        assert_eq!(answer(&mut options, DO, BINARY), [IAC, WILL, BINARY]);
        assert_eq!(answer(&mut options, DONT, BINARY), [IAC, WONT, BINARY]);
        assert!(answer(&mut options, DONT, 31).is_empty());
        let mut out = Vec::new();
        options.request(232, &mut out);
        assert!(out.is_empty(), "agreed already");
        options.offer(SUPPRESS_GO_AHEAD, &mut out);
        assert_eq!(out, [IAC, WILL, SUPPRESS_GO_AHEAD]);
        assert!(answer(&mut options, DO, SUPPRESS_GO_AHEAD).is_empty());
    }

    #[test]
    fn all_options_at_once_take_a_bounded_room() {
        let mut options = Options::default();
        for _ in 0..1000 {
            for option in 0..=255 {
                for command in [WILL, WONT, DO, DONT] {
                    answer(&mut options, command, option);
                }
            }
        }
        assert_eq!(options.known.len(), 512);
        assert!(options.known.iter().all(|k| k.answers <= ANSWERS_MOST));
    }

    /// How a peer answers a negotiation: with any of the four, or not at all, always in the same
    /// way; the worst answers everything.
    fn peer() -> impl Strategy<Value = [Option<u8>; 4]> {
        let one = prop::sample::select(vec![None, Some(WILL), Some(WONT), Some(DO), Some(DONT)]);
        [one.clone(), one.clone(), one.clone(), one]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn any_peer_comes_to_rest(peer in peer(), first in 251_u8..=254, option in any::<u8>()) {
            let mut options = Options::default();
            let mut ours = Vec::new();
            options.offer(BINARY, &mut ours);
            let mut theirs = vec![(first, option)];
            let mut messages = 1 + ours.len() / 3;
            loop {
                theirs.extend(ours.chunks(3).filter_map(|m| {
                    peer[usize::from(m[1] - WILL)].map(|command| (command, m[2]))
                }));
                ours.clear();
                if theirs.is_empty() {
                    break;
                }
                messages += theirs.len();
                for (command, option) in theirs.drain(..) {
                    options.handle(command, option, &ACCEPTED, &mut ours);
                }
                messages += ours.len() / 3;
                prop_assert!(messages < 20, "{peer:?}");
            }
        }
    }
}
