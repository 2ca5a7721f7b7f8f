//! All containers the listener knows, by ID; on disk, one folder each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::container::{Container, OpenError};
use super::events::Events;
use super::store::Rotation;

/// Longest container ID, in bytes: it names a folder.
const ID_BYTES_MOST: usize = 128;

/// Before the IDs of machines that have a container's disks for a while, and are nobody's container: they are in no list, and
/// do not outlive the appliance.
pub const LENT: &str = "lent-";

/// The containers.
#[derive(Debug)]
pub struct Registry {
    dir: PathBuf,
    rotation: Rotation,
    events: Arc<Events>,
    containers: RwLock<BTreeMap<String, Arc<Container>>>,
}

/// Why there is no such container.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    /// Neither ID nor name.
    #[error("No such container: {0}")]
    None(String),
    /// More than one answers to it.
    #[error("{text} is ambiguous: {}; give more digits of the ID", .ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The IDs it may mean.
        ids: Vec<String>,
    },
}

/// Why a container cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It would not do as the name of a folder.
    #[error(
        "container ID {0:?} is refused: expected 1 to {ID_BYTES_MOST} of the characters \
         A-Z a-z 0-9 _ . -, the first a letter or digit"
    )]
    BadId(String),
    /// A system call failed.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its folder cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl RegistryError {
    pub(super) fn bad_id(id: &str) -> Self {
        Self::BadId(id.chars().take(ID_BYTES_MOST).collect())
    }
}

impl Registry {
    /// Reads all containers below this folder, which is made if needed. One that cannot be read is
    /// told in the log and left alone.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path, rotation: Rotation) -> Result<Self, RegistryError> {
        let io = |action, source| {
            let path = dir.to_owned();
            RegistryError::Io {
                action,
                path,
                source,
            }
        };
        fs::create_dir_all(dir).map_err(|e| io("create folder", e))?;
        let (events, mut containers) = (Arc::<Events>::default(), BTreeMap::new());
        for entry in fs::read_dir(dir).map_err(|e| io("read folder", e))? {
            let entry = entry.map_err(|e| io("read folder", e))?;
            let Some(id) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if !is_id(&id) || !entry.path().is_dir() {
                continue;
            }
            if id.starts_with(LENT) {
                fs::remove_dir_all(entry.path()).map_err(|e| io("sweep folder", e))?;
                continue;
            }
            match Container::open(&id, &entry.path(), rotation) {
                Ok(container) => {
                    container.tell(&events);
                    containers.insert(id, Arc::new(container));
                }
                Err(error) => tracing::error!(id, %error, "container left out"),
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            rotation,
            events,
            containers: RwLock::new(containers),
        })
    }

    /// The container with this ID, taken in now if it is new.
    ///
    /// # Errors
    /// The ID is no file name, or the folder cannot be made.
    pub fn take_in(&self, id: &str) -> Result<Arc<Container>, RegistryError> {
        if !is_id(id) {
            return Err(RegistryError::bad_id(id));
        }
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = containers.get(id) {
            return Ok(Arc::clone(known));
        }
        if id.starts_with(LENT) {
            return Err(RegistryError::bad_id(id));
        }
        let container = self.make(id)?;
        container.tell(&self.events);
        containers.insert(id.to_owned(), Arc::clone(&container));
        Ok(container)
    }

    /// Takes a machine in that is nobody's container.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn take_in_lent(&self, id: &str) -> Result<Arc<Container>, RegistryError> {
        let container = self.make(id)?;
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        containers.insert(id.to_owned(), Arc::clone(&container));
        Ok(container)
    }

    fn make(&self, id: &str) -> Result<Arc<Container>, RegistryError> {
        let dir = self.dir.join(id);
        fs::create_dir_all(&dir).map_err(|source| {
            let path = dir.clone();
            RegistryError::Io {
                action: "create folder",
                path,
                source,
            }
        })?;
        Ok(Arc::new(Container::open(id, &dir, self.rotation)?))
    }

    /// What happens to them.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// All containers, by ID.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let all = containers.values().filter(|c| !c.id().starts_with(LENT));
        all.cloned().collect()
    }

    /// The folder of their folders.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The container that a user means: by ID, by name, by the first digits of an ID.
    ///
    /// # Errors
    /// None, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Arc<Container>, ResolveError> {
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(exact) = containers.get(text) {
            return Ok(Arc::clone(exact));
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        let named = containers
            .values()
            .filter(|c| !name.is_empty() && c.name() == name && !c.id().starts_with(LENT));
        let mut found: Vec<_> = named.cloned().collect();
        if found.is_empty() && !text.is_empty() {
            let begins = containers.range(text.to_owned()..);
            let begins = begins.take_while(|(id, _)| id.starts_with(text));
            found = begins.map(|(_, c)| Arc::clone(c)).collect();
        }
        if found.len() > 1 {
            let ids = found.iter().map(|c| c.id().to_owned()).collect();
            return Err(ResolveError::Ambiguous {
                text: text.to_owned(),
                ids,
            });
        }
        found
            .pop()
            .ok_or_else(|| ResolveError::None(text.to_owned()))
    }

    /// This very container is known.
    pub fn holds(&self, container: &Arc<Container>) -> bool {
        let containers = self
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let known = containers.get(container.id());
        known.is_some_and(|known| Arc::ptr_eq(known, container))
    }

    /// Forgets a container that was removed.
    pub fn forget(&self, container: &Arc<Container>) {
        let mut containers = self
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let same = |known: &Arc<Container>| Arc::ptr_eq(known, container);
        if containers.get(container.id()).is_some_and(same) {
            containers.remove(container.id());
        }
    }
}

