//! A .vmx file's lines by what they say: truths, numbers, paths; and QEMU's comma lists.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::vmm::file::VmxFile;

/// A line that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The value is none of those that the line can have.
    #[error("{key} = \"{value}\": expected {expected}")]
    Bad {
        /// The name.
        key: String,
        /// As it stands; empty when the line is missing.
        value: String,
        /// What may stand there.
        expected: String,
    },
    /// It means something, but not to us.
    #[error("{key} = \"{value}\" cannot be had here: {reason}")]
    Unsupported {
        /// The name.
        key: String,
        /// As it stands.
        value: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A device without a line that it needs.
    #[error("{key} is missing: {reason}")]
    Missing {
        /// The name.
        key: String,
        /// What for.
        reason: String,
    },
}

pub(super) struct Lines<'a> {
    file: &'a VmxFile,
    folder: &'a Path,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a VmxFile, folder: &'a Path) -> Lines<'a> {
        Lines { file, folder }
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.file.text(key)
    }

    /// A word whose case does not matter; an empty one is as none.
    pub(super) fn choice(&self, key: &str) -> Option<String> {
        let text = self.text(key)?.trim().to_ascii_lowercase();
        Some(text).filter(|text| !text.is_empty())
    }

    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, LineError> {
        match self.choice(key).as_deref() {
            None => Ok(None),
            Some("true" | "t" | "yes" | "y" | "on" | "1") => Ok(Some(true)),
            Some("false" | "f" | "no" | "n" | "off" | "0") => Ok(Some(false)),
            Some(_) => Err(self.bad(key, "TRUE or FALSE")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, LineError> {
        match self.choice(key) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.bad(key, "a number")),
            },
        }
    }

    /// Sixteen bytes as VMware writes them: `56 4d … 9c-6d …`.
    pub(super) fn uuid(&self, key: &str) -> Result<Option<[u8; 16]>, LineError> {
        let Some(text) = self.choice(key) else {
            return Ok(None);
        };
        let bytes: Option<Vec<u8>> = text
            .split([' ', '-'])
            .map(|digits| {
                let two = digits.len() == 2;
                u8::from_str_radix(digits, 16).ok().filter(|_| two)
            })
            .collect();
        match bytes.and_then(|bytes| bytes.try_into().ok()) {
            Some(uuid) => Ok(Some(uuid)),
            None => Err(self.bad(key, "16 bytes of two hexadecimal digits each")),
        }
    }

    /// A file's path, from the folder of the .vmx. VMware's datastore names mean nothing here.
    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, LineError> {
        let Some(value) = self.file.get(key).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        if value.starts_with(b"[") {
            return Err(self.unsupported(key, "a datastore is known to a VMware host only"));
        }
        Ok(Some(self.folder.join(OsStr::from_bytes(value))))
    }

    /// Whether a device is there: by its own line, or because others speak of it.
    pub(super) fn present(&self, device: &str) -> Result<bool, LineError> {
        Ok(self.truth(&format!("{device}.present"))?.unwrap_or(true))
    }

    /// The devices with lines of their own (`NAME.…`, `NAMEn.…`, `NAMEn:m.…`) under one of the
    /// names, in the order of their numbers.
    pub(super) fn devices(&self, names: &[&str]) -> Vec<Device> {
        let mut devices: Vec<Device> = self
            .file
            .entries()
            .filter_map(|(key, _)| {
                let key = std::str::from_utf8(key).ok()?.to_ascii_lowercase();
                let (device, _) = key.split_once('.')?;
                names.iter().find_map(|name| Device::parse(device, name))
            })
            .collect();
        devices.sort();
        devices.dedup();
        devices
    }

    pub(super) fn bad(&self, key: &str, expected: &str) -> LineError {
        LineError::Bad {
            key: key.to_owned(),
            value: self.text(key).unwrap_or_default(),
            expected: expected.to_owned(),
        }
    }

    pub(super) fn unsupported(&self, key: &str, reason: &str) -> LineError {
        LineError::Unsupported {
            key: key.to_owned(),
            value: self.text(key).unwrap_or_default(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn missing(&self, key: &str, reason: &str) -> LineError {
        LineError::Missing {
            key: key.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

/// `scsi0`, `scsi0:1`, `sound`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) number: Option<u32>,
    pub(super) unit: Option<u32>,
}

impl Device {
    fn parse(text: &str, name: &str) -> Option<Device> {
        let rest = text.strip_prefix(&name.to_ascii_lowercase())?;
        let (number, unit) = match rest.split_once(':') {
            Some((number, unit)) => (number, Some(unit.parse().ok()?)),
            None => (rest, None),
        };
        let number = match number {
            "" => None,
            digits => Some(digits.parse().ok()?),
        };
        Some(Device {
            name: name.to_owned(),
            number,
            unit,
        })
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(number) = self.number {
            write!(f, "{number}")?;
        }
        if let Some(unit) = self.unit {
            write!(f, ":{unit}")?;
        }
        Ok(())
    }
}

/// `first,name=value,…` as QEMU takes it; a comma in a value is doubled.
pub(super) struct Options(Vec<u8>);

impl Options {
    pub(super) fn new() -> Options {
        Options(Vec::new())
    }

    pub(super) fn of(first: impl AsRef<OsStr>) -> Options {
        let mut options = Options::new();
        options.push(first.as_ref());
        options
    }

    pub(super) fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Options {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.push(value.as_ref());
        self
    }

    pub(super) fn with_some(self, name: &str, value: Option<impl ToString>) -> Options {
        match value {
            Some(value) => self.with(name, value.to_string()),
            None => self,
        }
    }

    fn push(&mut self, value: &OsStr) {
        for byte in value.as_bytes() {
            if *byte == b',' {
                self.0.push(b',');
            }
            self.0.push(*byte);
        }
    }

    pub(super) fn into_argument(self) -> OsString {
        OsString::from_vec(self.0)
    }
}
