//! What is mounted in a container that is made: docker's `Binds`, `Mounts` and `Tmpfs` → the machine's disks and the
//! guest's mounts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::fields::{Fields, Wish, is_empty};
use super::names::is_name;
use crate::config::model::{CopyMode, Mount};
use crate::listener::keys;
use crate::provider::label;
use crate::provider::vmx::VOLUMES_MOST;

/// Why a folder of this host is not one of a machine's.
const NO_FOLDER: &str =
    "a VM has no folder of this host; docker cp brings files in, or an image of your own";

/// A volume where a container has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The volume's name.
    pub name: String,
    /// Absolute path in the container.
    pub dest: String,
    /// It may only be read.
    pub read_only: bool,
    /// It stays empty where the image has files.
    pub no_copy: bool,
    /// It was made for this container, which had no name for it: it may go with the container.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// Its volume's, where that is made for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Volumes, and all mounts of the guest.
pub(super) type Mounts = (Vec<Place>, BTreeMap<String, Mount>);

/// Reads all three, and the paths of `Config` that are to be volumes without a name. These are called after `seed`.
pub(super) fn mounts(
    host: &Fields<'_>,
    config: &Fields<'_>,
    seed: [u8; 32],
) -> Result<Mounts, Wish> {
    let mut places = Vec::new();
    let mut mounts = BTreeMap::new();
    for bind in host.texts("Binds")?.unwrap_or_default() {
        places.push(bound(&bind)?);
    }
    for (path, options) in host.object("Tmpfs")?.into_iter().flatten() {
        let options = options.as_str().unwrap_or_default().to_owned();
        add_tmpfs(&mut mounts, path, options);
    }
    for mount in host
        .value("Mounts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let mount = Fields::of("HostConfig.Mounts", mount)?;
        match mount.text("Type")? {
            "volume" => places.push(volume(&mount, || called(seed, places.len()))?),
            "tmpfs" => {
                let options = tmpfs_options(&mount)?;
                add_tmpfs(&mut mounts, mount.text("Target")?, options);
            }
            other => {
                let text =
                    format!("HostConfig.Mounts of type {other:?} is not possible: {NO_FOLDER}");
                return Err(Wish::Refused(text));
            }
        }
        mount.rest(&[], &[])?;
    }
    for (path, _) in config.object("Volumes")?.into_iter().flatten() {
        if !places.iter().any(|place: &Place| place.dest == *path) {
            let name = called(seed, places.len());
            places.push(Place {
                anonymous: true,
                ..place(&name, path)?
            });
        }
    }
    let names: std::collections::BTreeSet<&str> = places.iter().map(|p| p.name.as_str()).collect();
    if names.len() != places.len() {
        return Err(Wish::Refused(
            "a volume is a disk, mounted in one place: it is named twice".into(),
        ));
    }
    if places.len() > VOLUMES_MOST {
        return Err(Wish::Refused(format!(
            "a VM has places for {VOLUMES_MOST} volumes"
        )));
    }
    for place in &places {
        let mount = Mount {
            source: format!("label://{}", label(&place.name)),
            dest: place.dest.clone(),
            mode: if place.read_only { "ro" } else { "rw" }.to_owned(),
            copymode: if place.no_copy {
                CopyMode::Never
            } else {
                CopyMode::New
            },
        };
        mounts.insert(place.name.clone(), mount);
    }
    Ok((places, mounts))
}

/// The name of a volume that has none: 64 digits, as docker's.
fn called(seed: [u8; 32], number: usize) -> String {
    let digest = Sha256::new()
        .chain_update(seed)
        .chain_update(number.to_le_bytes())
        .finalize();
    keys::hex(&digest)
}

fn add_tmpfs(mounts: &mut BTreeMap<String, Mount>, path: &str, mode: String) {
    let mount = Mount {
        source: "tmpfs://".to_owned(),
        dest: path.to_owned(),
        mode,
        ..Mount::default()
    };
    // No volume has such a name.
    mounts.insert(format!("tmpfs:{}", mounts.len()), mount);
}

/// `NAME:/path`, `NAME:/path:ro,nocopy`.
fn bound(text: &str) -> Result<Place, Wish> {
    let (name, rest) = text.split_once(':').unwrap_or((text, ""));
    if name.starts_with('/') || name.starts_with('.') {
        let text = format!("HostConfig.Binds {text:?} is not possible: {NO_FOLDER}");
        return Err(Wish::Refused(text));
    }
    let (dest, options) = rest.split_once(':').unwrap_or((rest, ""));
    let mut place = place(name, dest)?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => place.read_only = true,
            "nocopy" => place.no_copy = true,
            // Of this host's labels, and of a volume that others have, too: none has it.
            "rw" | "z" | "Z" => {}
            other => {
                let text = format!("HostConfig.Binds {text:?}: {other:?} is not done for a disk");
                return Err(Wish::Refused(text));
            }
        }
    }
    Ok(place)
}

