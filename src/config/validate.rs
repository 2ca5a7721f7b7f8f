//! The rules that a configuration keeps, whatever form it came in.

mod isolation;
mod names;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::error::{Errors, Problem, Shown};
use super::field::{self, Entry, Leaf, Map};
use super::model::{ContainerVm, Generation, IpNet, Mount, Network, Session};
use super::mount_source::{MountSource, nfs_server};
use super::port::PublishedPort;
use super::signal;

/// Bits before the IPv4 address in `::ffff:a.b.c.d`.
pub(crate) const V4_MAPPED_BITS: u8 = 96;

/// The kernel's limit for a host name and for a domain name, in bytes.
const HOST_NAME_BYTES: usize = 64;

/// Bounds of the output kept per session: one page, so that a process gets on at all; and what a
/// small VM can spare.
const LINK_BUFFER_BYTES: RangeInclusive<usize> = 4096..=1 << 30;

/// Most name servers, and most destinations, of one endpoint: an index gone wild must not keep
/// the guest asking for entries.
pub(crate) const ADDRESSES: usize = 64;

/// Words that a mount's `mode` may hold, beside `NAME=VALUE` for the file system itself.
const MODE_WORDS: [&str; 38] = [
    "rw",
    "ro",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "hard",
    "soft",
    "lock",
    "nolock",
    "tcp",
    "udp",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "copy",
    "nocopy",
    "z",
    "Z",
    "defaults",
];

/// Holds a model against the rules; every breach is one problem, named as in the form that
/// `vm.generation` says it came from.
///
/// # Errors
/// All breaches at once.
pub fn validate(vm: &ContainerVm) -> Result<(), Errors> {
    Errors::check(problems(vm, vm.generation))
}

/// The breaches, with the names of `generation`.
pub(crate) fn problems(vm: &ContainerVm, generation: Generation) -> Vec<Problem> {
    let mut check = Check {
        generation,
        problems: Vec::new(),
    };
    check.identity(vm);
    check.sessions(Map::Sessions, &vm.sessions);
    check.sessions(Map::Execs, &vm.execs);
    check.ids_apart(vm);
    for (key, mount) in &vm.mounts {
        check.map_key(Map::Mounts, key);
        check.mount(Map::Mounts.entry(key), mount);
    }
    for (key, network) in &vm.networks {
        check.map_key(Map::Networks, key);
        check.network(Map::Networks.entry(key), network);
    }
    check.one_default_route(&vm.networks);
    check.isolation(&vm.isolation);
    check.names(&vm.names);
    if !LINK_BUFFER_BYTES.contains(&vm.link.buffer) {
        check.malformed(
            Entry::Link,
            &field::LINK_BUFFER,
            &vm.link.buffer.to_string(),
            format!(
                "{} to {} bytes",
                LINK_BUFFER_BYTES.start(),
                LINK_BUFFER_BYTES.end()
            ),
        );
    }
    check.problems
}

/// Fills in what follows from the rest: a lone session is the container's own; a session's ID is
/// its key; the container and its own session share a name unless each has one; an IPv4 address
/// in IPv6's clothes is an IPv4 address.
pub(crate) fn complete(vm: &mut ContainerVm) {
    if vm.id.is_empty()
        && let (1, Some(only)) = (vm.sessions.len(), vm.sessions.keys().next())
    {
        vm.id = only.clone();
    }
    for (key, session) in vm.sessions.iter_mut().chain(&mut vm.execs) {
        if session.id.is_empty() {
            session.id = key.clone();
        }
    }
    if let Some(primary) = vm.sessions.get_mut(&vm.id) {
        if vm.name.is_empty() {
            vm.name = primary.name.clone();
        } else if primary.name.is_empty() {
            primary.name = vm.name.clone();
        }
    }
    for network in vm.networks.values_mut() {
        let nets = network.address.iter_mut().chain(&mut network.gateway);
        for net in nets.chain(&mut network.destinations) {
            if let (canonical @ IpAddr::V4(_), IpAddr::V6(_), Some(prefix)) = (
                net.address.to_canonical(),
                net.address,
                net.prefix.checked_sub(V4_MAPPED_BITS),
            ) {
                net.address = canonical;
                net.prefix = prefix;
            }
        }
        for server in &mut network.nameservers {
            *server = server.to_canonical();
        }
    }
}

struct Check {
    generation: Generation,
    problems: Vec<Problem>,
}

