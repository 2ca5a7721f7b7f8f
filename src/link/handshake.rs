//! The handshake's payloads, and the seal they agree on.

use serde::{Deserialize, Serialize};

use super::{Channel, NAME_MOST, Stream, crc32c};

/// The protocol version spoken here.
pub const VERSION: u32 = 1;

/// Who a guest is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The container's ID.
    pub id: String,
    /// The container's name.
    #[serde(default)]
    pub name: String,
    /// Repository of its image.
    #[serde(default)]
    pub repo: String,
    /// Random per boot: the same means 'resume', another means 'rebooted'.
    pub epoch: u64,
    /// Version of the guest's software, for the operator.
    #[serde(default)]
    pub software: String,
}

impl Identity {
    /// Cuts what would not fit into a frame.
    pub(super) fn cut(&mut self) {
        for text in [
            &mut self.id,
            &mut self.name,
            &mut self.repo,
            &mut self.software,
        ] {
            text.truncate(text.floor_char_boundary(NAME_MOST));
        }
    }
}

/// Offset up to which a stream has been received; its end counts as one more.
pub type Position = (Channel, Stream, u64);

/// HAIL: the listener's question.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hail {
    /// Versions the listener speaks.
    pub versions: Vec<u32>,
    /// To be echoed.
    pub nonce: u64,
}

/// HELLO: the guest's answer, or its first words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions the guest speaks.
    pub versions: Vec<u32>,
    /// Who it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// To be echoed.
    pub nonce: u64,
    /// The listener's nonce, or 0 when none was heard.
    pub answer: u64,
    /// Control messages received from a listener so far.
    #[serde(default)]
    pub messages: u64,
    /// stdin received so far, by channel.
    #[serde(default)]
    pub streams: Vec<Position>,
    /// Channels whose stdin has been received to its end.
    #[serde(default)]
    pub ended: Vec<Channel>,
}

/// WELCOME: the listener's acceptance.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version to speak from here on.
    pub version: u32,
    /// The guest's nonce.
    pub answer: u64,
    /// What the listener has.
    #[serde(flatten)]
    pub resume: Resume,
}

/// What the listener has stored of a guest's epoch; nothing for one it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Control messages stored.
    #[serde(default)]
    pub messages: u64,
    /// Next expected offset of each stream that has begun.
    #[serde(default)]
    pub streams: Vec<Position>,
}

impl Resume {
    /// True when the listener knows nothing of this epoch.
    pub fn is_empty(&self) -> bool {
        self.messages == 0 && self.streams.is_empty()
    }
}

/// The seed of the frames' checksums after a handshake.
pub(super) fn seal(guest: u64, listener: u64) -> u32 {
    crc32c::append(
        crc32c::crc32c(&guest.to_le_bytes()),
        &listener.to_le_bytes(),
    )
}

/// A nonce after another: each handshake of one end has its own (SplitMix64's output function
/// over a counter, so that the first one's randomness is kept).
pub(super) fn next_nonce(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // 0 stands for 'none heard'.
    (z ^ (z >> 31)).max(1)
}