fn volume(mount: &Fields<'_>, unnamed: impl FnOnce() -> String) -> Result<Place, Wish> {
    let named = mount.text("Source")?;
    let name = if named.is_empty() {
        unnamed()
    } else {
        named.to_owned()
    };
    let mut place = place(&name, mount.text("Target")?)?;
    place.anonymous = named.is_empty();
    place.read_only = mount.flag("ReadOnly")? == Some(true);
    let none = Value::Null;
    let options = Fields::of(
        "VolumeOptions",
        mount.value("VolumeOptions").unwrap_or(&none),
    )?;
    place.no_copy = options.flag("NoCopy")? == Some(true);
    for (name, value) in options.object("Labels")?.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        place.labels.insert(name.clone(), value.to_owned());
    }
    let driver = options.value("DriverConfig").unwrap_or(&none);
    let name = driver
        .get("Name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !matches!(name, "" | "local") || !driver.get("Options").is_none_or(is_empty) {
        return Err(Wish::Refused(
            "VolumeOptions.DriverConfig is not done: volumes are disks here".into(),
        ));
    }
    options.rest(&[], &[])?;
    Ok(place)
}

fn place(name: &str, dest: &str) -> Result<Place, Wish> {
    if !is_name(name) {
        return Err(Wish::Bad(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
        )));
    }
    if !dest.starts_with('/') || dest == "/" {
        return Err(Wish::Bad(format!(
            "invalid mount path: {dest:?} mount path must be absolute, and not the root"
        )));
    }
    Ok(Place {
        name: name.to_owned(),
        dest: dest.to_owned(),
        ..Place::default()
    })
}

fn tmpfs_options(mount: &Fields<'_>) -> Result<String, Wish> {
    let none = Value::Null;
    let own = Fields::of("TmpfsOptions", mount.value("TmpfsOptions").unwrap_or(&none))?;
    let mut options = Vec::new();
    match own.number("SizeBytes")? {
        0 => {}
        bytes => options.push(format!("size={bytes}")),
    }
    match own.number("Mode")? {
        0 => {}
        mode => options.push(format!("mode={mode:o}")),
    }
    own.rest(&[], &[])?;
    if mount.flag("ReadOnly")? == Some(true) {
        options.push("ro".to_owned());
    }
    Ok(options.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(host: Value) -> Result<Mounts, Wish> {
        let config = json!({ "Volumes": host.get("Volumes") });
        let config = Fields::of("Config", &config).expect("an object");
        mounts(
            &Fields::of("HostConfig", &host).expect("an object"),
            &config,
            [7; 32],
        )
    }

    #[test]
    fn volumes_are_disks_and_the_rest_is_memory() {
        let (places, mounts) = read(json!({
            "Binds": ["data:/data", "logs:/var/log:ro,nocopy"],
            "Tmpfs": { "/run": "size=1m" },
            "Mounts": [
                { "Type": "volume", "Source": "third", "Target": "/third", "ReadOnly": true,
                  "VolumeOptions": { "Labels": { "a": "b" } } },
                { "Type": "tmpfs", "Target": "/mem", "TmpfsOptions": { "SizeBytes": 4096, "Mode": 448 } },
            ],
        }))
        .expect("mounts");
        let names: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
        assert_eq!(names, ["data", "logs", "third"]);
        assert_eq!(mounts["data"].source, format!("label://{}", label("data")));
        assert_eq!(
            (mounts["data"].mode.as_str(), mounts["data"].copymode),
            ("rw", CopyMode::New)
        );
        assert_eq!(
            (mounts["logs"].mode.as_str(), mounts["logs"].copymode),
            ("ro", CopyMode::Never)
        );
        assert_eq!(mounts["third"].mode, "ro");
        assert_eq!(places[2].labels["a"], "b");
        let modes: Vec<&str> = mounts
            .values()
            .filter(|mount| mount.source == "tmpfs://")
            .map(|mount| mount.mode.as_str())
            .collect();
        assert_eq!(modes, ["size=1m", "size=4096,mode=700"]);
    }

    #[test]
    fn a_path_without_a_volume_has_one_of_its_own() {
        let (places, _) = read(json!({
            "Binds": ["data:/data"],
            "Volumes": { "/data": {}, "/own": {} },
            "Mounts": [{ "Type": "volume", "Target": "/third" }],
        }))
        .expect("mounts");
        let told: Vec<(&str, usize, bool)> = places
            .iter()
            .map(|place| (place.dest.as_str(), place.name.len(), place.anonymous))
            .collect();
        assert_eq!(
            told,
            [
                ("/data", 4, false),
                ("/third", 64, true),
                ("/own", 64, true)
            ]
        );
        assert_ne!(places[1].name, places[2].name);
    }

    #[test]
    fn a_label_fits_whatever_the_name() {
        for name in ["a1", &"n".repeat(200)] {
            assert_eq!(label(name).len(), 16);
        }
        assert_ne!(label("a1"), label("a2"));
    }

    #[test]
    fn what_is_no_disk_is_refused_by_name() {
        let fourteen: Vec<String> = (0..15).map(|n| format!("vol{n}:/v{n}")).collect();
        for host in [
            json!({ "Binds": ["/etc:/etc"] }),
            json!({ "Binds": ["data:/d:shared"] }),
            json!({ "Binds": ["data:/a", "data:/b"] }),
            json!({ "Binds": fourteen }),
            json!({ "Mounts": [{ "Type": "bind", "Source": "/x", "Target": "/y" }] }),
            json!({ "Mounts": [{ "Type": "tmpfs", "Target": "/y", "Consistency": "cached" }] }),
        ] {
            assert!(
                matches!(read(host.clone()), Err(Wish::Refused(_))),
                "{host}"
            );
        }
        for bad in ["data", "data:", "data:relative", "data:/", "ä:/x"] {
            let told = read(json!({ "Binds": [bad] }));
            assert!(matches!(told, Err(Wish::Bad(_))), "{bad}: {told:?}");
        }
    }
}
