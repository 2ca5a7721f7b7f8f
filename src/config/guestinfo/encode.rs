//! From the model to keys.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::{self, Names};
use super::{VALUE_BYTES, address, isolation, link, names, slice};
use crate::config::error::Errors;
use crate::config::field::{self, Entry, Leaf, Map};
use crate::config::isolation::Isolation;
use crate::config::model::{
    ContainerVm, CopyMode, Generation, IpNet, LinkConfig, Mount, Network, Session, TrustLevel,
};
use crate::config::mount_source::MountSource;
use crate::config::validate;

/// The appliance's own key for the container's name in 1.x; no guest can read it.
const APPLIANCE_NAME: &str = "common/name";

/// Why a model cannot be written as guestinfo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The model breaks the rules; its fields are named as in a JSON document.
    #[error("this containerVM cannot be written: {0}")]
    Invalid(#[from] Errors),
    /// Fields that have no key in this generation, and are not at their default.
    #[error("guestinfo {generation} has no key for {}: write 1.x, or leave them out", .fields.join(", "))]
    NoKey {
        /// `0.4` or `1.x`.
        generation: &'static str,
        /// The fields, named as in a JSON document.
        fields: Vec<String>,
    },
    /// A value that no VMware host takes.
    #[error("{key} would have {bytes} bytes; a VMware host keeps at most {VALUE_BYTES}")]
    TooLong {
        /// The key.
        key: String,
        /// Length of its value.
        bytes: usize,
    },
    /// JSON is no generation of guestinfo.
    #[error("a JSON document has no guestinfo keys: name the generation, 0.4 or 1.x")]
    NotGuestinfo,
}

/// Writes a model as the keys of a generation, whatever it came from: what the original's own
/// encoder wrote for it, as far as the model knows it, and our own keys where needed.
///
/// # Errors
/// A model that breaks the rules, that the generation has no keys for, or that no host would keep.
pub fn encode(
    vm: &ContainerVm,
    generation: Generation,
) -> Result<BTreeMap<String, String>, EncodeError> {
    let names = Names::of(generation).ok_or(EncodeError::NotGuestinfo)?;
    let mut vm = vm.clone();
    validate::complete(&mut vm);
    Errors::check(validate::problems(&vm, Generation::Json))?;
    let mut writer = Writer {
        names,
        new: generation == Generation::V1x,
        map: BTreeMap::new(),
        homeless: Vec::new(),
    };
    writer.container(&vm);
    if !writer.homeless.is_empty() {
        return Err(EncodeError::NoKey {
            generation: if writer.new { "1.x" } else { "0.4" },
            fields: writer.homeless,
        });
    }
    match writer
        .map
        .iter()
        .find(|(_, value)| value.len() > VALUE_BYTES)
    {
        Some((key, value)) => Err(EncodeError::TooLong {
            key: key.clone(),
            bytes: value.len(),
        }),
        None => Ok(writer.map),
    }
}

struct Writer {
    names: Names,
    /// 1.x, with the fields that 0.4 has no keys for.
    new: bool,
    map: BTreeMap<String, String>,
    homeless: Vec<String>,
}

impl Writer {
    fn text(&mut self, at: Entry<'_>, leaf: &Leaf, value: &str) {
        let key = self.names.leaf(at, leaf);
        self.map.insert(key, value.to_owned());
    }

    fn flag(&mut self, at: Entry<'_>, leaf: &Leaf, value: bool) {
        self.text(at, leaf, if value { "true" } else { "false" });
    }

    fn part(&mut self, at: Entry<'_>, leaf: &Leaf, tail: &str, value: String) {
        let key = self.names.part(at, leaf, tail);
        self.map.insert(key, value);
    }

    /// Takes note of a field that this generation has no key for, unless it is at its default.
    fn no_key(&mut self, at: Entry<'_>, leaf: &Leaf, default: bool) {
        if !default {
            let name = field::name(Generation::Json, at, leaf, None);
            self.homeless.push(name);
        }
    }

    fn map_keys<T>(&mut self, map: Map, entries: &BTreeMap<String, T>) {
        if !entries.is_empty() {
            let list: Vec<String> = entries.keys().cloned().collect();
            self.map.insert(self.names.map(map), slice::join(&list));
        }
    }

