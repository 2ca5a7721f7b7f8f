//! The link between a containerVM and its appliance: one damaged, dropped, reconnected byte stream
//! in, ordered streams and an exit status that always arrives out. Pure: bytes and a clock reading
//! in, bytes and events out. It never opens, waits for, or times anything itself.
//!
//! # The protocol
//!
//! The carrier (a serial port over TCP, a virtio-serial port) is one byte stream each way. It may
//! hold garbage before, between and inside frames, lose bytes, stall for minutes, and be replaced
//! by a new connection without the guest noticing.
//!
//! **Frames** ([`frame`]) are `marker, header, CRC-32C, payload`. The checksums of everything past
//! the handshake start from a seed that both ends' nonces make, so bytes that a container prints
//! can never pass for a frame, and frames of an earlier connection are noise.
//!
//! **Handshake** ([`handshake`]):
//!
//! ```text
//!  guest                                 listener
//!    HELLO (unasked, answer 0)  ───────▶            repeated with back-off until welcomed
//!    ◀─────────────────────────────  HAIL nonce L   to a new connection, or an unasked HELLO
//!    HELLO answer L, nonce G    ───────▶            identity, epoch, what the guest has received
//!    ◀─────────────────  WELCOME answer G           what the listener has stored of this epoch
//!    frames sealed with crc(G, L)  ◀──▶             the first of them establishes the link
//! ```
//!
//! With a link key ([`Link::require`], [`Link::unseal`]) HELLO and WELCOME are a JSON line that anyone
//! may read and, after a newline, a message of Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s: the line of HELLO
//! (versions, ID, both nonces) is the prologue, what is in the messages are the whole HELLO and WELCOME.
//! All frames past them are of kind `Sealed`; each has its own number, which is the cipher's nonce and
//! must be above those before.
//!
//! HELLO also says which WELCOME was taken last. A guest that names another than the listener gave last
//! goes on from the same memory as one that was let in since: a snapshot was resumed twice, or again, and so
//! does one whose clock has gone back, or that comes while another of its boot still answers. Its WELCOME holds randomness instead of what is stored (`another`), and it comes again with an epoch, nonces
//! and secrets of its own.
//!
//! The epoch is random per boot: the same one resumes, another one starts afresh. HAIL may come at
//! any time (the listener restarted, the connection was replaced): the guest answers, and keeps the
//! old seal until a WELCOME echoes its new nonce.
//!
//! **Streams** ([`send`], [`receive`]): each byte has an offset. The receiver acknowledges what is
//! *stored*, and grants credit up to an absolute offset. The sender keeps what is not acknowledged
//! and goes back when told of a gap, after a silence, or at a new handshake. The end of a stream
//! counts as one more offset, so its acknowledgement needs no frame of its own. Where a sender no
//! longer has what the receiver asks for, SKIP says so, and a gap of exactly that length is an event.
//!
//! A guest's end may go on in another process ([`Link::freeze`]): for the listener that is a new handshake.
//!
//! A channel is free again when its session is over and all of it is stored: the guest closes it and
//! says so ([`Control::Closed`]), then the listener does. Only the message that announces a session opens
//! its channel at the listener: what comes before that message or after the end is dropped.
//!
//! **Control messages** ([`control`], [`messages`]) are JSON, reliable and in order like streams,
//! counted instead of measured, and overtake data.
//!
//! **Liveness**: a PING after [`Options::keepalive`] of silence; three of them unanswered is
//! [`Event::Lost`]. PONG echoes the number of its PING, which a listener uses to ask whether a guest is
//! still there, and holds the guest's clock: one that is behind what it was goes on from older memory.
//! A listener's PING may hold the time since 1970 in milliseconds (8 bytes): [`Event::Time`].
//!
//! # What bounds what
//!
//! Every wait for bytes is for at most one frame whose header passed its checksum, so damage costs
//! that frame; a sender with anything unacknowledged repeats it after [`RTO_FIRST`] (doubling to
//! [`RTO_MOST`]), so a cut frame is completed and discarded, and the next is found inside it.

mod admission;
pub mod control;
pub mod crc32c;
mod endpoint;
pub mod frame;
mod freeze;
pub mod handshake;
mod input;
mod messages;
mod noise;
mod proof;
mod receive;
mod seal;
mod send;
mod signature;
mod transmit;

#[cfg(test)]
mod simulation;

use std::time::Duration;

#[cfg(feature = "appliance")]
use serde::Deserialize;
use serde::Serialize;

