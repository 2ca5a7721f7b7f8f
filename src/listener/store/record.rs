//! One record of a container's log: 32 bytes of header and the payload.
//!
//! ```text
//!  0        4        8    9    10      12       16            24            32
//!  ├ crc32c ┼ length ┼kind┼strm┼channel┼ "vlog" ┼── time ns ──┼── offset ───┼── payload …
//! ```
//! All numbers little-endian. The checksum (CRC-32C) covers everything after itself, so a record is
//! either whole or not there: a write that was cut short is found and cut off at the next start.

use crate::link::crc32c::crc32c;
use crate::link::{Channel, Stream};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 32;
/// Largest payload of one record, in bytes. A reader's buffer always holds at least one record.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Stands in every header: a hex dump shows where records begin.
const MARK: [u8; 4] = *b"vlog";

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a stream; `offset` is that of the first byte.
    Data,
    /// The stream is complete; `offset` is its length.
    End,
    /// First record of a segment, and first record of a run (the VM was booted): JSON of the
    /// positions at this point; `offset` is the boot epoch.
    Checkpoint,
    /// A channel got its session: JSON.
    Session,
    /// The guest had to drop bytes: from `offset` to the one in the payload (8 bytes).
    Gap,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::End => 2,
            Self::Checkpoint => 3,
            Self::Session => 4,
            Self::Gap => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Data,
            2 => Self::End,
            3 => Self::Checkpoint,
            4 => Self::Session,
            5 => Self::Gap,
            _ => return None,
        })
    }
}

/// The fields of a record's header, without length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it says.
    pub kind: Kind,
    /// Session's channel; 0 where the kind has none.
    pub channel: Channel,
    /// Stream; stdin where the kind has none.
    pub stream: Stream,
    /// When the listener got it: nanoseconds since 1970, UTC.
    pub time_ns: u64,
    /// Depends on the kind.
    pub offset: u64,
}

/// A record as it lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its header.
    pub header: Header,
    /// Its payload.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// Bytes that it takes in the log.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// Why no record could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The buffer ends before the record does.
    Short,
    /// This was never a whole record.
    Damaged,
}

/// Begins a record at the end of `out`; the payload is then appended by the caller and
/// [`seal`] called with the returned place.
pub fn begin(out: &mut Vec<u8>, header: &Header) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(header.kind.code());
    out.push(header.stream.number());
    out.extend_from_slice(&header.channel.0.to_le_bytes());
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&header.time_ns.to_le_bytes());
    out.extend_from_slice(&header.offset.to_le_bytes());
    at
}

/// Writes length and checksum of the record that began at `at` and ends at the end of `out`.
pub fn seal(out: &mut [u8], at: usize) {
    let length = (out.len() - at - HEADER_BYTES) as u32;
    out[at + 4..at + 8].copy_from_slice(&length.to_le_bytes());
    let sum = crc32c(&out[at + 4..]);
    out[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Appends a whole record.
pub fn encode(out: &mut Vec<u8>, header: &Header, payload: &[u8]) {
    let at = begin(out, header);
    out.extend_from_slice(payload);
    seal(out, at);
}

/// Reads the record at the beginning of `buffer`.
///
/// # Errors
/// [`Unreadable::Short`] when more bytes are needed to tell, [`Unreadable::Damaged`] when no bytes
/// that follow could make it a record.
pub fn decode(buffer: &[u8]) -> Result<Record<'_>, Unreadable> {
    let Some(head) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Err(Unreadable::Short);
    };
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    if head[12..16] != MARK || length > MAX_PAYLOAD_BYTES {
        return Err(Unreadable::Damaged);
    }
    let (Some(kind), Some(stream)) = (Kind::from_code(head[8]), Stream::from_number(head[9]))
    else {
        return Err(Unreadable::Damaged);
    };
    let whole = HEADER_BYTES + length;
    let Some(bytes) = buffer.get(..whole) else {
        return Err(Unreadable::Short);
    };
    let sum = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    if crc32c(&bytes[4..]) != sum {
        return Err(Unreadable::Damaged);
    }
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(word)
    };
    Ok(Record {
        header: Header {
            kind,
            channel: Channel(u16::from_le_bytes([head[10], head[11]])),
            stream,
            time_ns: word(16),
            offset: word(24),
        },
        payload: &bytes[HEADER_BYTES..],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind) -> Header {
        Header {
            kind,
            channel: Channel(7),
            stream: Stream::Stderr,
            time_ns: 0x0123_4567_89ab_cdef,
            offset: u64::MAX - 3,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_went() {
        for kind in [
            Kind::Data,
            Kind::End,
            Kind::Checkpoint,
            Kind::Session,
            Kind::Gap,
        ] {
            let mut out = b"before".to_vec();
            encode(&mut out, &header(kind), b"payload");
            out.extend_from_slice(b"after");
            let record = decode(&out[6..]).expect("a whole record");
            assert_eq!(record.header, header(kind));
            assert_eq!(record.payload, b"payload");
            assert_eq!(record.size(), 39);
        }
    }

    #[test]
    fn a_cut_record_is_short_at_every_length() {
        let mut out = Vec::new();
        encode(&mut out, &header(Kind::Data), &[9; 100]);
        for cut in 0..out.len() {
            assert_eq!(decode(&out[..cut]), Err(Unreadable::Short), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_never_a_record() {
        let mut good = Vec::new();
        encode(&mut good, &header(Kind::Data), &[9; 40]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode(&[0; 64]), Err(Unreadable::Damaged));
    }

    #[test]
    fn the_bytes_of_version_one_never_change() {
        let mut out = Vec::new();
        let header = Header {
            kind: Kind::Data,
            channel: Channel(1),
            stream: Stream::Stdout,
            time_ns: 2,
            offset: 3,
        };
        encode(&mut out, &header, b"hi");
        assert_eq!(
            out[4..],
            *b"\x02\0\0\0\x01\x01\x01\0vlog\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0hi"
        );
    }
}
