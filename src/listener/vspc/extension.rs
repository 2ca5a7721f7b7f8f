//! Messages of option 232, VMware's telnet extension: `IAC SB 232 CODE payload IAC SE`.
//!
//! Codes and layouts after VMware's guide and capture; a sequence is opaque, of any length, and a
//! cookie is a sequence and a secret without anything between them.

/// The option.
pub const OPTION: u8 = 232;

const KNOWN_SUBOPTIONS_1: u8 = 0;
const KNOWN_SUBOPTIONS_2: u8 = 1;
const UNKNOWN_SUBOPTION_RCVD_1: u8 = 2;
const UNKNOWN_SUBOPTION_RCVD_2: u8 = 3;
const VMOTION_BEGIN: u8 = 40;
const VMOTION_GOAHEAD: u8 = 41;
const VMOTION_NOTNOW: u8 = 43;
const VMOTION_PEER: u8 = 44;
const VMOTION_PEER_OK: u8 = 45;
const VMOTION_COMPLETE: u8 = 46;
const VMOTION_ABORT: u8 = 48;
const DO_PROXY: u8 = 70;
const WILL_PROXY: u8 = 71;
const VM_VC_UUID: u8 = 80;
const GET_VM_VC_UUID: u8 = 81;
const VM_NAME: u8 = 82;
const GET_VM_NAME: u8 = 83;

/// What this side knows, as it is told to a VM.
const KNOWN: [u8; 17] = [
    KNOWN_SUBOPTIONS_1,
    KNOWN_SUBOPTIONS_2,
    UNKNOWN_SUBOPTION_RCVD_1,
    UNKNOWN_SUBOPTION_RCVD_2,
    VMOTION_BEGIN,
    VMOTION_GOAHEAD,
    VMOTION_NOTNOW,
    VMOTION_PEER,
    VMOTION_PEER_OK,
    VMOTION_COMPLETE,
    VMOTION_ABORT,
    DO_PROXY,
    WILL_PROXY,
    VM_VC_UUID,
    GET_VM_VC_UUID,
    VM_NAME,
    GET_VM_NAME,
];

/// What a VM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The codes it knows.
    Known(Vec<u8>),
    /// It does not know this code of ours.
    Unknown(u8),
    /// It asks for its service: `C` (the VM is a client, the URI names the remote system) or `S`
    /// (the VM listens), and the URI.
    DoProxy(u8, String),
    /// Its UUID, as vCenter knows it: 16 bytes in hex.
    Uuid(String),
    /// Its display name.
    Name(String),
    /// A vMotion of this sequence begins: the VM stands still until the answer.
    Begin(Vec<u8>),
    /// The new host's connection: sequence and secret.
    Peer(Vec<u8>),
    /// From now on the new connection is the VM.
    Complete(Vec<u8>),
    /// The vMotion did not come about: the old connection stays.
    Abort,
    /// A code that this side does not know.
    Other(u8),
}

/// What is said to a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The codes known here.
    Known,
    /// This code is not.
    Unknown(u8),
    WillProxy,
    GetUuid,
    GetName,
    /// The sequence, and a secret for one use.
    GoAhead(&'a [u8], &'a [u8]),
    NotNow(&'a [u8]),
    PeerOk(&'a [u8]),
}

impl Message {
    /// Takes a sub-negotiation of [`OPTION`] apart; without the option's own byte. None: it is
    /// empty, or its text is none, or it is said by listeners only.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (code, rest) = payload.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(match *code {
            KNOWN_SUBOPTIONS_1 => Self::Known(rest.to_vec()),
            UNKNOWN_SUBOPTION_RCVD_1 => Self::Unknown(*rest.first()?),
            DO_PROXY => {
                let (direction, uri) = rest.split_first()?;
                Self::DoProxy(*direction, text(uri)?)
            }
            VM_VC_UUID => Self::Uuid(text(rest)?),
            VM_NAME => Self::Name(text(rest)?),
            VMOTION_BEGIN => Self::Begin(rest.to_vec()),
            VMOTION_PEER => Self::Peer(rest.to_vec()),
            VMOTION_COMPLETE => Self::Complete(rest.to_vec()),
            VMOTION_ABORT => Self::Abort,
            other => Self::Other(other),
        })
    }

    /// The codes that must be known to a VM before it is asked for its UUID, and for its name.
    pub fn offers(known: &[u8]) -> (bool, bool) {
        let both = |a, b| known.contains(&a) && known.contains(&b);
        (both(VM_VC_UUID, GET_VM_VC_UUID), both(VM_NAME, GET_VM_NAME))
    }
}

impl Answer<'_> {
    /// The sub-negotiation's payload, without the option's own byte.
    pub fn encode(&self) -> Vec<u8> {
        let (code, parts): (u8, [&[u8]; 2]) = match self {
            Self::Known => (KNOWN_SUBOPTIONS_2, [&KNOWN, &[]]),
            Self::Unknown(code) => return vec![UNKNOWN_SUBOPTION_RCVD_2, *code],
            Self::WillProxy => (WILL_PROXY, [&[], &[]]),
            Self::GetUuid => (GET_VM_VC_UUID, [&[], &[]]),
            Self::GetName => (GET_VM_NAME, [&[], &[]]),
            Self::GoAhead(sequence, secret) => (VMOTION_GOAHEAD, [sequence, secret]),
            Self::NotNow(sequence) => (VMOTION_NOTNOW, [sequence, &[]]),
            Self::PeerOk(sequence) => (VMOTION_PEER_OK, [sequence, &[]]),
        };
        [&[code], parts[0], parts[1]].concat()
    }
}
