//! The container's tree: what the plan wants in it is put there.
//!
//! PID 1 stays in the initramfs, and only the sessions' processes change their root to the
//! container's (`sys::spawn`). So the container does not see our tree, nothing of the image is ever
//! ours, and at the end the disk can be unmounted for good, because nobody left stands on it.

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::plan::mounts::{Action, Flags};
use crate::sys::inside::{Device, Inside};

/// Permissions of devices that everybody may use.
const DEVICE_MODE: u32 = 0o666;

/// Carries out the actions in order. What an image does not let us do (it is read-only and lacks the
/// folder) is told and left out: the container may not need it.
pub fn furnish(root: &Inside, actions: &[Action]) {
    for action in actions {
        match act(root, action) {
            Ok(()) => {}
            // The image's own link or device of that name.
            Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
            Err(error) => log::warn!("container's {}: {error}", action.path()),
        }
    }
}

fn act(root: &Inside, action: &Action) -> std::io::Result<()> {
    match action {
        Action::Directory { path, mode } => root.make_directory(path, *mode),
        Action::Mount {
            kind,
            path,
            flags,
            options,
        } => root.mount(kind, path, kind, kernel_flags(*flags), options),
        Action::Device {
            path,
            number: (major, minor),
        } => root.make_device(
            path,
            Device {
                major: *major,
                minor: *minor,
            },
            DEVICE_MODE,
        ),
        Action::Link { path, target } => root.make_link(path, target),
    }
}

fn kernel_flags(flags: Flags) -> MountFlags {
    let data = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match flags {
        Flags::Data => data,
        Flags::ReadOnly => data | MountFlags::RDONLY,
        Flags::Devices => MountFlags::NOSUID | MountFlags::NOEXEC,
    }
}
