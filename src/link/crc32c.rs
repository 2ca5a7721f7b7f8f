//! CRC-32C (Castagnoli), reflected polynomial 0x82F63B78. The appliance has thousands of links, and takes
//! the processor's own instruction where there is one; a guest has one link, and a small file.

#[cfg(any(test, not(feature = "appliance")))]
mod portable;

/// Checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// Checksum of what gave `crc`, followed by `bytes`. Starting from a secret instead of 0 seals
/// the bytes against whoever does not know it (by accident, not by attack: see `frame`).
#[cfg(feature = "appliance")]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

#[cfg(not(feature = "appliance"))]
pub use self::portable::append;

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
    fn both_ways_to_compute_it_agree() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| ((n * n) >> 3) as u8).collect();
        for length in 0..bytes.len() {
            let seed = (length as u32).wrapping_mul(0x9e37_79b9);
            assert_eq!(
                append(seed, &bytes[..length]),
                portable::append(seed, &bytes[..length])
            );
        }
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
