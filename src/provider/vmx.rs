//! A machine as the lines of its .vmx: devices as the original gave them to its containers, the container's
//! configuration as guestinfo of the 1.x generation, and the appliance's notes, which no guest can read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Forward, Found, Machine, ProviderError, Wiring};
use crate::config::guestinfo::{self, Keys, KeysError};
use crate::config::isolation::Isolation;
use crate::config::model::{ContainerVm, Generation, Secret, Session};
use crate::vmm::file::VmxFile;

/// Before the names of the appliance's notes.
const NOTE: &str = "tether.";
/// VMware's prefix for addresses that are given.
const MAC_PREFIX: &str = "00:50:56";
/// Before the names of lines that are no other machine's.
const OF_OWNER: [&str; 3] = ["guestinfo.", ADAPTERS, NOTE];
/// The same of those of network adapters.
const ADAPTERS: &str = "ethernet";
/// The adapter's slot: behind the sixth bridge, as VMware counts.
pub const NIC_SLOT: &str = "192";
/// The slots of the adapters on networks that machines share begin with this, one bridge each.
const LAN_SLOT_FIRST: usize = 224;
const LAN_SLOT_STEP: usize = 32;
/// Adapters on networks that machines share, at most.
pub const CABLES_MOST: usize = 8;
/// The adapter's own place on its bus.
const ADAPTER_UNIT: u32 = 7;
/// Volumes of a machine, at most: the bus has 16 places, one of them the adapter's, one the container's own disk's.
pub const VOLUMES_MOST: usize = 14;
/// Lines of a machine's size.
const MEMORY: &str = "memsize";
const PROCESSORS: &str = "numvcpus";
/// Name of the disk's file in the machine's folder.
pub const DISK: &str = "disk.vmdk";

/// Slot of the adapter of [`Machine::cables`] at this place.
pub fn lan_slot(place: usize) -> String {
    (LAN_SLOT_FIRST + LAN_SLOT_STEP * place).to_string()
}

/// The sockets of the networks that a machine shares.
pub(super) fn sockets(file: &VmxFile) -> Vec<PathBuf> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = file.entries().filter_map(|(name, value)| {
        let name = text(name);
        let is_one = name.starts_with("ethernet") && name.ends_with(".vnet");
        is_one.then(|| PathBuf::from(text(value)))
    });
    all.collect()
}

/// The lines of a machine that boots from this medium, has these disks beside its own, and plugs its cables in here.
///
/// # Errors
/// Its configuration cannot be written as keys.
pub fn compose(
    machine: &Machine,
    medium: &Path,
    volumes: &[PathBuf],
    sockets: &[PathBuf],
) -> Result<VmxFile, ProviderError> {
    let config = &ContainerVm {
        networks: machine.wiring.endpoints.clone(),
        ..machine.config.clone()
    };
    let mut file = VmxFile::default();
    let digits: String = config.id.chars().take(12).collect();
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str| lines.push((key.to_owned(), value.to_owned()));
    set(".encoding", "UTF-8");
    set("config.version", "8");
    set("virtualHW.version", "13");
    set("displayName", &format!("{}-{digits}", config.name));
    set("guestOS", "other3xlinux-64");
    set(MEMORY, &machine.memory_mib.to_string());
    set(PROCESSORS, &machine.processors.to_string());
    set("uuid.bios", &uuid(&config.id));
    set("floppy0.present", "FALSE");
    set("ide0:0.present", "TRUE");
    set("ide0:0.deviceType", "cdrom-image");
    set("ide0:0.fileName", &medium.to_string_lossy());
    set("ide0:0.startConnected", "TRUE");
    set("scsi0.present", "TRUE");
    set("scsi0.virtualDev", "pvscsi");
    set("scsi0:0.present", "TRUE");
    set("scsi0:0.deviceType", "scsi-hardDisk");
    set("scsi0:0.fileName", DISK);
    for (unit, disk) in (1..).filter(|unit| *unit != ADAPTER_UNIT).zip(volumes) {
        set(&format!("scsi0:{unit}.present"), "TRUE");
        set(&format!("scsi0:{unit}.deviceType"), "scsi-hardDisk");
        set(&format!("scsi0:{unit}.fileName"), &disk.to_string_lossy());
    }
    lines.extend(adapters(&config.id, &machine.wiring, sockets));
    let mut set = |key: &str, value: &str| lines.push((key.to_owned(), value.to_owned()));
    if let Some(appliance) = machine.appliance {
        set("serial0.present", "TRUE");
        set("serial0.fileType", "network");
        set("serial0.fileName", &format!("tcp://{appliance}"));
        set("serial0.network.endPoint", "client");
        set("serial0.yieldOnMsrRead", "TRUE");
        set("serial0.startConnected", "TRUE");
    }
    set("serial1.present", "TRUE");
    set("serial1.fileType", "file");
    set("serial1.fileName", "console.log");
    set("serial1.yieldOnMsrRead", "TRUE");
    for (name, value) in &machine.notes {
        set(&format!("{NOTE}{name}"), value);
    }
    let keys = guestinfo::encode(config, Generation::V1x).map_err(|error| wrong(&error))?;
    for (key, value) in lines.into_iter().chain(keys) {
        file.set(&key, value.as_bytes())
            .map_err(|error| wrong(&error))?;
    }
    Ok(file)
}

