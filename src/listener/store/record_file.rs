//! `record.json`: a container's record on disk. Replaced as a whole (a new file, then rename), so
//! that a crash leaves the old one or the new one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::state::ContainerRecord;

/// Version of the file's shape.
const VERSION: u32 = 1;
const FILE: &str = "record.json";
const NEW_FILE: &str = "record.json.new";

/// A record that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A system call failed.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("{}: {source}; move the folder away to forget this container", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error("{} has version {found}, this program reads up to {VERSION}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl ContainerRecord {
    /// The record in this folder; `None`: there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a record.
    pub fn read(dir: &Path) -> Result<Option<Self>, StateError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let action = "read";
                return Err(StateError::Io {
                    action,
                    path,
                    source,
                });
            }
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(record) if record.version <= VERSION => Ok(Some(record)),
            Ok(record) => Err(StateError::Version {
                path,
                found: record.version,
            }),
            Err(source) => Err(StateError::Json { path, source }),
        }
    }

    /// Replaces the record in this folder, which must exist.
    ///
    /// # Errors
    /// The file cannot be written; the old one is still there.
    pub fn write(&mut self, dir: &Path) -> Result<(), StateError> {
        self.version = VERSION;
        let io = |action, path: &Path, source| {
            let path = path.to_owned();
            StateError::Io {
                action,
                path,
                source,
            }
        };
        let (path, new) = (dir.join(FILE), dir.join(NEW_FILE));
        let json = serde_json::to_vec_pretty(self).map_err(|source| StateError::Json {
            path: path.clone(),
            source,
        })?;
        fs::write(&new, &json).map_err(|e| io("write", &new, e))?;
        fs::rename(&new, &path).map_err(|e| io("rename", &new, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_from_its_file() {
        let dir = tempfile::tempdir().expect("folder");
        assert_eq!(ContainerRecord::read(dir.path()).expect("none"), None);
        let mut record = ContainerRecord {
            id: "abc".into(),
            name: "jolly_panini".into(),
            created_ns: u64::MAX,
            ..ContainerRecord::default()
        };
        record.begin_run(u64::MAX);
        let sessions = &mut record.run.sessions;
        sessions.entry(1).or_default().stdin_end = Some(5);
        record.write(dir.path()).expect("write");
        assert_eq!(
            ContainerRecord::read(dir.path()).expect("read"),
            Some(record)
        );
    }

    #[test]
    fn a_record_of_a_later_version_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        fs::write(dir.path().join(FILE), br#"{"version":99}"#).expect("file");
        let error = ContainerRecord::read(dir.path()).expect_err("too new");
        assert!(error.to_string().contains("version 99"), "{error}");
    }
}
