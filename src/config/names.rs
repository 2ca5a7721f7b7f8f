//! What a container is told of names beside its networks': settings of our own.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Lines more for `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Names {
    /// Hosts, each `name:address`, as docker's `--add-host` has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Domains that short names are looked for in, instead of its own; `.` alone: in none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of resolv.conf, such as `ndots:1`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Names {
    /// Its hosts; what is none was refused with the configuration.
    pub fn hosts(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.hosts.iter().filter_map(|text| host(text))
    }
}

/// `name:address` or, as docker has it for IPv6 too, `name=address`; brackets around the address or not.
pub(crate) fn host(text: &str) -> Option<(&str, IpAddr)> {
    let (name, address) = text.split_once([':', '='])?;
    let address = address
        .strip_prefix('[')
        .map_or(Some(address), |rest| rest.strip_suffix(']'))?;
    is_word(name).then_some((name, address.parse().ok()?))
}

/// It can stand in a line of those files, and in a list of a key.
pub(crate) fn is_word(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '+' | '#');
    !text.is_empty() && !text.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_an_address() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(host("a:10.0.0.1"), Some(("a", address("10.0.0.1"))));
        for text in ["a:fd00::1", "a=fd00::1", "a:[fd00::1]"] {
            assert_eq!(host(text), Some(("a", address("fd00::1"))), "{text}");
        }
        for wrong in [
            "",
            "a",
            ":10.0.0.1",
            "a:",
            "a:b",
            "a b:10.0.0.1",
            "a:[fd00::1",
            "a+b:10.0.0.1",
        ] {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }
}
