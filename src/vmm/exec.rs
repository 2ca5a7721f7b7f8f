//! `vmx exec`: any Linux program with the VMware backdoor answered.

use std::ffi::OsString;
use std::path::PathBuf;

/// The command line of `vmx exec`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// A guestinfo value that the program finds; `guestinfo.` is put before KEY where it is missing
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<OsString>,
    /// Low bandwidth only: the host does not offer the string instructions
    #[arg(long)]
    pub no_hb: bool,
    /// Append what the program logs at the host to FILE
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Write all values to FILE as JSON when the program has ended
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
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
    /// The program is not there or cannot be run.
    #[error("running {program}")]
    Start {
        /// What was to run.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// What `vmx` exits with, as a shell would.
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
            Error::Start { .. } => 126,
        }
    }
}

/// Runs the program until it and all it started has ended; its exit status (128 + the signal that
/// ended it).
///
/// # Errors
/// When it could not be started or followed.
pub fn run(options: &Options) -> Result<u8, Error> {
    let [program, arguments @ ..] = options.program.as_slice() else {
        return Ok(0);
    };
    let status = std::process::Command::new(program)
        .args(arguments)
        .status()
        .map_err(|source| Error::Start {
            program: program.to_string_lossy().into_owned(),
            source,
        })?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
