//! The room as its callers see it.

mod documents;
mod fixtures;
mod properties;
mod reads;
mod refusals;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Errors;
use super::guestinfo::{Keys, KeysError};

/// ID of the container of every fixture.
const ID: &str = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58";

fn fixture_folder(generation: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures/guestinfo").join(generation)
}

fn fixture_bytes(generation: &str, case: &str, kind: &str) -> Vec<u8> {
    let path = fixture_folder(generation).join(format!("{case}.{kind}.json"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The map of a fixture, the keys that no guest can read among it.
fn fixture(generation: &str, case: &str) -> BTreeMap<String, String> {
    serde_json::from_slice(&fixture_bytes(generation, case, "guestinfo")).unwrap()
}

/// Names of what is wrong.
fn names(errors: &Errors) -> Vec<&str> {
    errors.iter().filter_map(|problem| problem.name()).collect()
}

/// A map that counts who asks, and answers only to what a guest can ask for.
struct Counted {
    map: BTreeMap<String, String>,
    asked: Vec<String>,
}

impl Counted {
    fn new(map: BTreeMap<String, String>) -> Self {
        Self {
            map,
            asked: Vec::new(),
        }
    }
}

impl Keys for Counted {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError> {
        assert!(key.starts_with("guestinfo."), "{key}");
        self.asked.push(key.to_owned());
        Keys::get(&mut self.map, key)
    }
}
