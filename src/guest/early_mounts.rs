//! The kernel's file systems for ourselves, before anything can be looked at.

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Type and place.
const EARLY: [(&str, &str); 3] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];

/// Mounts what is not mounted yet. What fails is told, and whoever needs it fails with a better
/// reason.
pub fn mount_all() {
    for (kind, path) in EARLY {
        // An initramfs that lacks the folder is writable.
        match rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => log::warn!("{path}: {error}"),
        }
        match mount(kind, path, kind, MountFlags::NOSUID, None) {
            Ok(()) => {}
            Err(Errno::BUSY) => log::debug!("{path} is mounted already"),
            Err(error) => log::error!("{kind} on {path}: {error}"),
        }
    }
}
