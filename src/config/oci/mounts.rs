//! The mounts of an OCI document.

use std::collections::BTreeMap;

use super::reader::{At, Reader};
use crate::config::model::Mount;

/// What every container has, whatever its document says.
const ALWAYS: [&str; 6] = ["proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"];
/// Places of memory that every container has.
const MEMORY: [&str; 2] = ["/dev", "/dev/shm"];
/// Options that a mount has here in any case, or that are about propagation to a host.
const IMPLIED: [&str; 8] = [
    "nosuid",
    "nodev",
    "rbind",
    "bind",
    "rprivate",
    "private",
    "strictatime",
    "relatime",
];

pub(super) fn read(reader: &mut Reader, top: &At<'_>) -> BTreeMap<String, Mount> {
    let mounts = reader.objects(top, "mounts");
    let mut volumes = BTreeMap::new();
    for (index, at) in mounts.iter().enumerate() {
        if let Some(mount) = one(reader, at) {
            volumes.insert(index.to_string(), mount);
        }
    }
    volumes
}

/// None: it is there anyway, or a problem.
fn one(reader: &mut Reader, at: &At<'_>) -> Option<Mount> {
    let (kind, dest) = (reader.text(at, "type"), reader.text(at, "destination"));
    let source = reader.text(at, "source");
    let options = reader.texts(at, "options");
    let memory = kind == "tmpfs" && MEMORY.contains(&dest.trim_end_matches('/'));
    if ALWAYS.contains(&kind.as_str()) || memory {
        return None;
    }
    let source = match kind.as_str() {
        "tmpfs" => "tmpfs://".to_owned(),
        "nfs" | "nfs4" => match source.split_once(':') {
            Some((host, path)) => format!("nfs://{host}{path}"),
            None => {
                reader.malformed(at, "source", &source, "HOST:/PATH");
                return None;
            }
        },
        "ext4" | "xfs" | "btrfs" => match source.strip_prefix("LABEL=") {
            Some(label) => format!("label://{label}"),
            None => {
                let expected = "LABEL=NAME: disks are found by the label of their file system";
                reader.malformed(at, "source", &source, expected);
                return None;
            }
        },
        _ if source.starts_with("label://") => source,
        _ => {
            let expected = "tmpfs, nfs, or ext4, xfs and btrfs with LABEL=NAME for a source: a folder of the host \
                is not in the machine";
            let kind = if kind.is_empty() { "bind" } else { &kind };
            reader.malformed(at, "type", kind, expected);
            return None;
        }
    };
    let kept = options
        .iter()
        .filter(|word| !IMPLIED.contains(&word.as_str()));
    Some(Mount {
        source,
        dest,
        mode: kept.map(String::as_str).collect::<Vec<_>>().join(","),
        ..Mount::default()
    })
}
