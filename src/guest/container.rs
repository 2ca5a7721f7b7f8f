//! The container's own view of the machine: its namespaces, made once before the first session.
//!
//! It does not see process 1, the serial ports, the disks, the configuration or the initramfs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, unmount};

use super::disk::mount::ROOT;
use super::event_loop::{Interest, Token, now};
use super::machine::Machine;
use super::stand_in::DISMISS;
use super::tree::kernel_flags;
use crate::config::isolation::Isolation;
use crate::plan::isolation::{OF_NAMESPACES, masked, read_only};
use crate::plan::mounts::Flags;
use crate::sys::namespaces::{self, Namespaces, NamespacesError, Pending};
use crate::sys::{capabilities, file, signals};

/// How long making them may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Where process 1 has the cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The container's cgroup.
pub(super) const CGROUP: &str = "/sys/fs/cgroup/container";
/// Controllers that the container finds in its cgroup.
const CONTROLLERS: &str = "+memory +pids";
const WITH_SHARE: &str = "+memory +pids +cpu";
/// Where process 1 has what the container must not see.
const OURS: [&str; 3] = ["/dev", "/sys", "/proc"];
/// What the initramfs started with: nobody needs it a second time.
const INIT: &str = "/init";

/// Makes the namespaces of a container whose tree is at [`ROOT`], while everything else goes on.
///
/// # Errors
/// The kernel has none, or something in them cannot be set up.
pub fn make(
    machine: &mut Machine,
    isolation: &Isolation,
    cgroup: Option<OwnedFd>,
) -> Result<Namespaces, NamespacesError> {
    let pending = begin(isolation, cgroup)?;
    let limit = now().saturating_add(LIMIT);
    let watched = machine
        .events
        .watch(&pending, Token::Namespaces, Interest::Readable);
    watched.map_err(|cause| NamespacesError::Call {
        action: "watch their first process",
        cause,
    })?;
    while !pending.is_made()? {
        if now() >= limit {
            return Err(NamespacesError::Limit(LIMIT));
        }
        machine.turn(Some(limit));
    }
    Ok(pending.namespaces())
}

/// What makes the container's own command the first process of its namespaces, each time that it starts.
#[derive(Debug)]
pub struct First {
    isolation: Isolation,
    cgroup: Option<OwnedFd>,
}

impl First {
    /// Prepares the machine for it.
    ///
    /// # Errors
    /// The capabilities cannot be bounded.
    pub fn new(isolation: &Isolation, cgroup: Option<OwnedFd>) -> Result<Self, NamespacesError> {
        prepare(isolation)?;
        Ok(Self::of(isolation, cgroup))
    }

    /// The same on a machine that is prepared already.
    pub fn of(isolation: &Isolation, cgroup: Option<OwnedFd>) -> Self {
        Self {
            isolation: isolation.clone(),
            cgroup,
        }
    }

    /// `cgroup.procs` of the container's cgroup.
    pub fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.cgroup.as_ref().map(AsFd::as_fd)
    }

    /// In the process that becomes the first: the error's number, with the words in the log.
    pub fn furnish(&self) -> Result<(), i32> {
        furnish(&self.isolation, self.cgroup.is_some()).map_err(|(what, error)| {
            log::error!("isolation of the container: {what}: {error}");
            error.raw_os_error().unwrap_or(libc::EIO)
        })
    }

    /// The namespaces of that process.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn namespaces(&self, init: BorrowedFd<'_>) -> io::Result<Namespaces> {
        Namespaces::around(init, self.cgroup())
    }
}

fn begin(isolation: &Isolation, cgroup: Option<OwnedFd>) -> Result<Pending, NamespacesError> {
    prepare(isolation)?;
    let in_cgroup = cgroup.is_some();
    Namespaces::begin(cgroup, || {
        furnish(isolation, in_cgroup).map_err(|(what, error)| format!("{what}: {error}"))
    })
}

/// What the machine needs before there are namespaces.
fn prepare(isolation: &Isolation) -> Result<(), NamespacesError> {
    // Process 1 keeps its own, whatever program it goes on as.
    let bounded =
        capabilities::pass_on().and_then(|()| capabilities::bound(isolation.capabilities()));
    bounded.map_err(|cause| NamespacesError::Call {
        action: "bound the container's capabilities",
        cause,
    })?;
    // Should the container ever get out of its tree, there is nothing to find.
    if let Err(error) = rustix::fs::unlink(INIT) {
        log::debug!("{INIT}: {error}");
    }
    Ok(())
}

