//! Sizes as people write them: `64m`.

/// Bytes of a number with k, m or g behind it, or nothing.
///
/// # Errors
/// It is no such text.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        unit => return Err(format!("{unit:?} is no unit: expected k, m or g")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number".to_owned())?;
    let bytes = number.checked_mul(1 << shift);
    bytes.ok_or_else(|| "more than can be counted".to_owned())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn a_unit_may_follow() {
        for (text, wanted) in [
            ("7", 7),
            ("7b", 7),
            ("2k", 2 << 10),
            ("3MB", 3 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for bad in ["", "m", "1t", "-1", "1.5g", "99999999999g"] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
    }
}
