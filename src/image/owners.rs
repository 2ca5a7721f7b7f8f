//! What only root may give to a file is written into the file system afterwards, by debugfs: owners, devices, extended
//! attributes, and modes that their maker could not read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FileType;

use super::disk::{DiskError, io_error, run};
use super::tree::Meta;

/// Requests for debugfs, in their order.
#[derive(Debug)]
pub(super) struct Later {
    requests: String,
    /// Where requests and values are kept.
    folder: PathBuf,
    values: usize,
}

impl Later {
    /// Nothing yet; what has to be kept is kept beside this folder.
    pub(super) fn beside(root: &Path) -> Self {
        Self {
            requests: String::new(),
            folder: root.with_file_name("later"),
            values: 0,
        }
    }

    /// A path of the folder as debugfs takes it.
    fn name(root: &Path, path: &Path) -> Result<String, DiskError> {
        let bad = || DiskError::Name(path.to_owned());
        let inner = path.strip_prefix(root).ok().and_then(Path::to_str);
        let inner = inner
            .filter(|inner| !inner.contains(['\n', '\r']))
            .ok_or_else(bad)?;
        // In quotes, where two of them are one.
        Ok(format!("\"/{}\"", inner.replace('"', "\"\"")))
    }

    fn ask(&mut self, request: &str) {
        self.requests.push_str(request);
        self.requests.push('\n');
    }

    /// Owner, mode and attributes of a file that is there.
    pub(super) fn owner(
        &mut self,
        root: &Path,
        path: &Path,
        meta: &Meta,
        kind: FileType,
    ) -> Result<(), DiskError> {
        let name = Self::name(root, path)?;
        let mode = kind.as_raw_mode() | meta.mode;
        self.ask(&format!("set_inode_field {name} uid {}", meta.uid));
        self.ask(&format!("set_inode_field {name} gid {}", meta.gid));
        self.ask(&format!("set_inode_field {name} mode 0{mode:o}"));
        for (attribute, value) in &meta.xattrs {
            let file = self.folder.join(self.values.to_string());
            self.values += 1;
            fs::create_dir_all(&self.folder)
                .and_then(|()| fs::write(&file, value))
                .map_err(io_error("write", &file))?;
            let plain = |c: char| c.is_ascii_graphic() && c != '"';
            if !attribute.chars().all(plain) {
                return Err(DiskError::Name(path.to_owned()));
            }
            let file = file.display();
            self.ask(&format!("ea_set -f \"{file}\" {name} {attribute}"));
        }
        Ok(())
    }

    /// A device, which is not there.
    pub(super) fn device(
        &mut self,
        root: &Path,
        path: &Path,
        meta: &Meta,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), DiskError> {
        let name = Self::name(root, path)?;
        let letter = if kind == FileType::BlockDevice {
            'b'
        } else {
            'c'
        };
        // This request alone knows no paths.
        let parent = Self::name(root, path.parent().unwrap_or(root))?;
        let last = Path::new(path.file_name().unwrap_or_default());
        let last = Self::name(Path::new(""), last)?.replacen('/', "", 1);
        self.ask(&format!("cd {parent}"));
        self.ask(&format!("mknod {last} {letter} {major} {minor}"));
        self.ask("cd /");
        self.owner(root, path, meta, kind)?;
        let (seconds, _) = meta.mtime;
        self.ask(&format!("set_inode_field {name} mtime @{seconds}"));
        Ok(())
    }

    /// Writes all of it into the file system.
    pub(super) fn write(self, ext4: &Path) -> Result<(), DiskError> {
        let requests = self.folder.with_extension("requests");
        fs::write(&requests, &self.requests).map_err(io_error("write", &requests))?;
        let mut debugfs = Command::new("debugfs");
        debugfs.args(["-w", "-f"]).arg(&requests).arg(ext4);
        let said = run(debugfs)?;
        // It succeeds whatever becomes of its requests; but for its version, it says on stderr what failed.
        match said.lines().find(|line| !line.starts_with("debugfs ")) {
            None => Ok(()),
            Some(failed) => Err(DiskError::Failed(format!("debugfs: {failed}"))),
        }
    }
}
