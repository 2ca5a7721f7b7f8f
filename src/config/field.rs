//! Every field of the model once: its place in a JSON document and its place in guestinfo.
//!
//! The codecs and the validator name fields only by what stands here, so that an error says the
//! same name whichever of them found it.

use super::guestinfo::keys::Names;
use super::model::Generation;

/// A map of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// `sessions`
    Sessions,
    /// `execs`, 1.x only
    Execs,
    /// `mounts`
    Mounts,
    /// `networks`
    Networks,
}

impl Map {
    /// The map's name, the same in both forms.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Execs => "execs",
            Self::Mounts => "mounts",
            Self::Networks => "networks",
        }
    }

    /// The entry under `key`.
    pub(crate) const fn entry(self, key: &str) -> Entry<'_> {
        Entry::In(self, key)
    }
}

/// Whose field it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'a> {
    /// The containerVM's own.
    Top,
    /// A setting of the link.
    Link,
    /// A setting of the isolation.
    Isolation,
    /// A setting of names.
    Names,
    /// The entry of a map, by its key.
    In(Map, &'a str),
}

/// Who writes a field, which decides on the root it has in guestinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The appliance; the guest reads.
    ReadOnly,
    /// The guest too.
    ReadWrite,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Leaf {
    /// Name in a JSON document.
    pub(crate) json: &'static str,
    /// Path in guestinfo.
    pub(crate) path: &'static [&'static str],
    /// Path in guestinfo 0.4, where it is another.
    pub(crate) path_04: Option<&'static [&'static str]>,
    /// Root in guestinfo.
    pub(crate) access: Access,
    /// The value may be a secret: messages leave it out.
    pub(crate) hidden: bool,
}

