//! `vmx exec`: any Linux program with the VMware backdoor answered, under ptrace.
//!
//! A backdoor instruction faults in a process; the SIGSEGV stops here first. The host's half
//! answers, the instruction is stepped over, the signal is swallowed: the program runs on as if on
//! VMware. Programs that ask CPUID where they are meet a breakpoint there, planted in all code as it
//! is mapped, and get VMware's answer. Everything else reaches the program unchanged.

mod code;
mod cpuid;
mod elf;
mod length;
mod supervisor;
mod values;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::store::{StoreError, VmxStore};
use super::trace::{Trace, TraceError};
use crate::backdoor::host;
use crate::sys;
use crate::sys::trace::SpawnError;
pub use code::cpuid_sites;
pub use supervisor::{Ended, Supervisor};
pub use values::Values;

/// Before a key that is not written with it.
const PREFIX: &str = "guestinfo.";

/// The command line of `vmx exec`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A guestinfo value that the program finds; `guestinfo.` is put before KEY where it is missing
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<OsString>,
    /// The program's guestinfo is that of a .vmx file, and what it sets and logs goes where a virtual machine's would
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "log", "dump"])]
    pub vmx: Option<PathBuf>,
    /// Low bandwidth only: the host does not offer the string instructions
    #[arg(long)]
    pub no_hb: bool,
    /// Append what the program logs at the host to FILE (by default it is dropped)
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Write all values to FILE as JSON when the program has ended
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
    /// Write each request and its answer to FILE, one a line (- for standard error), secrets among them
    #[arg(long, value_name = "FILE|-")]
    pub trace: Option<PathBuf>,
    /// Say on stderr how many backdoor instructions were executed
    #[arg(long)]
    pub count: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// Why the program was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A `--set` that sets nothing.
    #[error("`--set {0}`: expected KEY=VALUE with a key that is UTF-8 text without spaces")]
    Assignment(String),
    /// The log file.
    #[error("writing what the program logs to {}", path.display())]
    Log {
        /// Its name.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The dump file.
    #[error("writing the values to {}", path.display())]
    Dump {
        /// Its name.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The .vmx file or its log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The program is not there or cannot be run.
    #[error("running {program}")]
    Start {
        /// What was to run.
        program: String,
        /// Why not.
        source: SpawnError,
    },
    /// ptrace or `/proc` failed in a way that is not the end of the program.
    #[error("following {program} with ptrace")]
    Follow {
        /// What runs.
        program: String,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// The error, and what `vmx` exits with for it.
    pub fn with_status(self) -> (Box<dyn std::error::Error>, u8) {
        let status = self.exit_status();
        (self.into(), status)
    }

    /// What `vmx` exits with, as docker and the shell have it: 127 no such program, 126 cannot be
    /// run, 125 our own failure.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Start {
                source: SpawnError::Program(error),
                ..
            } if error.kind() == ErrorKind::NotFound => 127,
            Error::Start {
                source: SpawnError::Program(_),
                ..
            } => 126,
            _ => 125,
        }
    }
}

/// Runs the program until it and all it started have ended; its exit status (128 + the signal that
/// ended it).
///
/// # Errors
/// When it could not be started or followed, or a file not be written.
pub fn run(options: &Options) -> Result<u8, Error> {
    if let Some(path) = &options.vmx {
        return run_with_file(options, path);
    }
    let log_error = |path: &Path, source| Error::Log {
        path: path.into(),
        source,
    };
    let log: Box<dyn Write> = match &options.log {
        Some(path) => Box::new(open_log(path).map_err(|source| log_error(path, source))?),
        None => Box::new(io::sink()),
    };
    let mut values = Values::new(log);
    for assignment in &options.set {
        let (key, value) = parse_assignment(assignment)
            .ok_or_else(|| Error::Assignment(assignment.to_string_lossy().into_owned()))?;
        values.insert(&key, value);
    }
    let ended = supervise(options, &mut values)?;
    if options.count {
        eprintln!("vmx: {} backdoor instructions", ended.instructions);
    }
    if let Some(path) = &options.dump {
        write_json(path, &values.to_json()).map_err(|source| Error::Dump {
            path: path.clone(),
            source,
        })?;
    }
    if let (Some(path), Some(source)) = (&options.log, values.take_log_error()) {
        return Err(log_error(path, source));
    }
    Ok(ended.status)
}

/// Runs the program with a .vmx file's guestinfo, and saves that whatever has happened.
fn run_with_file(options: &Options, path: &Path) -> Result<u8, Error> {
    let mut store = VmxStore::open(path)?;
    let ended = supervise(options, &mut store);
    let saved = store.save().map_err(StoreError::from);
    let ended = ended?;
    saved?;
    if options.count {
        eprintln!("vmx: {} backdoor instructions", ended.instructions);
    }
    Ok(ended.status)
}

/// Runs the program with `store` for its guestinfo.
///
/// # Errors
/// [`Error::Start`] and [`Error::Follow`].
pub fn supervise(options: &Options, store: &mut dyn host::Store) -> Result<Ended, Error> {
    let (program, arguments) = options
        .program
        .split_first()
        .map_or((OsStr::new(""), [].as_slice()), |(first, rest)| {
            (first, rest)
        });
    let name = || program.to_string_lossy().into_owned();
    let trace = options.trace.as_deref().map(Trace::open).transpose()?;
    let task = sys::trace::spawn(program, arguments).map_err(|source| Error::Start {
        program: name(),
        source,
    })?;
    let host = host::Host::new(host::Options {
        high_bandwidth: !options.no_hb,
        trace: trace.is_some(),
        ..host::Options::default()
    });
    Supervisor::new(host, store, trace)
        .follow(task)
        .map_err(|source| Error::Follow {
            program: name(),
            source,
        })
}

/// The key, with its prefix, and the value.
fn parse_assignment(assignment: &OsStr) -> Option<(String, &[u8])> {
    let bytes = assignment.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let (key, rest) = bytes.split_at(equals);
    let key = std::str::from_utf8(key).ok()?;
    if key.is_empty() || key.contains(' ') {
        return None;
    }
    let prefixed = key
        .get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let prefix = if prefixed { "" } else { PREFIX };
    Some((format!("{prefix}{key}"), rest.get(1..)?))
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_json(path: &Path, json: &serde_json::Value) -> io::Result<()> {
    let mut file = File::create(path)?;
    writeln!(file, "{json:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, Vec<u8>)> {
        parse_assignment(OsStr::new(text)).map(|(key, value)| (key, value.to_vec()))
    }

    #[test]
    fn the_prefix_is_put_where_it_is_missing() {
        let expected = Some(("guestinfo.x".into(), b"a=b c".to_vec()));
        assert_eq!(parsed("guestinfo.x=a=b c"), expected);
        assert_eq!(parsed("x=a=b c"), expected);
        assert_eq!(
            parsed("GuestInfo.x="),
            Some(("GuestInfo.x".into(), Vec::new()))
        );
    }

    #[test]
    fn an_assignment_without_a_key_or_value_is_none() {
        assert_eq!(parsed("x"), None);
        assert_eq!(parsed("=x"), None);
        assert_eq!(parsed("a key=x"), None);
    }
}
