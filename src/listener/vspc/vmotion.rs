//! One vMotion, as the port sees it: what comes for the VM is held from the go-ahead until it has
//! moved, or until it is clear that it has not.

use std::time::Duration;

/// A secret's length, in bytes.
pub const SECRET_BYTES: usize = 8;

/// What comes for the VM is held so long at most. A vMotion that takes longer is not lost: the
/// link sends again what did not arrive.
const HELD_MOST: Duration = Duration::from_secs(30);
/// Output on the old connection so long after the go-ahead is no straggler: the VM has resumed
/// there. It does so without a word when the go-ahead came too late for it, which is after
/// 5 s unless the .vmx says otherwise (`serialN.vmotionLimit`).
const RESUMED_AFTER: Duration = Duration::from_secs(6);

/// One vMotion under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmotion {
    sequence: Vec<u8>,
    secret: [u8; SECRET_BYTES],
    began: Duration,
}

impl Vmotion {
    /// A VM has begun one; the go-ahead is given now.
    pub fn new(sequence: Vec<u8>, secret: [u8; SECRET_BYTES], now: Duration) -> Self {
        Self {
            sequence,
            secret,
            began: now,
        }
    }

    /// Its sequence.
    pub fn sequence(&self) -> &[u8] {
        &self.sequence
    }

    /// The secret in it.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// What the new host's connection has to show.
    pub fn cookie(&self) -> Vec<u8> {
        [&self.sequence[..], &self.secret].concat()
    }

    /// When it is given up.
    pub fn limit(&self) -> Duration {
        self.began + HELD_MOST
    }

    /// Output on the old connection means by now that the VM has stayed.
    pub fn has_stayed(&self, now: Duration) -> bool {
        now >= self.began + RESUMED_AFTER
    }
}
