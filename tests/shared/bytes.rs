//! Bytes that tests make and compare.

/// Fails at the first byte that differs, instead of printing megabytes.
pub fn assert_same(got: &[u8], wanted: &[u8]) {
    let differs = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(
        differs.is_none() && got.len() == wanted.len(),
        "{} bytes instead of {}, the first difference at {:?}",
        got.len(),
        wanted.len(),
        differs.unwrap_or(got.len().min(wanted.len()))
    );
}

/// What `seq FIRST LAST` prints.
pub fn seq(first: u32, last: u32) -> Vec<u8> {
    (first..=last)
        .flat_map(|number| format!("{number}\n").into_bytes())
        .collect()
}
