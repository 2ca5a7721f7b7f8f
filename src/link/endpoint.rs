//! One end of the link: its state, and what its owner may ask of it. Input is in `input`, output
//! and time in `transmit`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::frame::Reader;
use super::handshake::{Hello, Identity, next_nonce};
use super::messages::{Inbox, Outbox};
use super::noise::{Key, Pending};
use super::proof::GuestProof;
use super::receive::ReceiveStream;
use super::seal::{CIPHER_MORE, Seal};
use super::send::{CREDIT_FIRST, SendStream};
use super::{CHANNELS_MOST, Channel, Control, Event, HANDSHAKE_FIRST, Options, RTO_FIRST, Stream};

/// Largest payload of a frame that may have to go inside a sealed one; a control message is one frame.
pub const MESSAGE_MOST: usize = super::frame::PAYLOAD_MOST - CIPHER_MORE;

/// One end of the link. Feed it with [`Link::handle_input`], then drain [`Link::poll_event`] and
/// [`Link::poll_transmit`], and come back at [`Link::poll_timeout`].
#[derive(Debug)]
pub struct Link {
    pub(super) options: Options,
    pub(super) side: Side,
    pub(super) reader: Reader,
    pub(super) events: VecDeque<Event>,
    /// Boxed, as the next: a map makes room for eleven, and most links have three in all.
    pub(super) sending: BTreeMap<(Channel, Stream), Box<SendStream>>,
    pub(super) receiving: BTreeMap<(Channel, Stream), Box<ReceiveStream>>,
    /// Sessions whose oldest bytes make room.
    dropping: Vec<Channel>,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    pub(super) nonces: u64,
    /// What protects the frames past the handshake; `None` until the first one.
    pub(super) seal: Option<Seal>,
    /// Last time a sealed frame came.
    pub(super) heard: Duration,
    /// Keep-alives sent since.
    pub(super) asked: u32,
    pub(super) ping_due: bool,
    /// Number of the PING to answer.
    pub(super) pong_due: Option<u64>,
    /// Number of our next PINGs, and of the last PONG.
    pub(super) question: u64,
    pub(super) answered: u64,
    /// When the peer was last asked for its clock, and what it said, ms.
    pub(super) asked_clock: Duration,
    /// The time since 1970 when the owner's clock was zero, which the peer is told.
    pub(super) wall: Option<Duration>,
    pub(super) peer_up_ms: u64,
    /// Last time something was acknowledged, or began to wait for it.
    pub(super) progress: Duration,
    pub(super) rto: Duration,
    /// The stream that sent last: the next one's turn follows.
    pub(super) turn: (Channel, Stream),
}

/// What differs between the two ends.
#[derive(Debug)]
#[cfg_attr(not(feature = "appliance"), expect(dead_code))] // see `ListenerSide::nobody`
pub(super) enum Side {
    /// Boxed, as a listener's is much smaller, and there are thousands of them.
    Guest(Box<GuestSide>),
    Listener(ListenerSide),
}

#[derive(Debug)]
pub(super) struct GuestSide {
    pub(super) identity: Identity,
    /// Nonce of the HELLO under way.
    pub(super) nonce: u64,
    /// The listener's nonce, 0 when none was heard.
    pub(super) hail: u64,
    /// The nonces of the HELLO that was welcomed last, ours and the listener's.
    pub(super) welcomed: (u64, u64),
    pub(super) established: bool,
    pub(super) timer: Repeat,
    /// There is a link key: nobody without it is talked to.
    pub(super) proof: Option<GuestProof>,
}

#[derive(Debug)]
pub(super) struct ListenerSide {
    /// Nobody can make one in a guest: the compiler then leaves out all that only a listener does.
    #[cfg(not(feature = "appliance"))]
    #[expect(dead_code)]
    nobody: std::convert::Infallible,
    /// Nonce of the HAIL under way.
    pub(super) nonce: u64,
    pub(super) state: ListenerState,
    pub(super) timer: Repeat,
    /// A guest spoke that has not echoed our nonce: ask it.
    pub(super) hail_due: bool,
}

