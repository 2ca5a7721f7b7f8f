//! Telnet's bytes (RFC 854): data, commands, sub-negotiations, and 255 doubled in both.

/// "Interpret as command".
pub const IAC: u8 = 255;
/// Negotiation: please do not use this option.
pub const DONT: u8 = 254;
/// Negotiation: please use this option.
pub const DO: u8 = 253;
/// Negotiation: this side does not use the option.
pub const WONT: u8 = 252;
/// Negotiation: this side offers to use the option.
pub const WILL: u8 = 251;
/// A sub-negotiation begins.
pub const SB: u8 = 250;
/// A sub-negotiation ends.
pub const SE: u8 = 240;

/// Longest sub-negotiation that is taken, in bytes: a service URI has room in it many times.
const SUB_BYTES_MOST: usize = 4096;

/// A command with which a conversation may begin.
pub fn negotiates(command: u8) -> bool {
    matches!(command, SB | WILL | WONT | DO | DONT)
}

/// Appends data as telnet carries it: 255 doubled, everything else as it is.
pub fn escape(data: &[u8], out: &mut Vec<u8>) {
    let mut rest = data;
    while let Some(at) = rest.iter().position(|&b| b == IAC) {
        out.extend_from_slice(&rest[..=at]);
        out.push(IAC);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends a whole sub-negotiation of this option.
pub fn sub_negotiation(option: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[IAC, SB, option]);
    escape(payload, out);
    out.extend_from_slice(&[IAC, SE]);
}

/// What is not data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// WILL, WONT, DO or DONT, and the option.
    Negotiation(u8, u8),
    /// The option, then its payload. One that is cut off by another command, or longer than
    /// 4,096 bytes, is left out: nothing in it can be trusted.
    Sub(Vec<u8>),
}

/// Where the parser stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Data,
    /// After IAC.
    Command,
    /// After IAC and one of the four.
    Option(u8),
    /// In a sub-negotiation.
    Sub,
    /// In a sub-negotiation, after IAC.
    SubCommand,
}

/// Takes data and commands apart.
#[derive(Debug, Default)]
pub struct Parser {
    state: State,
    sub: Vec<u8>,
    too_long: bool,
}

