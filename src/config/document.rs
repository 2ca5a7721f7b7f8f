//! A file that holds a configuration, in one of three forms.

use std::collections::BTreeMap;

use serde_json::{Map as Object, Value};

use super::encoding::Encoding;
use super::error::{Errors, Problem, Shown};
use super::guestinfo::{self, PREFIX};
use super::model::ContainerVm;
use super::{json, oci};

/// Reads a configuration from a JSON object: a map of guestinfo keys when any of its names starts
/// with `guestinfo.` (names that do not are the appliance's own and count for nothing), an OCI runtime's
/// `config.json` when it says its version, a document of the model otherwise. It may be packed ([`Encoding`]).
///
/// # Errors
/// All that is wrong with it, in the names of the form that it has.
pub fn from_document(document: &[u8]) -> Result<ContainerVm, Errors> {
    from_packed(Encoding::Unsaid, document)
}

/// The same, packed as somebody says.
///
/// # Errors
/// As [`from_document`].
pub fn from_packed(encoding: Encoding, document: &[u8]) -> Result<ContainerVm, Errors> {
    let unpacked = encoding.unpack(document).map_err(|error| Problem::Packed {
        cause: error.to_string(),
    })?;
    let object = json::object(&unpacked)?;
    if object.contains_key(oci::MARK) {
        oci::decode(&object)
    } else if object.keys().any(|name| name.starts_with(PREFIX)) {
        guestinfo::decode_whole(&mut key_map(object)?)
    } else {
        json::decode_object(&object)
    }
}

/// The guestinfo keys of the object.
fn key_map(object: Object<String, Value>) -> Result<BTreeMap<String, String>, Errors> {
    let mut keys = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in object {
        match value {
            _ if !name.starts_with(PREFIX) => {}
            Value::String(value) => {
                keys.insert(name, value);
            }
            _ => problems.push(Problem::Malformed {
                name,
                value: Shown::Hidden,
                expected: "a string, as every value of guestinfo is".to_owned(),
            }),
        }
    }
    Errors::check(problems)?;
    Ok(keys)
}
