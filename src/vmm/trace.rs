//! What a guest and its host say to each other, written down for whoever debugs one of them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::backdoor::host::Host;

/// Where it is written.
pub struct Trace(Box<dyn Write + Send>);

/// Why it is not.
#[derive(Debug, thiserror::Error)]
#[error("writing the trace to {}", path.display())]
pub struct TraceError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl Trace {
    /// A new file, or standard error for `-`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        if path.as_os_str() == "-" {
            return Ok(Self(Box::new(io::stderr())));
        }
        match File::create(path) {
            Ok(file) => Ok(Self(Box::new(file))),
            Err(source) => Err(TraceError {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Writes what the host has had since the last time. A trace that cannot be written stops no guest.
    pub fn take(&mut self, host: &mut Host) {
        while let Some(exchange) = host.take_exchange() {
            if let Err(error) = writeln!(self.0, "{exchange}") {
                eprintln!("vmx: writing the trace: {error}");
            }
        }
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trace")
    }
}
