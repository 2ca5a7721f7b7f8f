//! What one end signs for the other outside of the frames: a program that is to take process 1's place.

use snow::types::Hash;

use super::noise::{Key, hash};

/// Bytes of a digest and of a signature.
pub const SIGNATURE_BYTES: usize = 32;
/// What is signed, so that no other use of the key makes the same.
const UPGRADE: &[u8] = b"tether upgrade";

/// BLAKE2s over what comes piece by piece.
pub struct Digest(Option<Box<dyn Hash>>);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest")
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self(hash())
    }
}

impl Digest {
    /// The next piece.
    pub fn add(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.0 {
            hash.input(bytes);
        }
    }

    /// The digest of all of them.
    pub fn done(self) -> [u8; SIGNATURE_BYTES] {
        let mut digest = [0; SIGNATURE_BYTES];
        if let Some(mut hash) = self.0 {
            hash.result(&mut digest);
        }
        digest
    }
}

/// What proves that a program with this digest comes from somebody who has the link key: HMAC-BLAKE2s. On a
/// link without a key there is nothing to prove, and the digest itself is what the bytes are checked by.
pub fn sign(key: Option<&Key>, digest: &[u8; SIGNATURE_BYTES]) -> [u8; SIGNATURE_BYTES] {
    let Some(key) = key else {
        return *digest;
    };
    let mut signature = [0; SIGNATURE_BYTES];
    if let Some(mut hash) = hash() {
        hash.hmac(&key.0, &[UPGRADE, digest].concat(), &mut signature);
    }
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(pieces: &[&[u8]]) -> [u8; SIGNATURE_BYTES] {
        let mut digest = Digest::default();
        pieces.iter().for_each(|piece| digest.add(piece));
        digest.done()
    }

    /// The value for "abc" is RFC 7693's, appendix B.
    #[test]
    fn a_digest_is_blake2s() {
        let start = [0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2];
        assert!(digest(&[b"abc"]).starts_with(&start));
        assert_eq!(digest(&[b"a", b"", b"bc"]), digest(&[b"abc"]));
    }

    #[test]
    fn a_signature_is_of_one_key_and_one_program() {
        let keys = [1, 2].map(|byte| Key([byte; 32]));
        let digests = [digest(&[b"one"]), digest(&[b"two"])];
        let mut all: Vec<_> = keys
            .iter()
            .flat_map(|key| digests.map(|digest| sign(Some(key), &digest)))
            .chain(digests.map(|digest| sign(None, &digest)))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }
}