/// The lines of its network adapters.
fn adapters(id: &str, wiring: &Wiring, sockets: &[PathBuf]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut adapter = |number: usize, own: &[(&str, &str)]| {
        let usual = [
            ("present", "TRUE"),
            ("virtualDev", "vmxnet3"),
            ("addressType", "static"),
        ];
        for (name, value) in usual.iter().chain(own) {
            lines.push((format!("ethernet{number}.{name}"), (*value).to_owned()));
        }
    };
    if wiring.outside {
        let ports: Vec<String> = wiring.ports.iter().map(Forward::to_string).collect();
        let (address, ports) = (mac(id), ports.join(","));
        let mut own = vec![
            ("connectionType", "nat"),
            ("address", address.as_str()),
            ("pciSlotNumber", NIC_SLOT),
        ];
        if !ports.is_empty() {
            own.push(("forward", &ports));
        }
        adapter(0, &own);
    }
    for (place, (cable, socket)) in wiring.cables.iter().zip(sockets).enumerate() {
        let own = [
            ("connectionType", "custom"),
            // As VMware's Workstation names what an adapter is plugged into.
            ("vnet", &*socket.to_string_lossy()),
            ("address", &cable.mac),
            ("pciSlotNumber", &lan_slot(place)),
        ];
        adapter(place + 1, &own);
    }
    lines
}

/// Gives a machine another name: true, something is to be written.
///
/// # Errors
/// The lines are no machine's, or the name cannot be written as a key.
pub fn rename(file: &mut VmxFile, name: &str) -> Result<bool, ProviderError> {
    let id = reconfigure(file, |config| {
        name.clone_into(&mut config.name);
        if let Some(session) = config.sessions.get_mut(&config.id) {
            name.clone_into(&mut session.name);
        }
    })?;
    let digits: String = id.chars().take(12).collect();
    let shown = format!("{name}-{digits}");
    file.set("displayName", shown.as_bytes())
        .map_err(|error| wrong(&error))?;
    Ok(true)
}

/// Gives a machine another size: true, something is to be written.
///
/// # Errors
/// The lines cannot be written.
pub(super) fn resize(
    file: &mut VmxFile,
    memory_mib: Option<u64>,
    processors: Option<u32>,
) -> Result<bool, ProviderError> {
    let memory = memory_mib.map(|mib| (MEMORY, mib.to_string()));
    let processors = processors.map(|count| (PROCESSORS, count.to_string()));
    for (key, value) in memory.into_iter().chain(processors) {
        file.set(key, value.as_bytes())
            .map_err(|error| wrong(&error))?;
    }
    Ok(true)
}

/// Gives a machine other network adapters: true, something is to be written.
///
/// # Errors
/// The lines are no machine's, or cannot be written.
pub(super) fn rewire(
    file: &mut VmxFile,
    wiring: &Wiring,
    sockets: &[PathBuf],
) -> Result<bool, ProviderError> {
    let id = reconfigure(file, |config| {
        config.networks.clone_from(&wiring.endpoints);
    })?;
    remove(file, |name| name.starts_with(ADAPTERS));
    for (key, value) in adapters(&id, wiring, sockets) {
        file.set(&key, value.as_bytes())
            .map_err(|error| wrong(&error))?;
    }
    Ok(true)
}

fn wrong(error: &dyn std::fmt::Display) -> ProviderError {
    ProviderError::Config(error.to_string())
}