impl Leaf {
    const fn new(json: &'static str, path: &'static [&'static str]) -> Self {
        Self {
            json,
            path,
            path_04: None,
            access: Access::ReadOnly,
            hidden: false,
        }
    }

    const fn hidden(self) -> Self {
        Self {
            hidden: true,
            ..self
        }
    }
}

/// Name of a field as the reader of `generation` knows it; `index` is of an array's element.
pub(crate) fn name(
    generation: Generation,
    entry: Entry<'_>,
    leaf: &Leaf,
    index: Option<usize>,
) -> String {
    if let Some(names) = Names::of(generation) {
        return names.leaf(entry, leaf);
    }
    let mut name = match entry {
        Entry::Top => String::new(),
        Entry::Link => format!("{}.", LINK.json),
        Entry::Isolation => format!("{}.", ISOLATION.json),
        Entry::Names => format!("{}.", NAMES.json),
        Entry::In(map, key) => format!("{}.{key}.", map.name()),
    };
    name.push_str(leaf.json);
    if let Some(index) = index {
        name.push_str(&format!("[{index}]"));
    }
    name
}

/// Name of a map as the reader of `generation` knows it.
pub(crate) fn map_name(generation: Generation, map: Map) -> String {
    match Names::of(generation) {
        Some(names) => names.map(map),
        None => map.name().to_owned(),
    }
}

// The containerVM's own.
pub(crate) const ID: Leaf = Leaf::new("id", &["common", "id"]);
pub(crate) const NAME: Leaf = Leaf::new("name", &["common", "name"]);
pub(crate) const REPO: Leaf = Leaf::new("repo", &["repo"]);
pub(crate) const HOSTNAME: Leaf = Leaf::new("hostname", &["hostname"]);
pub(crate) const DOMAINNAME: Leaf = Leaf::new("domainname", &["domainname"]);
pub(crate) const LAYERID: Leaf = Leaf::new("layerid", &["layerid"]);
pub(crate) const IMAGEID: Leaf = Leaf::new("imageid", &["imageid"]);
pub(crate) const DEBUG: Leaf = Leaf::new("debug", &["diagnostics", "debug"]);
pub(crate) const KEY: Leaf = Leaf::new("key", &["key"]).hidden();
/// Ours: the key that the link's two ends share.
pub(crate) const LINK_KEY: Leaf = Leaf::new("linkkey", &["tether", "linkkey"]).hidden();
/// What an error says should have stood there.
pub(crate) const LINK_KEY_EXPECTED: &str = "32 bytes in base64, as `vch key new` prints them";
/// Ours: the whole of [`LinkConfig`](super::model::LinkConfig) behind one key, one read.
pub(crate) const LINK: Leaf = Leaf::new("link", &["tether", "link"]);
/// Ours: the whole of [`Isolation`](super::isolation::Isolation) behind one key.
pub(crate) const ISOLATION: Leaf = Leaf::new("isolation", &["tether", "isolation"]);
pub(crate) const PRIVILEGED: Leaf = Leaf::new("privileged", ISOLATION.path);
pub(crate) const INIT: Leaf = Leaf::new("init", ISOLATION.path);
pub(crate) const READ_ONLY: Leaf = Leaf::new("readOnly", ISOLATION.path);
pub(crate) const NO_NEW_PRIVILEGES: Leaf = Leaf::new("noNewPrivileges", ISOLATION.path);
pub(crate) const GROUP_ADD: Leaf = Leaf::new("groupAdd", ISOLATION.path);
pub(crate) const CAP_ADD: Leaf = Leaf::new("capAdd", ISOLATION.path);
pub(crate) const CAP_DROP: Leaf = Leaf::new("capDrop", ISOLATION.path);
pub(crate) const UMASK: Leaf = Leaf::new("umask", ISOLATION.path);
pub(crate) const ULIMITS: Leaf = Leaf::new("ulimits", ISOLATION.path);
pub(crate) const OOM_SCORE_ADJ: Leaf = Leaf::new("oomScoreAdj", ISOLATION.path);
pub(crate) const MEMORY: Leaf = Leaf::new("memory", ISOLATION.path);
pub(crate) const PIDS: Leaf = Leaf::new("pids", ISOLATION.path);
pub(crate) const SYSCTLS: Leaf = Leaf::new("sysctls", ISOLATION.path);
pub(crate) const MASKED_PATHS: Leaf = Leaf::new("maskedPaths", ISOLATION.path);
pub(crate) const READONLY_PATHS: Leaf = Leaf::new("readonlyPaths", ISOLATION.path);
pub(crate) const SECCOMP: Leaf = Leaf::new("seccomp", ISOLATION.path);
/// Ours: the whole of [`Names`](super::names::Names) behind one key.
pub(crate) const NAMES: Leaf = Leaf::new("names", &["tether", "names"]);
pub(crate) const NAMES_HOSTS: Leaf = Leaf::new("hosts", NAMES.path);
pub(crate) const NAMES_SEARCH: Leaf = Leaf::new("search", NAMES.path);
pub(crate) const NAMES_OPTIONS: Leaf = Leaf::new("options", NAMES.path);
pub(crate) const LINK_BUFFER: Leaf = Leaf::new("buffer", LINK.path);
pub(crate) const LINK_FULL: Leaf = Leaf::new("full", LINK.path);
pub(crate) const LINK_EXIT_WAIT: Leaf = Leaf::new("exitWait", LINK.path);
pub(crate) const LINK_EMERGENCY_WAIT: Leaf = Leaf::new("emergencyWait", LINK.path);
pub(crate) const LINK_STDIO_GRACE: Leaf = Leaf::new("stdioGrace", LINK.path);

// A session's. Its `ID` and `NAME` are those above.
pub(crate) const PATH: Leaf = Leaf::new("path", &["cmd", "Path"]);
pub(crate) const ARGS: Leaf = Leaf::new("args", &["cmd", "Args"]);
pub(crate) const ENV: Leaf = Leaf::new("env", &["cmd", "Env"]).hidden();
pub(crate) const DIR: Leaf = Leaf::new("dir", &["cmd", "Dir"]);
pub(crate) const ATTACH: Leaf = Leaf::new("attach", &["attach"]);
pub(crate) const OPENSTDIN: Leaf = Leaf::new("openstdin", &["openstdin"]);
pub(crate) const TTY: Leaf = Leaf::new("tty", &["tty"]);
pub(crate) const RESTART: Leaf = Leaf::new("restart", &["restart"]);
pub(crate) const ACTIVE: Leaf = Leaf::new("active", &["active"]);
/// The original clears it when the first client has come, hence its root.
pub(crate) const RUNBLOCK: Leaf = Leaf {
    access: Access::ReadWrite,
    ..Leaf::new("runblock", &["runblock"])
};
pub(crate) const USER: Leaf = Leaf::new("user", &["User"]);
pub(crate) const GROUP: Leaf = Leaf::new("group", &["Group"]);
/// In a document alone.
pub(crate) const GROUPS: Leaf = Leaf::new("groups", &["Groups"]);
pub(crate) const STOP_SIGNAL: Leaf = Leaf::new("stopSignal", &["stopSignal"]);

/// In guestinfo a part of [`LINK`]'s value.
pub(crate) const FULL: Leaf = Leaf::new("full", LINK.path);

// A mount's. `SOURCE` is the whole in a document, and in guestinfo the parts of a URL.
pub(crate) const SOURCE: Leaf = Leaf::new("source", &["source", "Path"]);
pub(crate) const SOURCE_SCHEME: Leaf = Leaf::new("source", &["source", "Scheme"]);
pub(crate) const SOURCE_HOST: Leaf = Leaf::new("source", &["source", "Host"]);
pub(crate) const SOURCE_QUERY: Leaf = Leaf::new("source", &["source", "RawQuery"]);
pub(crate) const DEST: Leaf = Leaf::new("dest", &["dest"]);
/// Another spelling of `DEST` that the field uses.
pub(crate) const DEST_AS_PATH: Leaf = Leaf::new("dest", &["Path"]);
pub(crate) const MODE: Leaf = Leaf::new("mode", &["mode"]);
pub(crate) const COPYMODE: Leaf = Leaf::new("copymode", &["copymode"]);

// A network endpoint's. `Common` has a capital here: an embedded field without a name of its own.
pub(crate) const SLOT: Leaf = Leaf::new("slot", &["Common", "id"]);
pub(crate) const ALIAS: Leaf = Leaf::new("name", &["Common", "name"]);
pub(crate) const NETWORK: Leaf = Leaf::new("network", &["network", "Common", "name"]);
/// Only in guestinfo 1.x, beside `ADDRESS`: false is DHCP.
pub(crate) const STATIC: Leaf = Leaf::new("address", &["static"]);
pub(crate) const ADDRESS: Leaf = Leaf {
    path_04: Some(&["staticip"]),
    ..Leaf::new("address", &["ip"])
};
pub(crate) const GATEWAY: Leaf = Leaf::new("gateway", &["network", "gateway"]);
pub(crate) const DEFAULT: Leaf = Leaf::new("default", &["network", "default"]);
pub(crate) const NAMESERVERS: Leaf = Leaf::new("nameservers", &["network", "dns"]);
pub(crate) const DESTINATIONS: Leaf = Leaf::new("destinations", &["network", "destinations"]);
pub(crate) const PORTS: Leaf = Leaf::new("ports", &["ports"]);
pub(crate) const INTERNAL: Leaf = Leaf::new("internal", &["internal"]);
pub(crate) const TRUST: Leaf = Leaf::new("trust", &["network", "TrustLevel"]);