pub use control::{Control, Exec, ExitClass, ExitRecord, NetworkEndpoint};
pub use endpoint::{Link, MESSAGE_MOST, Unacknowledged};
pub use handshake::{Fresh, Hello, Identity, Resume};
pub use noise::{KEY_BYTES, Key};
pub use signature::{Digest, SIGNATURE_BYTES, sign};

/// First wait for an acknowledgement before sending again.
pub const RTO_FIRST: Duration = Duration::from_millis(1000);
/// Longest wait between two repetitions.
pub const RTO_MOST: Duration = Duration::from_secs(8);
/// First wait between two handshake frames; doubles up to [`HANDSHAKE_MOST`].
pub const HANDSHAKE_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two handshake frames.
pub const HANDSHAKE_MOST: Duration = Duration::from_secs(2);
/// Unanswered keep-alives after which the link is lost.
pub const KEEPALIVE_TRIES: u32 = 3;
/// Most sessions open at once on one link: their offsets must fit into one handshake frame.
pub const CHANNELS_MOST: usize = 256;
/// Longest name or ID told in a handshake, bytes; longer ones are cut.
pub const NAME_MOST: usize = 256;
/// Most control messages waiting to be acknowledged.
pub const MESSAGES_MOST: usize = 4096;

/// A session's number on the link, given by the guest; 0 is the link itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
#[serde(transparent)]
pub struct Channel(pub u16);

impl Channel {
    /// The link's own channel: control messages.
    pub const LINK: Self = Self(0);
}

/// One of a session's three streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Listener to guest.
    Stdin,
    /// Guest to listener.
    Stdout,
    /// Guest to listener; silent on a tty.
    Stderr,
}

impl Stream {
    /// All three, in the order of their file descriptors.
    pub const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The stream of a name in a message.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "stdin" => Some(Self::Stdin),
            "stdout" => Some(Self::Stdout),
            "stderr" => Some(Self::Stderr),
            _ => None,
        }
    }

    /// The stream of a number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// Settings of one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes kept per session until acknowledged; [`Link::room`] is what is left of it.
    pub buffer: usize,
    /// Bytes per stream that the peer may send past what is stored.
    pub window: u32,
    /// Largest payload of a data frame, at most [`frame::PAYLOAD_MOST`].
    pub chunk: usize,
    /// Silence after which the peer is asked for a sign of life; zero: never.
    pub keepalive: Duration,
    /// Frames one way after which a link with a key gets new keys.
    pub renew: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            buffer: 1 << 20,
            window: 256 << 10,
            chunk: 8 << 10,
            keepalive: Duration::from_secs(5),
            renew: 1 << 20,
        }
    }
}

/// What the link tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A guest says who it is (listener only). Answer with [`Link::accept`] or [`Link::refuse`].
    Hello(Hello),
    /// Both ends know each other.
    Established {
        /// Guest: the listener knows nothing of what a listener had acknowledged before (its state
        /// was lost, or it is another one): sessions must be announced again.
        forgotten: bool,
    },
    /// The next bytes of a stream: in order, none twice.
    Data {
        /// Session.
        channel: Channel,
        /// Stream.
        stream: Stream,
        /// Offset of the first byte.
        offset: u64,
        /// The bytes, never empty.
        bytes: Vec<u8>,
    },
    /// The sender no longer has the bytes from `from` to `to`; the stream goes on at `to`, and
    /// `stored(channel, stream, to)` acknowledges that.
    Gap {
        /// Session.
        channel: Channel,
        /// Stream.
        stream: Stream,
        /// First byte missing.
        from: u64,
        /// First byte not missing.
        to: u64,
    },
    /// The stream is complete at `offset`; `stored(channel, stream, offset + 1)` acknowledges it.
    End {
        /// Session.
        channel: Channel,
        /// Stream.
        stream: Stream,
        /// Its length.
        offset: u64,
    },
    /// A control message; [`Link::message_stored`] acknowledges it.
    Message {
        /// Its number, from 0.
        sequence: u64,
        /// What it says.
        message: Control,
    },
    /// The listener has let another guest in that goes on from the same memory (a snapshot was resumed
    /// twice, or again): mix this randomness in, then call [`Link::become_another`] (guest only).
    Copy {
        /// What the other one does not have.
        fresh: Fresh,
    },
    /// The listener will not have this guest.
    Refused {
        /// Its words.
        reason: String,
    },
    /// The listener's time since 1970 (guest only). It was sent some while ago: the time is no earlier.
    Time(Duration),
    /// The peer has not answered for three keep-alives. The handshake starts anew by itself.
    Lost,
}
