//! The container's disk: found by its label, among disks that may come late, and mounted.

pub mod mount;
mod superblock;

use std::fmt;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use self::superblock::{FileSystem, identify};
use super::event_loop::{Interest, Token, now};
use super::machine::Machine;
use crate::sys::file;
use crate::sys::uevent::Uevents;

/// Label of the file system that holds a container's root.
pub const ROOT_LABEL: &str = "containerfs";
/// How long a disk may take to come up.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Where the kernel lists block devices.
const DEVICES: &str = "/sys/class/block";
/// Names of devices that are no disks: memory, files, floppies, and CD-ROMs, which are slow to look
/// at and hold no container.
const NO_DISKS: [&str; 6] = ["ram", "loop", "zram", "fd", "nbd", "sr"];
/// Sector of `/sys/class/block/*/size`, bytes, whatever the device's own is.
const SECTOR: u64 = 512;
/// Where there are no announcements of devices, they are looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Longest announcement of a device, bytes (the kernel's `UEVENT_BUFFER_SIZE` and a header).
const UEVENT_MOST: usize = 4 << 10;

/// The disk with the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Path of the device.
    pub path: String,
    /// Type of its file system.
    pub kind: &'static str,
    /// The label.
    pub label: String,
}

/// A disk that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    name: String,
    bytes: u64,
    content: Result<Option<FileSystem>, String>,
}

/// There is no such disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It did not come up in time.
    #[error(
        "no disk with a file system labelled {label:?} came up within {} s; disks seen: {}",
        limit.as_secs(), List(seen)
    )]
    NotFound {
        /// The label.
        label: String,
        /// How long it was waited for.
        limit: Duration,
        /// What there was instead.
        seen: Vec<Seen>,
    },
    /// Somebody wanted the machine to stop before.
    #[error("stopped while waiting for the disk labelled {label:?}: {reason}")]
    Stopped {
        /// The label.
        label: String,
        /// Who.
        reason: String,
    },
}

/// Waits for the disk with the label. The machine goes on meanwhile: the link is served.
///
/// # Errors
/// It does not come within `limit`, or the machine is to stop.
pub fn find(machine: &mut Machine, label: &str, limit: Duration) -> Result<Disk, DiskError> {
    // Before the first look: what comes after it is announced.
    let uevents = subscribe(machine);
    let found = wait(machine, uevents.as_ref(), label, limit);
    if let Some(uevents) = &uevents
        && let Err(error) = machine.events.unwatch(uevents)
    {
        log::warn!("unwatching the kernel's device events: {error}");
    }
    found
}

pub(super) fn subscribe(machine: &Machine) -> Option<Uevents> {
    let subscribed = Uevents::open().and_then(|uevents| {
        machine
            .events
            .watch(&uevents, Token::Uevents, Interest::Readable)?;
        Ok(uevents)
    });
    subscribed
        .inspect_err(|error| log::warn!("no device events from the kernel: {error}"))
        .ok()
}

fn wait(
    machine: &mut Machine,
    uevents: Option<&Uevents>,
    label: &str,
    limit: Duration,
) -> Result<Disk, DiskError> {
    let deadline = now().saturating_add(limit);
    let mut seen = Vec::new();
    loop {
        if let Some(disk) = look(&mut seen, label) {
            return Ok(disk);
        }
        if let Some(stopping) = &machine.stopping {
            return Err(DiskError::Stopped {
                label: label.to_owned(),
                reason: stopping.reason.clone(),
            });
        }
        if now() >= deadline {
            return Err(DiskError::NotFound {
                label: label.to_owned(),
                limit,
                seen,
            });
        }
        let until = match uevents {
            Some(_) => deadline,
            None => deadline.min(now().saturating_add(LOOK_AGAIN)),
        };
        machine.turn(Some(until));
        if let Some(uevents) = uevents
            && machine.take_uevents()
        {
            forget_changed(uevents, &mut seen);
        }
    }
}

/// Looks at every disk that was not looked at before.
fn look(seen: &mut Vec<Seen>, label: &str) -> Option<Disk> {
    let devices = match std::fs::read_dir(DEVICES) {
        Ok(devices) => devices,
        Err(error) => {
            log::warn!("{DEVICES}: {error}");
            return None;
        }
    };
    let names = devices
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut new: Vec<String> = names
        .filter(|name| is_disk(name) && !seen.iter().any(|seen| seen.name == *name))
        .collect();
    new.sort();
    for name in new {
        let disk = probe(&name);
        log::info!("disk {disk}");
        let matching = match &disk.content {
            Ok(Some(found)) if found.label == label => Some(found.kind),
            Ok(_) | Err(_) => None,
        };
        seen.push(disk);
        if let Some(kind) = matching {
            return Some(Disk {
                path: format!("/dev/{name}"),
                kind,
                label: label.to_owned(),
            });
        }
    }
    None
}

