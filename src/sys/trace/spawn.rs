//! The start of a tracee: fork, seize, and only then the program.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use super::{Event, Stop, Task, wait_for};

/// Why no tracee runs.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A zero byte cannot be part of an argument.
    #[error("an argument holds a zero byte")]
    Argument,
    /// No process, pipe or descriptor to be had.
    #[error("making a process")]
    Process(#[source] io::Error),
    /// Another tracer has it, or the system forbids tracing.
    #[error("tracing it with ptrace")]
    Trace(#[source] io::Error),
    /// The system forbids seccomp filters.
    #[error("installing the seccomp filter that shows executable mappings")]
    Filter(#[source] io::Error),
    /// The program is not there or cannot be run.
    #[error(transparent)]
    Program(io::Error),
    /// It ended before the program began.
    #[error("it ended before it began")]
    Vanished,
}

/// What the child says through the pipe when it gets no further: the step, then `errno`.
const STEP_FILTER: u8 = 1;
const STEP_EXEC: u8 = 2;
const REPORT: usize = 5;

/// Starts `program` (looked up in `PATH`) with everything that it will start traced, and returns it
/// stopped at [`Stop::Exec`]. The kernel kills all of them should this process end.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn(program: &OsStr, arguments: &[OsString]) -> Result<Task, SpawnError> {
    let words: Vec<CString> = std::iter::once(program)
        .chain(arguments.iter().map(OsString::as_os_str))
        .map(|word| CString::new(word.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|_| SpawnError::Argument)?;
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());

    let (go_read, go_write) = pipe()?;
    let (report_read, report_write) = pipe()?;
    let filter = executable_mappings();
    // SAFETY: the child calls only `become_program`, which keeps to functions that may be called
    // after a fork even of a process with threads.
    let id = unsafe { libc::fork() };
    match id {
        -1 => Err(SpawnError::Process(io::Error::last_os_error())),
        0 => {
            drop(go_write);
            become_program(
                go_read.as_raw_fd(),
                report_write.as_raw_fd(),
                &filter,
                &pointers,
            )
        }
        id => {
            drop((go_read, report_write));
            follow(Task(id), go_write, report_read)
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| SpawnError::Process(errno.into()))
}

/// The parent's half: seizes the child, lets it go, and waits for the program to be loaded.
fn follow(task: Task, go: OwnedFd, report: OwnedFd) -> Result<Task, SpawnError> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACESECCOMP;
    // SAFETY: the request touches no memory of ours; the fourth argument is a number.
    let seized = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            task.0,
            std::ptr::null_mut::<libc::c_void>(),
            libc::c_long::from(options),
        )
    };
    if seized == -1 {
        let error = io::Error::last_os_error();
        // Without the byte that it waits for the child ends by itself.
        drop(go);
        wait_for(task.0).map_err(SpawnError::Process)?;
        return Err(SpawnError::Trace(error));
    }
    File::from(go)
        .write_all(&[1])
        .map_err(SpawnError::Process)?;
    loop {
        match wait_for(task.0).map_err(SpawnError::Process)? {
            Some(Event::Stopped(_, Stop::Exec)) => return Ok(task),
            Some(Event::Stopped(task, stop)) => {
                let resumed = match stop {
                    Stop::Signal(signal) => task.resume(signal),
                    Stop::Group => task.listen(),
                    _ => task.resume(0),
                };
                resumed.map_err(SpawnError::Process)?;
            }
            Some(Event::Exited(..) | Event::Killed(..)) | None => return Err(failure(report)),
        }
    }
}

/// What the child said before it ended.
fn failure(report: OwnedFd) -> SpawnError {
    let mut bytes = Vec::new();
    if let Err(error) = File::from(report).read_to_end(&mut bytes) {
        return SpawnError::Process(error);
    }
    let Ok([step, errno @ ..]) = <[u8; REPORT]>::try_from(bytes) else {
        return SpawnError::Vanished;
    };
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    if step == STEP_FILTER {
        SpawnError::Filter(error)
    } else {
        SpawnError::Program(error)
    }
}

/// The child's half. `words` ends with a null pointer; the strings live as long as the child.
fn become_program(
    go: RawFd,
    report: RawFd,
    filter: &[libc::sock_filter],
    words: &[*const libc::c_char],
) -> ! {
    let mut byte = 0u8;
    // SAFETY: one byte is writable there.
    let told = unsafe { libc::read(go, (&raw mut byte).cast(), 1) };
    let step = if told != 1 {
        // The parent has given up.
        exit()
    } else if install(filter) {
        // Rust's runtime ignores it in this process; the program must not inherit that.
        // SAFETY: only the disposition changes.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        if let [program, ..] = words {
            // SAFETY: the strings end with zero bytes, the list with a null pointer.
            unsafe { libc::execvp(*program, words.as_ptr()) };
        }
        STEP_EXEC
    } else {
        STEP_FILTER
    };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let [a, b, c, d] = errno.to_ne_bytes();
    let said: [u8; REPORT] = [step, a, b, c, d];
    // SAFETY: the bytes are readable. Should it fail there is nobody left to tell.
    unsafe { libc::write(report, said.as_ptr().cast(), REPORT) };
    exit()
}

fn exit() -> ! {
    // SAFETY: ends the process without running what belongs to the parent.
    unsafe { libc::_exit(127) }
}

/// Installs the filter; whoever may not do so with privileges to be had by exec gives those up.
fn install(filter: &[libc::sock_filter]) -> bool {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap_or(0),
        filter: filter.as_ptr().cast_mut(),
    };
    let set = || {
        // SAFETY: the kernel copies `len` instructions from `filter`, which it does not write.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        }
    };
    if set() == 0 {
        return true;
    }
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    set() == 0
}

/// Stops the tracee at each system call that may make memory executable, and at no other.
fn executable_mappings() -> [libc::sock_filter; 10] {
    /// Of `struct seccomp_data`: the call's number, the architecture, the low half of the third
    /// argument (the protection in all three calls).
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const PROTECTION: u32 = 32;
    /// `AUDIT_ARCH_X86_64`
    const X86_64: u32 = 0xc000_003e;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const CALLS: [u32; 3] = [
        libc::SYS_mmap as u32,
        libc::SYS_mprotect as u32,
        libc::SYS_pkey_mprotect as u32,
    ];
    let [mmap, mprotect, pkey_mprotect] = CALLS;
    let instruction = |code: u32, k: u32, if_so: u8, if_not: u8| libc::sock_filter {
        code: code as u16,
        jt: if_so,
        jf: if_not,
        k,
    };
    [
        instruction(LOAD, ARCHITECTURE, 0, 0),
        instruction(EQUAL, X86_64, 0, 6),
        instruction(LOAD, NUMBER, 0, 0),
        instruction(EQUAL, mmap, 2, 0),
        instruction(EQUAL, mprotect, 1, 0),
        instruction(EQUAL, pkey_mprotect, 0, 2),
        instruction(LOAD, PROTECTION, 0, 0),
        instruction(ANY_BIT, libc::PROT_EXEC as u32, 1, 0),
        instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        instruction(RETURN, libc::SECCOMP_RET_TRACE, 0, 0),
    ]
}
