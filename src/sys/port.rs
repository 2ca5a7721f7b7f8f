//! The processor's port instructions, behind a guard: where no VMware host answers they raise a
//! general protection fault, which the guard turns into "no answer" instead of the end of PID 1.
//!
//! Each instruction stands exactly once in the program, and its address is in an ELF note (section
//! `.note.vmware-backdoor`, owner `VMwBdoor`, type 1: three addresses, 8 bytes each), so that a
//! debugger stub can play the host for a stripped binary. The section is not loaded: so its
//! addresses are those of the link, without a relocation even in a position independent program.
//!
//! Before each of them a word is written, the bell, whose address is in a second note (type 2): a stub that
//! watches it stops there without touching the code. QEMU's emulation forgets all that it has translated
//! when it stops at a breakpoint, and nothing when it stops for a written word. It has a section of its own, which
//! `initramfs/tether.sh` puts where no other program and no boot loader writes: each write there would be a stop.

use std::arch::global_asm;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::sync::OnceLock;

use super::cpuid;
use crate::backdoor::detect::{self, Evidence, Version};
use crate::backdoor::protocol::UNSUPPORTED;
use crate::backdoor::{Port, Registers};

// Functions of the C calling convention, `extern "C" fn(*mut Registers)`: load all registers, execute
// the one instruction, store all registers. RBX and RBP are the caller's: saved. The direction flag
// is clear by the convention already; the string instructions make sure.
global_asm!(
    ".macro vmware_backdoor_call name:req, instruction:vararg",
    ".pushsection .text.vmware_backdoor_\\name, \"ax\", @progbits",
    ".globl vmware_backdoor_\\name",
    ".hidden vmware_backdoor_\\name",
    ".type vmware_backdoor_\\name, @function",
    "vmware_backdoor_\\name:",
    "push rbx",
    "push rbp",
    "push rdi",
    "cld",
    "mov rax, [rdi + {rax}]",
    "mov rbx, [rdi + {rbx}]",
    "mov rcx, [rdi + {rcx}]",
    "mov rdx, [rdi + {rdx}]",
    "mov rsi, [rdi + {rsi}]",
    "mov rbp, [rdi + {rbp}]",
    "mov rdi, [rdi + {rdi}]",
    "mov dword ptr [rip + vmware_backdoor_bell], eax",
    ".globl vmware_backdoor_\\name\\()_instruction",
    ".hidden vmware_backdoor_\\name\\()_instruction",
    "vmware_backdoor_\\name\\()_instruction:",
    "\\instruction",
    // The pointer comes back, what the instruction left in RDI takes its place on the stack.
    "xchg rdi, [rsp]",
    "mov [rdi + {rax}], rax",
    "mov [rdi + {rbx}], rbx",
    "mov [rdi + {rcx}], rcx",
    "mov [rdi + {rdx}], rdx",
    "mov [rdi + {rsi}], rsi",
    "mov [rdi + {rbp}], rbp",
    "pop rax",
    "mov [rdi + {rdi}], rax",
    "pop rbp",
    "pop rbx",
    "ret",
    ".size vmware_backdoor_\\name, . - vmware_backdoor_\\name",
    ".popsection",
    ".endm",
    "vmware_backdoor_call low, in eax, dx",
    "vmware_backdoor_call out, rep outsb",
    "vmware_backdoor_call into, rep insb",
    ".purgem vmware_backdoor_call",
    ".pushsection .note.vmware-backdoor, \"R\", @note",
    ".balign 4",
    ".long 2f - 1f", // length of the owner
    ".long 4f - 3f", // length of the description
    ".long 1",       // type
    "1: .asciz \"VMwBdoor\"",
    "2: .balign 4",
    "3: .quad vmware_backdoor_low_instruction",
    ".quad vmware_backdoor_out_instruction",
    ".quad vmware_backdoor_into_instruction",
    "4: .balign 4",
    ".long 2f - 1f",
    ".long 4f - 3f",
    ".long 2", // type
    "1: .asciz \"VMwBdoor\"",
    "2: .balign 4",
    "3: .quad vmware_backdoor_bell",
    "4: .balign 4",
    ".popsection",
    ".pushsection .vmware_backdoor_bell, \"aw\", @nobits",
    ".balign 4",
    "vmware_backdoor_bell:",
    ".zero 4",
    ".popsection",
    rax = const offset_of!(Registers, rax),
    rbx = const offset_of!(Registers, rbx),
    rcx = const offset_of!(Registers, rcx),
    rdx = const offset_of!(Registers, rdx),
    rsi = const offset_of!(Registers, rsi),
    rdi = const offset_of!(Registers, rdi),
    rbp = const offset_of!(Registers, rbp),
);