impl Check {
    fn malformed(&mut self, at: Entry<'_>, leaf: &Leaf, value: &str, expected: impl Into<String>) {
        let name = field::name(self.generation, at, leaf, None);
        self.problems.push(Problem::Malformed {
            name,
            value: Shown::unless(leaf.hidden, value),
            expected: expected.into(),
        });
    }

    fn missing(&mut self, at: Entry<'_>, leaf: &Leaf, reason: &str) {
        let name = field::name(self.generation, at, leaf, None);
        self.problems.push(Problem::Missing {
            name,
            reason: reason.to_owned(),
        });
    }

    fn identity(&mut self, vm: &ContainerVm) {
        if vm.id.is_empty() {
            self.missing(
                Entry::Top,
                &field::ID,
                "without it no session is the container's own",
            );
        } else if !vm.sessions.contains_key(&vm.id) {
            let listed: Vec<&str> = vm.sessions.keys().map(String::as_str).collect();
            self.problems.push(Problem::Malformed {
                name: field::map_name(self.generation, Map::Sessions),
                value: Shown::Value(listed.join("|")),
                expected: format!("the container's own session, {:?}, among them", vm.id),
            });
        }
        for (leaf, value) in [
            (&field::HOSTNAME, &vm.hostname),
            (&field::DOMAINNAME, &vm.domainname),
        ] {
            let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
            if value.len() > HOST_NAME_BYTES || value.contains(odd) {
                self.malformed(
                    Entry::Top,
                    leaf,
                    value,
                    "a host name of at most 64 bytes, no blanks, no /",
                );
            }
        }
    }

    /// A map's key is part of guestinfo keys, of `info-set`'s words and of lines in a .vmx.
    fn map_key(&mut self, map: Map, key: &str) {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "|/=\"".contains(c);
        if key.is_empty() || key.contains(odd) {
            self.problems.push(Problem::Malformed {
                name: field::map_name(self.generation, map),
                value: Shown::Value(key.to_owned()),
                expected: "names that are not empty and hold no blank and none of | / = \"".into(),
            });
        }
    }

    fn sessions(&mut self, map: Map, sessions: &BTreeMap<String, Session>) {
        for (key, session) in sessions {
            self.map_key(map, key);
            self.session(map.entry(key), key, session);
        }
    }

    /// A session's streams and its state are found by its ID, whichever map it is in.
    fn ids_apart(&mut self, vm: &ContainerVm) {
        for id in vm.execs.keys().filter(|id| vm.sessions.contains_key(*id)) {
            self.problems.push(Problem::Malformed {
                name: field::map_name(self.generation, Map::Execs),
                value: Shown::Value(id.clone()),
                expected: "IDs that no session has".to_owned(),
            });
        }
    }

    fn session(&mut self, at: Entry<'_>, key: &str, session: &Session) {
        if session.id != key {
            self.malformed(
                at,
                &field::ID,
                &session.id,
                format!("the ID it stands under, {key:?}"),
            );
        }
        if session.path.is_empty() {
            self.missing(at, &field::PATH, "there is no program to start");
        }
        if !session.dir.is_empty() && !session.dir.starts_with('/') {
            self.malformed(at, &field::DIR, &session.dir, "an absolute path");
        }
        for (leaf, value) in [
            (&field::PATH, &session.path),
            (&field::DIR, &session.dir),
            (&field::USER, &session.user),
            (&field::GROUP, &session.group),
        ] {
            self.no_nul(at, leaf, value);
        }
        for argument in &session.args {
            self.no_nul(at, &field::ARGS, argument);
        }
        for (index, variable) in session.env.iter().enumerate() {
            self.no_nul(at, &field::ENV, variable);
            if variable.find('=').unwrap_or(0) == 0 {
                let name = field::name(self.generation, at, &field::ENV, Some(index));
                self.problems.push(Problem::Malformed {
                    name,
                    value: Shown::Hidden,
                    expected: format!("NAME=value (in entry {})", index.saturating_add(1)),
                });
            }
        }
        if !session.stop_signal.is_empty() && signal::number(&session.stop_signal).is_none() {
            self.malformed(
                at,
                &field::STOP_SIGNAL,
                &session.stop_signal,
                "a signal such as SIGTERM, TERM, 15 or SIGRTMIN+3",
            );
        }
    }

    /// The kernel takes these texts up to their first zero byte.
    fn no_nul(&mut self, at: Entry<'_>, leaf: &Leaf, value: &str) {
        if value.as_bytes().contains(&0) {
            self.malformed(at, leaf, value, "text without a zero byte");
        }
    }

