//! One model of a containerVM, whatever way its configuration came.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use super::ip_net::{IpNet, IpNetError};
use super::isolation::Isolation;
use super::names::Names;

/// Which encoding a configuration was read from; the same one is written back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Generation {
    /// `guestinfo./…` and `guestinfo..…`, the original 0.4.
    #[serde(rename = "0.4")]
    V04,
    /// `guestinfo.vice./…` and `guestinfo.vice..…`, the original 1.0 to 1.5.
    #[serde(rename = "1.x")]
    V1x,
    /// A JSON document of our own (fw_cfg, a file): nothing is written back.
    #[default]
    #[serde(rename = "json")]
    Json,
}

impl Generation {
    /// Of its name in a document; an unknown one's state is written nowhere.
    pub fn from_name(name: &str) -> Self {
        match name {
            "0.4" => Self::V04,
            "1.x" => Self::V1x,
            _ => Self::Json,
        }
    }
}

/// A container that is a virtual machine, as its configuration describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerVm {
    /// Encoding this came from.
    pub generation: Generation,
    /// The container's ID (64 hex digits when the appliance made it).
    pub id: String,
    /// The container's name, `jolly_panini`.
    pub name: String,
    /// The image's repository, `hello-world`.
    pub repo: String,
    /// Host name; empty: the first 12 characters of the ID, as docker does.
    pub hostname: String,
    /// DNS domain of the host.
    pub domainname: String,
    /// ID of the image layer that the root disk was made from.
    pub layerid: String,
    /// ID of the image.
    pub imageid: String,
    /// Diagnostics level: 0 quiet, 1 informative, 2 and up debug.
    pub debug: u32,
    /// The original's private key of the appliance, PEM. Read from a document (base64), never
    /// written into one.
    #[serde(skip_serializing)]
    pub key: Secret,
    /// The key that the link's two ends share: 32 bytes, or none. Never written into a document.
    #[serde(skip_serializing, rename = "linkkey")]
    pub link_key: Secret,
    /// Sessions by ID. The one whose ID is the container's own is the primary session: its end
    /// is the end of the VM.
    pub sessions: BTreeMap<String, Session>,
    /// Sessions added to a running VM (1.x only).
    pub execs: BTreeMap<String, Session>,
    /// Volumes by name.
    pub mounts: BTreeMap<String, Mount>,
    /// Network endpoints by name.
    pub networks: BTreeMap<String, Network>,
    /// Settings of the link.
    pub link: LinkConfig,
    /// How far it is kept from its machine.
    pub isolation: Isolation,
    /// What it is told of names beside its networks'.
    #[serde(skip_serializing_if = "is_default")]
    pub names: Names,
}

/// One process tree with its own stdin, stdout and stderr.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Session {
    /// ID of the session, the key it stands under.
    pub id: String,
    /// Name of the session.
    pub name: String,
    /// Program: absolute, or looked up in `PATH` of `env`.
    pub path: String,
    /// Arguments, the program's own name first; empty: just `path`.
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty: `/`.
    pub dir: String,
    /// A client may attach to its streams. In a document: true unless said otherwise, as with
    /// docker; in guestinfo: false, as with the original.
    #[serde(default = "attach_by_default")]
    pub attach: bool,
    /// stdin stays open for clients; false: the process reads its end at once.
    pub openstdin: bool,
    /// A pseudo-terminal instead of pipes.
    pub tty: bool,
    /// Start again when it ends.
    pub restart: bool,
    /// False: configured, but not to be started (1.x).
    pub active: bool,
    /// Start only when the first client has attached (1.x).
    pub runblock: bool,
    /// User: name, number, or `user:group`; empty: root.
    pub user: String,
    /// Group: name or number; empty: the user's own.
    pub group: String,
    /// Groups beside those that list the user, by name or number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Signal that asks it to stop; empty: SIGTERM.
    pub stop_signal: String,
    /// What happens when its buffer is full, where that is another than the link's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<WhenFull>,
}