impl Parser {
    /// Takes input up to and with the next item: data is appended to `data`, the number of bytes
    /// taken is returned. All is taken where there is no item.
    pub fn take(&mut self, input: &[u8], data: &mut Vec<u8>) -> (usize, Option<Item>) {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::Data {
                let rest = &input[at..];
                let plain = rest.iter().position(|&b| b == IAC).unwrap_or(rest.len());
                data.extend_from_slice(&rest[..plain]);
                at += plain;
                if plain < rest.len() {
                    self.state = State::Command;
                    at += 1;
                }
                continue;
            }
            let byte = input[at];
            at += 1;
            if let Some(item) = self.step(byte, data) {
                return (at, Some(item));
            }
        }
        (at, None)
    }

    fn step(&mut self, byte: u8, data: &mut Vec<u8>) -> Option<Item> {
        match self.state {
            State::Data | State::Command => self.command(byte, data),
            State::Option(command) => {
                self.state = State::Data;
                Some(Item::Negotiation(command, byte))
            }
            State::Sub if byte == IAC => {
                self.state = State::SubCommand;
                None
            }
            State::Sub => {
                self.sub_byte(byte);
                None
            }
            State::SubCommand => match byte {
                IAC => {
                    self.state = State::Sub;
                    self.sub_byte(IAC);
                    None
                }
                SE => {
                    self.state = State::Data;
                    let sub = std::mem::take(&mut self.sub);
                    (!self.too_long && !sub.is_empty()).then_some(Item::Sub(sub))
                }
                // Its end is missing: the other command counts, what came of it does not.
                _ => self.command(byte, data),
            },
        }
    }

    /// The byte after IAC.
    fn command(&mut self, byte: u8, data: &mut Vec<u8>) -> Option<Item> {
        self.state = State::Data;
        match byte {
            IAC => data.push(IAC),
            WILL | WONT | DO | DONT => self.state = State::Option(byte),
            SB => {
                self.sub = Vec::new();
                self.too_long = false;
                self.state = State::Sub;
            }
            // NOP, AYT, GA, a stray SE: nothing to do, and no data.
            _ => {}
        }
        None
    }

    fn sub_byte(&mut self, byte: u8) {
        if self.sub.len() < SUB_BYTES_MOST {
            self.sub.push(byte);
        } else {
            self.too_long = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of the input, in pieces that end at these places.
    fn parsed(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<Item>) {
        let (mut parser, mut data, mut items) = (Parser::default(), Vec::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([input.len()]) {
            let to = to.clamp(from, input.len());
            let mut piece = &input[from..to];
            while !piece.is_empty() {
                let (taken, item) = parser.take(piece, &mut data);
                piece = &piece[taken..];
                items.extend(item);
            }
            from = to;
        }
        (data, items)
    }

    #[test]
    fn commands_of_every_kind_leave_the_data_alone() {
        // A sub-negotiation with 255 at its start, its end and before 240, one in another, one cut
        // off by NOP; NOP, AYT, GA, a stray SE and IAC SE between data.
        let cases: [(&[u8], &[u8], &[Item]); 7] = [
            (
                &[b'a', IAC, SB, 232, IAC, IAC, 1, IAC, IAC, IAC, SE, b'b'],
                b"ab",
                &[Item::Sub(vec![232, IAC, 1, IAC])],
            ),
            (
                &[IAC, SB, 232, 44, IAC, IAC, SE, 7, IAC, SE],
                b"",
                &[Item::Sub(vec![232, 44, IAC, SE, 7])],
            ),
            (
                &[IAC, SB, 232, 0, IAC, SB, 24, 1, IAC, SE],
                b"",
                &[Item::Sub(vec![24, 1])],
            ),
            (&[IAC, SB, 232, 0, IAC, 241, b'x'], b"x", &[]),
            (
                &[b'a', IAC, 241, b'b', IAC, 246, b'c', IAC, 249],
                b"abc",
                &[],
            ),
            (&[IAC, SE, b'd', SE, IAC, SB, IAC, SE], &[b'd', SE], &[]),
            (
                &[IAC, WILL, IAC, b'x', IAC, DO, 0],
                b"x",
                &[Item::Negotiation(WILL, IAC), Item::Negotiation(DO, 0)],
            ),
        ];
        for (input, data, items) in cases {
            let expected = (data.to_vec(), items.to_vec());
            assert_eq!(parsed(input, &[]), expected, "{input:?}");
            let all: Vec<usize> = (0..input.len()).collect();
            assert_eq!(parsed(input, &all), expected, "{input:?}, byte for byte");
        }
    }

    #[test]
    fn an_endless_sub_negotiation_takes_no_endless_memory() {
        let mut input = vec![IAC, SB, 232];
        input.resize(1 << 20, b'x');
        input.extend([IAC, SE, b'y']);
        let (mut parser, mut data) = (Parser::default(), Vec::new());
        assert_eq!(parser.take(&input, &mut data), (input.len(), None));
        assert_eq!(data, b"y");
        assert_eq!(parser.sub.capacity(), 0);
    }

    proptest! {
        #[test]
        fn data_comes_through_in_any_pieces(
            data in prop::collection::vec(prop_oneof![Just(IAC), Just(SE), any::<u8>()], 0..300),
            sub in prop::collection::vec(prop_oneof![Just(IAC), Just(SE), any::<u8>()], 0..60),
            at in any::<prop::sample::Index>(),
            mut cuts in prop::collection::vec(0_usize..800, 0..20),
        ) {
            let at = at.index(data.len() + 1);
            let mut wire = Vec::new();
            escape(&data[..at], &mut wire);
            sub_negotiation(232, &sub, &mut wire);
            escape(&data[at..], &mut wire);
            cuts.sort_unstable();
            let (got, items) = parsed(&wire, &cuts);
            prop_assert_eq!(got, data);
            let mut whole = vec![232];
            whole.extend(sub);
            prop_assert_eq!(items, vec![Item::Sub(whole)]);
        }

        #[test]
        fn any_bytes_are_taken_to_the_last(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let whole = parsed(&bytes, &[]);
            let all: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(parsed(&bytes, &all), whole);
        }
    }
}
