//! A tree of files as an ext4 file system in a file, and as the VMDK that containers' disks are deltas of.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::owners::Later;
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
    /// A name that cannot be written afterwards.
    #[error(
        "{}: a file of such a name gets its owner from root alone: run the appliance as root", .0.display()
    )]
    Name(PathBuf),
    /// One of e2fsprogs' programs is not there.
    #[error("starting {program} (Debian package e2fsprogs): {source}")]
    NoProgram {
        /// Its name.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// One has failed.
    #[error("{0}")]
    Failed(String),
}

pub(super) fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { step, path, source }
}

/// Makes `ext4` of the tree, `bytes` long; `root` is a folder to be made, for the files on their way. Owners and
/// devices are given to the files there where this process may do so, else they are written into the file system
/// afterwards.
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
    let may = rustix::process::geteuid().is_root();
    make_as(tree, contents, root, ext4, bytes, may)
}

fn make_as(
    tree: &Tree,
    contents: &Path,
    root: &Path,
    ext4: &Path,
    bytes: u64,
    may: bool,
) -> Result<(), DiskError> {
    let mut laid = Laid {
        tree,
        contents,
        root,
        first: vec![],
        later: (!may).then(|| Later::beside(root)),
    };
    laid.folder(tree.root(), root)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(ext4)
        .and_then(|file| file.set_len(bytes));
    file.map_err(io_error("make", ext4))?;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", LABEL])
        .args(["-J", &format!("size={JOURNAL_MIB}")])
        .args(["-E", "lazy_journal_init=1", "-d"])
        .args([root, ext4]);
    run(mke2fs)?;
    match laid.later {
        Some(later) => later.write(ext4),
        None => Ok(()),
    }
}

/// Makes `ext4` with nothing in it.
///
/// # Errors
/// It cannot be made, or mke2fs fails.
pub fn empty(ext4: &Path, label: &str, bytes: u64) -> Result<(), DiskError> {
    let file = fs::File::create_new(ext4).and_then(|file| file.set_len(bytes));
    file.map_err(io_error("make", ext4))?;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", label])
        .args(["-J", &format!("size={JOURNAL_MIB}")])
        .args(["-E", "lazy_journal_init=1,root_owner=0:0"])
        .arg(ext4);
    run(mke2fs).map(drop)
}

