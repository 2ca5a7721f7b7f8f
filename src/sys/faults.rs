//! What the processor raises at an instruction that cannot be done: a defect of this program, told by its place.
//! A panic is one, too, where the program is built to end there at once (`ud2`).

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::port;

/// A signal that the kernel has sent for what this program did itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it was.
    pub what: &'static str,
    /// The instruction, a virtual address.
    pub at: u64,
}

/// SIGSEGV is among them: where the backdoor has its guard ([`port`]), that hands on what is not its own.
const FAULTS: [(i32, &str); 4] = [
    (libc::SIGILL, "illegal instruction"),
    (libc::SIGSEGV, "access to memory that is not there"),
    (libc::SIGBUS, "access to memory that cannot be read"),
    (libc::SIGFPE, "division by zero"),
];

type Teller = fn(Fault) -> !;

static TELLER: OnceLock<Teller> = OnceLock::new();

/// Has `teller` called at the first fault; a second one, in `teller` itself, is the kernel's affair. What
/// another process sends by the same name is ignored.
///
/// # Errors
/// None that the kernel documents for these arguments.
pub fn tell(teller: Teller) -> io::Result<()> {
    TELLER.get_or_init(|| teller);
    for (number, _) in FAULTS {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        let handler = raised as extern "C" fn(_, _, _) as *const () as usize;
        // SAFETY: all zeros are a whole `sigaction`: no flags, an empty mask.
        let action = unsafe {
            let action = action.assume_init_mut();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_SIGINFO;
            action
        };
        // SAFETY: `action` is whole, and the handler has the signature that SA_SIGINFO asks for.
        port::succeeded(unsafe { libc::sigaction(number, action, std::ptr::null_mut()) })?;
    }
    Ok(())
}

extern "C" fn raised(number: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over the signal's information, which is ours to read.
    let code = unsafe { (*info).si_code };
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: and the registers at the instruction.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    // The kernel's own codes are positive.
    if code <= 0 {
        return;
    }
    let what = FAULTS.iter().find(|(known, _)| *known == number);
    let fault = Fault {
        what: what.map_or("fault", |(_, what)| what),
        at: port::register(registers, libc::REG_RIP),
    };
    if let Some(teller) = TELLER.get() {
        teller(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::passes;

    fn ends_well(fault: Fault) -> ! {
        let code = i32::from(fault.what != "illegal instruction" || fault.at == 0);
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) }
    }

    #[test]
    fn what_the_processor_raises_is_told_and_what_is_sent_is_not() {
        assert!(passes(|| {
            tell(ends_well).expect("handlers");
            // SAFETY: a signal to ourselves, which has a handler.
            unsafe { libc::raise(libc::SIGSEGV) };
            // SAFETY: it raises what the handler ends the child for.
            unsafe { std::arch::asm!("ud2") };
        }));
        assert!(!passes(|| {
            tell(ends_well).expect("handlers");
            let nowhere = std::hint::black_box(std::ptr::null::<u8>().wrapping_add(8));
            // SAFETY: none: a read of nothing, which the handler ends the child for.
            std::hint::black_box(unsafe { nowhere.read_volatile() });
        }));
    }
}
