//! Volumes of this machine: disks with a file system of their own, which outlive containers.
//!
//! ```text
//!  volumes/NAME/disk.ext4, disk.vmdk     a folder is there when it is whole
//!               volume.json              what docker knows of it
//!  volumes/.new-NAME, .gone-NAME         on their way in and out; swept at the start
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::local::{GONE, NEW, io_error, sweep, taken};
use super::{ProviderError, Volume};
use crate::image::disk;

const EXT4: &str = "disk.ext4";
const VMDK: &str = "disk.vmdk";
const ABOUT: &str = "volume.json";

/// The volumes of a folder.
#[derive(Debug)]
pub(super) struct Volumes {
    dir: PathBuf,
}

impl Volumes {
    /// Opens the folder, which is made if needed, and sweeps what is not whole.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub(super) fn open(dir: &Path) -> Result<Self, ProviderError> {
        fs::create_dir_all(dir).map_err(io_error("make folder", dir))?;
        let dir = dir.canonicalize().map_err(io_error("find", dir))?;
        for entry in fs::read_dir(&dir).map_err(io_error("read", &dir))? {
            let path = entry.map_err(io_error("read", &dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(NEW) || name.starts_with(GONE) {
                sweep(&path)?;
            }
        }
        Ok(Self { dir })
    }

    /// The disk of a volume.
    pub(super) fn disk(&self, name: &str) -> PathBuf {
        self.dir.join(name).join(VMDK)
    }

    /// Makes one, whole or not at all.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make(&self, volume: &Volume) -> Result<(), ProviderError> {
        let new = self.dir.join(format!("{NEW}{}", volume.name));
        sweep(&new)?;
        fs::create_dir(&new).map_err(io_error("make folder", &new))?;
        let made = furnish(volume, &new).and_then(|()| {
            let folder = self.dir.join(&volume.name);
            fs::rename(&new, &folder).map_err(io_error("make", &folder))
        });
        if made.is_err() {
            sweep(&new)?;
        }
        made
    }

    /// Deletes one. What is not there is as well.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub(super) fn remove(&self, name: &str) -> Result<(), ProviderError> {
        let (folder, gone) = (self.dir.join(name), self.dir.join(format!("{GONE}{name}")));
        sweep(&gone)?;
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("delete", &folder)(error)),
            Ok(()) => sweep(&gone),
        }
    }

    /// Bytes that one takes.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(super) fn bytes(&self, name: &str) -> Result<u64, ProviderError> {
        taken(&self.dir.join(name).join(EXT4))
    }

    /// All of them, by their names.
    ///
    /// # Errors
    /// They cannot be looked through.
    pub(super) fn list(&self) -> Result<Vec<Volume>, ProviderError> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("read", &self.dir))? {
            let path = entry.map_err(io_error("read", &self.dir))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(NEW) || name.starts_with(GONE) {
                continue;
            }
            let about = path.join(ABOUT);
            let read = fs::read(&about).map_err(io_error("read", &about))?;
            let volume = serde_json::from_slice::<Volume>(&read);
            all.push(volume.map_err(|error| io_error("read", &about)(error.into()))?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

fn furnish(volume: &Volume, folder: &Path) -> Result<(), ProviderError> {
    let failed = |error: disk::DiskError| ProviderError::Disk(error.to_string());
    disk::empty(&folder.join(EXT4), &volume.label(), volume.bytes).map_err(failed)?;
    let id = disk::checksum(&volume.name);
    let descriptor = disk::descriptor(EXT4, volume.bytes, id);
    disk::write_whole(&folder.join(VMDK), descriptor.as_bytes()).map_err(failed)?;
    let about =
        serde_json::to_vec_pretty(volume).map_err(|e| ProviderError::Disk(e.to_string()))?;
    disk::write_whole(&folder.join(ABOUT), &about).map_err(failed)
}
