//! Fetches fields by their place and takes note of all that is wrong.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::{self, Names};
use super::{Keys, address, slice};
use crate::config::error::{Problem, Shown};
use crate::config::field::{self, Entry, Leaf, Map};
use crate::config::model::{IpNet, Secret};
use crate::config::validate::ADDRESSES;

/// Reader of the fields of one generation.
pub(super) struct Reader<'k> {
    keys: &'k mut dyn Keys,
    names: Names,
    pub(super) problems: Vec<Problem>,
    /// The host did not answer: nothing more is asked.
    broken: bool,
}

impl<'k> Reader<'k> {
    pub(super) fn new(keys: &'k mut dyn Keys, names: Names) -> Self {
        Self {
            keys,
            names,
            problems: Vec::new(),
            broken: false,
        }
    }

    /// Names the fields of another generation from here on.
    pub(super) fn switch(&mut self, names: Names) {
        self.names = names;
    }

    pub(super) fn names(&self) -> Names {
        self.names
    }

    /// Text under a key; None where there is none or it is empty.
    fn fetch(&mut self, key: &str, hidden: bool) -> Option<String> {
        if self.broken {
            return None;
        }
        match self.keys.get(key) {
            Err(error) => {
                self.broken = true;
                self.problems.push(Problem::Unreadable {
                    name: key.to_owned(),
                    cause: error.to_string(),
                });
                None
            }
            Ok(bytes) => match String::from_utf8(bytes.unwrap_or_default()) {
                Ok(text) => Some(text).filter(|text| !text.is_empty()),
                Err(error) => {
                    let text = String::from_utf8_lossy(error.as_bytes());
                    self.malformed(key, hidden, &text, "UTF-8 text");
                    None
                }
            },
        }
    }

    pub(super) fn malformed(&mut self, key: &str, hidden: bool, value: &str, expected: &str) {
        self.problems.push(Problem::Malformed {
            name: key.to_owned(),
            value: Shown::unless(hidden, value),
            expected: expected.to_owned(),
        });
    }

    /// Text of a field; None where there is none or it is empty.
    pub(super) fn text(&mut self, at: Entry<'_>, leaf: &Leaf) -> Option<String> {
        let key = self.names.leaf(at, leaf);
        self.fetch(&key, leaf.hidden)
    }

    pub(super) fn string(&mut self, at: Entry<'_>, leaf: &Leaf) -> String {
        self.text(at, leaf).unwrap_or_default()
    }

    /// A field that `parse` understands; None where there is none, or it is malformed.
    pub(super) fn parsed<T>(
        &mut self,
        at: Entry<'_>,
        leaf: &Leaf,
        expected: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Option<T> {
        let key = self.names.leaf(at, leaf);
        self.parsed_key(&key, leaf.hidden, expected, parse)
    }

    fn parsed_key<T>(
        &mut self,
        key: &str,
        hidden: bool,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.fetch(key, hidden)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.malformed(key, hidden, &text, expected);
        }
        parsed
    }

    /// A boolean, in any of the spellings that the original's decoder takes.
    pub(super) fn flag(&mut self, at: Entry<'_>, leaf: &Leaf) -> Option<bool> {
        self.parsed(at, leaf, "true or false", |text| match text {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => Some(true),
            "false" | "False" | "FALSE" | "f" | "F" | "0" => Some(false),
            _ => None,
        })
    }

    pub(super) fn number(&mut self, at: Entry<'_>, leaf: &Leaf) -> Option<u32> {
        self.parsed(at, leaf, "a whole number", |text| text.parse().ok())
    }

    pub(super) fn bytes(&mut self, at: Entry<'_>, leaf: &Leaf) -> Vec<u8> {
        self.parsed(at, leaf, "base64", |text| STANDARD.decode(text).ok())
            .unwrap_or_default()
    }

    /// The link's key, under the generation's root or, as any generation may have it, the blog's.
    pub(super) fn link_key(&mut self) -> Secret {
        for name in super::link_key_names(self.names) {
            let Some(text) = self.fetch(&name, true) else {
                continue;
            };
            match Secret::link_key(&text) {
                Some(key) => return key,
                None => self.malformed(&name, true, &text, field::LINK_KEY_EXPECTED),
            }
        }
        Secret::default()
    }

    /// The keys of a map, each once, in the order of the list.
    pub(super) fn map(&mut self, map: Map) -> Vec<String> {
        let name = self.names.map(map);
        let Some(list) = self.fetch(&name, false) else {
            return Vec::new();
        };
        let mut keys: Vec<String> = Vec::new();
        for key in list.split(slice::JOINER) {
            if key.is_empty() {
                self.malformed(&name, false, &list, "names joined by |, none of them empty");
                return Vec::new();
            }
            if !keys.iter().any(|known| known == key) {
                keys.push(key.to_owned());
            }
        }
        keys
    }

