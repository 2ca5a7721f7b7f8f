//! The handshake's payloads, and the seal they agree on.

#[cfg(feature = "appliance")]
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use super::{Channel, NAME_MOST, Stream, crc32c};

/// The protocol version spoken here.
pub const VERSION: u32 = 1;

/// Who a guest is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
pub struct Identity {
    /// The container's ID.
    pub id: String,
    /// The container's name.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub name: String,
    /// Repository of its image.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub repo: String,
    /// Random per boot: the same means 'resume', another means 'rebooted'.
    pub epoch: u64,
    /// Version of the guest's software, for the operator.
    #[cfg_attr(feature = "appliance", serde(default))]
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
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Hail {
    /// Versions the listener speaks.
    pub versions: Vec<u32>,
    /// To be echoed.
    pub nonce: u64,
}

/// HELLO: the guest's answer, or its first words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
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
    /// The listener's nonce of the last WELCOME that was taken, or 0: of two guests that go on from the
    /// same memory, one has another than the listener gave last.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub last: u64,
    /// The guest's clock, ms: never goes back but with its memory.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub up_ms: u64,
    /// Control messages received from a listener so far.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub messages: u64,
    /// stdin received so far, by channel.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub streams: Vec<Position>,
    /// Channels whose stdin has been received to its end.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub ended: Vec<Channel>,
    /// More of it is under a link key: see [`super::Link::unseal`].
    #[serde(skip)]
    pub sealed: bool,
}

/// WELCOME: the listener's acceptance.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// The version to speak from here on.
    pub version: u32,
    /// The guest's nonce.
    pub answer: u64,
    /// What the listener has.
    #[serde(flatten)]
    pub resume: Resume,
    /// Not as this boot: the guest is a copy of one that was let in, and is to go on as a boot of its own,
    /// with this randomness, which the one it is a copy of does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub another: Option<Fresh>,
}

/// Randomness that a listener gives to a copy, 256 bits.
pub type Fresh = [u64; 4];

/// What the listener has stored of a guest's epoch; nothing for one it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// Control messages stored.
    pub messages: u64,
    /// Next expected offset of each stream that has begun.
    pub streams: Vec<Position>,
}

// What a guest reads is read by hand, out of one kind of value: see `Control`.

impl Hail {
    /// A payload; what cannot be read is as good as damaged.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(payload).ok()?;
        let versions = fields.get("versions")?.as_array()?.iter();
        Some(Self {
            versions: versions.map(number).collect::<Option<_>>()?,
            nonce: number(fields.get("nonce")?)?,
        })
    }
}

impl Welcome {
    /// The answer to a hello.
    pub(super) fn of(hello: &Hello, resume: &Resume, another: Option<Fresh>) -> Self {
        Self {
            version: VERSION,
            answer: hello.nonce,
            resume: resume.clone(),
            another,
        }
    }

    /// A payload; what cannot be read is as good as damaged.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let fields: Value = serde_json::from_slice(payload).ok()?;
        let streams = match fields.get("streams") {
            Some(streams) => streams.as_array()?.iter().map(position).collect(),
            None => Some(Vec::new()),
        };
        let another = match fields.get("another") {
            Some(value) => Some(fresh(value)?),
            None => None,
        };
        Some(Self {
            version: number(fields.get("version")?)?,
            answer: number(fields.get("answer")?)?,
            resume: Resume {
                messages: fields.get("messages").map_or(Some(0), number)?,
                streams: streams?,
            },
            another,
        })
    }
}

/// `[channel, stream, offset]`.
fn position(value: &Value) -> Option<Position> {
    let [channel, stream, offset] = value.as_array()?.as_slice() else {
        return None;
    };
    Some((
        Channel(number(channel)?),
        Stream::from_name(stream.as_str()?)?,
        number(offset)?,
    ))
}

fn fresh(value: &Value) -> Option<Fresh> {
    let mut fresh = Fresh::default();
    let words = value
        .as_array()
        .filter(|words| words.len() == fresh.len())?;
    for (word, value) in fresh.iter_mut().zip(words) {
        *word = number(value)?;
    }
    Some(fresh)
}

fn number<T: TryFrom<u64>>(value: &Value) -> Option<T> {
    T::try_from(value.as_u64()?).ok()
}

impl Resume {
    /// True when the listener knows nothing of this epoch.
    pub fn is_empty(&self) -> bool {
        self.messages == 0 && self.streams.is_empty()
    }
}

/// A payload's JSON line, and the Noise message after it where there is one.
pub(super) fn lines(payload: &[u8]) -> (&[u8], Option<&[u8]>) {
    match payload.iter().position(|byte| *byte == b'\n') {
        Some(at) => (payload.get(..at).unwrap_or_default(), payload.get(at + 1..)),
        None => (payload, None),
    }
}

/// The seed of the frames' checksums after a handshake.
pub(super) fn seed(guest: u64, listener: u64) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_reads_what_a_listener_writes() {
        let hail = Hail {
            versions: vec![1, 7],
            nonce: u64::MAX,
        };
        let json = serde_json::to_vec(&hail).expect("plain data");
        assert_eq!(Hail::read(&json), Some(hail));
        for stream in [Stream::Stdin, Stream::Stdout, Stream::Stderr] {
            let welcome = Welcome {
                version: 1,
                answer: 5,
                resume: Resume {
                    messages: 3,
                    streams: vec![(Channel(2), stream, u64::MAX), (Channel(0), stream, 0)],
                },
                another: (stream == Stream::Stderr).then_some([0, 1, 2, u64::MAX]),
            };
            let json = serde_json::to_vec(&welcome).expect("plain data");
            assert_eq!(Welcome::read(&json), Some(welcome));
        }
    }

    #[test]
    fn what_a_welcome_leaves_out_is_nothing() {
        let welcome = Welcome::read(br#"{"version":1,"answer":5,"later":[]}"#);
        assert!(welcome.is_some_and(|w| w.resume.is_empty()));
    }

    #[test]
    fn a_payload_of_another_shape_is_nobody_s() {
        for text in [
            "",
            "[]",
            r#"{"version":1}"#,
            r#"{"version":4294967296,"answer":5}"#,
            r#"{"version":1,"answer":5,"streams":[[0,"stdin"]]}"#,
            r#"{"version":1,"answer":5,"streams":[[0,"stdnil",1]]}"#,
            r#"{"version":1,"answer":5,"messages":-1}"#,
            r#"{"version":1,"answer":5,"another":[1,2,3]}"#,
        ] {
            assert_eq!(Welcome::read(text.as_bytes()), None, "{text}");
            assert_eq!(Hail::read(text.as_bytes()), None, "{text}");
        }
    }
}