/// The container's cgroup, with its limits; one that is privileged has none. It needs no disk, and is made while that
/// is waited for.
///
/// # Errors
/// There are limits, and the kernel does not take them.
pub fn limits(isolation: &Isolation) -> Result<Option<OwnedFd>, NamespacesError> {
    if isolation.privileged {
        return Ok(None);
    }
    let cgroup = cgroup();
    if let Err(error) = &cgroup {
        log::warn!("no cgroup for the container: {error}");
    }
    // What is configured is so, or nothing runs.
    for (file, most) in [
        ("memory.max", isolation.memory),
        ("pids.max", isolation.pids),
    ] {
        if most > 0 {
            let limited = std::fs::write(format!("{CGROUP}/{file}"), most.to_string());
            limited.map_err(|cause| NamespacesError::Call {
                action: "limit the container's memory and processes (memory.max, pids.max of its cgroup)",
                cause,
            })?;
        }
    }
    Ok(cgroup.ok())
}

/// Asks for the end of whoever is left in it.
pub fn dismiss(namespaces: &Namespaces) {
    if let Err(error) = signals::send(namespaces.init(), DISMISS) {
        log::debug!("the container's first process: {error}");
    }
}

/// The container as a whole has the turns of one process now, however many it has: process 1 needs no priority over
/// it, and one without does not interrupt a process at each page that it writes (which cost a third of the bulk's speed).
fn share_processors() {
    if let Err(error) = rustix::process::setpriority_process(None, 0) {
        log::info!("priority of process 1: {error}");
    }
}

/// The same in a program that goes on as process 1.
pub(super) fn share_processors_again() {
    let given = file::text(&format!("{CGROUPS}/cgroup.subtree_control"));
    if given.split_whitespace().any(|name| name == "cpu") {
        share_processors();
    }
}

/// Its cgroup's `cgroup.procs`.
fn cgroup() -> io::Result<OwnedFd> {
    mount(
        "cgroup2",
        CGROUPS,
        "cgroup2",
        kernel_flags(Flags::Data),
        None,
    )?;
    // Where a controller is not there: the container does without.
    let give = |names| std::fs::write(format!("{CGROUPS}/cgroup.subtree_control"), names);
    match give(WITH_SHARE) {
        Ok(()) => share_processors(),
        // All or none of a write's.
        Err(_) => give(CONTROLLERS).unwrap_or_default(),
    }
    rustix::fs::mkdir(CGROUP, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(
        format!("{CGROUP}/cgroup.procs"),
        flags,
        Mode::empty(),
    )?)
}

type Failure = (String, io::Error);

fn step<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| (what.to_owned(), error.into())
}

/// In the first process of the namespaces, before it becomes the stand-in or the container's command.
fn furnish(isolation: &Isolation, in_cgroup: bool) -> Result<(), Failure> {
    if in_cgroup {
        let procs = format!("{CGROUP}/cgroup.procs");
        std::fs::write(&procs, "0").map_err(step(&procs))?;
        namespaces::own_cgroup_root().map_err(step("cgroup namespace"))?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(step("private mounts"))?;
    for path in OURS {
        unmount(path, UnmountFlags::DETACH).map_err(step(path))?;
    }
    // What stays below the container's root is empty, and cannot be written to.
    rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "")
        .map_err(step("read-only initramfs"))?;
    namespaces::move_root(ROOT).map_err(step("root"))?;
    for (kind, path, flags) in OF_NAMESPACES {
        match mount(kind, path, kind, kernel_flags(flags), None) {
            Ok(()) => {}
            // A read-only image without the folder, a kernel without the type; a container without
            // /proc would not be one.
            Err(Errno::NOENT | Errno::NODEV) if path != "/proc" => {}
            Err(error) => return Err(step(path)(error)),
        }
    }
    for path in masked(isolation) {
        mask(path).map_err(step(path))?;
    }
    for path in read_only(isolation) {
        only_read(path, kernel_flags(Flags::ReadOnly)).map_err(step(path))?;
    }
    if isolation.read_only {
        let flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::RDONLY;
        rustix::mount::mount_remount("/", flags, "").map_err(step("read-only root"))?;
    }
    Ok(())
}

/// A folder is covered by an empty one, a file by `/dev/null`; what is not there needs no cover.
fn mask(path: &str) -> rustix::io::Result<()> {
    match rustix::mount::mount_bind("/dev/null", path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR) => mount(
            "tmpfs",
            path,
            "tmpfs",
            kernel_flags(Flags::ReadOnly),
            Some(c"size=0"),
        ),
        Err(error) => Err(error),
    }
}

fn only_read(path: &str, flags: MountFlags) -> rustix::io::Result<()> {
    match rustix::mount::mount_bind(path, path) {
        Ok(()) => rustix::mount::mount_remount(path, MountFlags::BIND | flags, ""),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}
