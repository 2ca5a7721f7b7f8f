//! A .vmx file where it lies: read whole, replaced whole, so that no reader and no crash ever sees
//! half of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::file::{NameError, VmxFile};

/// Why a .vmx file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Reading failed.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Replacing failed; the file is as it was.
    #[error("{step} {}", path.display())]
    Write {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name that no .vmx file can hold.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Tells one state of a file from another. Every save makes a new inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// The stamp of the file as it lies there now.
    ///
    /// # Errors
    /// When there is none.
    pub fn now(path: &Path) -> io::Result<Stamp> {
        std::fs::metadata(path).map(|metadata| Stamp::of(&metadata))
    }
}

/// Reads a .vmx file, and its stamp as of then.
///
/// # Errors
/// When it cannot be read.
pub fn load(path: &Path) -> Result<(VmxFile, Stamp), DiskError> {
    let read = || {
        let mut file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((VmxFile::parse(&bytes), stamp))
    };
    read().map_err(|source| DiskError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads the file, lets `change` change it, and replaces it when that says `true`; what it holds
/// now comes back. Nobody else who uses this comes in between: the folder is locked meanwhile.
///
/// # Errors
/// When the file cannot be read or replaced, or `change` fails: then it is as it was.
pub fn update<E: From<DiskError>>(
    path: &Path,
    change: impl FnOnce(&mut VmxFile) -> Result<bool, E>,
) -> Result<(VmxFile, Stamp), E> {
    let path = path.canonicalize().map_err(|source| DiskError::Read {
        path: path.to_owned(),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let fail = |step, at: &Path, source| DiskError::Write {
        step,
        path: at.to_owned(),
        source,
    };
    // The file itself cannot carry the lock, since each save puts another in its place.
    let lock = File::open(folder).map_err(|error| fail("opening the folder", folder, error))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| fail("locking the folder", folder, error.into()))?;
    let (mut file, stamp) = load(&path)?;
    if !change(&mut file)? {
        return Ok((file, stamp));
    }
    let stamp =
        replace(&path, &file.to_bytes()).map_err(|source| fail("replacing", &path, source))?;
    lock.sync_all()
        .map_err(|error| fail("syncing the folder", folder, error))?;
    Ok((file, stamp))
}

/// Puts `bytes` in the file's place, with its mode and, where we may, its owner.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<Stamp> {
    let old = std::fs::metadata(path)?;
    let temporary = temporary_name(path);
    let written = write_new(&temporary, bytes, &old)
        .and_then(|stamp| std::fs::rename(&temporary, path).map(|()| stamp));
    written.map_err(|first| match std::fs::remove_file(&temporary) {
        Err(second) if second.kind() != io::ErrorKind::NotFound => io::Error::new(
            first.kind(),
            format!(
                "{first}; and {} is left behind: {second}",
                temporary.display()
            ),
        ),
        _ => first,
    })
}

fn write_new(path: &Path, bytes: &[u8], old: &std::fs::Metadata) -> io::Result<Stamp> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid())
        && let Err(error) = fchown(&file, Some(old.uid()), Some(old.gid()))
        // Whoever may write the folder but is not the owner makes the file theirs, as any editor.
        && error.kind() != io::ErrorKind::PermissionDenied
    {
        return Err(error);
    }
    file.set_permissions(old.permissions())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(Stamp::of(&file.metadata()?))
}

/// Beside the file, so that the rename stays on one file system.
fn temporary_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set(path: &Path, name: &str, value: &str) -> Result<(VmxFile, Stamp), DiskError> {
        update(path, |file| Ok(file.set(name, value.as_bytes())?))
    }

    #[test]
    fn an_update_keeps_the_mode_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vmx");
        std::fs::write(&path, "a = \"1\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        set(&path, "a", "2").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a = \"2\"\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_update_follows_a_symbolic_link_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.vmx");
        let link = folder.path().join("link.vmx");
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink("real.vmx", &link).unwrap();
        set(&link, "a", "1").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "a = \"1\"\n");
    }

    #[test]
    fn a_failed_change_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vmx");
        std::fs::write(&path, "a = \"1\"\n").unwrap();
        let before = Stamp::now(&path).unwrap();
        assert!(matches!(
            set(&path, "no name", "2"),
            Err(DiskError::Name(_))
        ));
        assert_eq!(Stamp::now(&path).unwrap(), before);
    }

    #[test]
    fn a_change_to_the_same_value_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vmx");
        std::fs::write(&path, "a = \"1\"\n").unwrap();
        let before = Stamp::now(&path).unwrap();
        let (_, stamp) = set(&path, "a", "1").unwrap();
        assert_eq!((stamp, Stamp::now(&path).unwrap()), (before, before));
    }

    #[test]
    fn updates_by_many_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vmx");
        std::fs::write(&path, "").unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..8 {
                        set(path, &format!("k{writer}.{number}"), "x").unwrap();
                    }
                });
            }
        });
        assert_eq!(load(&path).unwrap().0.entries().count(), 32);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/x.vmx")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/x.vmx"));
    }
}
