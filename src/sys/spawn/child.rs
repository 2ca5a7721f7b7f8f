//! Between fork and exec: system calls alone. No allocation, no lock, no panic. (What furnishes namespaces is the
//! owner's, which has one thread then.)

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use super::{Note, Program, StartError, Stdio, Step};
use crate::sys::capabilities;
use crate::sys::namespaces::{self, Namespaces};

/// Exit code of a child that could not start its program; nobody but the reaper sees it.
const NEVER_RAN: c_int = 127;
/// How willingly the kernel ends this process when memory is short; PID 1 is at -1000.
const SCORE: &CStr = c"/proc/self/oom_score_adj";

/// What the child needs, as the kernel wants it.
pub(super) struct Prepared<'a> {
    program: &'a Program<'a>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    filter: Vec<libc::sock_filter>,
    stdio: [RawFd; 3],
    terminal: bool,
    report: RawFd,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(program: &'a Program<'a>, stdio: &Stdio, report: BorrowedFd<'_>) -> Self {
        let (stdio, terminal) = match stdio {
            Stdio::Apart {
                stdin,
                stdout,
                stderr,
            } => (
                [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
                false,
            ),
            Stdio::Terminal(terminal) => ([terminal.as_raw_fd(); 3], true),
        };
        Self {
            program,
            arguments: pointers(program.arguments),
            environment: pointers(program.environment),
            filter: program
                .filter
                .iter()
                .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
                .collect(),
            stdio,
            terminal,
            report: report.as_raw_fd(),
        }
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// A step that failed, with its error number.
type Outcome = Result<(), (Step, c_int)>;

/// Becomes the program, or says why not and ends.
pub(super) fn run(prepared: &Prepared<'_>) -> ! {
    let error = match prepare(prepared) {
        Ok(()) => execute(prepared),
        Err((step, errno)) => StartError {
            step,
            note: Note::None,
            candidate: 0,
            errno,
        },
    };
    let record = error.to_bytes();
    // SAFETY: the record outlives the call; a pipe takes 8 bytes whole or not at all.
    unsafe { libc::write(prepared.report, record.as_ptr().cast(), record.len()) };
    // SAFETY: ends this process without touching the parent's buffers and handlers.
    unsafe { libc::_exit(NEVER_RAN) }
}

fn prepare(prepared: &Prepared<'_>) -> Outcome {
    let program = prepared.program;
    // SAFETY: no memory is passed.
    check(Step::Session, unsafe { libc::setsid() })?;
    if prepared.terminal {
        let [terminal, ..] = prepared.stdio;
        // SAFETY: the argument of TIOCSCTTY is a plain integer.
        check(Step::Terminal, unsafe {
            libc::ioctl(terminal, libc::TIOCSCTTY, 0)
        })?;
    }
    for (source, target) in prepared.stdio.into_iter().zip(0..) {
        // SAFETY: descriptors are integers; the sources are above 2, so no copy is overwritten.
        check(Step::Stdio, unsafe { libc::dup2(source, target) })?;
    }
    // SAFETY: no memory is passed. Everything above 2 closes itself in `execve`, whoever opened it.
    let closed = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(Step::Stdio, if closed < 0 { -1 } else { 0 })?;
    if let Some(score) = program.oom_score {
        // Before the change of root: the container's /proc may be missing.
        set_score(score)?;
    }
    if let Some(first) = program.first {
        (first.0)().map_err(|errno| (Step::Root, errno))?;
    } else if let Some(namespaces) = program.namespaces {
        join(namespaces)?;
    } else if let Some(root) = program.root {
        // SAFETY: a descriptor is an integer.
        check(Step::Root, unsafe { libc::fchdir(root.as_raw_fd()) })?;
        // SAFETY: a constant text.
        check(Step::Root, unsafe { libc::chroot(c".".as_ptr()) })?;
    }
    console(program);
    directory(program)?;
    limits(program)?;
    signals()?;
    let given_up = capabilities::pass_nothing_on();
    given_up.map_err(|error| (Step::Privileges, error.raw_os_error()))?;
    // As late as may be: the filter counts for all that comes after it. Whoever may still get rights needs one
    // of ours for it, which goes with the change of user.
    if !program.no_new_privileges {
        filter(prepared)?;
        return identity(program);
    }
    identity(program)?;
    privileges()?;
    filter(prepared)
}

fn filter(prepared: &Prepared<'_>) -> Outcome {
    if prepared.filter.is_empty() {
        return Ok(());
    }
    let program = libc::sock_fprog {
        len: u16::try_from(prepared.filter.len()).unwrap_or(u16::MAX),
        filter: prepared.filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program and its instructions outlive the call, which only reads them.
    let set = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(Step::Filter, if set == 0 { 0 } else { -1 })
}

/// The container's cgroup first: its namespaces have no way to it.
fn join(namespaces: &Namespaces) -> Outcome {
    if let Some(cgroup) = namespaces.cgroup() {
        // SAFETY: one byte of a constant.
        let written = unsafe { libc::write(cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1) };
        check(Step::Root, if written == 1 { 0 } else { -1 })?;
    }
    check(Step::Root, namespaces::join(namespaces.init().as_raw_fd()))
}

/// Programs that speak to `/dev/console` reach the terminal. Not worth failing for.
fn console(program: &Program<'_>) {
    if let Some(terminal) = program.console {
        let (target, none) = (c"/dev/console", ptr::null::<c_char>());
        // An earlier run's terminal, where there was one.
        // SAFETY: the path is a text that lives in this memory.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        // SAFETY: both paths are texts that live in this memory; a bind mount takes no more.
        unsafe {
            libc::mount(
                terminal.as_ptr(),
                target.as_ptr(),
                none,
                libc::MS_BIND,
                ptr::null(),
            )
        };
    }
}

fn privileges() -> Outcome {
    // SAFETY: no memory is passed.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    check(Step::Privileges, set)
}

/// Errno of the last call, where it returned -1.
fn check(step: Step, returned: c_int) -> Outcome {
    if returned == -1 {
        Err((step, errno()))
    } else {
        Ok(())
    }
}

fn errno() -> c_int {
    // Reads the C library's variable; allocates nothing.
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

fn set_score(score: &CStr) -> Outcome {
    // SAFETY: a constant text.
    let fd = unsafe { libc::open(SCORE.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    check(Step::Score, fd)?;
    // SAFETY: the text is as long as it says.
    let written = unsafe { libc::write(fd, score.as_ptr().cast(), score.count_bytes()) };
    check(Step::Score, if written > 0 { 0 } else { -1 })?;
    // SAFETY: a descriptor of our own, not used again.
    check(Step::Score, unsafe { libc::close(fd) })
}

fn directory(program: &Program<'_>) -> Outcome {
    // SAFETY: both texts live in the parent's copy of memory, for good.
    if unsafe { libc::chdir(program.directory.as_ptr()) } == 0 {
        return Ok(());
    }
    if errno() != libc::ENOENT {
        return Err((Step::Directory, errno()));
    }
    for path in program.directories {
        // SAFETY: as above.
        if unsafe { libc::mkdir(path.as_ptr(), 0o755) } == -1 && errno() != libc::EEXIST {
            return Err((Step::Directory, errno()));
        }
    }
    // SAFETY: as above.
    check(Step::Directory, unsafe {
        libc::chdir(program.directory.as_ptr())
    })
}

fn limits(program: &Program<'_>) -> Outcome {
    // Ours is process 1's. One that may not be changed is not ours.
    // SAFETY: no memory is passed.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    // SAFETY: no memory is passed.
    unsafe { libc::umask(program.umask) };
    for (resource, soft, hard) in program.limits {
        let limit = libc::rlimit {
            rlim_cur: *soft,
            rlim_max: *hard,
        };
        // SAFETY: the limit outlives the call.
        check(Step::Limits, unsafe {
            libc::setrlimit((*resource).into(), &raw const limit)
        })?;
    }
    Ok(())
}

/// By the system calls themselves: the C library's functions would tell other threads, which a
/// fork's child does not have.
fn identity(program: &Program<'_>) -> Outcome {
    let Some(identity) = program.identity else {
        return Ok(());
    };
    let groups = identity.groups;
    // SAFETY: length and address are of one slice.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check(Step::Identity, if set < 0 { -1 } else { 0 })?;
    let group = identity.group;
    // SAFETY: no memory is passed.
    let set = unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) };
    check(Step::Identity, if set < 0 { -1 } else { 0 })?;
    let user = identity.user;
    // SAFETY: no memory is passed.
    let set = unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) };
    check(Step::Identity, if set < 0 { -1 } else { 0 })
}

/// Every signal at its default and none blocked: a program must not inherit what an init ignores
/// (`yes | head -1` ends by SIGPIPE). That is SIGPIPE alone: the kernel starts process 1 with all at
/// their defaults, Rust's start ignores that one, and handlers do not survive `execve`.
fn signals() -> Outcome {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigemptyset` initialises the set.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: initialised above; no old set is asked for.
    let set = unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    check(Step::Signals, set)
}

/// Tries the candidates in turn. Returns the failure that says most: that something is there and
/// cannot be executed, rather than that nothing is.
fn execute(prepared: &Prepared<'_>) -> StartError {
    let mut said = StartError {
        step: Step::Execute,
        note: Note::None,
        candidate: 0,
        errno: libc::ENOENT,
    };
    for (path, candidate) in prepared.program.candidates.iter().zip(0..=u16::MAX) {
        let path = path.as_ptr();
        // SAFETY: the texts and both null-terminated lists live in this copy of memory.
        unsafe {
            libc::execve(
                path,
                prepared.arguments.as_ptr(),
                prepared.environment.as_ptr(),
            )
        };
        let errno = errno();
        let found = StartError {
            step: Step::Execute,
            note: note(path, errno),
            candidate,
            errno,
        };
        match errno {
            libc::ENOENT if found.note == Note::Interpreter => return found,
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => {
                // The first thing that is there; a file says more than a directory.
                if said.errno != libc::EACCES || said.note == Note::Directory {
                    said = found;
                }
            }
            _ => return found,
        }
    }
    said
}

fn note(path: *const c_char, errno: c_int) -> Note {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is a text of this memory, the status has room for the answer.
    if unsafe { libc::stat(path, status.as_mut_ptr()) } != 0 {
        return Note::None;
    }
    // SAFETY: `stat` has returned 0 and filled it.
    let status = unsafe { status.assume_init() };
    match errno {
        libc::EACCES if status.st_mode & libc::S_IFMT == libc::S_IFDIR => Note::Directory,
        libc::ENOENT => Note::Interpreter,
        _ => Note::None,
    }
}