#[derive(Debug)]
pub(super) enum ListenerState {
    /// No guest has answered yet: HAIL from time to time.
    Waiting,
    /// A guest has said who it is; the owner decides. Boxed: an established link, of which there are
    /// thousands, must not have room for it.
    #[cfg_attr(not(feature = "appliance"), expect(dead_code))] // a guest reads no HELLO
    Asked(Box<Asked>),
    /// Accepted: WELCOME from time to time until a sealed frame comes, or from a copy a HELLO of its
    /// own.
    Welcomed { nonce: u64, payload: Vec<u8> },
    /// Both ends have echoed the other's nonce; this is the guest's.
    #[cfg_attr(not(feature = "appliance"), expect(dead_code))] // a guest reads no HELLO
    Established { nonce: u64 },
    /// The owner will not have it: `Some` while the reason is to be sent.
    Refused { nonce: u64, reason: Option<String> },
}

/// A HELLO that waits for the owner's answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) hello: Hello,
    /// Ours, that it echoes.
    pub(super) nonce: u64,
    pub(super) proof: Option<Proof>,
}

/// What a guest's HELLO says under a link key.
#[derive(Debug)]
#[cfg_attr(not(feature = "appliance"), expect(dead_code))] // a guest reads no HELLO
pub(super) enum Proof {
    /// As it came.
    Given {
        prologue: Box<[u8]>,
        message: Box<[u8]>,
    },
    /// It has the key.
    Held(Pending),
}

/// A frame repeated with back-off: due at `at`, the next time `wait` later.
#[derive(Debug)]
pub(super) struct Repeat {
    /// `None`: due at once.
    pub(super) at: Option<Duration>,
    pub(super) wait: Duration,
    /// [`Link::noise`] when it was sent last.
    pub(super) noise: u64,
}

impl Repeat {
    /// Due at once.
    pub(super) fn now() -> Self {
        Self {
            at: None,
            wait: HANDSHAKE_FIRST,
            noise: 0,
        }
    }

    pub(super) fn due(&self, now: Duration) -> bool {
        self.at.is_none_or(|at| at <= now)
    }
}

/// What has not arrived yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unacknowledged {
    /// Bytes of streams, and ends as one each.
    pub bytes: u64,
    /// Control messages.
    pub messages: u64,
}

impl Unacknowledged {
    /// Everything has arrived.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl Link {
    /// The guest's end. `nonce` is random.
    pub fn guest(mut identity: Identity, nonce: u64, options: Options) -> Self {
        identity.cut();
        Self::new(options, nonce, |nonce| {
            Side::Guest(Box::new(GuestSide {
                identity,
                nonce,
                hail: 0,
                welcomed: (0, 0),
                established: false,
                timer: Repeat::now(),
                proof: None,
            }))
        })
    }

    /// The guest's end talks to nobody who does not prove to have this key. `seed` is 32 random bytes
    /// that nobody else ever gets.
    pub fn require(&mut self, key: Key, seed: [u8; 32]) {
        if let Side::Guest(guest) = &mut self.side {
            guest.proof = Some(GuestProof::new(key, seed));
        }
    }

    /// A copy goes on as a boot of its own, after [`Event::Copy`]. All three are of randomness that
    /// nobody has but this machine; `seed` is for [`Link::require`]'s key, if there is one.
    pub fn become_another(&mut self, epoch: u64, nonce: u64, seed: [u8; 32]) {
        self.nonces = nonce;
        if let Side::Guest(guest) = &mut self.side {
            guest.identity.epoch = epoch;
            guest.nonce = next_nonce(&mut self.nonces);
            guest.welcomed = (0, 0);
            guest.established = false;
            guest.timer = Repeat::now();
            if let Some(proof) = &mut guest.proof {
                proof.reseed(seed);
            }
        }
    }

    /// The listener's end of one connection. `nonce` is random.
    #[cfg(feature = "appliance")]
    pub fn listener(nonce: u64, options: Options) -> Self {
        Self::new(options, nonce, |nonce| {
            Side::Listener(ListenerSide {
                nonce,
                state: ListenerState::Waiting,
                timer: Repeat::now(),
                hail_due: false,
            })
        })
    }

