//! `vch key`: the link keys in the state folder. Works with and without a listener.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::ClientError;
use super::args::KeyCommand;
use crate::listener::keys::{KeyError, Keys};

/// Where a guest looks for its key.
const GUESTINFO: &str = "guestinfo./tether/linkkey";

/// Runs the command.
pub(super) fn run(state: &Path, command: KeyCommand) -> Result<u8, ClientError> {
    let failed = |error: KeyError| ClientError::Setup(error.to_string());
    let keys = Keys::of(state);
    let mut out = io::stdout();
    match command {
        KeyCommand::New { id } => {
            let key = keys.make(&id).map_err(failed)?;
            writeln!(out, "{GUESTINFO} = \"{key}\"")?;
        }
        KeyCommand::Add { id } => {
            let mut text = String::new();
            io::stdin().take(4096).read_to_string(&mut text)?;
            keys.add(&id, key_of(&text)).map_err(failed)?;
        }
        KeyCommand::Rm { id } => keys.remove(&id).map_err(failed)?,
        KeyCommand::Ls => {
            for id in keys.ids().map_err(failed)? {
                writeln!(out, "{id}")?;
            }
        }
    }
    Ok(0)
}

/// The key in a line of a .vmx file, or all of the text.
fn key_of(text: &str) -> &str {
    let value = match text.split_once('=') {
        Some((name, value)) if name.trim().ends_with("linkkey") => value,
        _ => text,
    };
    value.trim().trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_the_vmx_line_or_by_itself() {
        assert_eq!(key_of("guestinfo./tether/linkkey = \"a2V5=\"\n"), "a2V5=");
        assert_eq!(key_of(" a2V5=\n"), "a2V5=");
    }
}