    fn mount(&mut self, at: Entry<'_>, mount: &Mount) {
        if mount.source.is_empty() {
            self.missing(at, &field::SOURCE, "there is nothing to mount");
        } else {
            match mount.source.parse() {
                Ok(MountSource::Nfs { host, .. }) if nfs_server(&host, &mount.mode).is_none() => {
                    let expected =
                        "an address for the host, or its address in the mode (addr=10.0.0.5)";
                    self.malformed(at, &field::SOURCE, &mount.source, expected);
                }
                Ok(_) => {}
                Err(_) => self.malformed(at, &field::SOURCE, &mount.source, MountSource::EXPECTED),
            }
        }
        if mount.dest.is_empty() {
            self.missing(at, &field::DEST, "there is no place to mount it at");
        } else if !is_place(&mount.dest) {
            let expected = "an absolute path below /, without ..";
            self.malformed(at, &field::DEST, &mount.dest, expected);
        }
        self.no_nul(at, &field::DEST, &mount.dest);
        self.no_nul(at, &field::MODE, &mount.mode);
        let understood = |word: &str| {
            MODE_WORDS.contains(&word) || word.find('=').is_some_and(|position| position > 0)
        };
        if !mount.mode.is_empty() && !mount.mode.split(',').all(understood) {
            self.malformed(
                at,
                &field::MODE,
                &mount.mode,
                "rw, ro or mount options joined by commas",
            );
        }
    }

    fn network(&mut self, at: Entry<'_>, network: &Network) {
        if !network.slot.is_empty() && !is_slot(&network.slot) {
            self.malformed(
                at,
                &field::SLOT,
                &network.slot,
                "a PCI slot number such as 192, or a MAC address",
            );
        }
        for (leaf, net) in [
            (&field::ADDRESS, &network.address),
            (&field::GATEWAY, &network.gateway),
        ] {
            if let Some(net) = net
                && (!is_of_a_host(net.address) || net.prefix == 0 || !has_prefix(net))
            {
                self.malformed(
                    at,
                    leaf,
                    &net.to_string(),
                    "a host's address in its network",
                );
            }
        }
        for net in network.destinations.iter().filter(|net| !has_prefix(net)) {
            self.malformed(at, &field::DESTINATIONS, &net.to_string(), "a network");
        }
        if let (Some(address), Some(gateway)) = (&network.address, &network.gateway)
            && address.address.is_ipv4() != gateway.address.is_ipv4()
        {
            self.malformed(
                at,
                &field::GATEWAY,
                &gateway.to_string(),
                format!("the family of the address, {address}"),
            );
        }
        for (leaf, length) in [
            (&field::NAMESERVERS, network.nameservers.len()),
            (&field::DESTINATIONS, network.destinations.len()),
        ] {
            if length > ADDRESSES {
                let expected = format!("at most {ADDRESSES} entries");
                self.malformed(at, leaf, &format!("{length} entries"), expected);
            }
        }
        for port in &network.ports {
            if port.parse::<PublishedPort>().is_err() {
                self.malformed(at, &field::PORTS, port, PublishedPort::EXPECTED);
            }
        }
        for server in &network.nameservers {
            if server.is_unspecified() || server.is_multicast() {
                self.malformed(
                    at,
                    &field::NAMESERVERS,
                    &server.to_string(),
                    "a host's address",
                );
            }
        }
    }

    fn one_default_route(&mut self, networks: &BTreeMap<String, Network>) {
        let mut with = networks.iter().filter(|(_, network)| network.default);
        let Some((first, _)) = with.next() else {
            return;
        };
        for (key, _) in with {
            self.malformed(
                Map::Networks.entry(key),
                &field::DEFAULT,
                "true",
                format!("one default route at most, and {first:?} has it"),
            );
        }
    }
}

fn has_prefix(net: &IpNet) -> bool {
    net.prefix <= if net.address.is_ipv4() { 32 } else { 128 }
}

fn is_of_a_host(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || address.is_unspecified() || address.is_multicast())
}

/// True for an absolute path that is not the root, nor leads out of it.
fn is_place(path: &str) -> bool {
    path.starts_with('/')
        && !path.bytes().all(|b| b == b'/')
        && path.split('/').all(|part| part != "..")
}

/// A PCI slot number in decimal, or six pairs of hex digits joined by `:`.
fn is_slot(text: &str) -> bool {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<u16>().is_ok();
    }
    let pair = |p: &str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(pair)
}
