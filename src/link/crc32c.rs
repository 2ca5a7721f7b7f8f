//! CRC-32C (Castagnoli), reflected polynomial 0x82F63B78, eight bytes a step from tables made at
//! their first use (8 KB that the guest's binary does not carry, as a `LazyLock` would: it begins with a
//! function's address, so its room is in the file): no processor feature is needed, and
//! none is asked for.

use std::sync::OnceLock;

const POLYNOMIAL: u32 = 0x82F6_3B78;

static TABLES: OnceLock<[[u32; 256]; 8]> = OnceLock::new();

/// Table 0 is the checksum of each byte, table n that of each byte with n zeroes after it.
fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    // The checksum is linear: that of two bytes' exclusive or is the exclusive or of theirs. So one
    // step for each power of two, and one operation for each entry between.
    let mut crc = 1;
    let mut power = 128;
    while power > 0 {
        crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
        for step in (0..256).step_by(2 * power) {
            tables[0][step + power] = tables[0][step] ^ crc;
        }
        power /= 2;
    }
    let [first, rest @ ..] = &mut tables;
    let mut before = *first;
    for table in rest {
        for (entry, before) in table.iter_mut().zip(before) {
            *entry = (before >> 8) ^ first[(before & 0xff) as usize];
        }
        before = *table;
    }
    tables
}

/// Checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// Checksum of what gave `crc`, followed by `bytes`. Starting from a secret instead of 0 seals
/// the bytes against whoever does not know it (by accident, not by attack: see `frame`).
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES.get_or_init(tables);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        // Eight lookups written out: a size-optimised build leaves a loop a loop, at several times
        // the instructions (which an emulated processor pays for most).
        let word = u64::from_le_bytes(*word) ^ u64::from(crc);
        let [b0, b1, b2, b3, b4, b5, b6, b7] = word.to_le_bytes();
        crc = t7[usize::from(b0)]
            ^ t6[usize::from(b1)]
            ^ t5[usize::from(b2)]
            ^ t4[usize::from(b3)]
            ^ t3[usize::from(b4)]
            ^ t2[usize::from(b5)]
            ^ t1[usize::from(b6)]
            ^ t0[usize::from(b7)];
    }
    for byte in rest {
        crc = (crc >> 8) ^ t0[usize::from(crc as u8 ^ byte)];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_vectors_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let up: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&up), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_split_anywhere_gives_the_same_sum() {
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(append(crc32c(head), tail), crc32c(&bytes));
        }
    }
}