pub(super) fn is_id(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    text.len() <= ID_BYTES_MOST
        && text.bytes().all(good)
        && text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(ids: &[&str]) -> (tempfile::TempDir, Registry) {
        let dir = tempfile::tempdir().expect("folder");
        let registry =
            Registry::open(&dir.path().join("containers"), Rotation::default()).expect("registry");
        for id in ids {
            registry.take_in(id).expect("taken in");
        }
        (dir, registry)
    }

    #[test]
    fn an_id_that_is_no_file_name_is_refused_with_the_reason() {
        let (_dir, registry) = registry(&[]);
        for id in [
            "",
            "..",
            "a/b",
            ".hidden",
            "-rf",
            "a b",
            "a\0",
            "ü",
            &"x".repeat(129),
        ] {
            let error = registry.take_in(id).expect_err(id);
            assert!(
                error.to_string().contains("is refused: expected"),
                "{error}"
            );
        }
        assert!(registry.take_in("2cf7f4a1").is_ok());
    }

    #[test]
    fn a_prefix_names_one_container_or_none() {
        let (_dir, registry) = registry(&["abc1", "abd2", "x9"]);
        let id = |text: &str| registry.resolve(text).map(|c| c.id().to_owned());
        assert_eq!(id("abc").as_deref(), Ok("abc1"));
        assert_eq!(id("abd2").as_deref(), Ok("abd2"));
        assert_eq!(id("zz"), Err(ResolveError::None("zz".into())));
        assert_eq!(id(""), Err(ResolveError::None(String::new())));
        let ambiguous = id("ab").expect_err("two").to_string();
        assert!(
            ambiguous.starts_with("ab is ambiguous: abc1, abd2"),
            "{ambiguous}"
        );
    }

    #[test]
    fn a_whole_id_wins_over_a_longer_one() {
        let (_dir, registry) = registry(&["abc", "abcd"]);
        assert_eq!(
            registry
                .resolve("abc")
                .map(|c| c.id().to_owned())
                .as_deref(),
            Ok("abc")
        );
    }

    #[test]
    fn containers_are_there_again_after_a_restart() {
        let (dir, registry) = registry(&["abc", "abd"]);
        drop(registry);
        let registry =
            Registry::open(&dir.path().join("containers"), Rotation::default()).expect("registry");
        assert_eq!(registry.all().len(), 2);
    }
}
