//! The guest's keys, kept where VMware keeps them: in the .vmx file.
//!
//! What the guest sets is on disk soon ([`SAVE_DELAY`]) and at the latest when the virtual machine
//! ends; what it sets to nothing is taken out. The link key is the exception: what the guest makes of
//! it lasts as long as the machine is on, and the file keeps what the appliance wrote. What somebody else puts into the file meanwhile (`vmx set`) the guest reads from then on,
//! and it is not overwritten: a save changes the keys that the guest has set and nothing else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file::{NameError, VmxFile};
use super::log::{Log, LogError};
use super::on_disk::{self, DiskError, Stamp};
use crate::backdoor::host::Store;
use crate::config::guestinfo::link_keys;
use crate::config::model::Generation;

/// What a guest sets is saved at most this much later: a burst of keys is one write.
pub const SAVE_DELAY: Duration = Duration::from_millis(200);

/// Bytes that a .vmx file may grow to by what the guest sets, where the file itself does not say
/// otherwise.
pub const DEFAULT_SIZE_LIMIT: usize = 1024 * 1024;
/// Where it does.
const SIZE_LIMIT_KEY: &str = "tools.setInfo.sizeLimit";
/// Switches `info-set` off.
const DISABLE_KEY: &str = "isolation.tools.setInfo.disable";

/// A .vmx file and its log as the guest's key store.
#[derive(Debug)]
pub struct VmxStore {
    path: PathBuf,
    log: Log,
    held: RefCell<Held>,
    changes: BTreeMap<String, Vec<u8>>,
    /// The link key as the guest has left it, by the name in small letters.
    passing: BTreeMap<String, Vec<u8>>,
    save_at: Option<Instant>,
}

/// The file as it was last seen, with the guest's unsaved changes in it.
#[derive(Debug)]
struct Held {
    file: VmxFile,
    stamp: Stamp,
}

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The .vmx file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl VmxStore {
    /// Opens the file, and its log to append.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn open(path: &Path) -> Result<VmxStore, StoreError> {
        let (file, stamp) = on_disk::load(path)?;
        let path = path.canonicalize().map_err(|source| DiskError::Read {
            path: path.to_owned(),
            source,
        })?;
        let log = Log::beside(&path)?;
        Ok(VmxStore {
            path,
            log,
            held: RefCell::new(Held { file, stamp }),
            changes: BTreeMap::new(),
            passing: BTreeMap::new(),
            save_at: None,
        })
    }

    /// When [`VmxStore::save`] is due, if anything is unsaved.
    pub fn save_at(&self) -> Option<Instant> {
        self.save_at
    }

    /// Writes what the guest has set into the file.
    ///
    /// # Errors
    /// When the file cannot be replaced; the changes are kept for the next save.
    pub fn save(&mut self) -> Result<(), DiskError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        self.save_at = None;
        let changes = &self.changes;
        let (file, stamp) = on_disk::update(&self.path, |file| apply(file, changes))?;
        self.held.replace(Held { file, stamp });
        self.changes.clear();
        Ok(())
    }

    /// The log beside the file.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Reads the file again when somebody has changed it.
    fn refresh(&self) {
        let mut held = self.held.borrow_mut();
        // A file that is away for a moment, or for good, leaves the guest with what it had.
        if Stamp::now(&self.path).is_ok_and(|now| now != held.stamp)
            && let Ok((mut file, stamp)) = on_disk::load(&self.path)
            && apply(&mut file, &self.changes).is_ok()
        {
            *held = Held { file, stamp };
        }
    }
}

/// Puts the guest's changes into a file; whether it is another file now.
fn apply(file: &mut VmxFile, changes: &BTreeMap<String, Vec<u8>>) -> Result<bool, DiskError> {
    let mut changed = false;
    for (key, value) in changes {
        changed |= change(file, key, value)?;
    }
    Ok(changed)
}

/// One `info-set`: an empty value clears.
fn change(file: &mut VmxFile, key: &str, value: &[u8]) -> Result<bool, NameError> {
    if value.is_empty() {
        Ok(file.remove(key))
    } else {
        file.set(key, value)
    }
}

fn is_link_key(key: &str) -> bool {
    [Generation::V04, Generation::V1x]
        .into_iter()
        .flat_map(link_keys)
        .any(|name| name.eq_ignore_ascii_case(key))
}

