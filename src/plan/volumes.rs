//! A container's volumes, in the order in which they are mounted.

use super::nfs::{self, Share};
use crate::config::MountSource;
use crate::config::model::{ContainerVm, CopyMode, Mount};

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// What is mounted.
    pub source: Source,
    /// Where in the container.
    pub dest: &'a str,
    /// Words of its mode that are mount flags, such as `ro`.
    pub flags: Vec<&'a str>,
    /// Options of the file system's own, joined by commas.
    pub options: String,
    /// While it is empty it gets what the image has there.
    pub copy: bool,
}

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The disk whose file system has this label.
    Label(String),
    /// Memory.
    Memory,
    /// A server's.
    Share(Share),
}

/// Words of a mode that are mount flags; the others say what is so anyway, or are for other sources.
const FLAGS: [&str; 9] = [
    "ro",
    "nosuid",
    "noexec",
    "noatime",
    "nodiratime",
    "strictatime",
    "lazytime",
    "sync",
    "dirsync",
];

impl Volume<'_> {
    /// It is on the other side of a network.
    pub fn is_remote(&self) -> bool {
        matches!(self.source, Source::Share(_))
    }
}

/// The volumes: those that contain others' places first.
pub fn volumes(vm: &ContainerVm) -> Vec<Volume<'_>> {
    let mut all: Vec<Volume<'_>> = vm
        .mounts
        .iter()
        .filter_map(|(name, mount)| volume(name, mount))
        .collect();
    // Stable: of two with one place the later name is on top.
    all.sort_by_key(|volume| {
        volume
            .dest
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    all
}

/// None: its source is none, which was refused with the configuration.
fn volume<'a>(name: &'a str, mount: &'a Mount) -> Option<Volume<'a>> {
    let source = match mount.source.parse() {
        Ok(MountSource::Label(label)) => Source::Label(label),
        Ok(MountSource::Tmpfs) => Source::Memory,
        Ok(MountSource::Nfs { host, path, .. }) => {
            Source::Share(nfs::share(&host, &path, &mount.mode)?)
        }
        Err(_) => return None,
    };
    let words = || mount.mode.split(',');
    let options: Vec<&str> = words().filter(|word| word.contains('=')).collect();
    Some(Volume {
        name,
        copy: mount.copymode == CopyMode::New && matches!(source, Source::Label(_)),
        source,
        dest: &mount.dest,
        flags: words().filter(|word| FLAGS.contains(word)).collect(),
        options: options.join(","),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str, dest: &str, mode: &str) -> Mount {
        Mount {
            source: source.into(),
            dest: dest.into(),
            mode: mode.into(),
            copymode: CopyMode::New,
        }
    }

    #[test]
    fn what_contains_others_comes_first() {
        let mut vm = ContainerVm::default();
        for (name, source, dest) in [
            ("a", "tmpfs://", "/srv/data/cache/"),
            ("b", "label://data-1", "/srv/data"),
            ("c", "nfs://10.0.0.5/share", "/srv/data/share"),
            ("d", "label://data-2", "//srv"),
        ] {
            vm.mounts.insert(name.into(), mount(source, dest, "rw"));
        }
        let order: Vec<&str> = volumes(&vm).iter().map(|volume| volume.name).collect();
        assert_eq!(order, ["d", "b", "a", "c"]);
    }

    #[test]
    fn a_mode_is_flags_and_options() {
        let mount = mount("tmpfs://", "/x", "rw,noexec,size=1m,z,mode=1777,ro");
        let volume = volume("x", &mount).expect("memory");
        assert_eq!(volume.flags, ["noexec", "ro"]);
        assert_eq!(volume.options, "size=1m,mode=1777");
        assert!(!volume.copy, "memory is always empty");
    }
}
