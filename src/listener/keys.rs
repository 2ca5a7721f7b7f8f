//! The link keys that this appliance knows, a file each in its state folder, and who is let in by them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::registry::{RegistryError, is_id};
use crate::link::{Hello, KEY_BYTES, Key};

/// Name of the keys' folder in the state folder.
const FOLDER: &str = "keys";

/// The keys. Read anew for each VM that comes: what is added or taken away counts at once.
#[derive(Debug)]
pub struct Keys {
    dir: PathBuf,
}

/// Why a key cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It would not do as the name of a file.
    #[error(transparent)]
    Id(#[from] RegistryError),
    /// The text is no key.
    #[error("{0}: expected {KEY_BYTES} bytes in base64, as `vch key new ID` prints them")]
    Malformed(String),
    /// There is one already.
    #[error("a link key of {0} is known already: `vch key rm {0}` forgets it")]
    Known(String),
    /// There is none.
    #[error("no link key of {0} is known")]
    Unknown(String),
    /// A system call failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a VM is not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// It speaks without the key that is known of it.
    #[error(
        "a link key of {0} is known here, and this VM has none. It finds none in guestinfo after a \
         reset while its container ran: power it off and on. A VM that never had one needs the line \
         that `vch key new` printed, or `vch key rm {0}` here"
    )]
    Downgraded(String),
    /// It has another key.
    #[error("the VM's link key is not the one that is known of {0} here")]
    OtherKey(String),
    /// It has a key that is not known here.
    #[error("no link key of {0} is known here: `vch key add {0}` makes it known")]
    UnknownKey(String),
    /// It has no key, and plain links are not allowed.
    #[error(
        "no link key of {0} is known here, and VMs without one are not let in: `vch key new {0}` \
         makes one, `vch listen --allow-plain` does without"
    )]
    Plain(String),
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// How a VM is let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// As it came.
    Plain,
    /// When it proves to have this key.
    Proven(Key),
}

impl Keys {
    /// The keys of a state folder.
    pub fn of(state: &Path) -> Self {
        Self {
            dir: state.join(FOLDER),
        }
    }

    fn path(&self, id: &str) -> Result<PathBuf, KeyError> {
        if is_id(id) {
            Ok(self.dir.join(id))
        } else {
            Err(RegistryError::bad_id(id).into())
        }
    }

    /// The key of a VM, where one is known.
    ///
    /// # Errors
    /// Its file cannot be read, or holds no key.
    pub fn get(&self, id: &str) -> Result<Option<Key>, KeyError> {
        let path = self.path(id)?;
        match fs::read_to_string(&path) {
            Ok(text) => match parse(&text) {
                Some(key) => Ok(Some(key)),
                None => Err(KeyError::Malformed(path.display().to_string())),
            },
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyError::Io { path, source }),
        }
    }

    /// Keeps a key that is given in base64, for nobody but the owner to read.
    ///
    /// # Errors
    /// It is none, there is one already, or the file cannot be written.
    pub fn add(&self, id: &str, text: &str) -> Result<(), KeyError> {
        let path = self.path(id)?;
        if parse(text).is_none() {
            return Err(KeyError::Malformed("the key".into()));
        }
        let io = |source| KeyError::Io {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&self.dir).map_err(io)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let mut file = match file {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyError::Known(id.to_owned()));
            }
            other => other.map_err(io)?,
        };
        writeln!(file, "{}", text.trim())
            .and_then(|()| file.sync_all())
            .map_err(io)
    }

    /// Makes a key and keeps it: its base64.
    ///
    /// # Errors
    /// As [`Keys::add`], or there is no randomness.
    pub fn make(&self, id: &str) -> Result<String, KeyError> {
        let bytes = random().map_err(|source| KeyError::Io {
            path: "getrandom".into(),
            source,
        })?;
        let text = STANDARD.encode(bytes);
        self.add(id, &text)?;
        Ok(text)
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// There is none, or the file cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), KeyError> {
        let path = self.path(id)?;
        fs::remove_file(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Unknown(id.to_owned()),
            _ => KeyError::Io { path, source },
        })
    }

    /// The IDs of the VMs whose keys are known, in order.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn ids(&self) -> Result<Vec<String>, KeyError> {
        let io = |source| KeyError::Io {
            path: self.dir.clone(),
            source,
        };
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            ids.extend(entry.map_err(io)?.file_name().into_string());
        }
        ids.sort();
        Ok(ids)
    }

    /// Decides about a guest by what it says before anything else.
    ///
    /// # Errors
    /// Why it is sent away.
    pub fn admission(&self, hello: &Hello, allow_plain: bool) -> Result<Admission, NotAdmitted> {
        let id = &hello.identity.id;
        match (self.get(id)?, hello.sealed) {
            (Some(key), true) => Ok(Admission::Proven(key)),
            (Some(_), false) => Err(NotAdmitted::Downgraded(id.clone())),
            (None, true) => Err(NotAdmitted::UnknownKey(id.clone())),
            (None, false) if allow_plain => Ok(Admission::Plain),
            (None, false) => Err(NotAdmitted::Plain(id.clone())),
        }
    }
}

