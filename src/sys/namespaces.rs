//! Namespaces of a container: made with a first process in them, and joined by others.
//!
//! The first process is this program once more, in another role: it executes itself, so that nothing
//! of our memory is left in it, and stands in as the process 1 of its PID namespace. The others are
//! children of ours and members of theirs: we see how they end, and they do not see us.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::handover::{self, Kept};
use super::{capabilities, fork};

/// What the first process calls itself: `argv[0]`, which nobody else can choose.
pub const ROLE: &CStr = c"container-init";
/// Bytes that its first process says of a failure, at most.
const REPORT: usize = 4096;
/// Namespaces that others join besides the PID namespace.
const JOINED: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;

/// Namespaces that a first process is made in.
pub(super) const MADE: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// A container's namespaces.
#[derive(Debug)]
pub struct Namespaces {
    /// Their first process.
    init: OwnedFd,
    /// Our own PID namespace.
    own: OwnedFd,
    /// `cgroup.procs` of their cgroup, where there is one.
    cgroup: Option<OwnedFd>,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum NamespacesError {
    /// A system call of ours.
    #[error("cannot {action}: {cause}")]
    Call {
        /// What was attempted.
        action: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// The first process has failed.
    #[error("{0}")]
    Inside(String),
    /// It does not say anything.
    #[error("not made within {} s", .0.as_secs())]
    Limit(Duration),
}

fn call(action: &'static str) -> impl FnOnce(Errno) -> NamespacesError {
    move |errno| NamespacesError::Call {
        action,
        cause: errno.into(),
    }
}

/// Namespaces whose first process is not ready yet. Readable when it is known what has come of it.
#[derive(Debug)]
pub struct Pending {
    namespaces: Namespaces,
    said: OwnedFd,
}

impl Pending {
    /// They are made; `false`: it is not known yet.
    ///
    /// # Errors
    /// The first process has failed.
    pub fn is_made(&self) -> Result<bool, NamespacesError> {
        let mut text = [0; REPORT];
        match rustix::io::read(&self.said, &mut text) {
            // Executing the program has closed the pipe.
            Ok(0) => Ok(true),
            Ok(length) => {
                let text = text.get(..length).unwrap_or_default();
                Err(NamespacesError::Inside(
                    String::from_utf8_lossy(text).into_owned(),
                ))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(call("read what their first process says")(error)),
        }
    }

    /// What was made.
    pub fn namespaces(self) -> Namespaces {
        self.namespaces
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.said.as_fd()
    }
}

impl Namespaces {
    /// Begins to make them: PID, mount, IPC and UTS, and what `furnish` adds. It runs in the first process,
    /// which then executes this program again as [`ROLE`]. `cgroup` is the `cgroup.procs` that others write
    /// themselves into.
    ///
    /// # Errors
    /// The kernel has no such namespaces, or this process has a second thread.
    pub fn begin(
        cgroup: Option<OwnedFd>,
        furnish: impl FnOnce() -> Result<(), String>,
    ) -> Result<Pending, NamespacesError> {
        let failed = |action| move |cause| NamespacesError::Call { action, cause };
        let own = own_pid_namespace().map_err(call("open /proc/self/ns/pid"))?;
        let program = handover::own_program().map_err(failed("open /proc/self/exe"))?;
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (said, report) = rustix::pipe::pipe_with(flags).map_err(call("make a pipe"))?;
        fork::only_one_thread().map_err(failed("fork"))?;
        // SAFETY: there is one thread.
        let forked = unsafe { fork::with_pidfd(MADE, become_init, (program, report, furnish)) };
        let (_, init) = forked.map_err(failed("make namespaces"))?;
        Ok(Pending {
            namespaces: Self { init, own, cgroup },
            said,
        })
    }

    /// Those of a first process that is there already.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn around(init: BorrowedFd<'_>, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        Ok(Self {
            init: init.try_clone_to_owned()?,
            own: own_pid_namespace()?,
            cgroup: cgroup.map(|fd| fd.try_clone_to_owned()).transpose()?,
        })
    }

    /// Their first process.
    pub fn init(&self) -> BorrowedFd<'_> {
        self.init.as_fd()
    }

    /// This process sees the tree that theirs see, and nothing else, from now on: for a child of ours.
    ///
    /// # Errors
    /// Their first process has ended, or the kernel refuses.
    pub fn enter_tree(&self) -> io::Result<()> {
        set(self.init.as_fd(), libc::CLONE_NEWNS)
    }

    /// `cgroup.procs` of their cgroup.
    pub fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().map(AsFd::as_fd)
    }

    /// Runs `fork` so that its child is a process of their PID namespace.
    ///
    /// # Errors
    /// Their first process has ended, or the kernel refuses.
    pub(super) fn with_children<T>(&self, fork: impl FnOnce() -> T) -> io::Result<T> {
        set(self.init.as_fd(), libc::CLONE_NEWPID)?;
        let forked = fork();
        // Our own is always allowed; and what was forked must not be lost.
        if let Err(error) = set(self.own.as_fd(), libc::CLONE_NEWPID) {
            log::error!("back to our own PID namespace: {error}");
        }
        Ok(forked)
    }
}

fn own_pid_namespace() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())
}

/// Joins the other namespaces of a first process: for a child between fork and exec.
pub(super) fn join(init: RawFd) -> libc::c_int {
    // SAFETY: no memory is passed.
    unsafe { libc::setns(init, JOINED) }
}

fn set(namespace: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: no memory is passed.
    match unsafe { libc::setns(namespace.as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn become_init<F: FnOnce() -> Result<(), String>>(
    (program, report, furnish): (OwnedFd, OwnedFd, F),
) -> ! {
    let failure = match furnish() {
        Ok(()) => execute(&program),
        Err(text) => text,
    };
    // Nobody is left to tell when this fails, too: then it is the end of the pipe and of this process.
    let _ = rustix::io::write(&report, failure.as_bytes());
    // SAFETY: ends the child without running what belongs to the parent.
    unsafe { libc::_exit(1) }
}

/// Returns only what went wrong.
fn execute(program: &OwnedFd) -> String {
    if let Err(error) = capabilities::pass_nothing_on() {
        return format!("cannot give up the capabilities of process 1: {error}");
    }
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
        for target in 0..3 {
            // SAFETY: descriptors are integers.
            unsafe { libc::dup2(null.as_raw_fd(), target) };
        }
    }
    // SAFETY: no memory is passed. All descriptors but the first three close themselves at execution.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    let error = handover::execute(program.as_fd(), &[ROLE], &Kept::default());
    format!("cannot execute its first process: {error}")
}

/// This process leaves its cgroup namespace for one whose root is its cgroup.
///
/// # Errors
/// As `unshare(2)`.
pub fn own_cgroup_root() -> io::Result<()> {
    // SAFETY: no memory is passed.
    match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `path` the root of this process's mount namespace, as far as it can see: what was there is below.
///
/// # Errors
/// As `mount(2)` and `chroot(2)`.
pub fn move_root(path: &str) -> io::Result<()> {
    rustix::process::chdir(path)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}
