//! A tree of files as an ext4 file system in a file, and as the VMDK that containers' disks are deltas of.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::tree::{Kind, Meta, Node, Tree};

/// Label of a container's own disk, by which its machine finds it.
const LABEL: &str = "containerfs";
/// Bytes of a sector.
const SECTOR: u64 = 512;
/// MiB of the file system's journal.
const JOURNAL_MIB: &str = "16";

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A step on the host.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Files of others can be made by root alone.
    #[error(
        "{}: its owner or its device cannot be given to it ({source}): images are unpacked by root, run the appliance \
         as root", path.display()
    )]
    Owner {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// mke2fs is not there.
    #[error("starting mke2fs (Debian package e2fsprogs): {0}")]
    NoMke2fs(io::Error),
    /// mke2fs has failed.
    #[error("mke2fs has failed: {0}")]
    Mke2fs(String),
}

fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { step, path, source }
}

/// Makes `ext4` of the tree, `bytes` long; `root` is a folder to be made, for the files on their way.
///
/// # Errors
/// A file cannot be made, or mke2fs fails.
pub fn make(
    tree: &Tree,
    contents: &Path,
    root: &Path,
    ext4: &Path,
    bytes: u64,
) -> Result<(), DiskError> {
    let mut laid = Laid {
        tree,
        contents,
        first: vec![],
    };
    laid.folder(tree.root(), root)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(ext4)
        .and_then(|file| file.set_len(bytes));
    file.map_err(io_error("make", ext4))?;
    let made = Command::new("mke2fs")
        .env("PATH", path_with_sbin())
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", LABEL])
        .args(["-J", &format!("size={JOURNAL_MIB}")])
        .args(["-E", "lazy_journal_init=1", "-d"])
        .args([root, ext4])
        .stdin(Stdio::null())
        .output()
        .map_err(DiskError::NoMke2fs)?;
    if made.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    Err(DiskError::Mke2fs(format!("{said} ({})", made.status)))
}

/// Where Debian has mke2fs, for whoever is not root.
fn path_with_sbin() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// The descriptor by which `ext4`, in the same folder, is the one extent of a VMDK.
pub fn descriptor(ext4: &str, bytes: u64, id: u32) -> String {
    let sectors = bytes / SECTOR;
    // The geometry of a SCSI disk, as VMware writes it.
    let cylinders = sectors / (255 * 63);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={id:08x}\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\n\
         # Extent description\nRW {sectors} FLAT \"{ext4}\" 0\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    )
}

/// Writes a file that is whole or not there, and on the disk when this returns.
///
/// # Errors
/// It cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&new, path))
        .map_err(io_error("write", path))
}

/// A tree on its way into a folder. Nobody else has that folder, and each of its folders is made here: no link is
/// ever followed.
struct Laid<'a> {
    tree: &'a Tree,
    contents: &'a Path,
    /// Where a node has its first name, by its number.
    first: Vec<Option<PathBuf>>,
}

impl Laid<'_> {
    fn folder(&mut self, node: &Node, path: &Path) -> Result<(), DiskError> {
        let Node::Folder(meta, entries) = node else {
            return Ok(());
        };
        fs::create_dir(path).map_err(io_error("make folder", path))?;
        for (name, entry) in entries {
            let inner = path.join(name);
            match self.tree.node(entry.node) {
                None => {}
                Some(node @ Node::Folder(..)) => self.folder(node, &inner)?,
                Some(Node::Leaf(meta, kind)) => self.leaf(entry.node, meta, kind, &inner)?,
            }
        }
        // Last: what is made within changes its time.
        dress(path, meta, false)
    }

    fn leaf(
        &mut self,
        number: usize,
        meta: &Meta,
        kind: &Kind,
        path: &Path,
    ) -> Result<(), DiskError> {
        if self.first.len() <= number {
            self.first.resize(number + 1, None);
        }
        if let Some(first) = &self.first[number] {
            return fs::hard_link(first, path).map_err(io_error("link", path));
        }
        let node = |kind, major, minor| {
            let device = rustix::fs::makedev(major, minor);
            let made = rustix::fs::mknodat(CWD, path, kind, Mode::empty(), device);
            made.map_err(|error| DiskError::Owner {
                path: path.to_owned(),
                source: error.into(),
            })
        };
        match kind {
            Kind::File(contents) => {
                let from = self.contents.join(contents.to_string());
                fs::rename(from, path).map_err(io_error("make", path))?;
            }
            Kind::Symlink(target) => {
                symlink(target, path).map_err(io_error("make link", path))?;
            }
            Kind::Character(major, minor) => node(FileType::CharacterDevice, *major, *minor)?,
            Kind::Block(major, minor) => node(FileType::BlockDevice, *major, *minor)?,
            Kind::Fifo => node(FileType::Fifo, 0, 0)?,
        }
        self.first[number] = Some(path.to_owned());
        dress(path, meta, matches!(kind, Kind::Symlink(_)))
    }
}

/// Owner, attributes, permissions, time; in this order, as each may undo one before.
fn dress(path: &Path, meta: &Meta, link: bool) -> Result<(), DiskError> {
    lchown(path, Some(meta.uid), Some(meta.gid)).map_err(|source| DiskError::Owner {
        path: path.to_owned(),
        source,
    })?;
    for (name, value) in &meta.xattrs {
        let name = CString::new(name.as_bytes()).map_err(io::Error::from);
        let set = name.and_then(|name| {
            rustix::fs::lsetxattr(path, &*name, value, XattrFlags::empty()).map_err(Into::into)
        });
        set.map_err(io_error("set an attribute of", path))?;
    }
    if !link {
        let mode = fs::Permissions::from_mode(meta.mode);
        fs::set_permissions(path, mode).map_err(io_error("set the mode of", path))?;
    }
    let (seconds, nanos) = meta.mtime;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanos),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| io_error("set the time of", path)(error.into()))
}

/// Bytes of a name, for a checksum of it.
pub fn checksum(name: &str) -> u32 {
    crc32c::crc32c(std::ffi::OsStr::new(name).as_bytes())
}