    fn index(&mut self, at: Entry<'_>, leaf: &Leaf, length: usize) {
        if let Some(last) = length.checked_sub(1) {
            self.text(at, leaf, &last.to_string());
        }
    }

    fn values(&mut self, at: Entry<'_>, leaf: &Leaf, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.index(at, leaf, values.len());
        self.part(at, leaf, keys::JOINED, slice::join(values));
        if values.iter().any(|value| value.contains(slice::JOINER)) {
            self.part(at, leaf, keys::JSON, slice::to_json(values));
        }
    }

    fn net(&mut self, at: Entry<'_>, leaf: &Leaf, tail: &str, net: &IpNet) {
        self.part(
            at,
            leaf,
            &format!("{tail}/IP"),
            address::ip_text(net.address),
        );
        self.part(at, leaf, &format!("{tail}/Mask"), address::mask_text(net));
    }

    fn container(&mut self, vm: &ContainerVm) {
        let top = Entry::Top;
        self.text(top, &field::ID, &vm.id);
        self.text(top, &field::REPO, &vm.repo);
        self.text(top, &field::LAYERID, &vm.layerid);
        self.text(top, &field::DEBUG, &vm.debug.to_string());
        if self.new {
            self.map.insert(APPLIANCE_NAME.to_owned(), vm.name.clone());
            let primary = vm.sessions.get(&vm.id);
            // The guest knows the container's name by its own session's.
            self.no_key(top, &field::NAME, primary.is_none_or(|p| p.name == vm.name));
            self.text(top, &field::HOSTNAME, &vm.hostname);
            self.text(top, &field::DOMAINNAME, &vm.domainname);
            self.text(top, &field::IMAGEID, &vm.imageid);
        } else {
            self.text(top, &field::NAME, &vm.name);
            self.no_key(top, &field::HOSTNAME, vm.hostname.is_empty());
            self.no_key(top, &field::DOMAINNAME, vm.domainname.is_empty());
            self.no_key(top, &field::IMAGEID, vm.imageid.is_empty());
            for id in vm.execs.keys() {
                self.no_key(Map::Execs.entry(id), &field::PATH, false);
            }
        }
        if !vm.key.is_empty() {
            self.text(top, &field::KEY, &STANDARD.encode(&vm.key.0));
        }
        if !vm.link_key.is_empty() {
            self.text(top, &field::LINK_KEY, &STANDARD.encode(&vm.link_key.0));
        }
        if vm.isolation != Isolation::default() {
            self.text(top, &field::ISOLATION, &isolation::text(&vm.isolation));
            let at = Entry::Isolation;
            self.no_key(at, &field::SECCOMP, vm.isolation.seccomp.is_none());
            let joined = |text: &String| text.contains(['+', ',']);
            let plain = !vm.isolation.sysctls.iter().any(joined);
            self.no_key(at, &field::SYSCTLS, plain);
            self.no_key(
                at,
                &field::MASKED_PATHS,
                vm.isolation.masked_paths.is_none(),
            );
            self.no_key(
                at,
                &field::READONLY_PATHS,
                vm.isolation.readonly_paths.is_none(),
            );
        }
        if vm.names != Default::default() {
            self.text(top, &field::NAMES, &names::text(&vm.names));
        }
        let full_of = || {
            let of = vm.sessions.iter();
            of.filter_map(|(id, session)| Some((id.as_str(), session.full?)))
        };
        if vm.link != LinkConfig::default() || full_of().next().is_some() {
            self.text(top, &field::LINK, &link::text(&vm.link, full_of()));
        }
        for (id, session) in &vm.execs {
            let full = session.full.is_none();
            self.no_key(Map::Execs.entry(id), &field::FULL, full);
        }
        self.map_keys(Map::Sessions, &vm.sessions);
        for (id, session) in &vm.sessions {
            self.session(Map::Sessions.entry(id), session);
        }
        if self.new {
            self.map_keys(Map::Execs, &vm.execs);
            for (id, session) in &vm.execs {
                self.session(Map::Execs.entry(id), session);
            }
        }
        self.map_keys(Map::Mounts, &vm.mounts);
        for (key, mount) in &vm.mounts {
            self.mount(Map::Mounts.entry(key), mount);
        }
        self.map_keys(Map::Networks, &vm.networks);
        for (key, network) in &vm.networks {
            self.network(Map::Networks.entry(key), network);
        }
    }

