//! Names for containers that nobody has named, in docker's manner: `jolly_panini`.

const HOW: [&str; 32] = [
    "amber", "bold", "brisk", "calm", "clever", "crisp", "dapper", "eager", "fair", "fluffy",
    "gentle", "glad", "golden", "happy", "humble", "jolly", "keen", "lively", "lucky", "mellow",
    "merry", "neat", "nimble", "plucky", "proud", "quiet", "rapid", "sunny", "swift", "tidy",
    "warm", "witty",
];
const WHAT: [&str; 32] = [
    "bagel",
    "baguette",
    "biscuit",
    "brioche",
    "burrito",
    "calzone",
    "cannoli",
    "ciabatta",
    "crepe",
    "croissant",
    "dumpling",
    "empanada",
    "falafel",
    "focaccia",
    "gnocchi",
    "gyoza",
    "knish",
    "lasagna",
    "muffin",
    "naan",
    "paella",
    "panini",
    "pierogi",
    "pretzel",
    "quesadilla",
    "ramen",
    "ravioli",
    "risotto",
    "samosa",
    "strudel",
    "tamale",
    "waffle",
];

/// One of many names; after some attempts with a number, as they may all be taken.
pub(super) fn propose(random: [u8; 4], attempt: u32) -> String {
    let pick = |words: &[&'static str; 32], byte: u8| words[usize::from(byte) % words.len()];
    let [how, what, a, b] = random;
    let name = format!("{}_{}", pick(&HOW, how), pick(&WHAT, what));
    if attempt < 4 {
        name
    } else {
        format!("{name}{}", u16::from_be_bytes([a, b]))
    }
}

/// What docker allows as a name.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first
        && text.len() > 1
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_is_a_name() {
        for attempt in 0..6 {
            for byte in 0..=255 {
                let name = propose([byte, 255 - byte, byte, 7], attempt);
                assert!(is_name(&name), "{name}");
            }
        }
        for bad in ["", "a", "-a", "a b", "a/b", "ä1"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
