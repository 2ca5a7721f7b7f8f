//! The numbers of the backdoor that both halves agree on, and the registers' fields by name.
//!
//! Public sources: open-vm-tools `backdoor_def.h`, `guest_msg_def.h`, `message.c`; Linux
//! `arch/x86/kernel/cpu/vmware.c`.

use super::Registers;

/// EAX of every call ("VMXh").
pub const MAGIC: u32 = 0x564D_5868;
/// DX of the low-bandwidth call.
pub const PORT_LOW: u16 = 0x5658;
/// DX of the string instructions.
pub const PORT_HIGH: u16 = 0x5659;

/// What EAX says when the host does not know the command.
pub const UNSUPPORTED: u32 = 0xffff_ffff;

/// Commands in CX.
pub mod command {
    /// EBX comes back as the magic, EAX as the version, ECX as the product.
    pub const GET_VERSION: u16 = 10;
    /// The BIOS UUID in EAX, EBX, ECX, EDX.
    pub const GET_UUID: u16 = 19;
    /// The host's clock, 32 bits of seconds.
    pub const GET_TIME: u16 = 23;
    /// The RPC channels; the sub-type is in the high half of ECX.
    pub const MESSAGE: u16 = 30;
    /// The host's clock, 64 bits of seconds.
    pub const GET_TIME_FULL: u16 = 46;
}

/// BX of a string instruction: the only command there is.
pub const HIGH_MESSAGE: u16 = 0;

/// Sub-types of [`command::MESSAGE`], in the high half of ECX.
pub mod message {
    /// EBX = protocol; the channel and its cookie come back.
    pub const OPEN: u16 = 0;
    /// EBX = length of the message that follows.
    pub const SEND_SIZE: u16 = 1;
    /// EBX = the next four bytes, little endian.
    pub const SEND_PAYLOAD: u16 = 2;
    /// EBX comes back as the length of what waits.
    pub const RECV_SIZE: u16 = 3;
    /// EBX comes back as the next four bytes.
    pub const RECV_PAYLOAD: u16 = 4;
    /// EBX = how the guest fared: ends the receiving.
    pub const RECV_STATUS: u16 = 5;
    /// The channel and its cookie are free again.
    pub const CLOSE: u16 = 6;
}

/// Status bits, in the high half of ECX (low bandwidth) or EBX (high bandwidth).
pub mod status {
    /// The call did what it was asked.
    pub const SUCCESS: u16 = 0x01;
    /// A message waits for the guest.
    pub const DO_RECV: u16 = 0x02;
    /// The channel is closed.
    pub const CLOSED: u16 = 0x04;
    /// A snapshot or a migration came between: the channel is gone.
    pub const CHECKPOINT: u16 = 0x10;
    /// The payload may go by the string instructions.
    pub const HIGH_BANDWIDTH: u16 = 0x80;
}

/// In the high half of EDX of [`message::RECV_SIZE`]'s answer: EBX is a length.
pub const ANSWER_SIZE: u16 = 1;
/// In the high half of EDX of [`message::RECV_PAYLOAD`]'s answer: EBX is four bytes.
pub const ANSWER_PAYLOAD: u16 = 2;

/// Bytes that one low-bandwidth payload call carries.
pub const WORD: usize = 4;

/// EBX of [`message::OPEN`]: guest to host.
pub const PROTOCOL_RPCI: u32 = 0x4943_5052;
/// EBX of [`message::OPEN`]: host to guest, polled.
pub const PROTOCOL_TCLO: u32 = 0x4f4c_4354;
/// Or'ed to the protocol: the channel is to have a cookie.
pub const FLAG_COOKIE: u32 = 0x8000_0000;

/// Kinds of `SetGuestInfo` (open-vm-tools `guestInfo.h`).
pub mod guest_info {
    /// The machine's name.
    pub const DNS_NAME: u32 = 1;
    /// What its operating system is called, in full.
    pub const OS_NAME_FULL: u32 = 5;
    /// What VMware calls it (`other6xlinux-64`).
    pub const OS_NAME: u32 = 6;
    /// Hundredths of a second that it has run.
    pub const UPTIME: u32 = 7;
    /// Its interfaces ([`nic_info`](crate::backdoor::nic_info)).
    pub const NICS_V3: u32 = 10;
}

/// One value of guestinfo is at most this many bytes.
pub const VALUE_LIMIT: usize = 64 * 1024;

/// What EBX and ECX carry in their two halves.
const HALF: u32 = 16;

/// The low 32 bits: all that travels in most registers.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the upper half is not part of the protocol"
)]
pub const fn word(register: u64) -> u32 {
    register as u32
}

/// The low 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
pub const fn low_half(register: u64) -> u16 {
    register as u16
}

/// Bits 16 to 31.
pub const fn high_half(register: u64) -> u16 {
    low_half(register >> HALF)
}

/// Both halves of a 32-bit register.
pub const fn halves(high: u16, low: u16) -> u64 {
    ((high as u64) << HALF) | low as u64
}

impl Registers {
    /// CX of a low-bandwidth call.
    pub const fn command(&self) -> u16 {
        low_half(self.rcx)
    }

    /// The sub-type of a [`command::MESSAGE`] call; after it, the status.
    pub const fn message(&self) -> u16 {
        high_half(self.rcx)
    }

    /// The port a call goes to.
    pub const fn port(&self) -> u16 {
        low_half(self.rdx)
    }

    /// The channel a call is about.
    pub const fn channel(&self) -> u16 {
        high_half(self.rdx)
    }

    /// How a low-bandwidth message call went (see [`status`]).
    pub const fn low_status(&self) -> u16 {
        high_half(self.rcx)
    }

    /// How a string instruction went (see [`status`]).
    pub const fn high_status(&self) -> u16 {
        high_half(self.rbx)
    }
}
