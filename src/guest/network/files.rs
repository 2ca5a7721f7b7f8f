//! The container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`: ours, mounted over the image's,
//! which stay as they are on its disk.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;

use crate::sys::inside::{Inside, split};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `/etc/hosts`
    Hosts,
    /// `/etc/hostname`
    Hostname,
    /// `/etc/resolv.conf`
    ResolvConf,
}

impl File {
    const fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Hostname => "hostname",
            Self::ResolvConf => "resolv.conf",
        }
    }

    /// In the initramfs, which the container does not see.
    fn ours(self) -> String {
        format!("/{}", self.name())
    }
}

/// Writes it, over the former text: where it is mounted it changes with that.
pub fn write(file: File, text: &str) {
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        options.open(file.ours())?.write_all(text.as_bytes())
    };
    if let Err(error) = write() {
        log::warn!("{}: {error}", file.ours());
    }
}

/// Mounts it over the image's. An image that cannot have it (it is read-only, and lacks the file) does
/// without.
pub fn mount(root: &Inside, file: File) {
    let path = format!("/etc/{}", file.name());
    if let Err(error) = mount_over(root, &path, &file.ours()) {
        log::warn!("container's {path}: {error}");
    }
}

fn mount_over(root: &Inside, path: &str, ours: &str) -> io::Result<()> {
    // An image's link is followed, inside of it: systemd's resolver has one.
    let there = match root.get(path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link may lead to what only a running system would have made.
            let target = root.link(path).unwrap_or_else(|_| path.to_owned());
            root.make_directory(split(&target).0, 0o755)?;
            root.make_file(&target, 0o644)?;
            root.get(path, OFlags::PATH)
        }
        found => found,
    }?;
    let there = format!("/proc/self/fd/{}", there.as_fd().as_raw_fd());
    Ok(rustix::mount::mount_bind(ours, there)?)
}
