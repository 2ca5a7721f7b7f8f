//! What is asked of the machine that runs QEMU: what it can do, what is there, where sockets may go.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::vmm::qemu::{Environment, Firmware, Medium};

/// Where Debian and others put OVMF: code and variables.
const OVMF: [(&str, &str); 3] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
];

/// Looks what there is.
pub(super) fn environment() -> Environment {
    // The device may be there without a processor that could drive it.
    let processor = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        text.lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| {
                line.split_whitespace()
                    .any(|flag| flag == "vmx" || flag == "svm")
            })
    });
    let device = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok()
    };
    let firmware = OVMF
        .iter()
        .map(|(code, variables)| Firmware {
            code: code.into(),
            variables: variables.into(),
        })
        .find(|firmware| firmware.code.exists() && firmware.variables.exists());
    Environment {
        kvm: processor && device(),
        firmware,
    }
}

/// A file that a device needs, and cannot have.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    /// It cannot be opened.
    #[error("{key}: opening {}", path.display())]
    Open {
        /// The line that names it.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be written to in place.
    #[error(
        "{key}: {} is a stream-optimized VMDK, which cannot be written to: convert it (qemu-img convert -O vmdk), or set the disk's mode to independent-nonpersistent",
        path.display()
    )]
    StreamOptimized {
        /// The line that names it.
        key: String,
        /// The file.
        path: PathBuf,
    },
}

/// Opens it as QEMU will, for a better message than QEMU's.
///
/// # Errors
/// When it could not be used.
pub(super) fn check(medium: &Medium) -> Result<(), MediumError> {
    let open = || -> io::Result<Vec<u8>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(medium.written)
            .open(&medium.path)?;
        head(&mut file)
    };
    let head = open().map_err(|source| MediumError::Open {
        key: medium.key.clone(),
        path: medium.path.clone(),
        source,
    })?;
    if medium.written && is_stream_optimized(&head) {
        return Err(MediumError::StreamOptimized {
            key: medium.key.clone(),
            path: medium.path.clone(),
        });
    }
    Ok(())
}

/// Bytes of a sparse extent's header that are looked at.
const VMDK_HEADER: u64 = 12;

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(VMDK_HEADER).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A sparse extent whose grains are compressed ("Virtual Disk Format 5.0", hosted sparse extent).
fn is_stream_optimized(head: &[u8]) -> bool {
    const MAGIC: &[u8] = b"KDMV";
    const COMPRESSED: u32 = 1 << 16;
    let flags = head.get(8..12).and_then(|flags| flags.try_into().ok());
    head.starts_with(MAGIC)
        && flags.is_some_and(|flags| u32::from_le_bytes(flags) & COMPRESSED != 0)
}

/// The file's own path, so that its folder is where its relative paths start.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// A folder for sockets that nobody else may enter; gone with its owner.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn new() -> io::Result<TemporaryFolder> {
        const ATTEMPTS: u32 = 100;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for attempt in 0..ATTEMPTS {
            let name = format!("vmx-{}-{attempt}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(TemporaryFolder(path)),
                Err(error) => last = error,
            }
            if last.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
        Err(last)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("vmx: removing {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(path: &Path, written: bool) -> Medium {
        Medium {
            key: String::from("scsi0:0.fileName"),
            path: path.to_owned(),
            written,
        }
    }

    #[test]
    fn a_missing_medium_is_named_with_its_line() {
        let error = check(&medium(Path::new("/nonexistent.vmdk"), true)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("scsi0:0.fileName") && text.contains("/nonexistent.vmdk"));
    }

    #[test]
    fn a_stream_optimized_disk_is_for_reading_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vmdk");
        std::fs::write(&path, b"KDMV\x03\0\0\0\x01\0\x03\0").unwrap();
        assert!(matches!(
            check(&medium(&path, true)),
            Err(MediumError::StreamOptimized { .. })
        ));
        check(&medium(&path, false)).unwrap();
        std::fs::write(&path, b"KDMV\x01\0\0\0\x03\0\0\0").unwrap();
        check(&medium(&path, true)).unwrap();
    }

    #[test]
    fn a_temporary_folder_goes_with_its_owner() {
        let folder = TemporaryFolder::new().unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