/// 32 random bytes.
///
/// # Errors
/// What the system says.
pub fn random() -> io::Result<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// Bytes as two hexadecimal digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes of 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut bytes = [0; KEY_BYTES];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2).filter(|_| is_hex)?, 16).ok()?;
    }
    is_hex.then_some(bytes)
}

fn parse(text: &str) -> Option<Key> {
    Key::new(&STANDARD.decode(text.trim()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn keys() -> (tempfile::TempDir, Keys) {
        let dir = tempfile::tempdir().expect("a folder");
        let keys = Keys::of(dir.path());
        (dir, keys)
    }

    fn hello(id: &str, sealed: bool) -> Hello {
        let mut hello = Hello {
            sealed,
            ..Hello::default()
        };
        hello.identity.id = id.into();
        hello
    }

    #[test]
    fn digits_stand_for_bytes() {
        let bytes: [u8; KEY_BYTES] = std::array::from_fn(|at| at as u8 * 8);
        assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
        let digits = "ab".repeat(KEY_BYTES);
        for bad in [
            "",
            &digits[1..],
            &digits.replace('a', "g"),
            &"é".repeat(KEY_BYTES),
        ] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_found_again() {
        let (dir, keys) = keys();
        assert_eq!(keys.get("c1").expect("readable"), None);
        let text = keys.make("c1").expect("made");
        assert_eq!(keys.get("c1").expect("readable"), parse(&text));
        assert_eq!(keys.ids().expect("listed"), ["c1"]);
        let mode = fs::metadata(dir.path().join("keys/c1"))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(keys.add("c1", &text), Err(KeyError::Known(_))));
        keys.remove("c1").expect("forgotten");
        assert!(matches!(keys.remove("c1"), Err(KeyError::Unknown(_))));
    }

    #[test]
    fn what_is_no_key_or_no_id_is_refused_by_name() {
        let (_dir, keys) = keys();
        for text in ["", "c2hvcnQ=", "not base64"] {
            assert!(
                matches!(keys.add("c1", text), Err(KeyError::Malformed(_))),
                "{text}"
            );
        }
        for id in ["../c1", "", ".", "a/b"] {
            assert!(matches!(keys.make(id), Err(KeyError::Id(_))), "{id}");
        }
    }

    #[test]
    fn a_damaged_key_lets_nobody_in() {
        let (dir, keys) = keys();
        keys.make("c1").expect("made");
        fs::write(dir.path().join("keys/c1"), "garbage").expect("written");
        for sealed in [true, false] {
            let told = keys.admission(&hello("c1", sealed), true);
            assert!(matches!(
                told,
                Err(NotAdmitted::Key(KeyError::Malformed(_)))
            ));
        }
    }

    #[test]
    fn a_known_vm_is_never_taken_plainly_and_an_unknown_one_only_where_allowed() {
        let (_dir, keys) = keys();
        keys.make("known").expect("made");
        for allow in [true, false] {
            let proven = keys.admission(&hello("known", true), allow);
            assert!(matches!(proven, Ok(Admission::Proven(_))));
            let plain = keys.admission(&hello("known", false), allow);
            assert!(matches!(plain, Err(NotAdmitted::Downgraded(_))));
            let stranger = keys.admission(&hello("stranger", true), allow);
            assert!(matches!(stranger, Err(NotAdmitted::UnknownKey(_))));
        }
        let plain = keys.admission(&hello("stranger", false), true);
        assert!(matches!(plain, Ok(Admission::Plain)));
        let plain = keys.admission(&hello("stranger", false), false);
        assert!(matches!(plain, Err(NotAdmitted::Plain(_))));
    }
}