// SAFETY: the assembly above defines all six: three functions of the C convention that take one
// pointer, and the addresses of the instructions in them.
unsafe extern "C" {
    fn vmware_backdoor_low(registers: *mut Registers);
    fn vmware_backdoor_out(registers: *mut Registers);
    fn vmware_backdoor_into(registers: *mut Registers);
    static vmware_backdoor_low_instruction: u8;
    static vmware_backdoor_out_instruction: u8;
    static vmware_backdoor_into_instruction: u8;
}

/// Where the instructions stand, and their lengths.
fn instructions() -> [(usize, usize); 3] {
    [
        (&raw const vmware_backdoor_low_instruction as usize, 1),
        (&raw const vmware_backdoor_out_instruction as usize, 2),
        (&raw const vmware_backdoor_into_instruction as usize, 2),
    ]
}

/// Why there is no port to talk through.
#[derive(Debug, thiserror::Error)]
pub enum NoBackdoor {
    /// The machine does not say that it is VMware's; no instruction was tried.
    #[error(
        "this is no VMware machine (hypervisor {}, DMI vendor `{}`)",
        signature(.0), .0.vendor.trim()
    )]
    NotVmware(Evidence),
    /// The machine says that it is, but the port does not answer.
    #[error("this machine says that it is VMware's, but its backdoor port does not answer")]
    NoAnswer,
    /// The guard could not be put up; without it no instruction is tried.
    #[error("installing the signal handler that guards the backdoor instructions")]
    Guard(#[source] io::Error),
}

fn signature(evidence: &Evidence) -> String {
    evidence.hypervisor.map_or_else(
        || String::from("none"),
        |bytes| bytes.escape_ascii().to_string(),
    )
}

/// The backdoor of this machine.
#[derive(Clone, Debug)]
pub struct Hardware {
    version: Version,
}

/// Opens the backdoor of this machine, if it has one: looks at CPUID and DMI, then asks.
///
/// From then on a SIGSEGV at one of the three instructions is stepped over; any other goes where it
/// went before. The calling thread must not block SIGSEGV.
///
/// # Errors
/// See [`NoBackdoor`].
pub fn open() -> Result<Hardware, NoBackdoor> {
    let evidence = cpuid::evidence();
    if !evidence.says_vmware() {
        return Err(NoBackdoor::NotVmware(evidence));
    }
    ask()
}

/// The second half of [`open`]: puts up the guard and asks for the version.
fn ask() -> Result<Hardware, NoBackdoor> {
    put_up_guard().map_err(NoBackdoor::Guard)?;
    let version = Version {
        version: 0,
        product: 0,
    };
    let mut hardware = Hardware { version };
    hardware.version = detect::probe(&mut hardware).ok_or(NoBackdoor::NoAnswer)?;
    Ok(hardware)
}

impl Hardware {
    /// What GETVERSION answered.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl Port for Hardware {
    fn low(&mut self, registers: &mut Registers) {
        // SAFETY: `in eax, dx` touches no memory, whatever is in the registers; the function keeps
        // to the calling convention; a fault is stepped over by the guard, which is up as long as
        // there is a `Hardware`.
        unsafe { vmware_backdoor_low(registers) }
    }

    fn high_out(&mut self, registers: &mut Registers, data: &[u8]) {
        registers.rsi = data.as_ptr() as u64;
        registers.rcx = data.len() as u64;
        // SAFETY: `rep outsb` reads RCX bytes from RSI on: exactly `data`. The rest as in `low`.
        unsafe { vmware_backdoor_out(registers) }
    }

    fn high_in(&mut self, registers: &mut Registers, buffer: &mut [u8]) {
        own_every_page(buffer);
        registers.rdi = buffer.as_mut_ptr() as u64;
        registers.rcx = buffer.len() as u64;
        // SAFETY: `rep insb` writes RCX bytes from RDI on: exactly `buffer`, which nobody else
        // borrows. The rest as in `low`.
        unsafe { vmware_backdoor_into(registers) }
    }
}

/// Writes to every page of a buffer without changing it. A host behind a debugger stub reaches
/// memory by the page tables as they are: it cannot fault in a page that nobody has touched, and
/// would write into one that is still shared (the kernel's page of zeros).
fn own_every_page(buffer: &mut [u8]) {
    /// The smallest there is, in bytes.
    const PAGE: usize = 4096;
    let last = buffer.len().saturating_sub(1);
    for index in (0..buffer.len()).step_by(PAGE).chain([last]) {
        if let Some(byte) = buffer.get_mut(index) {
            let value = *byte;
            // SAFETY: a reference is valid to write through. Volatile, as the compiler would leave
            // out a write that changes nothing.
            unsafe { std::ptr::from_mut(byte).write_volatile(value) };
        }
    }
}

