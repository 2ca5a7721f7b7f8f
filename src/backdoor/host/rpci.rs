//! The requests a VMware host answers: `1 ` and the value, or `0 ` and the reason.

use super::{Options, Store};
use crate::backdoor::protocol::VALUE_LIMIT;

/// What a guest may see and set.
const PREFIX: &[u8] = b"guestinfo.";

/// The whole reply to one request.
pub(super) fn answer(request: &[u8], options: &Options, store: &mut dyn Store) -> Vec<u8> {
    // Some clients send the terminating zero of their strings too.
    let (name, rest) = split(request.strip_suffix(b"\0").unwrap_or(request));
    let outcome = match name {
        b"info-get" => info_get(rest, store),
        // A value may end in any byte.
        b"info-set" => info_set(split(request).1, store),
        b"log" => {
            store.log(rest);
            Ok(Vec::new())
        }
        b"machine.id.get" => options
            .machine_id
            .as_ref()
            .map(|id| id.clone().into_bytes())
            .ok_or_else(|| String::from("No machine id")),
        // The host's user interface wants these, no guest waits for what they say.
        b"SetGuestInfo" | b"SetGuestDiskInfo" | b"vmx.capability.unified_loop" => Ok(Vec::new()),
        tools if tools.starts_with(b"tools.") => Ok(Vec::new()),
        _ => Err(String::from("Unknown command")),
    };
    match outcome {
        Ok(value) => [b"1 ".as_slice(), &value].concat(),
        Err(reason) => format!("0 {reason}").into_bytes(),
    }
}

fn info_get(key: &[u8], store: &dyn Store) -> Result<Vec<u8>, String> {
    visible(key)
        .and_then(|key| store.get(key))
        .ok_or_else(|| String::from("No value found"))
}

fn info_set(rest: &[u8], store: &mut dyn Store) -> Result<Vec<u8>, String> {
    let (key, value) = split(rest);
    let key = visible(key).ok_or_else(|| String::from("Permission denied"))?;
    if value.len() > VALUE_LIMIT {
        return Err(String::from("Value too large"));
    }
    store.set(key, value)?;
    Ok(Vec::new())
}

/// The key, when it is one that guests may see.
fn visible(key: &[u8]) -> Option<&str> {
    let prefix = key.get(..PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) || key.len() == PREFIX.len() {
        return None;
    }
    std::str::from_utf8(key).ok()
}

/// The first word, and what follows the space behind it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(space) => {
            let (head, tail) = text.split_at(space);
            (head, tail.strip_prefix(b" ").unwrap_or(tail))
        }
        None => (text, &[]),
    }
}
