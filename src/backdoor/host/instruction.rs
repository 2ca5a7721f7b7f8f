//! The three instructions, told from the bytes at RIP and the registers.

use crate::backdoor::Registers;
use crate::backdoor::protocol::{MAGIC, PORT_HIGH, PORT_LOW, word};

/// A backdoor instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `in eax, dx`
    Low,
    /// `rep outsb`
    HighOut,
    /// `rep insb`
    HighIn,
}

impl Instruction {
    /// The longest of them: as many bytes at RIP are enough for [`Instruction::decode`].
    pub const MAX_LENGTH: usize = 2;

    const IN_EAX_DX: &[u8] = &[0xed];
    const REP_OUTSB: &[u8] = &[0xf3, 0x6e];
    const REP_INSB: &[u8] = &[0xf3, 0x6c];

    /// The backdoor instruction that the bytes at RIP and the registers make, if they do.
    pub fn decode(bytes: &[u8], registers: &Registers) -> Option<Instruction> {
        if word(registers.rax) != MAGIC {
            return None;
        }
        match registers.port() {
            PORT_LOW if bytes.starts_with(Self::IN_EAX_DX) => Some(Self::Low),
            PORT_HIGH if bytes.starts_with(Self::REP_OUTSB) => Some(Self::HighOut),
            PORT_HIGH if bytes.starts_with(Self::REP_INSB) => Some(Self::HighIn),
            _ => None,
        }
    }

    /// Bytes to step over.
    #[expect(clippy::len_without_is_empty, reason = "an instruction is never empty")]
    pub fn len(self) -> u64 {
        let bytes = match self {
            Self::Low => Self::IN_EAX_DX,
            Self::HighOut => Self::REP_OUTSB,
            Self::HighIn => Self::REP_INSB,
        };
        bytes.len() as u64
    }
}