const fn attach_by_default() -> bool {
    true
}

impl Default for Session {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            path: String::new(),
            args: Vec::new(),
            env: Vec::new(),
            dir: String::new(),
            attach: false,
            openstdin: false,
            tty: false,
            restart: false,
            active: true,
            runblock: false,
            user: String::new(),
            group: String::new(),
            groups: Vec::new(),
            stop_signal: String::new(),
            full: None,
        }
    }
}

/// Values of the environment are often secrets: only the names are shown.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self
            .env
            .iter()
            .map(|e| e.split_once('=').map_or("?", |(name, _)| name))
            .collect();
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("path", &self.path)
            .field("args", &self.args)
            .field("env", &names)
            .field("dir", &self.dir)
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mount {
    /// Where it comes from: `label://NAME`, `nfs://HOST/PATH?uid=…`, `tmpfs://`; parses as a
    /// [`MountSource`](super::MountSource).
    pub source: String,
    /// Absolute path in the container.
    pub dest: String,
    /// `rw`, `ro`, or mount options joined by commas; empty: `rw`.
    pub mode: String,
    /// What the volume is filled with at its first mount (1.x).
    pub copymode: CopyMode,
}

/// What a new volume is filled with (the original's numbers: 0 unset, 1 never, 2 copy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopyMode {
    /// Not said: as `Never`.
    #[default]
    Unset = 0,
    /// The volume stays as it is.
    Never = 1,
    /// An empty volume gets the image's files below its destination.
    New = 2,
}

impl CopyMode {
    /// Names in a document, in the order of the numbers.
    const NAMES: [(&str, Self); 3] = [
        ("unset", Self::Unset),
        ("never", Self::Never),
        ("new", Self::New),
    ];

    /// By its name in a document.
    pub fn from_name(name: &str) -> Option<Self> {
        by_name(&Self::NAMES, name)
    }

    /// By the original's number.
    pub fn from_number(number: usize) -> Option<Self> {
        Self::NAMES.get(number).map(|(_, mode)| *mode)
    }

    /// The original's number.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

fn by_name<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    let known = names.iter().find(|(known, _)| *known == name);
    known.map(|(_, value)| *value)
}

/// How far the other endpoints of a network are trusted (the original's `TrustLevel`, 0 to 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrustLevel {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// Only published ports accept connections.
    Published = 1,
    /// Everything is accepted.
    Open = 2,
    /// Nothing in or out.
    Closed = 3,
    /// Only connections that the container opens.
    Outbound = 4,
    /// Only the network's own members.
    Peers = 5,
}

impl TrustLevel {
    /// Names in a document, in the order of the numbers.
    const NAMES: [(&str, Self); 6] = [
        ("unspecified", Self::Unspecified),
        ("published", Self::Published),
        ("open", Self::Open),
        ("closed", Self::Closed),
        ("outbound", Self::Outbound),
        ("peers", Self::Peers),
    ];

    /// By its name in a document.
    pub fn from_name(name: &str) -> Option<Self> {
        by_name(&Self::NAMES, name)
    }

    /// By the original's number.
    pub fn from_number(number: usize) -> Option<Self> {
        Self::NAMES.get(number).map(|(_, level)| *level)
    }

    /// The original's number.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A network endpoint: one vNIC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Network {
    /// PCI slot number of the vNIC, as in `ethernetN.pciSlotNumber`; or its MAC address.
    pub slot: String,
    /// Name of the endpoint.
    pub name: String,
    /// Name of the network it is on.
    pub network: String,
    /// Fixed address; none: DHCP.
    pub address: Option<IpNet>,
    /// Gateway, with the network's prefix length.
    pub gateway: Option<IpNet>,
    /// This endpoint has the default route.
    pub default: bool,
    /// DNS servers.
    pub nameservers: Vec<IpAddr>,
    /// Further networks reached through the gateway.
    pub destinations: Vec<IpNet>,
    /// Published ports, `80/tcp`.
    pub ports: Vec<String>,
    /// The network has no way out (1.x).
    pub internal: bool,
    /// Firewall rule for the endpoint.
    pub trust: TrustLevel,
}