/// Runs one of e2fsprogs' programs to its end; what it says on stderr.
pub(super) fn run(mut program: Command) -> Result<String, DiskError> {
    let name = program.get_program().to_string_lossy().into_owned();
    let made = program
        .env("PATH", path_with_sbin())
        .stdin(Stdio::null())
        .output();
    let made = made.map_err(|source| DiskError::NoProgram {
        program: name.clone(),
        source,
    })?;
    let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    if made.status.success() {
        return Ok(said);
    }
    Err(DiskError::Failed(format!(
        "{name} has failed: {said} ({})",
        made.status
    )))
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
    root: &'a Path,
    /// Where a node has its first name, by its number.
    first: Vec<Option<PathBuf>>,
    /// What this process may not do here.
    later: Option<Later>,
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
        self.dress(path, meta, FileType::Directory)
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
        self.first[number] = Some(path.to_owned());
        let node = |kind, major, minor| {
            let device = rustix::fs::makedev(major, minor);
            let made = rustix::fs::mknodat(CWD, path, kind, Mode::empty(), device);
            made.map_err(|error| io_error("make device", path)(error.into()))
        };
        let kind = match kind {
            Kind::File(contents) => {
                let from = self.contents.join(contents.to_string());
                fs::rename(from, path).map_err(io_error("make", path))?;
                FileType::RegularFile
            }
            Kind::Symlink(target) => {
                symlink(target, path).map_err(io_error("make link", path))?;
                FileType::Symlink
            }
            Kind::Fifo => {
                node(FileType::Fifo, 0, 0)?;
                FileType::Fifo
            }
            Kind::Character(major, minor) | Kind::Block(major, minor) => {
                let kind = match kind {
                    Kind::Block(..) => FileType::BlockDevice,
                    _ => FileType::CharacterDevice,
                };
                if let Some(later) = &mut self.later {
                    // Names of it beside this one would be links to nothing here.
                    return later.device(self.root, path, meta, kind, (*major, *minor));
                }
                node(kind, *major, *minor)?;
                kind
            }
        };
        self.dress(path, meta, kind)
    }

    /// Owner, attributes, permissions, time; in this order, as each may undo one before.
    fn dress(&mut self, path: &Path, meta: &Meta, kind: FileType) -> Result<(), DiskError> {
        match &mut self.later {
            Some(later) => later.owner(self.root, path, meta, kind)?,
            None => {
                lchown(path, Some(meta.uid), Some(meta.gid))
                    .map_err(io_error("give its owner to", path))?;
                for (name, value) in &meta.xattrs {
                    let name = CString::new(name.as_bytes()).map_err(io::Error::from);
                    let set = name.and_then(|name| {
                        let flags = XattrFlags::empty();
                        rustix::fs::lsetxattr(path, &*name, value, flags).map_err(Into::into)
                    });
                    set.map_err(io_error("set an attribute of", path))?;
                }
            }
        }
        if kind != FileType::Symlink {
            // Whoever is not root must be able to read it, for mke2fs.
            let own = match (&self.later, kind) {
                (None, _) => 0,
                (Some(_), FileType::Directory) => 0o700,
                (Some(_), _) => 0o400,
            };
            let mode = fs::Permissions::from_mode(meta.mode | own);
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
}

/// CRC-32C of a name: the number by which a VMDK's deltas know it.
pub fn checksum(name: &str) -> u32 {
    crc32c::crc32c(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(mode: u32, uid: u32, xattr: bool) -> Meta {
        let xattr = xattr.then(|| ("user.note".to_owned(), b"a \"value\"\0".to_vec()));
        Meta {
            mode,
            uid,
            gid: 7,
            mtime: (1_700_000_000, 5),
            xattrs: xattr.into_iter().collect(),
        }
    }

    /// All that `debugfs` says of a tree made in one way or the other, without what differs in time.
    fn made(may: bool) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut tree = Tree::default();
        let at = Path::new;
        tree.folder(at("etc"), meta(0o700, 5, true))
            .expect("a path");
        let leaves = [
            ("etc/suid", 0o4711, Kind::File(0)),
            ("a \"name\" b", 0o000, Kind::File(1)),
            ("etc/null", 0o666, Kind::Character(1, 3)),
            ("etc/disk", 0o660, Kind::Block(8, 300)),
            ("pipe", 0o644, Kind::Fifo),
            ("link", 0o777, Kind::Symlink("etc/suid".into())),
        ];
        for (name, mode, kind) in leaves {
            let xattr = matches!(kind, Kind::File(_));
            tree.leaf(at(name), meta(mode, 1234, xattr), kind)
                .expect("a path");
        }
        tree.hard_link(at("etc/again"), at("etc/suid"))
            .expect("a link");
        fs::create_dir(path("contents")).expect("a folder");
        for number in ["0", "1"] {
            fs::write(path("contents").join(number), number).expect("contents");
        }
        let disk = path("disk");
        make_as(
            &tree,
            &path("contents"),
            &path("root"),
            &disk,
            64 << 20,
            may,
        )
        .expect("a disk");
        let clean = Command::new("/sbin/e2fsck")
            .args(["-fn"])
            .arg(&disk)
            .output();
        assert!(
            clean.expect("e2fsck").status.success(),
            "a clean file system"
        );
        let mut said = String::new();
        for name in [
            "/",
            "/etc",
            "/etc/suid",
            "/etc/again",
            "/etc/null",
            "/etc/disk",
            "/pipe",
            "/link",
            "/a \"\"name\"\" b",
        ] {
            for request in ["stat", "ea_list"] {
                let request = format!("{request} \"{name}\"");
                let told = Command::new("/sbin/debugfs")
                    .args(["-R", &request])
                    .arg(&disk)
                    .output();
                let told = String::from_utf8_lossy(&told.expect("debugfs").stdout).into_owned();
                let kept = [
                    "Mode:",
                    "User:",
                    "mtime:",
                    "Links:",
                    "Device major",
                    "user.note",
                    "Fast link",
                ];
                let lines = told
                    .lines()
                    .filter(|line| kept.iter().any(|part| line.contains(part)))
                    // The root's is when the file system was made.
                    .filter(|line| name != "/" || !line.contains("mtime:"));
                let number = |line: &str| {
                    line.split("Generation")
                        .next()
                        .unwrap_or_default()
                        .to_owned()
                };
                said += &lines
                    .map(|line| number(line).replace("Inode:", "") + "\n")
                    .collect::<String>();
            }
        }
        let inodes = |line: &str| {
            line.trim_start_matches(|c: char| c.is_whitespace() || c.is_ascii_digit())
                .to_owned()
        };
        said.lines().map(|line| inodes(line) + "\n").collect()
    }

    #[test]
    fn who_is_not_root_makes_the_same_disk() {
        let written = made(false);
        for part in [
            "User:  1234   Group:     7",
            "Mode:  04711",
            "Mode:  0000",
            "user.note (10)",
            "Links: 2",
        ] {
            assert!(written.contains(part), "no {part:?} in\n{written}");
        }
        if rustix::process::geteuid().is_root() {
            assert_eq!(made(true), written);
        }
    }
}
