//! The original system's key/value encoding of a containerVM, in both of its generations.
//!
//! `src/config/guestinfo.md` has every key and how it is read; in short:
//!
//! # Encoding
//! - A field's key is its path under a root, see `keys.rs` for the two roots and the suffix.
//! - A map's own key holds its keys joined by `|`; an entry lives under `MAP|KEY`.
//! - A slice of plain values: its own key holds the last index (length - 1), and the key with
//!   `~` appended the values joined by `|`. A slice of structures (or of addresses): last index,
//!   and the entries under `KEY|0`, `KEY|1`, …
//! - Booleans `true` / `false`, integers decimal, bytes (addresses too) standard base64.
//! - A key that is missing and one that is empty are the same: a .vmx cannot tell them apart.
//!
//! # Our own keys
//! - `…/tether/link`: all settings of the link in one value, so that they cost one read:
//!   `buffer=1048576,full=block,exitWait=10,stdioGrace=2`, any of them left out.
//! - `…/tether/isolation`: how far the container is kept from its machine, all in one value:
//!   `privileged=false,readOnly=true,noNewPrivileges=true,capAdd=NET_ADMIN+SYS_TIME,capDrop=ALL`.
//! - `…/tether/names`: lines more for the container's hosts and resolv.conf, all in one value:
//!   `hosts=db:10.0.0.7,search=example.org,options=ndots:1`.
//! - `…/cmd/Args~json` (of any slice of plain values): the values as a JSON array. A `|` inside a
//!   value makes the joined form have more pieces than the index says, which the original did
//!   not notice: it ran the wrong command. Our encoder then writes this key beside the
//!   original's two, which stay exactly as the original writes them. Our decoder looks for it
//!   only when the count is off (so it costs no read otherwise), takes it only when its values
//!   joined are what the `~` key holds (so it cannot be stale), and without it reports the key.
//!   The original knows nothing of it.
//!
//! # What is read when
//! Each read costs the guest five backdoor instructions. [`decode`] reads what PID 1 uses, in
//! the generation that it finds: 20 keys for the hello-world of 0.4, 31 for that of 1.x.
//! [`decode_whole`] reads what the model holds (the image's IDs, the original's private key), for
//! tools that have the whole map at hand.

mod address;
mod decode;
mod encode;
mod isolation;
pub(crate) mod keys;
mod link;
mod names;
mod reader;
mod slice;
mod state;

use std::collections::BTreeMap;

use super::field::{self, Entry};
use super::model::Generation;

pub use decode::{decode, decode_whole};
pub use encode::{EncodeError, encode};
pub use state::{KeyValue, StateKeys, Subject};

/// Where a link key may stand in a generation's guestinfo, by full name.
fn link_key_names(names: keys::Names) -> Vec<String> {
    let name = |names: keys::Names| names.leaf(Entry::Top, &field::LINK_KEY);
    let mut all = vec![name(names), name(keys::Names::V04)];
    all.dedup();
    all
}

/// Where the link key of a machine with this configuration may stand, by full name; nowhere, when
/// it was no guestinfo.
pub fn link_keys(generation: Generation) -> Vec<String> {
    keys::Names::of(generation).map_or_else(Vec::new, link_key_names)
}

/// Prefix of every key that a guest can read.
pub const PREFIX: &str = "guestinfo.";

/// Largest value that a VMware host keeps under one key, in bytes.
pub const VALUE_BYTES: usize = 64 << 10;

/// Where keys are fetched from, one by one: the backdoor, or a map at hand.
pub trait Keys {
    /// Value of a key, named in full (`guestinfo./common/id`); None where there is none.
    ///
    /// # Errors
    /// When the host could not be asked. Nothing further is read then.
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError>;
}

/// Why a key could not be read, in the transport's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeysError(pub String);

impl Keys for BTreeMap<String, String> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError> {
        Ok(BTreeMap::get(self, key).map(|value| value.as_bytes().to_vec()))
    }
}
