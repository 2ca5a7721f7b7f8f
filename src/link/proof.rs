//! The guest's proofs: one Noise handshake for each of its nonces.

use super::noise::{Cipher, Key, Pending, Secrets, expand, initiate};

/// The key, and the handshake under way.
#[derive(Debug)]
pub(super) struct GuestProof {
    key: Key,
    seed: Box<[u8; 32]>,
    handshakes: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    nonce: u64,
    pending: Pending,
    /// HELLO's payload: repeated as it is.
    payload: Vec<u8>,
}

impl GuestProof {
    pub(super) fn new(key: Key, seed: [u8; 32]) -> Self {
        Self {
            key,
            seed: Box::new(seed),
            handshakes: 0,
            current: None,
        }
    }

    /// From here on with randomness that no copy of this machine has.
    pub(super) fn reseed(&mut self, seed: [u8; 32]) {
        *self.seed = seed;
        self.current = None;
    }

    /// HELLO's payload for this nonce: `line`, which anyone may read, and under the key `told`.
    pub(super) fn hello(&mut self, nonce: u64, line: &[u8], told: &[u8]) -> Option<&[u8]> {
        if self.current.as_ref().is_none_or(|c| c.nonce != nonce) {
            let secrets = Secrets {
                key: &self.key,
                random: expand(&self.seed, self.handshakes)?,
            };
            self.handshakes += 1;
            let (pending, message) = initiate(&secrets, line, told)?;
            self.current = Some(Current {
                nonce,
                pending,
                payload: [line, b"\n", &message].concat(),
            });
        }
        self.current.as_ref().map(|c| c.payload.as_slice())
    }

    /// What WELCOME's Noise message says, and the cipher from here on; None: it is not the answer to
    /// this nonce's HELLO, or not by one who has the key.
    pub(super) fn conclude(&mut self, nonce: u64, message: &[u8]) -> Option<(Vec<u8>, Cipher)> {
        let current = self.current.as_mut().filter(|c| c.nonce == nonce)?;
        let told = current.pending.read(message)?;
        let cipher = self.current.take()?.pending.finish()?;
        Some((told, cipher))
    }
}
