//! From keys to the model.

use super::keys::Names;
use super::reader::Reader;
use super::{Keys, isolation, link, names};
use crate::config::error::{Errors, Problem};
use crate::config::field::{self, Entry, Map};
use crate::config::model::{
    ContainerVm, CopyMode, Generation, Mount, Network, Secret, Session, TrustLevel,
};
use crate::config::mount_source::MountSource;
use crate::config::validate;

/// Reads what PID 1 uses, in the generation found, with as few reads as that takes.
///
/// # Errors
/// All that is wrong, each by its key, once everything has been read; or the one key that the
/// host did not answer for.
pub fn decode(keys: &mut dyn Keys) -> Result<ContainerVm, Errors> {
    read(keys, Extent::Used)
}

/// Reads all that the model holds: [`decode`], and the image's IDs, the original's private key
/// and the primary session's own name.
///
/// # Errors
/// As [`decode`].
pub fn decode_whole(keys: &mut dyn Keys) -> Result<ContainerVm, Errors> {
    read(keys, Extent::Whole)
}

/// How much is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What PID 1 uses.
    Used,
    /// All that there is.
    Whole,
}

/// What tells the generations apart, as far as it had to be read.
struct Found {
    names: Names,
    id: Option<String>,
    /// The list of sessions, where the search came by it.
    sessions: Option<Vec<String>>,
}

fn read(keys: &mut dyn Keys, extent: Extent) -> Result<ContainerVm, Errors> {
    let mut reader = Reader::new(keys, Names::V04);
    let Some(found) = find(&mut reader) else {
        return Err(unidentified(reader));
    };
    reader.switch(found.names);
    let mut vm = container(&mut reader, found, extent);
    validate::complete(&mut vm);
    let mut problems = reader.problems;
    if problems
        .iter()
        .any(|p| matches!(p, Problem::Unreadable { .. }))
    {
        // What was not read is not missing.
        problems.retain(|p| !matches!(p, Problem::Missing { .. }));
    } else {
        // A value that was malformed has left its field empty: that is said already.
        let also = validate::problems(&vm, vm.generation);
        for problem in also {
            let said = |p: &Problem| p.name().is_some() && p.name() == problem.name();
            if !problems.iter().any(said) {
                problems.push(problem);
            }
        }
    }
    Errors::check(problems)?;
    Ok(vm)
}

/// The generation whose `common/id` is there, or else whose `sessions` are.
fn find(reader: &mut Reader<'_>) -> Option<Found> {
    for names in [Names::V04, Names::V1X] {
        reader.switch(names);
        let id = reader.text(Entry::Top, &field::ID);
        if id.is_some() {
            return Some(Found {
                names,
                id,
                sessions: None,
            });
        }
    }
    for names in [Names::V04, Names::V1X] {
        reader.switch(names);
        let sessions = reader.map(Map::Sessions);
        if !sessions.is_empty() {
            return Some(Found {
                names,
                id: None,
                sessions: Some(sessions),
            });
        }
    }
    None
}

/// Neither generation says which sessions there are: the least that can be told is which one
/// was meant.
fn unidentified(mut reader: Reader<'_>) -> Errors {
    for names in [Names::V04, Names::V1X] {
        reader.switch(names);
        for leaf in [&field::NAME, &field::REPO, &field::LAYERID, &field::DEBUG] {
            if !reader.problems.is_empty() {
                break;
            }
            if reader.text(Entry::Top, leaf).is_some() {
                return Problem::Unidentified {
                    id: names.leaf(Entry::Top, &field::ID),
                    sessions: names.map(Map::Sessions),
                }
                .into();
            }
        }
    }
    match Errors::check(reader.problems) {
        Ok(()) => Problem::NoGuestinfo.into(),
        Err(errors) => errors,
    }
}

fn container(reader: &mut Reader<'_>, found: Found, extent: Extent) -> ContainerVm {
    let generation = found.names.generation();
    let new = generation == Generation::V1x;
    let whole = extent == Extent::Whole;
    let mut vm = ContainerVm {
        generation,
        id: found.id.unwrap_or_default(),
        repo: reader.string(Entry::Top, &field::REPO),
        debug: reader.number(Entry::Top, &field::DEBUG).unwrap_or(0),
        ..ContainerVm::default()
    };
    if new {
        // The container's name is the appliance's alone; its session has the same.
        vm.hostname = reader.string(Entry::Top, &field::HOSTNAME);
        vm.domainname = reader.string(Entry::Top, &field::DOMAINNAME);
    } else {
        vm.name = reader.string(Entry::Top, &field::NAME);
    }
    vm.link_key = reader.link_key();
    if whole {
        vm.layerid = reader.string(Entry::Top, &field::LAYERID);
        vm.key = Secret(reader.bytes(Entry::Top, &field::KEY));
    }
    if whole && new {
        vm.imageid = reader.string(Entry::Top, &field::IMAGEID);
    }
    let mut sessions = match found.sessions {
        Some(sessions) => sessions,
        None => reader.map(Map::Sessions),
    };
    if sessions.is_empty() {
        sessions.push(vm.id.clone());
    }
    for id in sessions {
        // Named as the container is, and two reads are two reads.
        let named = !whole && id == vm.id && !vm.name.is_empty();
        let session = session(reader, Map::Sessions, &id, named);
        vm.sessions.insert(id, session);
    }
    if new {
        for id in reader.map(Map::Execs) {
            let session = session(reader, Map::Execs, &id, false);
            vm.execs.insert(id, session);
        }
    }
    for key in reader.map(Map::Mounts) {
        let mount = mount(reader, Map::Mounts.entry(&key));
        vm.mounts.insert(key, mount);
    }
    for key in reader.map(Map::Networks) {
        let network = network(reader, Map::Networks.entry(&key));
        vm.networks.insert(key, network);
    }
    vm.isolation = reader
        .parsed(
            Entry::Top,
            &field::ISOLATION,
            isolation::EXPECTED,
            isolation::parse,
        )
        .unwrap_or_default();
    vm.names = reader
        .parsed(Entry::Top, &field::NAMES, names::EXPECTED, names::parse)
        .unwrap_or_default();
    let link = reader.parsed(Entry::Top, &field::LINK, link::EXPECTED, link::parse);
    let (link, full_of) = link.unwrap_or_default();
    vm.link = link;
    for (id, full) in full_of {
        // Of a session that is not there: of none.
        if let Some(session) = vm.sessions.get_mut(&id) {
            session.full = Some(full);
        }
    }
    vm
}