/// Changes what the guest is told, and of the lines those that say it otherwise: the container's ID.
fn reconfigure(
    file: &mut VmxFile,
    change: impl FnOnce(&mut ContainerVm),
) -> Result<String, ProviderError> {
    let found = read(file, false).ok_or_else(|| wrong(&"its file does not say what it is"))?;
    let keys = |config: &ContainerVm| {
        guestinfo::encode(config, Generation::V1x).map_err(|error| wrong(&error))
    };
    let before = keys(&found.config)?;
    let mut config = found.config;
    change(&mut config);
    let after = keys(&config)?;
    remove(file, |name| {
        before.contains_key(name) && !after.contains_key(name)
    });
    for (key, value) in after {
        if before.get(&key) != Some(&value) {
            file.set(&key, value.as_bytes())
                .map_err(|error| wrong(&error))?;
        }
    }
    Ok(config.id)
}

/// Takes away the lines of such names.
fn remove(file: &mut VmxFile, is_one: impl Fn(&str) -> bool) {
    let names = file
        .entries()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned());
    let names: Vec<String> = names.filter(|name| is_one(name)).collect();
    for name in names {
        file.remove(&name);
    }
}

/// The lines of another machine that has the same disks: its ID and link key are others, it has no network, and its
/// configuration starts no process.
///
/// # Errors
/// The lines are no machine's, or its configuration cannot be written as keys.
pub fn lent(file: &VmxFile, id: &str, key: &Secret) -> Result<VmxFile, ProviderError> {
    let found = read(file, false).ok_or_else(|| wrong(&"its file does not say what it is"))?;
    let of_owner = found.config.sessions.get(&found.id);
    let session = Session {
        id: id.to_owned(),
        name: id.to_owned(),
        active: false,
        ..of_owner.cloned().unwrap_or_default()
    };
    let isolation = Isolation {
        read_only: found.config.isolation.read_only,
        ..Isolation::default()
    };
    let config = ContainerVm {
        id: id.to_owned(),
        name: id.to_owned(),
        sessions: BTreeMap::from([(id.to_owned(), session)]),
        execs: BTreeMap::new(),
        networks: BTreeMap::new(),
        isolation,
        link_key: key.clone(),
        ..found.config
    };
    let mut lines = file.clone();
    remove(&mut lines, |name| {
        OF_OWNER.iter().any(|own| name.starts_with(own))
    });
    let mut set = |name: &str, value: &[u8]| lines.set(name, value).map_err(|error| wrong(&error));
    set("displayName", id.as_bytes())?;
    set("serial1.fileName", b"lent.log")?;
    for (name, value) in
        guestinfo::encode(&config, Generation::V1x).map_err(|error| wrong(&error))?
    {
        set(&name, value.as_bytes())?;
    }
    Ok(lines)
}

/// What a machine's file says of it; none: it is none of ours.
pub fn read(file: &VmxFile, on: bool) -> Option<Found> {
    let config = guestinfo::decode_whole(&mut Lines(file)).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let notes = file.entries().filter_map(|(name, value)| {
        let name = text(name);
        Some((name.strip_prefix(NOTE)?.to_owned(), text(value)))
    });
    Some(Found {
        id: config.id.clone(),
        notes: notes.collect(),
        config,
        on,
    })
}

/// Notes something.
///
/// # Errors
/// The name cannot stand in a .vmx file.
pub fn note(
    file: &mut VmxFile,
    name: &str,
    value: &str,
) -> Result<bool, crate::vmm::file::NameError> {
    file.set(&format!("{NOTE}{name}"), value.as_bytes())
}

/// A file's keys, as a guest would ask for them.
struct Lines<'a>(&'a VmxFile);

impl Keys for Lines<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError> {
        Ok(self.0.get(key).map(<[u8]>::to_vec))
    }
}

/// `tcp:127.0.0.1:8080:80`: protocol, address and port of the host, port of the machine.
impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.protocol, self.host, self.guest)
    }
}

/// `56 4d 2c f7 f4 83 bf 6e-7f 32 da a5 3f 51 ca 38`: VMware's two first bytes, then the ID's.
fn uuid(id: &str) -> String {
    let digits: Vec<char> = id.chars().chain(std::iter::repeat('0')).take(28).collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    let all: Vec<&str> = ["56", "4d"]
        .into_iter()
        .chain(pairs.iter().map(String::as_str))
        .collect();
    let (first, second) = all.split_at(all.len() / 2);
    format!("{}-{}", first.join(" "), second.join(" "))
}

/// An address of VMware's that are given by hand, from the ID: the fourth byte is at most 3f.
fn mac(id: &str) -> String {
    let byte = |at: usize| {
        let digits = id.get(at..at + 2).unwrap_or("00");
        u8::from_str_radix(digits, 16).unwrap_or_default()
    };
    format!(
        "{MAC_PREFIX}:{:02x}:{:02x}:{:02x}",
        byte(0) & 0x3f,
        byte(2),
        byte(4)
    )
}
