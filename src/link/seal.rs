//! What protects the frames past the handshake: a checksum whose seed both nonces make, or a cipher.

use super::frame::{self, Head, PAYLOAD_MOST};
use super::noise::{Cipher, TAG};

/// Bytes that a cipher adds to a frame: the head, which goes inside, and the tag.
pub(super) const CIPHER_MORE: usize = Head::BYTES + TAG;

/// Made anew by each handshake.
#[derive(Debug)]
pub(super) struct Seal {
    /// Seed of the checksums.
    pub(super) seed: u32,
    /// Both ends have the link key: frames go inside sealed ones, and no other is taken.
    pub(super) cipher: Option<Box<Cipher>>,
}

impl Seal {
    /// Appends a frame. `scratch` is for the cipher's use.
    pub(super) fn encode(
        &mut self,
        out: &mut Vec<u8>,
        head: Head,
        parts: [&[u8]; 2],
        scratch: &mut Vec<u8>,
    ) {
        let Some(cipher) = &mut self.cipher else {
            return frame::encode(out, self.seed, head, parts);
        };
        debug_assert!(parts[0].len() + parts[1].len() + CIPHER_MORE <= PAYLOAD_MOST);
        scratch.clear();
        scratch.extend_from_slice(&head.to_bytes());
        scratch.extend_from_slice(parts[0]);
        scratch.extend_from_slice(parts[1]);
        let (start, number) = (out.len(), cipher.number());
        frame::encode_sealed_header(out, self.seed, number, scratch.len() + TAG);
        if !cipher.seal(scratch, out) {
            out.truncate(start);
        }
    }
}