/// Settings of the link, keys of our own (`guestinfo./tether/…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinkConfig {
    /// Bytes of output kept per session until acknowledged.
    pub buffer: usize,
    /// What happens when they are full.
    pub full: WhenFull,
    /// Seconds that the power-off waits for the exit status to be acknowledged.
    pub exit_wait: u32,
    /// Seconds that output may stay open after the process has ended (a grandchild holds it).
    pub stdio_grace: u32,
    /// Seconds that a machine whose container could not be started stays on for whoever looks into it.
    #[serde(skip_serializing_if = "is_zero")]
    pub emergency_wait: u32,
}

fn is_default(names: &Names) -> bool {
    *names == Names::default()
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            buffer: 1 << 20,
            full: WhenFull::Block,
            exit_wait: 10,
            stdio_grace: 2,
            emergency_wait: 0,
        }
    }
}

/// What happens to output that nobody has taken, when there is no room for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The process waits until there is room.
    #[default]
    Block,
    /// The oldest of it is lost, and the log says how much.
    DropOldest,
}

impl WhenFull {
    /// By its name in a configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "block" => Some(Self::Block),
            "drop-oldest" => Some(Self::DropOldest),
            _ => None,
        }
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::DropOldest => "drop-oldest",
        }
    }
}

/// Bytes that no log, error or JSON document may show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl Secret {
    /// From its text form in a document; None when that is no base64.
    pub fn from_base64(text: &str) -> Option<Self> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        bytes.ok().map(Self)
    }

    /// A link key from its text form: 32 bytes in base64, or nothing at all, which is what a guest
    /// leaves in guestinfo while its container runs.
    pub fn link_key(text: &str) -> Option<Self> {
        const BYTES: usize = 32;
        let secret = Self::from_base64(text.trim())?;
        (secret.is_empty() || secret.0.len() == BYTES).then_some(secret)
    }

    /// True when there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} secret bytes>", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64(&text).ok_or_else(|| serde::de::Error::custom("expected base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_s_name_is_the_document_s() {
        for generation in [Generation::V04, Generation::V1x, Generation::Json] {
            let name = serde_json::to_value(generation).expect("plain data");
            let name = name.as_str().expect("a text");
            assert_eq!(Generation::from_name(name), generation);
        }
    }

    #[test]
    fn debug_shows_neither_keys_nor_the_environment_s_values() {
        let session = Session {
            env: vec!["TOKEN=hunter2".into(), "hunter3".into()],
            ..Session::default()
        };
        let vm = ContainerVm {
            key: Secret(b"hunter4".to_vec()),
            sessions: BTreeMap::from([("a1".to_owned(), session)]),
            ..ContainerVm::default()
        };
        let shown = format!("{vm:?}");
        assert!(shown.contains("TOKEN"), "{shown}");
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn numbers_and_names_of_the_original_are_one_to_one() {
        for (number, (name, level)) in TrustLevel::NAMES.into_iter().enumerate() {
            assert_eq!(TrustLevel::from_number(number), Some(level));
            assert_eq!(usize::from(level.number()), number);
            assert_eq!(serde_json::to_value(level).unwrap(), name);
        }
        for (number, (name, mode)) in CopyMode::NAMES.into_iter().enumerate() {
            assert_eq!(CopyMode::from_number(number), Some(mode));
            assert_eq!(usize::from(mode.number()), number);
            assert_eq!(serde_json::to_value(mode).unwrap(), name);
        }
        assert_eq!(TrustLevel::from_number(6), None);
        assert_eq!(CopyMode::from_number(3), None);
    }
}
