//! The container's tree: what the plan wants in it is put there.
//!
//! PID 1 stays in the initramfs, and only the sessions' processes change their root to the
//! container's (`sys::spawn`). So the container does not see our tree, nothing of the image is ever
//! ours, and at the end the disk can be unmounted for good, because nobody left stands on it.

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::plan::mounts::{Action, Flags};
use crate::sys::inside::{Device, Folder, Inside, split};

/// Permissions of devices that everybody may use.
const DEVICE_MODE: u32 = 0o666;

/// Carries out the actions in order. What an image does not let us do (it is read-only and lacks the
/// folder) is told and left out: the container may not need it.
pub fn furnish(root: &Inside, actions: &[Action]) {
    // The files of one folder come one after another: it is looked up once.
    let mut folder = None;
    for action in actions {
        match act(root, &mut folder, action) {
            Ok(()) => {}
            // The image's own link or device of that name.
            Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
            Err(error) => log::warn!("container's {}: {error}", action.path()),
        }
    }
}

type LastFolder<'a> = Option<(&'a str, Folder)>;

fn act<'a>(root: &Inside, last: &mut LastFolder<'a>, action: &'a Action) -> std::io::Result<()> {
    match action {
        Action::Directory { path, mode } => {
            *last = Some((path, root.make_directory(path, *mode)?));
            Ok(())
        }
        Action::Mount {
            kind,
            path,
            flags,
            options,
        } => {
            // What is under it from here on is another folder.
            let known = last.take().filter(|(of, _)| of == path);
            let folder = match known {
                Some((_, folder)) => folder,
                None => root.folder(path)?,
            };
            folder.mount(kind, kind, kernel_flags(*flags), options)
        }
        Action::Device {
            path,
            number: (major, minor),
        } => {
            let device = Device {
                major: *major,
                minor: *minor,
            };
            let (folder, name) = folder_of(root, last, path)?;
            folder.make_device(name, device, DEVICE_MODE)
        }
        Action::Link { path, target } => {
            let (folder, name) = folder_of(root, last, path)?;
            folder.make_link(name, target)
        }
    }
}

/// Mounts come before what is made in them, so that a folder stays what it was.
fn folder_of<'l, 'a>(
    root: &Inside,
    last: &'l mut LastFolder<'a>,
    path: &'a str,
) -> std::io::Result<(&'l Folder, &'a str)> {
    let (parent, name) = split(path);
    if last.as_ref().is_none_or(|(of, _)| *of != parent) {
        *last = Some((parent, root.folder(parent)?));
    }
    match last {
        Some((_, folder)) => Ok((folder, name)),
        None => Err(Errno::NOENT.into()),
    }
}

pub(super) fn kernel_flags(flags: Flags) -> MountFlags {
    let data = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match flags {
        Flags::Data => data,
        Flags::ReadOnly => data | MountFlags::RDONLY,
        Flags::Devices => MountFlags::NOSUID | MountFlags::NOEXEC,
    }
}