fn is_disk(name: &str) -> bool {
    !NO_DISKS.iter().any(|prefix| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn probe(name: &str) -> Seen {
    let size = file::text(&format!("{DEVICES}/{name}/size"));
    let sectors: u64 = size.trim().parse().unwrap_or_default();
    let content = match std::fs::File::open(format!("/dev/{name}")) {
        Ok(device) => Ok(identify(|offset, buffer| {
            device.read_exact_at(buffer, offset).is_ok()
        })),
        Err(error) => Err(error.to_string()),
    };
    Seen {
        name: name.to_owned(),
        bytes: sectors.saturating_mul(SECTOR),
        content,
    }
}

/// What the kernel announces is looked at again: a disk that has come, or that has got its medium.
fn forget_changed(uevents: &Uevents, seen: &mut Vec<Seen>) {
    let mut buffer = [0; UEVENT_MOST];
    loop {
        match uevents.next(&mut buffer) {
            Ok(Some(event)) => {
                if let Some(name) = block_device(event) {
                    seen.retain(|seen| seen.name != name);
                }
            }
            Ok(None) => return,
            // Some were lost: all may have changed.
            Err(error) => {
                log::warn!("device events: {error}");
                seen.clear();
                return;
            }
        }
    }
}

/// Name of the block device that an event is about.
fn block_device(event: &[u8]) -> Option<&str> {
    let fields = || {
        event
            .split(|byte| *byte == 0)
            .filter_map(|field| std::str::from_utf8(field).ok())
    };
    fields().find(|field| *field == "SUBSYSTEM=block")?;
    fields().find_map(|field| field.strip_prefix("DEVNAME="))
}

struct List<'a>(&'a [Seen]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f
                .write_str("none (is the driver of the VM's disk controller in the initramfs?)");
        }
        for (index, seen) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}{seen}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        const KIB: u64 = 1 << 10;
        let Self {
            name,
            bytes,
            content,
        } = self;
        write!(f, "{name} (")?;
        if *bytes >= MIB {
            write!(f, "{} MiB, ", bytes / MIB)?;
        } else {
            write!(f, "{} KiB, ", bytes / KIB)?;
        }
        match content {
            Ok(None) => f.write_str("no file system known")?,
            Ok(Some(found)) if found.label.is_empty() => write!(f, "{}, no label", found.kind)?,
            Ok(Some(found)) => write!(f, "{}, label {:?}", found.kind, found.label)?,
            Err(error) => write!(f, "cannot be read: {error}")?,
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_label_and_the_disks() {
        let holding = |name: &str, content| Seen {
            name: name.into(),
            bytes: 64 << 20,
            content,
        };
        let labelled = |label: &str| {
            Ok(Some(FileSystem {
                kind: "ext4",
                label: label.into(),
            }))
        };
        let seen = vec![
            holding("sda", labelled("other")),
            Seen {
                bytes: 2048,
                ..holding("sdb", Ok(None))
            },
            holding("sdc", labelled("")),
            holding("sdd", Err("no medium".into())),
        ];
        let error = DiskError::NotFound {
            label: ROOT_LABEL.into(),
            limit: LIMIT,
            seen,
        };
        assert_eq!(
            error.to_string(),
            "no disk with a file system labelled \"containerfs\" came up within 30 s; disks seen: \
             sda (64 MiB, ext4, label \"other\"); sdb (2 KiB, no file system known); \
             sdc (64 MiB, ext4, no label); sdd (64 MiB, cannot be read: no medium)"
        );
        let error = DiskError::NotFound {
            label: ROOT_LABEL.into(),
            limit: LIMIT,
            seen: Vec::new(),
        };
        assert!(error.to_string().contains("none (is the driver"), "{error}");
    }

    #[test]
    fn an_announcement_names_its_block_device() {
        let event = b"add@/devices/pci0000:00/host0/block/sda\0ACTION=add\0SUBSYSTEM=block\0\
            MAJOR=8\0MINOR=0\0DEVNAME=sda\0DEVTYPE=disk\0";
        assert_eq!(block_device(event), Some("sda"));
        assert_eq!(
            block_device(b"add@/x\0SUBSYSTEM=tty\0DEVNAME=ttyS0\0"),
            None
        );
        assert_eq!(block_device(b""), None);
    }

    #[test]
    fn memory_files_floppies_and_cds_are_no_disks() {
        for name in ["ram0", "loop7", "zram0", "fd0", "sr0"] {
            assert!(!is_disk(name), "{name}");
        }
        for name in ["sda", "sda1", "vdb", "nvme0n1", "mmcblk0p1", "srv"] {
            assert!(is_disk(name), "{name}");
        }
    }
}
