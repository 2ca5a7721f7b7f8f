//! Both ends prove that they have the link key: Noise NNpsk0 over HELLO and WELCOME, and the cipher
//! that comes out of it. The words are the Noise specification's (revision 34); the arithmetic is the
//! crate snow's.

use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifier, HandshakeModifierList,
    HandshakePattern, HashChoice, NoiseParams,
};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher as CipherType, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, StatelessTransportState};

use super::frame::PAYLOAD_MOST;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Bytes of a link key.
pub const KEY_BYTES: usize = 32;
/// Bytes that a message is longer than what is in it: an ephemeral public key and a tag.
const MESSAGE_MORE: usize = 32 + TAG;
/// Bytes of the tag that proves a frame or a message.
pub(super) const TAG: usize = 16;

/// A secret that a container's VM and its appliance share.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(pub(super) [u8; KEY_BYTES]);

impl Key {
    /// The key of these bytes; None: there are not [`KEY_BYTES`] of them.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<link key>")
    }
}

/// What a handshake needs: the shared key, and 32 random bytes that nobody else ever gets.
pub(super) struct Secrets<'a> {
    pub(super) key: &'a Key,
    pub(super) random: [u8; 32],
}

/// A handshake between its two messages.
pub(super) struct Pending(Box<HandshakeState>);

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

/// Guest: the first message, with `payload` in it. Both ends must have the same `prologue`.
pub(super) fn initiate(
    secrets: &Secrets<'_>,
    prologue: &[u8],
    payload: &[u8],
) -> Option<(Pending, Vec<u8>)> {
    let mut state = builder(secrets, prologue)?.build_initiator().ok()?;
    let message = write(&mut state, payload)?;
    Some((Pending(Box::new(state)), message))
}

/// Listener: what is in a first message, when its writer has the key.
#[cfg(feature = "appliance")]
pub(super) fn respond(
    secrets: &Secrets<'_>,
    prologue: &[u8],
    message: &[u8],
) -> Option<(Pending, Vec<u8>)> {
    let mut state = builder(secrets, prologue)?.build_responder().ok()?;
    let payload = read(&mut state, message)?;
    Some((Pending(Box::new(state)), payload))
}

impl Pending {
    /// Listener: the second message, with `payload` in it.
    pub(super) fn answer(mut self, payload: &[u8]) -> Option<(Cipher, Vec<u8>)> {
        let message = write(&mut self.0, payload)?;
        Some((Cipher::new(*self.0)?, message))
    }

    /// Guest: what is in a second message, when it answers our first and its writer has the key.
    /// Another one changes nothing: the right one may still come.
    pub(super) fn read(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        read(&mut self.0, message)
    }

    /// Guest: after [`Pending::read`].
    pub(super) fn finish(self) -> Option<Cipher> {
        Cipher::new(*self.0)
    }
}

/// Seals frames one way and opens them the other. Each frame has a number of its own, which travels
/// with it: a lost frame costs nothing, one that came before is refused.
pub(super) struct Cipher {
    state: StatelessTransportState,
    /// Number of the next frame sealed.
    next: u64,
    /// Numbers below are done with.
    expected: u64,
    /// Frames in either direction after which new keys are due.
    renew: u64,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cipher(next {}, expected {})", self.next, self.expected)
    }
}

impl Cipher {
    fn new(state: HandshakeState) -> Option<Self> {
        Some(Self {
            state: state.into_stateless_transport_mode().ok()?,
            next: 0,
            expected: 0,
            renew: 0,
        })
    }

    /// True when `every` frames have gone one way under these keys, and again after as many: the
    /// request may get lost.
    pub(super) fn is_worn(&mut self, every: u64) -> bool {
        let renew = if self.renew == 0 { every } else { self.renew };
        let worn = self.next.max(self.expected) >= renew;
        self.renew = if worn {
            renew.saturating_add(every)
        } else {
            renew
        };
        worn
    }

    /// The number that the next frame will have.
    pub(super) fn number(&self) -> u64 {
        self.next
    }

    /// Appends `plain`, sealed, to `out`. False: nothing was appended, as it is too long.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.resize(start + plain.len() + TAG, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        let sealed = self.state.write_message(self.next, plain, room);
        if sealed.is_err() {
            out.truncate(start);
            return false;
        }
        self.next += 1;
        true
    }

    /// What is in a frame, into `plain`. False: it is not the peer's, or not newer than the last.
    pub(super) fn open(&mut self, number: u64, sealed: &[u8], plain: &mut Vec<u8>) -> bool {
        if number < self.expected || number == u64::MAX {
            return false;
        }
        plain.resize(sealed.len(), 0);
        match self.state.read_message(number, sealed, plain) {
            Ok(length) => {
                plain.truncate(length);
                self.expected = number + 1;
                true
            }
            Err(_) => false,
        }
    }
}

/// What [`PATTERN`] says, without the parser of all that it could say.
fn params() -> NoiseParams {
    NoiseParams::new(
        PATTERN.into(),
        BaseChoice::Noise,
        HandshakeChoice {
            pattern: HandshakePattern::NN,
            modifiers: HandshakeModifierList {
                list: vec![HandshakeModifier::Psk(0)],
            },
        },
        DHChoice::Curve25519,
        CipherChoice::ChaChaPoly,
        HashChoice::Blake2s,
    )
}

