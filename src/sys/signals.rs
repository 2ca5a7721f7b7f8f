//! Signals: blocked for the whole process and read from a descriptor; sent by pidfd.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What the processor raises at an instruction, rather than a process at another: never blocked. A
/// blocked fault is the end of the process, where an unblocked one has its handler (`sys::port`).
const FAULTS: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];

/// Blocks every signal but faults in this thread, for good. Called before there is a second
/// thread, or in a process that has only one.
///
/// # Errors
/// None that the kernel documents for these arguments.
pub fn block_all() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    for fault in FAULTS {
        // SAFETY: the set is initialised.
        unsafe { libc::sigdelset(set.as_mut_ptr(), fault) };
    }
    // SAFETY: the set is initialised; no old set is asked for.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Blocked signals, readable from a descriptor (`signalfd(2)`).
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// A descriptor for the signals of these numbers. They must be blocked already.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(numbers: &[i32]) -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for number in numbers {
            // SAFETY: the set is initialised; a bad number is an error, not undefined.
            if unsafe { libc::sigaddset(set.as_mut_ptr(), *number) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Number of the next signal that has come; `None`: none waits. Equal signals may have merged.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub fn next(&self) -> io::Result<Option<i32>> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut record = [0u8; SIZE];
        match rustix::io::read(&self.fd, &mut record) {
            // `ssi_signo` is the first field, 32 bits.
            Ok(SIZE) => Ok(record
                .first_chunk::<4>()
                .map(|bytes| i32::from_ne_bytes(*bytes))),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends a signal, real-time ones included, to the process of a pidfd: never to another one that
/// has got its number since.
///
/// # Errors
/// The process is gone (`ESRCH`), or the number is no signal (`EINVAL`).
pub fn send(process: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: plain integers and a null pointer, which `pidfd_send_signal(2)` allows.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends a signal to every process but this one. Only PID 1 may.
///
/// # Errors
/// This is not PID 1 (`EPERM`), or there is no other process (`ESRCH`).
pub fn send_to_all(number: i32) -> io::Result<()> {
    super::power::only_pid_1()?;
    // SAFETY: no memory is passed; the line above has made sure that this is a VM's init.
    if unsafe { libc::kill(-1, number) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A signal that has come to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub number: i32,
    /// Its sender has no number here: it is outside of our PID namespace.
    pub from_outside: bool,
}

/// Waits for the next signal; all must be blocked. `None`: the wait was interrupted.
pub fn receive() -> Option<Received> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `sigfillset` initialises the set it is given.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised; both live until the call has returned.
    let number = unsafe { libc::sigwaitinfo(set.as_ptr(), info.as_mut_ptr()) };
    if number <= 0 {
        return None;
    }
    // SAFETY: zeroed above, and filled by the call.
    let info = unsafe { info.assume_init() };
    // SAFETY: of a signal that a process has sent the field is its number; of another kind it is some
    // number of the kernel's.
    let sender = unsafe { info.si_pid() };
    Some(Received {
        number,
        from_outside: sender == 0,
    })
}

/// Sends a signal to a process by its number, for the stand-in, whose processes have no descriptors.
pub fn pass_on(pid: i32, number: i32) {
    if pid > 1 {
        // SAFETY: no memory is passed. It may have ended: nobody is to be told.
        unsafe { libc::kill(pid, number) };
    }
}