    /// Length of a slice, by its own key.
    fn length(&mut self, at: Entry<'_>, leaf: &Leaf) -> usize {
        self.parsed(at, leaf, slice::EXPECTED_INDEX, slice::length)
            .unwrap_or(0)
    }

    /// A slice of plain values.
    pub(super) fn values(&mut self, at: Entry<'_>, leaf: &Leaf) -> Vec<String> {
        let length = self.length(at, leaf);
        if length == 0 {
            return Vec::new();
        }
        let key = self.names.part(at, leaf, keys::JOINED);
        let before = self.problems.len();
        let joined = self.fetch(&key, leaf.hidden).unwrap_or_default();
        if self.problems.len() > before {
            return Vec::new();
        }
        let pieces = match slice::split(length, &joined) {
            Ok(values) => return values,
            Err(pieces) => pieces,
        };
        let json_key = self.names.part(at, leaf, keys::JSON);
        match self.fetch(&json_key, leaf.hidden) {
            None => self.malformed(
                &key,
                leaf.hidden,
                &joined,
                &format!(
                    "{length} values joined by |, as its index says, and there are {pieces} \
                     pieces; values that hold a | need {json_key} beside"
                ),
            ),
            Some(json) => match slice::from_json(length, &joined, &json) {
                Some(values) => return values,
                None => self.malformed(
                    &json_key,
                    leaf.hidden,
                    &json,
                    &format!("a JSON array of the {length} strings that {key} holds joined by |"),
                ),
            },
        }
        Vec::new()
    }

    /// The network of `leaf`, kept as `/IP` and `/Mask`; None where there is none.
    pub(super) fn net(&mut self, at: Entry<'_>, leaf: &Leaf, tail: &str) -> Option<IpNet> {
        let ip_key = self.names.part(at, leaf, &format!("{tail}/IP"));
        let address = self.parsed_key(&ip_key, false, address::EXPECTED_IP, address::ip)?;
        let mask_key = self.names.part(at, leaf, &format!("{tail}/Mask"));
        let before = self.problems.len();
        let prefix = self.parsed_key(&mask_key, false, address::EXPECTED_MASK, |text| {
            address::prefix(address, text)
        });
        if prefix.is_none() && self.problems.len() == before {
            self.problems.push(Problem::Missing {
                name: mask_key,
                reason: format!("{ip_key} is an address without the size of its network"),
            });
        }
        prefix.map(|prefix| IpNet { address, prefix })
    }

    /// Entries of a slice of structures, in order; None ends up in no entry.
    fn entries<T>(
        &mut self,
        at: Entry<'_>,
        leaf: &Leaf,
        mut entry: impl FnMut(&mut Self, &str) -> Option<T>,
    ) -> Vec<T> {
        let length = self.length(at, leaf);
        if length > ADDRESSES {
            let key = self.names.leaf(at, leaf);
            let value = length.saturating_sub(1).to_string();
            let expected = format!("the last index of at most {ADDRESSES} entries");
            self.malformed(&key, false, &value, &expected);
            return Vec::new();
        }
        (0..length)
            .filter_map(|index| entry(self, &format!("{}{index}", slice::JOINER)))
            .collect()
    }

    /// A slice of addresses.
    pub(super) fn addresses(&mut self, at: Entry<'_>, leaf: &Leaf) -> Vec<IpAddr> {
        self.entries(at, leaf, |reader, tail| {
            let key = reader.names.part(at, leaf, tail);
            let before = reader.problems.len();
            let address = reader.parsed_key(&key, false, address::EXPECTED_IP, address::ip);
            if address.is_none() && reader.problems.len() == before && !reader.broken {
                reader.problems.push(Problem::Missing {
                    name: key,
                    reason: "the slice's index says that it is there".to_owned(),
                });
            }
            address
        })
    }

    /// A slice of networks.
    pub(super) fn nets(&mut self, at: Entry<'_>, leaf: &Leaf) -> Vec<IpNet> {
        self.entries(at, leaf, |reader, tail| {
            let before = reader.problems.len();
            let net = reader.net(at, leaf, tail);
            if net.is_none() && reader.problems.len() == before && !reader.broken {
                reader.problems.push(Problem::Missing {
                    name: reader.names.part(at, leaf, &format!("{tail}/IP")),
                    reason: "the slice's index says that it is there".to_owned(),
                });
            }
            net
        })
    }
}
