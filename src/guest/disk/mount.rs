//! Mounting the container's disk, and what to do when that fails.

use std::time::Duration;

use rustix::mount::{MountFlags, mount};

use super::Disk;
use crate::guest::helper::HelperError;
use crate::guest::machine::Machine;

/// Where the container's tree stands in ours.
pub const ROOT: &str = "/newroot";
/// How long a mount may take: a journal is replayed on the way.
pub(in crate::guest) const LIMIT: Duration = Duration::from_secs(60);

/// The disk is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {} ({}, label {:?}): {cause}; {}", disk.path, disk.kind, disk.label, advice(cause))]
pub struct MountError {
    disk: Disk,
    cause: HelperError,
}

/// Mounts the disk at [`ROOT`], for reading and writing. `devices`: device nodes on it count.
///
/// # Errors
/// The kernel refuses, or does not come back.
pub fn mount_root(machine: &mut Machine, disk: &Disk, devices: bool) -> Result<(), MountError> {
    let made = rustix::fs::mkdir(ROOT, rustix::fs::Mode::from_raw_mode(0o755));
    if let Err(error) = made
        && error != rustix::io::Errno::EXIST
    {
        let cause = HelperError::Refused(error.raw_os_error());
        return Err(MountError {
            disk: disk.clone(),
            cause,
        });
    }
    let flags = if devices {
        MountFlags::empty()
    } else {
        MountFlags::NODEV
    };
    let mounted = machine.help(LIMIT, || mount(&*disk.path, ROOT, disk.kind, flags, None));
    mounted.map_err(|cause| MountError {
        disk: disk.clone(),
        cause,
    })
}

/// What whoever reads the error can do.
pub(in crate::guest) fn advice(cause: &HelperError) -> &'static str {
    match cause {
        HelperError::Refused(libc::EUCLEAN | libc::EINVAL | libc::EIO) => {
            "the file system is damaged: check it from another machine (e2fsck -f, xfs_repair), or \
             make the container's disk anew; the kernel's own words are on its console"
        }
        HelperError::Refused(libc::ENODEV) => {
            "the kernel has no driver for it: add its module to the initramfs"
        }
        HelperError::Refused(libc::EROFS | libc::EACCES) => {
            "the disk is read-only: make it writable in the VM's settings"
        }
        HelperError::Refused(_) | HelperError::Killed(_) | HelperError::Fork(_) => {
            "the kernel's own words are on its console"
        }
        HelperError::Limit(_) => "the disk does not answer: look at the VM's storage",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_device_label_cause_and_cure() {
        let disk = Disk {
            path: "/dev/sda".into(),
            kind: "ext4",
            label: "containerfs".into(),
        };
        let error = MountError {
            disk,
            cause: HelperError::Refused(libc::EUCLEAN),
        };
        let text = error.to_string();
        for part in [
            "/dev/sda",
            "ext4",
            "\"containerfs\"",
            "structure needs cleaning",
            "e2fsck",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
