//! `vmx show`, `get` and `set`: a .vmx file from the command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::file;
use super::on_disk::{self, DiskError};

/// The command line of `vmx show`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowOptions {
    /// The .vmx file
    pub file: PathBuf,
    /// One JSON object, names to values
    #[arg(long)]
    pub json: bool,
}

/// The command line of `vmx get`.
#[derive(Clone, Debug, clap::Args)]
pub struct GetOptions {
    /// The .vmx file
    pub file: PathBuf,
    /// A name, in any case
    pub key: String,
}

/// The command line of `vmx set`.
#[derive(Clone, Debug, clap::Args)]
pub struct SetOptions {
    /// The .vmx file; a virtual machine that runs from it sees the change too
    pub file: PathBuf,
    /// What to set; nothing behind the `=` is an empty value
    #[arg(value_name = "KEY=VALUE", required_unless_present = "unset")]
    pub assignments: Vec<OsString>,
    /// A name to take out
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
}

/// Why nothing was shown or set.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No such name.
    #[error("{} has no {key}", path.display())]
    NoKey {
        /// The .vmx file.
        path: PathBuf,
        /// The name.
        key: String,
    },
    /// An argument without `=`, or with a name that is no text.
    #[error("{0:?} is not KEY=VALUE")]
    Assignment(OsString),
    /// The answer could not be written.
    #[error("writing to standard output")]
    Output(#[source] io::Error),
}

/// Prints all names and values: as lines of a .vmx file, or as JSON.
///
/// # Errors
/// When the file cannot be read.
pub fn show(options: &ShowOptions) -> Result<(), EditError> {
    let (file, _) = on_disk::load(&options.file)?;
    for problem in file.problems() {
        eprintln!("vmx: {}: {problem}", options.file.display());
    }
    let mut output = Vec::new();
    if options.json {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let object: serde_json::Map<_, _> = file
            .entries()
            .map(|(name, value)| (text(name), text(value).into()))
            .collect();
        output.extend(format!("{:#}\n", serde_json::Value::Object(object)).bytes());
    } else {
        for (name, value) in file.entries() {
            output.extend(file::line(name, value));
            output.push(b'\n');
        }
    }
    print(&output)
}

/// Prints one value.
///
/// # Errors
/// When there is none.
pub fn get(options: &GetOptions) -> Result<(), EditError> {
    let (file, _) = on_disk::load(&options.file)?;
    let value = file.get(&options.key).ok_or_else(|| EditError::NoKey {
        path: options.file.clone(),
        key: options.key.clone(),
    })?;
    print(&[value, b"\n"].concat())
}

/// Sets and takes out, all or nothing.
///
/// # Errors
/// When an argument is not what it must be, a name to take out is not there, or the file cannot be
/// replaced.
pub fn set(options: &SetOptions) -> Result<(), EditError> {
    let assignments: Vec<(&str, &[u8])> = options
        .assignments
        .iter()
        .map(|argument| split(argument).ok_or_else(|| EditError::Assignment(argument.clone())))
        .collect::<Result<_, _>>()?;
    on_disk::update(&options.file, |file| {
        let mut changed = false;
        for key in &options.unset {
            if !file.remove(key) {
                return Err(EditError::NoKey {
                    path: options.file.clone(),
                    key: key.clone(),
                });
            }
            changed = true;
        }
        for (key, value) in &assignments {
            changed |= file.set(key, value).map_err(DiskError::from)?;
        }
        Ok(changed)
    })?;
    Ok(())
}

fn split(argument: &OsString) -> Option<(&str, &[u8])> {
    let bytes = argument.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(bytes.get(..equals)?).ok()?;
    Some((key, bytes.get(equals + 1..)?))
}

fn print(output: &[u8]) -> Result<(), EditError> {
    match io::stdout().lock().write_all(output) {
        // `vmx show FILE | head` is no error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(EditError::Output(error)),
        _ => Ok(()),
    }
}
