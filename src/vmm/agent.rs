//! Where the guest's backdoor instructions are: the ELF note of its init, which the boot medium
//! holds.
//!
//! The way there: ISO 9660 image ([`iso9660`]) → the file in it that is an initramfs
//! ([`initramfs`]: a cpio archive, compressed or not) → `init` in that → note ([`elf_note`]).

pub mod elf_note;
pub mod initramfs;
pub mod iso9660;
mod lz4;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use elf_note::{Backdoor, NoteError};
use initramfs::Entry;
use iso9660::{Iso, IsoError};

/// A guest's init, as far as the host must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Where it was found, for people.
    pub source: String,
    /// Where it meets us.
    pub backdoor: Backdoor,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The ELF file or the image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file given as the agent has no usable note.
    #[error("{}", path.display())]
    Elf {
        /// The ELF file.
        path: PathBuf,
        /// Why not.
        source: NoteError,
    },
    /// The boot medium is no ISO 9660 image.
    #[error("{}", path.display())]
    Iso {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: IsoError,
    },
    /// Nothing on the boot medium has a note.
    #[error(
        "no program with a {section} note on {}: {}; name the guest's program with --agent, or boot without the backdoor with --no-backdoor",
        path.display(), looked_at(found), section = elf_note::SECTION
    )]
    NotFound {
        /// The image.
        path: PathBuf,
        /// What was looked at, and why it is not it.
        found: Vec<String>,
    },
}

fn looked_at(found: &[String]) -> String {
    if found.is_empty() {
        return String::from("no file on it is an initramfs");
    }
    found.join("; ")
}

impl Agent {
    /// The agent in an ELF file.
    ///
    /// # Errors
    /// When the file cannot be read, or has no note.
    pub fn from_elf(path: &Path) -> Result<Agent, AgentError> {
        let bytes = std::fs::read(path).map_err(|source| AgentError::Read {
            path: path.to_owned(),
            source,
        })?;
        let backdoor = elf_note::backdoor(&bytes).map_err(|source| AgentError::Elf {
            path: path.to_owned(),
            source,
        })?;
        Ok(Agent {
            source: path.display().to_string(),
            backdoor,
        })
    }

    /// The agent on a boot medium: `init` of its initramfs, or else the first other program there
    /// that has a note.
    ///
    /// # Errors
    /// When the image cannot be read, or none is found: then all that was looked at is named.
    pub fn from_iso(path: &Path) -> Result<Agent, AgentError> {
        let file = File::open(path).map_err(|source| AgentError::Read {
            path: path.to_owned(),
            source,
        })?;
        let iso_error = |source| AgentError::Iso {
            path: path.to_owned(),
            source,
        };
        let mut iso = Iso::open(file).map_err(iso_error)?;
        let mut found = Vec::new();
        for place in iso.files().map_err(iso_error)? {
            let head = iso
                .read(&place, initramfs::MAGIC_LENGTH)
                .map_err(iso_error)?;
            if !initramfs::is_one(&head) {
                continue;
            }
            let bytes = iso.read(&place, initramfs::SIZE_LIMIT).map_err(iso_error)?;
            match in_initramfs(&bytes) {
                Ok((program, backdoor)) => {
                    return Ok(Agent {
                        source: format!("{program} in {} on {}", place.path, path.display()),
                        backdoor,
                    });
                }
                Err(reason) => found.push(format!("{}: {reason}", place.path)),
            }
        }
        Err(AgentError::NotFound {
            path: path.to_owned(),
            found,
        })
    }
}

/// The program with a note in an initramfs, or why there is none.
fn in_initramfs(bytes: &[u8]) -> Result<(String, Backdoor), String> {
    let entries = initramfs::entries(bytes).map_err(|error| super::chain(&error))?;
    let init = initramfs::resolve(&entries, "init");
    let own = match init {
        Some(init) => match elf_note::backdoor(&init.data) {
            Ok(backdoor) => return Ok((init.name.clone(), backdoor)),
            Err(error) => format!("{}: {error}", init.name),
        },
        None => String::from("has no init"),
    };
    let has_note = |entry: &Entry| {
        let backdoor = elf_note::backdoor(&entry.data).ok()?;
        Some((entry.name.clone(), backdoor))
    };
    entries.iter().find_map(has_note).ok_or(own)
}

#[cfg(test)]
mod tests;
