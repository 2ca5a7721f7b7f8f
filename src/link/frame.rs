//! Frames on the carrier, and how to find them between garbage.
//!
//! ```text
//!   0   2 marker    B5 1E
//!   2   1 kind
//!   3   1 stream    number of the stream
//!   4   2 channel   little endian, as all below
//!   6   2 length    of the payload, at most PAYLOAD_MOST
//!   8   8 number    offset, sequence or count, by kind
//!  16   4 checksum of the payload
//!  20   4 checksum of bytes 2 to 19
//!  24     payload
//! ```
//! Both checksums are CRC-32C started from a seed: [`PLAIN_SEED`] in the handshake, afterwards one
//! made from both ends' nonces. The header has its own, so a false marker in garbage never makes
//! the reader wait for a length that nobody sent; what a container prints cannot hold a valid
//! frame, because the container does not know the seed.

use std::ops::Range;

use super::crc32c;

/// What every frame starts with: not text, not telnet, not a repeated byte.
pub const MARKER: [u8; 2] = [0xb5, 0x1e];
/// Bytes before the payload.
pub const HEADER: usize = 24;
/// Largest payload.
pub const PAYLOAD_MOST: usize = 32 << 10;
/// Seed of the handshake's checksums: the protocol's name and version.
pub const PLAIN_SEED: u32 = u32::from_be_bytes(*b"tth1");
/// Number of the control messages where a frame names a stream.
pub const MESSAGES_STREAM: u8 = 3;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Listener: who is there? Payload [`super::handshake::Hail`].
    Hail,
    /// Guest: identity. Payload [`super::handshake::Hello`].
    Hello,
    /// Listener: come in. Payload [`super::handshake::Welcome`].
    Welcome,
    /// Listener: go away. Payload: the reason, UTF-8.
    Refuse,
    /// Bytes of a stream; number: offset of the first. Empty: asks for an acknowledgement.
    Data,
    /// End of a stream; number: its length.
    End,
    /// Bytes or messages below number are gone for good.
    Skip,
    /// All below number is stored; payload [`super::receive::Ack`].
    Ack,
    /// A control message, JSON; number: its sequence.
    Message,
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

impl Kind {
    const ALL: [(Self, u8); 11] = [
        (Self::Hail, 1),
        (Self::Hello, 2),
        (Self::Welcome, 3),
        (Self::Refuse, 4),
        (Self::Data, 16),
        (Self::End, 17),
        (Self::Skip, 18),
        (Self::Ack, 19),
        (Self::Message, 20),
        (Self::Ping, 21),
        (Self::Pong, 22),
    ];
    /// Kinds below this are the handshake's, sealed with [`PLAIN_SEED`].
    const FIRST_SEALED: u8 = 16;

    fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, number)| *number)
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, n)| *n == number)
            .map(|(kind, _)| *kind)
    }
}

/// Everything of a frame but its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Stream number; [`MESSAGES_STREAM`] for control messages.
    pub stream: u8,
    /// Channel number.
    pub channel: u16,
    /// Offset, sequence or count.
    pub number: u64,
}

impl Head {
    /// A head of the link's own: no stream, no number.
    pub fn link(kind: Kind) -> Self {
        Self {
            kind,
            stream: 0,
            channel: 0,
            number: 0,
        }
    }
}

/// Appends one frame to `out`. The payload comes in two parts, as a ring buffer has it; together
/// they are at most [`PAYLOAD_MOST`] bytes (the callers' chunk sizes see to that).
pub fn encode(out: &mut Vec<u8>, seed: u32, head: Head, parts: [&[u8]; 2]) {
    let length = parts[0].len() + parts[1].len();
    debug_assert!(length <= PAYLOAD_MOST);
    let kind = head.kind.number();
    let seed = if kind < Kind::FIRST_SEALED {
        PLAIN_SEED
    } else {
        seed
    };
    let sum = crc32c::append(crc32c::append(seed, parts[0]), parts[1]);
    let start = out.len();
    out.reserve(HEADER + length);
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[kind, head.stream]);
    out.extend_from_slice(&head.channel.to_le_bytes());
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(&head.number.to_le_bytes());
    out.extend_from_slice(&sum.to_le_bytes());
    let sum = crc32c::append(seed, out.get(start + MARKER.len()..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
}

/// Finds frames in a stream of bytes. Holds at most one frame that is not complete.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Everything before this index is done with.
    start: usize,
    skipped: u64,
}

