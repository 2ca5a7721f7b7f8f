//! What `vch` says of itself, on stderr: lines for people, or JSON for machines.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Begins it. `VCH_LOG` says what is told (error, warn, info, debug, or by module), `unless` what
/// when it is not set.
pub fn begin(unless: &str, json: bool) {
    let filter = EnvFilter::try_from_env("VCH_LOG");
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(unless)))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    if json {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
}
