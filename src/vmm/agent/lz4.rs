//! LZ4 in its legacy frame, the one that Linux takes for an initramfs (`lz4 -l`): the magic, then
//! blocks with their packed length in front (lz4_Frame_format.md, "Legacy frame").

use std::io;

/// At the start of a frame.
pub(super) const LEGACY_MAGIC: [u8; 4] = 0x184C_2102_u32.to_le_bytes();
/// Each block but the last unpacks to as much.
const BLOCK: usize = 8 * 1024 * 1024;
/// A match is at least this long.
const MIN_MATCH: usize = 4;
/// A length field with this value goes on in the bytes that follow.
const MORE: u8 = 15;

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Unpacks a frame, or several.
pub(super) fn unpack(frame: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let mut rest = frame;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        if *length == LEGACY_MAGIC {
            rest = tail;
            continue;
        }
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 {
            // Filling behind the frame.
            break;
        }
        let (block, tail) = tail
            .split_at_checked(length)
            .ok_or_else(|| damaged("a block goes past the end"))?;
        unpack_block(block, &mut unpacked)?;
        if unpacked.len() as u64 > limit {
            return Err(damaged("it unpacks to too much"));
        }
        rest = tail;
    }
    Ok(unpacked)
}

/// Unpacks one block, which refers to nothing before it.
fn unpack_block(block: &[u8], unpacked: &mut Vec<u8>) -> io::Result<()> {
    let start = unpacked.len();
    let mut bytes = Bytes(block);
    while let Some(token) = bytes.next() {
        let literals = bytes.length(token >> 4)?;
        unpacked.extend_from_slice(bytes.take(literals)?);
        let Some(low) = bytes.next() else {
            // The last sequence has no match.
            break;
        };
        let high = bytes.next().ok_or_else(|| damaged("half an offset"))?;
        let offset = usize::from(u16::from_le_bytes([low, high]));
        let length = bytes.length(token & MORE)? + MIN_MATCH;
        let from = unpacked
            .len()
            .checked_sub(offset)
            .filter(|from| *from >= start && offset > 0)
            .ok_or_else(|| damaged("a match before the block"))?;
        if unpacked.len() - start + length > BLOCK {
            return Err(damaged("a block is too large"));
        }
        // A match may overlap what it makes.
        for at in from..from + length {
            unpacked.extend(unpacked.get(at).copied());
        }
    }
    Ok(())
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| damaged("literals go past the block"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn length(&mut self, field: u8) -> io::Result<usize> {
        let mut length = usize::from(field);
        if field == MORE {
            loop {
                let more = self.next().ok_or_else(|| damaged("half a length"))?;
                length += usize::from(more);
                if more != u8::MAX {
                    break;
                }
            }
        }
        Ok(length)
    }
}