impl Reader {
    /// Takes what the carrier gave; then call [`Reader::next`] until it has nothing.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes so far that belonged to no frame.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The next whole frame whose checksums hold, the payload as a slice of the reader's buffer.
    /// `seed` is the one of the frames past the handshake; `None`: there is none yet.
    pub fn next(&mut self, seed: Option<u32>) -> Option<(Head, &[u8])> {
        let (head, payload) = self.locate(seed)?;
        Some((head, self.bytes.get(payload).unwrap_or_default()))
    }

    /// The next frame's head, and where its payload is; everything up to its end is done with.
    fn locate(&mut self, seed: Option<u32>) -> Option<(Head, Range<usize>)> {
        loop {
            let rest = self.bytes.get(self.start..).unwrap_or_default();
            let garbage = match rest.iter().position(|byte| *byte == MARKER[0]) {
                Some(at) => at,
                None => rest.len(),
            };
            self.skip(garbage);
            let rest = self.bytes.get(self.start..).unwrap_or_default();
            if rest.len() < HEADER {
                // The second byte of the marker already tells garbage that is not worth keeping.
                if rest.get(1).is_some_and(|byte| *byte != MARKER[1]) {
                    self.skip(1);
                    continue;
                }
                self.release();
                return None;
            }
            let Some(parsed) = parse(rest, seed) else {
                self.skip(1);
                continue;
            };
            let end = HEADER + parsed.length;
            let payload = rest.get(HEADER..end)?;
            if crc32c::append(parsed.seed, payload) != parsed.sum {
                // Bytes are missing or damaged: the next frame may start inside this one.
                self.skip(1);
                continue;
            }
            let from = self.start + HEADER;
            self.start += end;
            // A kind of a later version is whole, and not for us.
            if let Some(head) = parsed.head {
                return Some((head, from..self.start));
            }
        }
    }

    fn skip(&mut self, count: usize) {
        self.start += count;
        self.skipped += count as u64;
    }

    /// An idle link holds no buffer.
    fn release(&mut self) {
        if self.start == self.bytes.len() {
            self.start = 0;
            self.bytes.clear();
            if self.bytes.capacity() > PAYLOAD_MOST {
                self.bytes = Vec::new();
            }
        }
    }
}

struct Parsed {
    head: Option<Head>,
    length: usize,
    sum: u32,
    seed: u32,
}