    fn new(mut options: Options, mut nonces: u64, side: impl FnOnce(u64) -> Side) -> Self {
        options.window = options.window.max(CREDIT_FIRST as u32);
        options.chunk = options.chunk.clamp(1, MESSAGE_MOST);
        let first = next_nonce(&mut nonces);
        Self {
            options,
            side: side(first),
            reader: Reader::default(),
            events: VecDeque::new(),
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            dropping: Vec::new(),
            outbox: Outbox::default(),
            inbox: Inbox::new(0),
            nonces,
            seal: None,
            heard: Duration::ZERO,
            asked: 0,
            ping_due: false,
            pong_due: None,
            question: 0,
            answered: 0,
            asked_clock: Duration::ZERO,
            wall: None,
            peer_up_ms: 0,
            progress: Duration::ZERO,
            rto: RTO_FIRST,
            turn: (Channel::LINK, Stream::Stdin),
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Makes a session's three streams. Opening it twice changes nothing; false: there are
    /// [`CHANNELS_MOST`] already, or this is the link's own channel.
    pub fn open(&mut self, channel: Channel) -> bool {
        let (sends, known) = if self.is_guest() {
            (2, Stream::Stdout)
        } else {
            (1, Stream::Stdin)
        };
        let full = self.sending.len() >= CHANNELS_MOST * sends;
        if channel == Channel::LINK || (full && !self.sending.contains_key(&(channel, known))) {
            return false;
        }
        for stream in Stream::ALL {
            let key = (channel, stream);
            if self.sends(stream) {
                self.sending
                    .entry(key)
                    .or_insert_with(|| Box::new(SendStream::new(0)));
            } else {
                let window = self.options.window;
                self.receiving
                    .entry(key)
                    .or_insert_with(|| Box::new(ReceiveStream::new(0, window)));
            }
        }
        true
    }

    /// Forgets a session's streams, whatever state they are in.
    pub fn close(&mut self, channel: Channel) {
        for stream in Stream::ALL {
            self.sending.remove(&(channel, stream));
            self.receiving.remove(&(channel, stream));
        }
        self.dropping.retain(|dropping| *dropping != channel);
    }

    /// The peer has stored all that this end has to send of a session, the ends of its streams too.
    pub fn delivered(&self, channel: Channel) -> bool {
        let mut streams = self.sending.range((channel, Stream::Stdin)..);
        streams
            .by_ref()
            .take_while(|((of, _), _)| *of == channel)
            .all(|(_, stream)| stream.is_finished() && stream.unacknowledged() == 0)
    }

    /// Bytes that [`Link::write`] would take now. At 0 stop reading what feeds the stream.
    pub fn room(&self, channel: Channel, stream: Stream) -> usize {
        if !self.sending.contains_key(&(channel, stream)) {
            return 0;
        }
        if self.drops_oldest(channel) {
            return self.options.buffer;
        }
        self.options.buffer.saturating_sub(self.kept(channel))
    }

    /// When a session's buffer is full, the oldest bytes in it make room, and the peer is told which are
    /// gone: there is always room from here on.
    pub fn drop_oldest(&mut self, channel: Channel) {
        if !self.drops_oldest(channel) {
            self.dropping.push(channel);
        }
    }

    fn drops_oldest(&self, channel: Channel) -> bool {
        self.dropping.contains(&channel)
    }

    /// Bytes of a session that wait for their acknowledgement.
    fn kept(&self, channel: Channel) -> usize {
        self.sending
            .range((channel, Stream::Stdin)..=(channel, Stream::Stderr))
            .map(|(_, stream)| stream.kept())
            .sum()
    }

    /// Makes room for so many bytes of a stream: its own oldest go first, then its sibling's.
    fn make_room(&mut self, channel: Channel, stream: Stream, count: usize) {
        let kept = self.kept(channel);
        let mut surplus = (kept + count).saturating_sub(self.options.buffer);
        let others = Stream::ALL.into_iter().filter(|other| *other != stream);
        for stream in std::iter::once(stream).chain(others) {
            if let Some(stream) = self.sending.get_mut(&(channel, stream)) {
                surplus -= stream.drop_oldest(surplus);
            }
        }
    }

    /// Takes the next bytes of a stream, as many as there is room for: the count taken.
    pub fn write(&mut self, channel: Channel, stream: Stream, bytes: &[u8]) -> usize {
        let count = self.room(channel, stream).min(bytes.len());
        if self.drops_oldest(channel) {
            self.make_room(channel, stream, count);
        }
        if let Some(stream) = self.sending.get_mut(&(channel, stream)) {
            stream.write(bytes.get(..count).unwrap_or_default());
        }
        count
    }

    /// The stream ends after what was written.
    pub fn finish(&mut self, channel: Channel, stream: Stream) {
        if let Some(stream) = self.sending.get_mut(&(channel, stream)) {
            stream.finish();
        }
    }

    /// Bytes written to a stream so far: its final offset once it is finished.
    pub fn written(&self, channel: Channel, stream: Stream) -> u64 {
        self.sending
            .get(&(channel, stream))
            .map_or(0, |stream| stream.length())
    }

    /// All below `offset` of a received stream is safe: it is acknowledged, and the sender gets
    /// credit for as much again. For the end: its offset + 1.
    pub fn stored(&mut self, channel: Channel, stream: Stream, offset: u64) {
        if let Some(stream) = self.receiving.get_mut(&(channel, stream)) {
            stream.stored(offset);
        }
    }

    /// Queues a control message. False: too many wait already, or it is too large for a frame.
    pub fn send(&mut self, message: &Control) -> bool {
        match serde_json::to_vec(message) {
            Ok(bytes) if bytes.len() <= MESSAGE_MOST => self.outbox.push(bytes),
            Ok(_) | Err(_) => false,
        }
    }

    /// Acknowledges control messages up to and with this one.
    pub fn message_stored(&mut self, sequence: u64) {
        self.inbox.stored(sequence);
    }

    /// What the peer has not stored yet.
    pub fn unacknowledged(&self) -> Unacknowledged {
        Unacknowledged {
            bytes: self
                .sending
                .values()
                .map(|stream| stream.unacknowledged())
                .sum(),
            messages: self.outbox.unacknowledged(),
        }
    }

    /// Asks the peer for a sign of life that is no older than this: then [`Link::answered`] is `number`.
    #[cfg(feature = "appliance")]
    pub fn ask(&mut self, number: u64) {
        self.question = number;
        self.ping_due = true;
    }

    /// Number of the last question that the peer has answered.
    #[cfg(feature = "appliance")]
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Listener: what the time since 1970 was when the owner's clock was zero; guests are told it from now on.
    pub fn tell_time(&mut self, wall_at_zero: Duration) {
        self.wall = Some(wall_at_zero);
    }

    /// The guest's clock as it was told last, ms.
    #[cfg(feature = "appliance")]
    pub fn peer_up_ms(&self) -> u64 {
        self.peer_up_ms
    }

    /// The last bytes that belonged to no frame, and came after the last one that was whole: what a kernel
    /// prints when it panics, for one.
    #[cfg(feature = "appliance")]
    pub fn last_noise(&self) -> &[u8] {
        self.reader.last_skipped()
    }

    /// Both ends know each other.
    pub fn established(&self) -> bool {
        match &self.side {
            Side::Guest(guest) => guest.established,
            Side::Listener(side) => matches!(side.state, ListenerState::Established { .. }),
        }
    }

    /// Bytes received so far that belonged to no frame.
    pub fn noise(&self) -> u64 {
        self.reader.skipped()
    }

    /// The carrier says that the other end is gone: the handshake starts anew.
    pub fn disconnected(&mut self) {
        match &mut self.side {
            Side::Guest(guest) => {
                guest.established = false;
                guest.timer = Repeat::now();
            }
            Side::Listener(side) => {
                side.state = ListenerState::Waiting;
                side.timer = Repeat::now();
            }
        }
        self.asked = 0;
    }

    pub(super) fn is_guest(&self) -> bool {
        matches!(self.side, Side::Guest(_))
    }

    /// Which way a stream goes.
    pub(super) fn sends(&self, stream: Stream) -> bool {
        self.is_guest() == (stream != Stream::Stdin)
    }
}