fn session(reader: &mut Reader<'_>, map: Map, id: &str, named: bool) -> Session {
    let at = map.entry(id);
    let mut session = Session {
        id: id.to_owned(),
        path: reader.string(at, &field::PATH),
        args: reader.values(at, &field::ARGS),
        env: reader.values(at, &field::ENV),
        dir: reader.string(at, &field::DIR),
        attach: reader.flag(at, &field::ATTACH).unwrap_or(false),
        tty: reader.flag(at, &field::TTY).unwrap_or(false),
        restart: reader.flag(at, &field::RESTART).unwrap_or(false),
        ..Session::default()
    };
    if !named {
        session.name = reader.string(at, &field::NAME);
    }
    if reader.names().generation() == Generation::V1x {
        session.openstdin = reader.flag(at, &field::OPENSTDIN).unwrap_or(false);
        session.active = reader.flag(at, &field::ACTIVE).unwrap_or(true);
        session.runblock = reader.flag(at, &field::RUNBLOCK).unwrap_or(false);
        session.user = reader.string(at, &field::USER);
        session.group = reader.string(at, &field::GROUP);
        session.stop_signal = reader.string(at, &field::STOP_SIGNAL);
    } else {
        // In 0.4 a session that could be attached to had its stdin open for that.
        session.openstdin = session.attach;
    }
    session
}

fn mount(reader: &mut Reader<'_>, at: Entry<'_>) -> Mount {
    let mut mount = Mount {
        source: mount_source(reader, at),
        dest: reader.string(at, &field::DEST),
        mode: reader.string(at, &field::MODE),
        ..Mount::default()
    };
    if mount.dest.is_empty() {
        mount.dest = reader.string(at, &field::DEST_AS_PATH);
    }
    if reader.names().generation() == Generation::V1x {
        mount.copymode = reader
            .parsed(at, &field::COPYMODE, "0, 1 or 2", |text| {
                CopyMode::from_number(text.parse().ok()?)
            })
            .unwrap_or_default();
    }
    mount
}

/// A label is its path alone; only a share has a host and options.
fn mount_source(reader: &mut Reader<'_>, at: Entry<'_>) -> String {
    let scheme = reader.string(at, &field::SOURCE_SCHEME);
    let path = reader.string(at, &field::SOURCE);
    let lone_label = scheme == "label" && !path.is_empty();
    let mut host = String::new();
    let mut query = String::new();
    if !scheme.is_empty() && !lone_label {
        host = reader.string(at, &field::SOURCE_HOST);
    }
    if scheme == "nfs" {
        query = reader.string(at, &field::SOURCE_QUERY);
    }
    if scheme.is_empty() && path.is_empty() {
        return String::new();
    }
    match MountSource::from_parts(&scheme, &host, &path, &query) {
        Ok(source) => source.to_string(),
        Err(_) => {
            let key = reader.names().leaf(at, &field::SOURCE);
            let text = format!("{scheme}://{host}{path}");
            reader.malformed(&key, false, &text, MountSource::EXPECTED);
            String::new()
        }
    }
}

fn network(reader: &mut Reader<'_>, at: Entry<'_>) -> Network {
    let new = reader.names().generation() == Generation::V1x;
    let mut network = Network {
        slot: reader.string(at, &field::SLOT),
        name: reader.string(at, &field::ALIAS),
        network: reader.string(at, &field::NETWORK),
        gateway: reader.net(at, &field::GATEWAY, ""),
        default: reader.flag(at, &field::DEFAULT).unwrap_or(false),
        nameservers: reader.addresses(at, &field::NAMESERVERS),
        ..Network::default()
    };
    let dynamic = new && reader.flag(at, &field::STATIC) == Some(false);
    if !dynamic {
        network.address = reader.net(at, &field::ADDRESS, "");
    }
    if new {
        network.destinations = reader.nets(at, &field::DESTINATIONS);
        network.ports = reader.values(at, &field::PORTS);
        network.internal = reader.flag(at, &field::INTERNAL).unwrap_or(false);
        network.trust = reader
            .parsed(at, &field::TRUST, "0 to 5", |text| {
                TrustLevel::from_number(text.parse().ok()?)
            })
            .unwrap_or_default();
    }
    network
}
