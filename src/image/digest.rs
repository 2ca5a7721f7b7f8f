//! Digests as images name them, `sha256:HEX`: worked out, and held to what was told.

use sha2::{Digest as _, Sha256};

use super::ImageError;
use super::store::SHA256;

/// A blob's.
pub(super) fn of(bytes: &[u8]) -> String {
    finished(Sha256::new_with_prefix(bytes))
}

/// Of all that was hashed.
pub(super) fn finished(hash: Sha256) -> String {
    let digits: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{SHA256}{digits}")
}

/// What has come is what was named.
pub(super) fn same(named: &str, found: &str) -> Result<(), ImageError> {
    if named == found {
        return Ok(());
    }
    Err(ImageError::Digest {
        digest: named.to_owned(),
        found: found.to_owned(),
    })
}
