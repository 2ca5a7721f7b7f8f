//! The keys that end a client's view of a terminal and leave the process alone.

/// What docker uses when nothing else is asked for.
pub const DEFAULT_KEYS: &str = "ctrl-p,ctrl-q";

/// Finds the sequence in what is typed, over any split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// A text that is no sequence of keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "detach key {0:?}: expected one character, or ctrl- and one of a-z @ [ \\ ] ^ _, several \
     joined by commas, as in {DEFAULT_KEYS}"
)]
pub struct DetachKeysError(pub String);

impl std::str::FromStr for DetachKeys {
    type Err = DetachKeysError;

    fn from_str(text: &str) -> Result<Self, DetachKeysError> {
        let keys = text.split(',').map(key).collect::<Result<Vec<u8>, _>>()?;
        Ok(Self { keys, matched: 0 })
    }
}

fn key(text: &str) -> Result<u8, DetachKeysError> {
    let bad = || DetachKeysError(text.to_owned());
    if let [byte] = text.as_bytes() {
        return Ok(*byte);
    }
    match text.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
        Some([sign @ (b'@' | b'['..=b'_')]) => Ok(sign - b'@'),
        _ => Err(bad()),
    }
}

impl Default for DetachKeys {
    fn default() -> Self {
        // ctrl-p, ctrl-q.
        Self {
            keys: vec![0x10, 0x11],
            matched: 0,
        }
    }
}

impl DetachKeys {
    /// Passes typed bytes on to `out`, except the sequence. True: it has been typed in full; what
    /// follows it is dropped. Keys of a sequence that was broken off are passed on.
    pub fn filter(&mut self, typed: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in typed {
            while self.keys.get(self.matched) != Some(byte) && self.matched > 0 {
                // The longest shorter beginning that the keys held so far still end in.
                let held = &self.keys[..self.matched];
                let shorter = (0..self.matched)
                    .rev()
                    .find(|n| held.ends_with(&self.keys[..*n]))
                    .unwrap_or(0);
                out.extend_from_slice(&held[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &str, typed: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys: DetachKeys = keys.parse().expect("keys");
        let mut out = Vec::new();
        let done = typed.iter().any(|part| keys.filter(part, &mut out));
        (out, done)
    }

    #[test]
    fn the_sequence_is_swallowed_and_ends() {
        assert_eq!(
            run(DEFAULT_KEYS, &[b"ab\x10\x11cd"]),
            (b"ab".to_vec(), true)
        );
        assert_eq!(
            run(DEFAULT_KEYS, &[b"ab\x10", b"\x11cd"]),
            (b"ab".to_vec(), true)
        );
    }

    #[test]
    fn a_broken_sequence_is_passed_on() {
        assert_eq!(
            run(DEFAULT_KEYS, &[b"\x10x\x11"]),
            (b"\x10x\x11".to_vec(), false)
        );
        assert_eq!(
            run(DEFAULT_KEYS, &[b"\x10\x10", b"\x11"]),
            (b"\x10".to_vec(), true)
        );
        assert_eq!(run("a,a,b", &[b"aaab"]), (b"a".to_vec(), true));
    }

    #[test]
    fn keys_are_written_as_docker_writes_them() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|k| k.keys);
        assert_eq!(keys("ctrl-a,q"), Ok(vec![1, b'q']));
        assert_eq!(keys("ctrl-@,ctrl-[,ctrl-_"), Ok(vec![0, 27, 31]));
        assert_eq!(keys(DEFAULT_KEYS), Ok(DetachKeys::default().keys));
        for bad in ["", "ctrl-", "ctrl-A", "ctrl-1", "enter", "a,,b"] {
            assert!(keys(bad).is_err(), "{bad:?}");
        }
    }
}