impl Store for VmxStore {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.passing.get(&key.to_ascii_lowercase()) {
            return (!value.is_empty()).then(|| value.clone());
        }
        self.refresh();
        self.held.borrow().file.get(key).map(<[u8]>::to_vec)
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        self.refresh();
        let held = self.held.get_mut();
        let says_true = |value: &[u8]| value.eq_ignore_ascii_case(b"true") || value == b"1";
        if held.file.get(DISABLE_KEY).is_some_and(says_true) {
            return Err(String::from("Permission denied"));
        }
        if is_link_key(key) {
            self.passing
                .insert(key.to_ascii_lowercase(), value.to_vec());
            return Ok(());
        }
        let limit = held
            .file
            .text(SIZE_LIMIT_KEY)
            .and_then(|limit| limit.trim().parse().ok())
            .unwrap_or(DEFAULT_SIZE_LIMIT);
        let mut file = held.file.clone();
        let changed = change(&mut file, key, value).map_err(|error| error.to_string())?;
        if !changed {
            return Ok(());
        }
        if file.size() > limit && file.size() > held.file.size() {
            return Err(format!(
                "the .vmx file would be larger than {SIZE_LIMIT_KEY} allows ({limit} bytes)"
            ));
        }
        held.file = file;
        self.changes.insert(key.to_owned(), value.to_vec());
        self.save_at
            .get_or_insert_with(|| Instant::now() + SAVE_DELAY);
        Ok(())
    }

    fn log(&mut self, text: &[u8]) {
        self.log.guest(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> (tempfile::TempDir, PathBuf, VmxStore) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vmx");
        std::fs::write(&path, text).unwrap();
        let store = VmxStore::open(&path).unwrap();
        (folder, path, store)
    }

    #[test]
    fn the_link_key_is_gone_for_the_guest_and_stays_in_the_file() {
        let text = "guestinfo./tether/linkkey = \"c2VjcmV0\"\n";
        let (_folder, path, mut store) = store(text);
        let key = "guestinfo./tether/linkkey";
        assert_eq!(store.get(key), Some(b"c2VjcmV0".to_vec()));
        store.set("GUESTINFO./tether/linkkey", b"").unwrap();
        assert_eq!(store.get(key), None);
        store.set("guestinfo..x", b"2").unwrap();
        store.save().unwrap();
        let saved = std::fs::read_to_string(&path).unwrap();
        assert!(saved.starts_with(text), "{saved}");
        store.set(key, b"c2VjcmV0").unwrap();
        assert_eq!(store.get(key), Some(b"c2VjcmV0".to_vec()));
    }

    #[test]
    fn what_the_guest_sets_it_reads_at_once_and_the_file_holds_after_a_save() {
        let (_folder, path, mut store) = store("a = \"1\"\n");
        store.set("guestinfo..x", b"2").unwrap();
        assert_eq!(store.get("guestinfo..x"), Some(b"2".to_vec()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a = \"1\"\n");
        assert!(store.save_at().is_some());
        store.save().unwrap();
        assert!(store.save_at().is_none());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "a = \"1\"\nguestinfo..x = \"2\"\n"
        );
    }

    #[test]
    fn a_key_set_in_the_file_meanwhile_reaches_the_guest_and_survives_a_save() {
        let (_folder, path, mut store) = store("guestinfo.a = \"1\"\n");
        store.set("guestinfo.mine", b"x").unwrap();
        on_disk::update(&path, |file| {
            Ok::<_, DiskError>(file.set("guestinfo.a", b"other")?)
        })
        .unwrap();
        assert_eq!(store.get("guestinfo.a"), Some(b"other".to_vec()));
        assert_eq!(store.get("guestinfo.mine"), Some(b"x".to_vec()));
        store.save().unwrap();
        let (file, _) = on_disk::load(&path).unwrap();
        assert_eq!(file.get("guestinfo.a"), Some(&b"other"[..]));
        assert_eq!(file.get("guestinfo.mine"), Some(&b"x"[..]));
    }

    #[test]
    fn setting_what_is_there_already_makes_nothing_to_save() {
        let (_folder, _path, mut store) = store("guestinfo.a = \"1\"\n");
        store.set("GUESTINFO.A", b"1").unwrap();
        assert!(store.save_at().is_none());
    }

    #[test]
    fn what_the_guest_sets_to_nothing_is_taken_out() {
        let (_folder, path, mut store) = store("guestinfo.a = \"1\"\nguestinfo.b = \"\"\n");
        assert_eq!(store.get("guestinfo.b"), Some(Vec::new()));
        store.set("guestinfo.a", b"").unwrap();
        assert_eq!(store.get("guestinfo.a"), None);
        store.save().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "guestinfo.b = \"\"\n"
        );
    }

    #[test]
    fn the_files_own_limits_are_kept() {
        let (_folder, _path, mut store) = store("tools.setInfo.sizeLimit = \"100\"\n");
        let error = store.set("guestinfo.a", &[b'x'; 100]).unwrap_err();
        assert!(error.contains("100 bytes"), "{error}");
        assert_eq!(store.get("guestinfo.a"), None);
        store.set("guestinfo.a", b"x").unwrap();
    }

    #[test]
    fn a_file_that_forbids_setting_is_obeyed() {
        let (_folder, _path, mut store) = store("isolation.tools.setInfo.disable = \"TRUE\"\n");
        assert!(store.set("guestinfo.a", b"x").is_err());
    }
}