fn builder<'a>(secrets: &Secrets<'a>, prologue: &'a [u8]) -> Option<Builder<'a>> {
    let resolver = Injected(DefaultResolver, secrets.random);
    Builder::with_resolver(params(), Box::new(resolver))
        .psk(0, &secrets.key.0)
        .and_then(|builder| builder.prologue(prologue))
        .ok()
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Option<Vec<u8>> {
    let mut message = vec![0; payload.len() + MESSAGE_MORE];
    let length = state.write_message(payload, &mut message).ok()?;
    message.truncate(length);
    Some(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Option<Vec<u8>> {
    let mut payload = vec![0; message.len().min(PAYLOAD_MOST)];
    let length = state.read_message(message, &mut payload).ok()?;
    payload.truncate(length);
    Some(payload)
}

/// The default arithmetic, with randomness from our owner: this room asks no system for any.
struct Injected(DefaultResolver, [u8; 32]);

impl CryptoResolver for Injected {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.1))))
    }

    // PATTERN's choices alone: the others are then left out of the binary.

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let ours = DHChoice::Curve25519;
        (*choice == ours).then(|| self.0.resolve_dh(&ours))?
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        let ours = HashChoice::Blake2s;
        (*choice == ours).then(|| self.0.resolve_hash(&ours))?
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn CipherType>> {
        let ours = CipherChoice::ChaChaPoly;
        (*choice == ours).then(|| self.0.resolve_cipher(&ours))?
    }
}

/// 32 random bytes, given out once: the ephemeral private key.
struct Once(Option<[u8; 32]>);

impl Random for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.take().ok_or(Error::Rng)?;
        if out.len() != bytes.len() {
            return Err(Error::Rng);
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }
}

/// BLAKE2s.
pub(super) fn hash() -> Option<Box<dyn Hash>> {
    DefaultResolver.resolve_hash(&HashChoice::Blake2s)
}

/// Random bytes for handshake number `count`, from a seed that is: BLAKE2s over both.
pub(super) fn expand(seed: &[u8; 32], count: u64) -> Option<[u8; 32]> {
    let mut hash = hash()?;
    let mut out = [0; 32];
    hash.input(seed);
    hash.input(&count.to_le_bytes());
    hash.result(&mut out);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(key: &Key, random: u8) -> Secrets<'_> {
        Secrets {
            key,
            random: [random; 32],
        }
    }

    fn pair() -> (Cipher, Cipher) {
        let key = Key([7; 32]);
        let (mut guest, first) = initiate(&secrets(&key, 1), b"who", b"hello").expect("a message");
        let (listener, hello) = respond(&secrets(&key, 2), b"who", &first).expect("the same key");
        assert_eq!(hello, b"hello");
        let (ours, second) = listener.answer(b"welcome").expect("a message");
        assert_eq!(guest.read(&second).as_deref(), Some(&b"welcome"[..]));
        (guest.finish().expect("finished"), ours)
    }

    #[test]
    fn the_parameters_are_what_the_pattern_says() {
        let parsed: NoiseParams = PATTERN.parse().expect("a pattern");
        assert_eq!(params(), parsed);
    }

    #[test]
    fn another_key_or_another_prologue_opens_nothing() {
        let (key, other) = (Key([7; 32]), Key([8; 32]));
        let (_, first) = initiate(&secrets(&key, 1), b"who", b"hello").expect("a message");
        assert!(respond(&secrets(&other, 2), b"who", &first).is_none());
        assert!(respond(&secrets(&key, 2), b"whom", &first).is_none());
        let mut damaged = first.clone();
        *damaged.last_mut().expect("bytes") ^= 1;
        assert!(respond(&secrets(&key, 2), b"who", &damaged).is_none());
        assert!(respond(&secrets(&key, 2), b"who", &first).is_some());
    }

    #[test]
    fn a_forged_answer_does_not_spoil_the_handshake() {
        let key = Key([7; 32]);
        let (mut guest, first) = initiate(&secrets(&key, 1), b"", b"").expect("a message");
        let (listener, _) = respond(&secrets(&key, 2), b"", &first).expect("the same key");
        let (_, second) = listener.answer(b"in").expect("a message");
        assert_eq!(guest.read(&first), None);
        assert_eq!(guest.read(b"short"), None);
        assert_eq!(guest.read(&second).as_deref(), Some(&b"in"[..]));
    }

    #[test]
    fn frames_are_opened_once_in_order_and_by_the_peer_alone() {
        let (mut guest, mut listener) = pair();
        let mut frames = Vec::new();
        for text in [&b"one"[..], b"two", b""] {
            let (number, mut frame) = (guest.number(), Vec::new());
            assert!(guest.seal(text, &mut frame));
            frames.push((number, frame));
        }
        let mut plain = Vec::new();
        // Reflected.
        assert!(!guest.open(frames[0].0, &frames[0].1, &mut plain));
        // Lost: the first. Renumbered, truncated, damaged: refused.
        let (number, frame) = &frames[1];
        assert!(!listener.open(number + 1, frame, &mut plain));
        assert!(!listener.open(*number, &frame[..frame.len() - 1], &mut plain));
        assert!(!listener.open(*number, &[], &mut plain));
        assert!(listener.open(*number, frame, &mut plain));
        assert_eq!(plain, b"two");
        // Replayed, and late.
        assert!(!listener.open(*number, frame, &mut plain));
        assert!(!listener.open(frames[0].0, &frames[0].1, &mut plain));
        assert!(listener.open(frames[2].0, &frames[2].1, &mut plain));
        assert_eq!(plain, b"");
    }

    #[test]
    fn a_seed_gives_other_bytes_for_every_handshake() {
        let seed = [3; 32];
        assert_ne!(expand(&seed, 0), expand(&seed, 1));
        assert_eq!(expand(&seed, 5), expand(&seed, 5));
    }
}
