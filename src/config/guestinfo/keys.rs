//! How a field's path becomes a key, in both generations.
//!
//! | | 0.4 | 1.x |
//! |---|---|---|
//! | the appliance writes | `guestinfo./a/b` | `guestinfo.vice./a/b` |
//! | the guest writes too | `guestinfo..a.b` | `guestinfo.vice..a.b` |
//!
//! A map's entry is `MAP|KEY`. A suffix stands after the whole path: `@non-persistent` on
//! everything about `execs` (gone at power-off). The other suffix of 1.x, `@secret` (encrypted
//! in the .vmx by the appliance), is on no key of a containerVM: a guest could not decrypt it.

use crate::config::field::{Access, Entry, Leaf, Map};
use crate::config::model::Generation;

/// Root of the keys of 0.4, without the `/` or `.` that follows.
const ROOT_04: &str = "guestinfo.";
/// Root of the keys of 1.x.
const ROOT_1X: &str = "guestinfo.vice.";
/// The path's parts of what a VM started at run time is told, gone at power-off.
const NON_PERSISTENT: &str = "@non-persistent";

/// The slice's values joined by `|`, behind the slice's own key.
pub(crate) const JOINED: &str = "~";
/// Ours: the slice's values as a JSON array, where joining them loses the borders.
pub(crate) const JSON: &str = "~json";

/// Maker of the keys of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    generation: Generation,
    root: &'static str,
}

impl Names {
    /// The keys of 0.4.
    pub(crate) const V04: Self = Self {
        generation: Generation::V04,
        root: ROOT_04,
    };
    /// The keys of 1.x.
    pub(crate) const V1X: Self = Self {
        generation: Generation::V1x,
        root: ROOT_1X,
    };

    /// None for JSON, which has no keys.
    pub(crate) const fn of(generation: Generation) -> Option<Self> {
        match generation {
            Generation::V04 => Some(Self::V04),
            Generation::V1x => Some(Self::V1X),
            Generation::Json => None,
        }
    }

    /// Which generation's keys these are.
    pub(crate) const fn generation(self) -> Generation {
        self.generation
    }

    /// Key of a map's list of keys.
    pub(crate) fn map(self, map: Map) -> String {
        let mut key = format!("{}/{}", self.root, map.name());
        key.push_str(suffix(map));
        key
    }

    /// Key of a field.
    pub(crate) fn leaf(self, entry: Entry<'_>, leaf: &Leaf) -> String {
        self.part(entry, leaf, "")
    }

    /// Key of a part of a field: `tail` follows its path (`~`, `|0`, `/IP`).
    pub(crate) fn part(self, entry: Entry<'_>, leaf: &Leaf, tail: &str) -> String {
        let path = match (self.generation, leaf.path_04) {
            (Generation::V04, Some(path)) => path,
            _ => leaf.path,
        };
        self.path(leaf.access, entry, path, tail)
    }

    /// Key of something that the guest alone writes.
    pub(crate) fn state(self, entry: Entry<'_>, path: &[&str]) -> String {
        self.path(Access::ReadWrite, entry, path, "")
    }

    fn path(self, access: Access, entry: Entry<'_>, path: &[&str], tail: &str) -> String {
        let joiner = match access {
            Access::ReadOnly => '/',
            Access::ReadWrite => '.',
        };
        let mut key = String::from(self.root);
        let mut ending = "";
        if let Entry::In(map, of) = entry {
            key.push(joiner);
            key.push_str(map.name());
            key.push('|');
            key.push_str(of);
            ending = suffix(map);
        }
        for part in path {
            key.push(joiner);
            key.push_str(part);
        }
        key.push_str(tail);
        key.push_str(ending);
        key
    }
}

const fn suffix(map: Map) -> &'static str {
    match map {
        Map::Execs => NON_PERSISTENT,
        Map::Sessions | Map::Mounts | Map::Networks => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::field;

    #[test]
    fn a_read_only_path_joins_by_slash_a_read_write_path_by_dot() {
        let session = Map::Sessions.entry("a1");
        assert_eq!(
            Names::V04.leaf(session, &field::PATH),
            "guestinfo./sessions|a1/cmd/Path"
        );
        assert_eq!(
            Names::V1X.leaf(session, &field::PATH),
            "guestinfo.vice./sessions|a1/cmd/Path"
        );
        assert_eq!(
            Names::V1X.leaf(session, &field::RUNBLOCK),
            "guestinfo.vice..sessions|a1.runblock"
        );
    }

    #[test]
    fn the_suffix_of_execs_stands_after_the_whole_path() {
        let exec = Map::Execs.entry("e1");
        assert_eq!(
            Names::V1X.map(Map::Execs),
            "guestinfo.vice./execs@non-persistent"
        );
        assert_eq!(
            Names::V1X.part(exec, &field::ARGS, JOINED),
            "guestinfo.vice./execs|e1/cmd/Args~@non-persistent"
        );
        assert_eq!(
            Names::V1X.state(exec, &["status"]),
            "guestinfo.vice..execs|e1.status@non-persistent"
        );
    }

    #[test]
    fn the_fixed_address_has_another_path_in_0_4() {
        let network = Map::Networks.entry("bridge");
        assert_eq!(
            Names::V04.part(network, &field::ADDRESS, "/IP"),
            "guestinfo./networks|bridge/staticip/IP"
        );
        assert_eq!(
            Names::V1X.part(network, &field::ADDRESS, "/IP"),
            "guestinfo.vice./networks|bridge/ip/IP"
        );
    }
}
