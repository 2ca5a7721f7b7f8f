//! The container's volumes, mounted in its tree before its first process.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::disk::mount::{LIMIT as MOUNT_LIMIT, advice};
use super::disk::{self, Disk, DiskError};
use super::helper::HelperError;
use super::machine::Machine;
use super::tree_copy;
use crate::config::model::ContainerVm;
use crate::plan::nfs::Share;
use crate::plan::volumes::{Source, Volume, volumes};
use crate::sys::inside::{Folder, Inside};

/// Where the original's volumes have their files (`volumeDataDir` of its guest).
const DATA: &str = ".vic.vol.data";
/// How long filling an empty volume may take.
const COPY_LIMIT: Duration = Duration::from_secs(600);

/// Why a volume is not there.
#[derive(Debug, thiserror::Error)]
#[error("volume {name:?} for {dest}: {cause}")]
pub struct VolumeError {
    name: String,
    dest: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error("cannot make the folder: {0}")]
    Folder(io::Error),
    #[error("cannot mount {what}: {error}; {}", advice(error))]
    Mount { what: String, error: HelperError },
    #[error("cannot mount {device} ({options}): {error}; {}", remote_advice(error))]
    Share {
        device: String,
        options: String,
        error: HelperError,
    },
    #[error("cannot copy the image's files into it: {0}")]
    Copy(HelperError),
}

/// What whoever reads the error can do.
fn remote_advice(error: &HelperError) -> &'static str {
    match error {
        HelperError::Refused(libc::EACCES | libc::EPERM) => {
            "let the server export it to this address"
        }
        HelperError::Refused(libc::ENOENT | libc::ENOTDIR) => "the server exports no such folder",
        HelperError::Refused(libc::ENODEV) => "the kernel has no NFS client",
        HelperError::Refused(libc::EPROTONOSUPPORT | libc::EINVAL) => {
            "the server speaks none of the versions, or does not know an option"
        }
        _ => "look whether the server runs and can be reached from the container's network",
    }
}

/// One of them is on the other side of a network, which must be up then.
pub fn are_remote(vm: &ContainerVm) -> bool {
    volumes(vm).iter().any(Volume::is_remote)
}

/// Mounts all of them, and fills those that are new.
///
/// # Errors
/// One of them is missing, damaged or cannot be filled: the container must not run without it.
pub fn mount_all(
    machine: &mut Machine,
    root: &Inside,
    vm: &ContainerVm,
) -> Result<(), VolumeError> {
    for volume in volumes(vm) {
        mount(machine, root, &volume, vm.isolation.privileged).map_err(|cause| VolumeError {
            name: volume.name.to_owned(),
            dest: volume.dest.to_owned(),
            cause,
        })?;
        log::info!("volume {:?} is at {}", volume.name, volume.dest);
    }
    Ok(())
}

fn mount(
    machine: &mut Machine,
    root: &Inside,
    volume: &Volume<'_>,
    devices: bool,
) -> Result<(), Cause> {
    let mut flags = flags(&volume.flags);
    if !devices {
        flags |= MountFlags::NODEV;
    }
    let disk = match &volume.source {
        Source::Label(label) => Some(disk::find(machine, label, disk::LIMIT)?),
        Source::Memory | Source::Share(_) => None,
    };
    let folder = root
        .make_directory(volume.dest, 0o755)
        .map_err(Cause::Folder)?;
    let listing = OFlags::RDONLY | OFlags::DIRECTORY;
    // What the image has there is still seen by this when the volume is over it.
    let below = root.get(volume.dest, listing).map_err(Cause::Folder)?;
    if let Source::Share(share) = &volume.source {
        return mount_share(machine, &folder, share, flags);
    }
    let (path, kind) = disk.as_ref().map_or(("tmpfs", "tmpfs"), of_disk);
    let mounted = machine.help(MOUNT_LIMIT, || {
        folder
            .mount(path, kind, flags, &volume.options)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
    });
    mounted.map_err(|error| Cause::Mount {
        what: format!("{path} ({kind})"),
        error,
    })?;
    if disk.is_some() {
        show_data(root, volume.dest).map_err(Cause::Folder)?;
    }
    if volume.copy {
        let there = root.get(volume.dest, listing).map_err(Cause::Folder)?;
        let copied = machine.help(COPY_LIMIT, || {
            tree_copy::into_empty(below.as_fd(), there.as_fd())
        });
        copied.map_err(Cause::Copy)?;
    }
    Ok(())
}

/// One version after the other, as far as the server knows none of them.
fn mount_share(
    machine: &mut Machine,
    folder: &Folder,
    share: &Share,
    flags: MountFlags,
) -> Result<(), Cause> {
    let mut attempts = share.attempts.iter().peekable();
    while let Some(options) = attempts.next() {
        let mounted = machine.help(MOUNT_LIMIT, || {
            folder
                .mount(&share.device, "nfs", flags, options)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        });
        match mounted {
            Ok(()) => return Ok(()),
            Err(HelperError::Refused(libc::EPROTONOSUPPORT | libc::EINVAL))
                if attempts.peek().is_some() => {}
            Err(error) => {
                return Err(Cause::Share {
                    device: share.device.clone(),
                    options: options.clone(),
                    error,
                });
            }
        }
    }
    Ok(())
}

/// The original's appliance keeps a volume's files in a folder of its disk, so that the container finds no
/// `lost+found` among them.
fn show_data(root: &Inside, dest: &str) -> io::Result<()> {
    let data = match root.get(&format!("{dest}/{DATA}"), OFlags::PATH | OFlags::DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    root.folder(dest)?.bind(data.as_fd())
}

fn of_disk(disk: &Disk) -> (&str, &str) {
    (&disk.path, disk.kind)
}

fn flags(words: &[&str]) -> MountFlags {
    words.iter().fold(MountFlags::empty(), |flags, word| {
        flags
            | match *word {
                "ro" => MountFlags::RDONLY,
                "nosuid" => MountFlags::NOSUID,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "strictatime" => MountFlags::STRICTATIME,
                "lazytime" => MountFlags::LAZYTIME,
                "sync" => MountFlags::SYNCHRONOUS,
                "dirsync" => MountFlags::DIRSYNC,
                _ => MountFlags::empty(),
            }
    })
}
