//! Addresses as the original keeps them: base64 of Go's `net.IP` and `net.IPMask` bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::model::IpNet;
use crate::config::validate::V4_MAPPED_BITS;

/// What an error says should have stood under an address' key.
pub(super) const EXPECTED_IP: &str = "base64 of the 4 or 16 bytes of an address";
/// What an error says should have stood under a mask's key.
pub(super) const EXPECTED_MASK: &str =
    "base64 of a mask of 4 or 16 bytes, ones before zeroes, as long as its address needs";

/// An address of 4 or 16 bytes; IPv4 in 16 bytes (`::ffff:a.b.c.d`) is IPv4.
pub(super) fn ip(text: &str) -> Option<IpAddr> {
    let bytes = STANDARD.decode(text).ok()?;
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    let v6 = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(v6)).to_canonical())
}

/// Length of the prefix that a mask stands for. 16 bytes fit an IPv4 address too, when they are
/// ones before its part.
pub(super) fn prefix(address: IpAddr, text: &str) -> Option<u8> {
    let mask = STANDARD.decode(text).ok()?;
    let bits = ones(&mask)?;
    match (mask.len(), address) {
        (4, IpAddr::V4(_)) | (16, IpAddr::V6(_)) => Some(bits),
        (16, IpAddr::V4(_)) => bits.checked_sub(V4_MAPPED_BITS),
        _ => None,
    }
}

/// The ones that a contiguous mask starts with.
fn ones(mask: &[u8]) -> Option<u8> {
    let mut bits: u8 = 0;
    let mut ended = false;
    for byte in mask {
        let leading = byte.leading_ones();
        if byte.count_ones() != leading || (ended && leading > 0) {
            return None;
        }
        ended = leading < u8::BITS;
        bits = bits.checked_add(u8::try_from(leading).ok()?)?;
    }
    Some(bits)
}

/// As the original writes an address: always 16 bytes.
pub(super) fn ip_text(address: IpAddr) -> String {
    let v6 = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    STANDARD.encode(v6.octets())
}

/// As the original writes a mask: 4 bytes for IPv4, 16 for IPv6.
pub(super) fn mask_text(net: &IpNet) -> String {
    let length = if net.address.is_ipv4() { 4 } else { 16 };
    let mut left = u32::from(net.prefix);
    let mask: Vec<u8> = (0..length)
        .map(|_| {
            let ones = left.min(u8::BITS);
            left = left.saturating_sub(ones);
            u8::MAX
                .checked_shl(u8::BITS.saturating_sub(ones))
                .unwrap_or(0)
        })
        .collect();
    STANDARD.encode(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base64(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    #[test]
    fn an_ipv4_address_may_have_4_or_16_bytes() {
        let expected = Some(IpAddr::from([172, 16, 0, 2]));
        assert_eq!(ip("AAAAAAAAAAAAAP//rBAAAg=="), expected);
        assert_eq!(ip(&base64(&[172, 16, 0, 2])), expected);
        assert_eq!(ip(&base64(&[172, 16, 0])), None);
        assert_eq!(ip("172.16.0.2"), None);
    }

    #[test]
    fn a_mask_has_ones_before_zeroes_and_the_length_of_its_address() {
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        assert_eq!(prefix(v4, "//8AAA=="), Some(16));
        let mut long = [0xff; 16];
        long[15] = 0;
        assert_eq!(prefix(v4, &base64(&long)), Some(24));
        assert_eq!(prefix(v6, &base64(&long)), Some(120));
        assert_eq!(prefix(v6, "//8AAA=="), None);
        assert_eq!(prefix(v4, &base64(&[0; 16])), None);
        for holed in [
            [255, 0, 255, 0],
            [255, 253, 0, 0],
            [254, 128, 0, 0],
            [1, 0, 0, 0],
        ] {
            assert_eq!(prefix(v4, &base64(&holed)), None, "{holed:?}");
        }
    }

    #[test]
    fn every_prefix_comes_back() {
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        for bits in 0..=32 {
            let net = IpNet {
                address: v4,
                prefix: bits,
            };
            assert_eq!(prefix(v4, &mask_text(&net)), Some(bits));
        }
        for bits in 0..=128 {
            let net = IpNet {
                address: v6,
                prefix: bits,
            };
            assert_eq!(prefix(v6, &mask_text(&net)), Some(bits));
        }
    }
}
