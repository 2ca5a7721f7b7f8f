//! How names and values hold what would end them (see the table in [`super`]).

/// Digits of an escape, and what VMware writes.
const HEXADECIMAL: &[u8; 16] = b"0123456789ABCDEF";
/// What escapes.
const ESCAPE: u8 = b'|';
/// The one escape that a name may hold.
const ESCAPED_BAR: &[u8] = b"|7C";
/// `|7C` is a bar, any other bar is itself.
pub(super) fn decode_name(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        decoded.push(*first);
        rest = rest
            .strip_prefix(ESCAPED_BAR)
            .filter(|_| *first == ESCAPE)
            .unwrap_or(tail);
    }
    decoded
}

/// A bare `|`, as VMware writes it, but where that would be read as an escape.
pub(super) fn encode_name(name: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if rest.starts_with(ESCAPED_BAR) {
            encoded.extend_from_slice(ESCAPED_BAR);
        } else {
            encoded.push(*first);
        }
        rest = tail;
    }
    encoded
}

/// `|XX` with two digits is that byte.
pub(super) fn unescape(value: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| {
        let value = char::from(*byte).to_digit(16)?;
        u8::try_from(value).ok()
    };
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    loop {
        rest = match rest {
            [] => return decoded,
            [ESCAPE, high, low, tail @ ..] if digit(high).is_some() && digit(low).is_some() => {
                let byte = digit(high).zip(digit(low)).map(|(h, l)| h << 4 | l);
                decoded.extend(byte);
                tail
            }
            [byte, tail @ ..] => {
                decoded.push(*byte);
                tail
            }
        };
    }
}

/// The value in its quotes: the quote, the bar, and control characters but tab are escaped.
pub(super) fn quote(value: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(value.len() + 2);
    quoted.push(b'"');
    for byte in value {
        match byte {
            b'\t' => quoted.push(b'\t'),
            b'"' | &ESCAPE | 0..=0x1F | 0x7F => {
                quoted.push(ESCAPE);
                for digit in [byte >> 4, byte & 0x0F] {
                    quoted.extend(HEXADECIMAL.get(usize::from(digit)));
                }
            }
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}
