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
//! With a link key, all past the handshake goes inside frames of [`Kind::Sealed`]: number is the
//! sealed frame's own, the payload's checksum is 0, and the payload is a cipher's text of
//! `kind, stream, channel, number` as above (12 bytes) and of the frame's payload.
//!
//! Both checksums are CRC-32C started from a seed: [`PLAIN_SEED`] in the handshake, afterwards one
//! made from both ends' nonces. The header has its own, so a false marker in garbage never makes
//! the reader wait for a length that nobody sent; what a container prints cannot hold a valid
//! frame, because the container does not know the seed.

use std::ops::Range;

use super::crc32c;
use super::seal::Seal;

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
    /// Another frame, sealed by a cipher.
    Sealed,
}

impl Kind {
    const ALL: [(Self, u8); 12] = [
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
        (Self::Sealed, 32),
    ];
    /// Kinds below this are the handshake's, sealed with [`PLAIN_SEED`].
    const FIRST_SEALED: u8 = 16;

    fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, number)| *number)
    }

    /// What a sealed frame may hold.
    fn is_for_inside(self) -> bool {
        self != Self::Sealed && self.number() >= Self::FIRST_SEALED
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
    /// Bytes of a head inside a sealed frame.
    pub(super) const BYTES: usize = 12;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.kind.number();
        bytes[1] = self.stream;
        bytes[2..4].copy_from_slice(&self.channel.to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// The head and the payload of an opened frame; no head: it is of a kind of a later version.
    fn split(plain: &[u8]) -> Option<(Option<Self>, &[u8])> {
        let (head, payload) = plain.split_first_chunk::<{ Self::BYTES }>()?;
        let [kind, stream, c0, c1, number @ ..] = *head;
        let kind = Kind::from_number(kind).filter(|kind| kind.is_for_inside());
        let head = kind.map(|kind| Self {
            kind,
            stream,
            channel: u16::from_le_bytes([c0, c1]),
            number: u64::from_le_bytes(number),
        });
        Some((head, payload))
    }

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
    let seed = if head.kind.number() < Kind::FIRST_SEALED {
        PLAIN_SEED
    } else {
        seed
    };
    let sum = crc32c::append(crc32c::append(seed, parts[0]), parts[1]);
    header(out, seed, head, length, sum);
    out.extend_from_slice(parts[0]);
    out.extend_from_slice(parts[1]);
}

/// Appends the header of a sealed frame; its payload, of `length` bytes, proves itself.
pub(super) fn encode_sealed_header(out: &mut Vec<u8>, seed: u32, number: u64, length: usize) {
    let head = Head {
        number,
        ..Head::link(Kind::Sealed)
    };
    header(out, seed, head, length, 0);
}

fn header(out: &mut Vec<u8>, seed: u32, head: Head, length: usize, sum: u32) {
    debug_assert!(length <= PAYLOAD_MOST);
    let start = out.len();
    out.reserve(HEADER + length);
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[head.kind.number(), head.stream]);
    out.extend_from_slice(&head.channel.to_le_bytes());
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(&head.number.to_le_bytes());
    out.extend_from_slice(&sum.to_le_bytes());
    let sum = crc32c::append(seed, out.get(start + MARKER.len()..).unwrap_or_default());
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Finds frames in a stream of bytes. Holds at most one frame that is not complete.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Everything before this index is done with.
    start: usize,
    skipped: u64,
    /// Bytes that belonged to no frame, since the last one that was whole.
    #[cfg(feature = "appliance")]
    last_skipped: Vec<u8>,
}

/// Bytes kept of what belongs to no frame.
#[cfg(feature = "appliance")]
const SKIPPED_KEPT: usize = 2 << 10;

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

    /// The last of them, since the last whole frame.
    #[cfg(feature = "appliance")]
    pub(super) fn last_skipped(&self) -> &[u8] {
        &self.last_skipped
    }

    /// The next whole frame whose checksums or cipher hold. `seal` is the one of the frames past the
    /// handshake; `None`: there is none yet. The payload is a slice of the reader's buffer, or of
    /// `plain`, into which a cipher's text is opened.
    pub(super) fn next<'a>(
        &'a mut self,
        seal: Option<&mut Seal>,
        plain: &'a mut Vec<u8>,
    ) -> Option<(Head, &'a [u8])> {
        match self.locate(seal, plain)? {
            (head, Some(payload)) => Some((head, self.bytes.get(payload).unwrap_or_default())),
            (head, None) => Some((head, plain.get(Head::BYTES..).unwrap_or_default())),
        }
    }

    /// The next frame's head, and where its payload is (`None`: in `plain`, after the head);
    /// everything up to its end is done with.
    fn locate(
        &mut self,
        mut seal: Option<&mut Seal>,
        plain: &mut Vec<u8>,
    ) -> Option<(Head, Option<Range<usize>>)> {
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
            let Some(parsed) = parse(rest, seal.as_deref()) else {
                self.skip(1);
                continue;
            };
            let end = HEADER + parsed.length;
            let payload = rest.get(HEADER..end)?;
            let is_sealed = parsed.is_sealed();
            let holds = match seal.as_deref_mut().and_then(|seal| seal.cipher.as_mut()) {
                Some(cipher) if is_sealed => cipher.open(parsed.number, payload, plain),
                _ => crc32c::append(parsed.seed, payload) == parsed.sum,
            };
            if !holds {
                // Bytes are missing or damaged: the next frame may start inside this one.
                self.skip(1);
                continue;
            }
            #[cfg(feature = "appliance")]
            if !self.last_skipped.is_empty() {
                self.last_skipped = Vec::new();
            }
            let from = self.start + HEADER;
            self.start += end;
            // A kind of a later version is whole, and not for us.
            if is_sealed {
                if let Some((Some(head), _)) = Head::split(plain) {
                    return Some((head, None));
                }
            } else if let Some(head) = parsed.head {
                return Some((head, Some(from..self.start)));
            }
        }
    }

    fn skip(&mut self, count: usize) {
        #[cfg(feature = "appliance")]
        if count > 0 {
            let skipped = self.bytes.get(self.start..self.start + count);
            keep_last(&mut self.last_skipped, skipped.unwrap_or_default());
        }
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

#[cfg(feature = "appliance")]
fn keep_last(kept: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[bytes.len().saturating_sub(SKIPPED_KEPT)..];
    let surplus = (kept.len() + bytes.len()).saturating_sub(SKIPPED_KEPT);
    kept.drain(..surplus);
    kept.extend_from_slice(bytes);
}

struct Parsed {
    head: Option<Head>,
    number: u64,
    length: usize,
    sum: u32,
    seed: u32,
}

impl Parsed {
    fn is_sealed(&self) -> bool {
        self.head.is_some_and(|head| head.kind == Kind::Sealed)
    }
}

/// Reads a header whose checksum holds; `None`: this is no frame.
fn parse(bytes: &[u8], seal: Option<&Seal>) -> Option<Parsed> {
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
        // Where there is a cipher nothing else is taken, and without one nothing could open it.
        let seal = seal.filter(|s| s.cipher.is_some() == (*kind == Kind::Sealed.number()))?;
        seal.seed
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
        number: u64::from_le_bytes(*number),
        length,
        sum: u32::from_le_bytes([s0, s1, s2, s3]),
        seed,
    })
}

#[cfg(test)]
mod tests;
