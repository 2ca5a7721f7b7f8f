//! What a container's tree needs before its first process: the kernel's file systems and devices.

use super::isolation::OF_NAMESPACES;

/// One thing to do in the container's tree. Paths are the container's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a directory where there is none.
    Directory {
        /// Where.
        path: String,
        /// Permissions.
        mode: u32,
    },
    /// Mount a file system.
    Mount {
        /// Type, and what is shown as its source.
        kind: &'static str,
        /// Where.
        path: String,
        /// Flags.
        flags: Flags,
        /// Options of the type's own.
        options: &'static str,
    },
    /// Make a character device.
    Device {
        /// Where.
        path: String,
        /// Major and minor number.
        number: (u32, u32),
    },
    /// Make a symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it says.
        target: &'static str,
    },
}

impl Action {
    /// The path that the action is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Directory { path, .. }
            | Self::Mount { path, .. }
            | Self::Device { path, .. }
            | Self::Link { path, .. } => path,
        }
    }
}

/// Mount flags, those that a container's tree uses. Set-user-ID programs never count on any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flags {
    /// Neither devices nor programs.
    Data,
    /// The same, and read-only.
    ReadOnly,
    /// Devices, no programs.
    Devices,
}

/// Devices that any program may count on: path, major, minor (`Documentation/admin-guide/devices.txt`).
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that any program may count on.
const LINKS: [(&str, &str); 5] = [
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The kernel's side of a container's tree, in order: `/dev` is the container's own, so that it
/// sees neither our serial ports nor its disks. `privileged`: it has all that the machine has; otherwise
/// what shows namespaces ([`OF_NAMESPACES`]) is left to a process in them, and only its place is made.
pub fn kernel_file_systems(privileged: bool) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut mount = |kind, path: &str, mode, flags, options| {
        actions.push(Action::Directory {
            path: path.into(),
            mode,
        });
        if privileged || !OF_NAMESPACES.iter().any(|(of, ..)| *of == kind) {
            actions.push(Action::Mount {
                kind,
                path: path.into(),
                flags,
                options,
            });
        }
    };
    mount("proc", "/proc", 0o555, Flags::Data, "");
    if privileged {
        mount("sysfs", "/sys", 0o555, Flags::Data, "");
        mount("devtmpfs", "/dev", 0o755, Flags::Devices, "");
    } else {
        mount("sysfs", "/sys", 0o555, Flags::ReadOnly, "");
        mount("tmpfs", "/dev", 0o755, Flags::Devices, "mode=755,size=64k");
    }
    mount(
        "devpts",
        "/dev/pts",
        0o755,
        Flags::Devices,
        "newinstance,ptmxmode=0666,mode=0620,gid=5",
    );
    mount(
        "tmpfs",
        "/dev/shm",
        0o1777,
        Flags::Data,
        "mode=1777,size=64m",
    );
    mount("mqueue", "/dev/mqueue", 0o1777, Flags::Data, "");
    for (path, major, minor) in DEVICES {
        actions.push(Action::Device {
            path: path.into(),
            number: (major, minor),
        });
    }
    for (path, target) in LINKS {
        actions.push(Action::Link {
            path: path.into(),
            target,
        });
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_in_something_made_before_it() {
        for privileged in [true, false] {
            in_order(&kernel_file_systems(privileged));
        }
    }

    fn in_order(actions: &[Action]) {
        let mut made = vec![""];
        for action in actions {
            let path = action.path();
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(made.contains(&parent), "{path} comes before {parent}");
            if let Action::Mount { .. } = action {
                assert!(made.contains(&path), "{path} is mounted before it is made");
            }
            made.push(path);
        }
    }

    #[test]
    fn the_container_gets_docker_s_devices_and_no_others() {
        let devices: Vec<String> = kernel_file_systems(false)
            .iter()
            .filter(|action| matches!(action, Action::Device { .. }))
            .map(|action| action.path().to_owned())
            .collect();
        let expected = [
            "/dev/null",
            "/dev/zero",
            "/dev/full",
            "/dev/random",
            "/dev/urandom",
            "/dev/tty",
        ];
        assert_eq!(devices, expected);
    }
}
