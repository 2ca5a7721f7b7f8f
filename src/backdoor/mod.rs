//! The VMware backdoor RPC, both halves, pure: registers and bytes in, registers and bytes out.
//!
//! | file | duty |
//! |---|---|
//! | [`protocol`] | the numbers both halves agree on |
//! | [`detect`] | whether this machine has a backdoor at all |
//! | [`channel`] | the guest's end of one channel: a message out, a message in |
//! | [`rpci`] | the guest's requests over it: `info-get`, `info-set`, `log`; lost channels repaired |
//! | [`tclo`] | the host's requests, which the guest polls for and answers |
//! | [`clock`], [`nic_info`] | the host's time; the machine's interfaces, as the host wants them reported |
//! | [`host`] | the host's half, as a VMware host plays it |

pub mod channel;
pub mod clock;
pub mod detect;
pub mod host;
pub mod nic_info;
pub mod protocol;
pub mod rpci;
pub mod tclo;

#[cfg(test)]
pub(crate) mod loopback;

/// The general registers around one port instruction. Values are 32 bits wide on the wire; buffer
/// addresses in `rsi` / `rdi` take 64.
///
/// The layout is fixed for the assembly of `sys::port`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// Magic in, result out.
    pub rax: u64,
    /// Argument in, result out.
    pub rbx: u64,
    /// Command (low 16) and message sub-type (high 16) in, status in the high 16 out; the byte
    /// count of the string instructions.
    pub rcx: u64,
    /// Port (low 16) and channel (high 16).
    pub rdx: u64,
    /// Cookie high, or the buffer to send from.
    pub rsi: u64,
    /// Cookie low, or the buffer to receive into.
    pub rdi: u64,
    /// Cookie half of the string instructions.
    pub rbp: u64,
}

/// The machine's port instructions: the processor's own (`sys::port`), or the host's half directly
/// in tests.
///
/// The caller fills the registers but for the buffer's address and length in the string
/// instructions: those come from the slice, so that no port is ever told to touch other memory.
pub trait Port {
    /// `in eax, dx`: the low-bandwidth call.
    fn low(&mut self, registers: &mut Registers);
    /// `rep outsb`: guest to host. `rsi` and `rcx` are taken from `data`.
    fn high_out(&mut self, registers: &mut Registers, data: &[u8]);
    /// `rep insb`: host to guest. `rdi` and `rcx` are taken from `buffer`.
    fn high_in(&mut self, registers: &mut Registers, buffer: &mut [u8]);
}