/// Reads a header whose checksum holds; `None`: this is no frame.
fn parse(bytes: &[u8], seed: Option<u32>) -> Option<Parsed> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    let [
        m0,
        m1,
        kind,
        stream,
        c0,
        c1,
        l0,
        l1,
        number @ ..,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
    ] = header;
    let sums: &[u8; 8] = header.last_chunk()?;
    let [s0, s1, s2, s3, h0, h1, h2, h3] = *sums;
    let length = usize::from(u16::from_le_bytes([*l0, *l1]));
    if [*m0, *m1] != MARKER || length > PAYLOAD_MOST {
        return None;
    }
    let seed = if *kind < Kind::FIRST_SEALED {
        PLAIN_SEED
    } else {
        seed?
    };
    let covered = header.get(MARKER.len()..HEADER - 4)?;
    if crc32c::append(seed, covered) != u32::from_le_bytes([h0, h1, h2, h3]) {
        return None;
    }
    let head = Kind::from_number(*kind).map(|kind| Head {
        kind,
        stream: *stream,
        channel: u16::from_le_bytes([*c0, *c1]),
        number: u64::from_le_bytes(*number),
    });
    Some(Parsed {
        head,
        length,
        sum: u32::from_le_bytes([s0, s1, s2, s3]),
        seed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: u32 = 0x1234_5678;

    fn data(number: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let head = Head {
            kind: Kind::Data,
            stream: 1,
            channel: 7,
            number,
        };
        encode(&mut out, SEED, head, [payload, &[]]);
        out
    }

    fn read(reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((head, payload)) = reader.next(Some(SEED)) {
            frames.push((head.number, payload.to_vec()));
        }
        frames
    }

    #[test]
    fn the_bytes_of_version_one_never_change() {
        let mut out = Vec::new();
        let head = Head {
            kind: Kind::Data,
            stream: 1,
            channel: 0x0203,
            number: 0x0405,
        };
        encode(&mut out, SEED, head, [b"he", b"llo"]);
        assert_eq!(
            out,
            [
                0xb5, 0x1e, 16, 1, 3, 2, 5, 0, 5, 4, 0, 0, 0, 0, 0, 0, 180, 17, 242, 109, 105, 45,
                188, 17, b'h', b'e', b'l', b'l', b'o'
            ]
        );
    }

    #[test]
    fn a_frame_inside_a_payload_is_no_frame_even_when_its_carrier_is_damaged() {
        let mut forged = Vec::new();
        let head = Head {
            kind: Kind::Data,
            stream: 1,
            channel: 7,
            number: 0,
        };
        encode(&mut forged, 0, head, [b"forged", &[]]);
        let mut bytes = data(5, &forged);
        bytes[9] ^= 1;
        let mut reader = Reader::default();
        reader.feed(&bytes);
        assert_eq!(read(&mut reader), []);
    }

    #[test]
    fn sealed_frames_are_noise_before_the_handshake() {
        let mut reader = Reader::default();
        reader.feed(&data(0, b"early"));
        assert!(reader.next(None).is_none());
        assert_eq!(reader.skipped(), 29);
    }

    proptest! {
        #[test]
        fn frames_are_found_between_garbage_in_any_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
            noise in prop::collection::vec(any::<u8>(), 0..200),
            step in 1usize..400,
        ) {
            let mut bytes = Vec::new();
            for (number, payload) in payloads.iter().enumerate() {
                bytes.extend_from_slice(&noise);
                bytes.extend_from_slice(&data(number as u64, payload));
            }
            let mut reader = Reader::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(step) {
                reader.feed(piece);
                frames.extend(read(&mut reader));
            }
            let wanted: Vec<_> =
                payloads.iter().enumerate().map(|(n, p)| (n as u64, p.clone())).collect();
            prop_assert_eq!(frames, wanted);
        }

        #[test]
        fn damage_to_one_byte_costs_one_frame(at in 0usize..3 * (HEADER + 50), with in 1u8..) {
            let mut bytes: Vec<u8> = (0..3).flat_map(|n| data(n, &[n as u8; 50])).collect();
            bytes[at] ^= with;
            let mut reader = Reader::default();
            reader.feed(&bytes);
            let hit = (at / (HEADER + 50)) as u64;
            let found: Vec<u64> = read(&mut reader).into_iter().map(|(number, _)| number).collect();
            let wanted: Vec<u64> = (0..3).filter(|n| *n != hit).collect();
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn a_lost_byte_costs_one_frame_as_soon_as_another_follows(at in 0usize..HEADER + 50) {
            let mut bytes = data(0, &[9; 50]);
            bytes.remove(at);
            bytes.extend_from_slice(&data(1, b"next"));
            let mut reader = Reader::default();
            reader.feed(&bytes);
            prop_assert_eq!(read(&mut reader), vec![(1, b"next".to_vec())]);
        }
    }
}