    fn session(&mut self, at: Entry<'_>, session: &Session) {
        self.text(at, &field::ID, &session.id);
        self.text(at, &field::NAME, &session.name);
        self.text(at, &field::PATH, &session.path);
        self.values(at, &field::ARGS, &session.args);
        self.values(at, &field::ENV, &session.env);
        self.text(at, &field::DIR, &session.dir);
        self.flag(at, &field::ATTACH, session.attach);
        self.flag(at, &field::TTY, session.tty);
        self.flag(at, &field::RESTART, session.restart);
        self.no_key(at, &field::GROUPS, session.groups.is_empty());
        if self.new {
            self.flag(at, &field::OPENSTDIN, session.openstdin);
            self.flag(at, &field::ACTIVE, session.active);
            self.flag(at, &field::RUNBLOCK, session.runblock);
            self.text(at, &field::USER, &session.user);
            self.text(at, &field::GROUP, &session.group);
            self.text(at, &field::STOP_SIGNAL, &session.stop_signal);
        } else {
            // 0.4 has one word for both.
            self.no_key(at, &field::OPENSTDIN, session.openstdin == session.attach);
            self.no_key(at, &field::ACTIVE, session.active);
            self.no_key(at, &field::RUNBLOCK, !session.runblock);
            self.no_key(at, &field::USER, session.user.is_empty());
            self.no_key(at, &field::GROUP, session.group.is_empty());
            self.no_key(at, &field::STOP_SIGNAL, session.stop_signal.is_empty());
        }
    }

    fn mount(&mut self, at: Entry<'_>, mount: &Mount) {
        // Valid by now; a source that were not would leave its keys out.
        if let Ok(source) = mount.source.parse::<MountSource>() {
            let [scheme, host, path, query] = source.parts();
            self.text(at, &field::SOURCE_SCHEME, &scheme);
            self.text(at, &field::SOURCE_HOST, &host);
            self.text(at, &field::SOURCE, &path);
            self.text(at, &field::SOURCE_QUERY, &query);
        }
        self.text(at, &field::DEST, &mount.dest);
        self.text(at, &field::MODE, &mount.mode);
        if self.new {
            let number = mount.copymode.number().to_string();
            self.text(at, &field::COPYMODE, &number);
        } else {
            self.no_key(at, &field::COPYMODE, mount.copymode == CopyMode::Unset);
        }
    }

    fn network(&mut self, at: Entry<'_>, network: &Network) {
        self.text(at, &field::SLOT, &network.slot);
        self.text(at, &field::ALIAS, &network.name);
        self.text(at, &field::NETWORK, &network.network);
        self.flag(at, &field::DEFAULT, network.default);
        if let Some(net) = &network.address {
            self.net(at, &field::ADDRESS, "", net);
        }
        if let Some(net) = &network.gateway {
            self.net(at, &field::GATEWAY, "", net);
        }
        self.index(at, &field::NAMESERVERS, network.nameservers.len());
        for (index, server) in network.nameservers.iter().enumerate() {
            let tail = format!("{}{index}", slice::JOINER);
            self.part(at, &field::NAMESERVERS, &tail, address::ip_text(*server));
        }
        if self.new {
            self.flag(at, &field::STATIC, network.address.is_some());
            self.index(at, &field::DESTINATIONS, network.destinations.len());
            for (index, net) in network.destinations.iter().enumerate() {
                let tail = format!("{}{index}", slice::JOINER);
                self.net(at, &field::DESTINATIONS, &tail, net);
            }
            self.values(at, &field::PORTS, &network.ports);
            self.flag(at, &field::INTERNAL, network.internal);
            let number = network.trust.number().to_string();
            self.text(at, &field::TRUST, &number);
        } else {
            self.no_key(at, &field::DESTINATIONS, network.destinations.is_empty());
            self.no_key(at, &field::PORTS, network.ports.is_empty());
            self.no_key(at, &field::INTERNAL, !network.internal);
            let unspecified = network.trust == TrustLevel::Unspecified;
            self.no_key(at, &field::TRUST, unspecified);
        }
    }
}