/// What SIGSEGV did before the guard.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler; again is harmless.
fn put_up_guard() -> io::Result<()> {
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null action only asks for the present one.
    succeeded(unsafe { libc::sigaction(libc::SIGSEGV, std::ptr::null(), previous.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it is filled; zeroed before, so even its padding is.
    let previous = unsafe { previous.assume_init() };
    let handler = step_over as *const () as usize;
    if previous.sa_sigaction == handler {
        return Ok(());
    }
    // Kept before the handler is in place: it may run at once.
    let previous = PREVIOUS.get_or_init(|| previous);
    let mut action = *previous;
    action.sa_sigaction = handler;
    // On the alternate stack where there is one: the fault may be an overflow of this one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` is a whole `sigaction` (its restorer is the C library's affair), and the
    // handler has the signature that SA_SIGINFO asks for.
    succeeded(unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) })
}

pub(super) fn succeeded(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// The signal handler. A fault at one of our instructions reads as a host that does not answer; any
/// other is repeated with the disposition that was there before.
extern "C" fn step_over(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: with SA_SIGINFO the kernel hands over a `ucontext_t` that is the handler's alone.
    let context = unsafe { &mut *context };
    let registers = &mut context.uc_mcontext.gregs;
    let at = register(registers, libc::REG_RIP);
    let here = instructions()
        .into_iter()
        .find(|(address, _)| *address as u64 == at);
    let Some((address, length)) = here else {
        if let Some(previous) = PREVIOUS.get() {
            // SAFETY: `previous` came from the kernel. `sigaction` may be called in a handler.
            unsafe { libc::sigaction(signal, previous, std::ptr::null_mut()) };
        }
        return;
    };
    let answer = [
        (libc::REG_RAX, u64::from(UNSUPPORTED)),
        // No status bit, in either bandwidth.
        (libc::REG_RBX, 0),
        (libc::REG_RCX, 0),
        (libc::REG_RIP, address.wrapping_add(length) as u64),
    ];
    for (name, value) in answer {
        set_register(registers, name, value);
    }
}

pub(super) type GeneralRegisters = [libc::greg_t; 23];

pub(super) fn register(registers: &GeneralRegisters, name: libc::c_int) -> u64 {
    usize::try_from(name)
        .ok()
        .and_then(|index| registers.get(index))
        .map_or(0, |value| value.cast_unsigned())
}

fn set_register(registers: &mut GeneralRegisters, name: libc::c_int, value: u64) {
    if let Some(register) = usize::try_from(name)
        .ok()
        .and_then(|index| registers.get_mut(index))
    {
        *register = value.cast_signed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SAFETY of the reads below: the symbols are the first bytes of instructions in this program.
    fn byte(address: usize) -> u8 {
        // SAFETY: see above; text is readable.
        unsafe { *(address as *const u8) }
    }

    #[test]
    fn the_instructions_stand_where_their_symbols_say() {
        let [low, out, into] = instructions().map(|(address, _)| address);
        assert_eq!(byte(low), 0xed);
        assert_eq!([byte(out), byte(out + 1)], [0xf3, 0x6e]);
        assert_eq!([byte(into), byte(into + 1)], [0xf3, 0x6c]);
    }

    /// Holds on any machine but VMware's, where the instructions are answered instead.
    #[test]
    fn a_port_that_faults_is_no_backdoor() {
        if cpuid::evidence().says_vmware() {
            assert!(open().is_ok());
            return;
        }
        assert!(matches!(open(), Err(NoBackdoor::NotVmware(_))));
        for _ in 0..2 {
            assert!(matches!(ask(), Err(NoBackdoor::NoAnswer)));
        }
        let mut hardware = Hardware {
            version: Version {
                version: 0,
                product: 0,
            },
        };
        let mut registers = Registers {
            rbx: 1 << 16,
            rdx: 0x5659,
            rbp: 42,
            ..Registers::default()
        };
        hardware.high_out(&mut registers, b"bytes");
        assert_eq!((registers.high_status(), registers.rbp), (0, 42));
        registers.rbx = 1 << 16;
        let mut buffer = *b"as it was";
        hardware.high_in(&mut registers, &mut buffer);
        assert_eq!((registers.high_status(), &buffer), (0, b"as it was"));
    }
}
