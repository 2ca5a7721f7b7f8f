//! Files out of the container. A path is taken as docker takes it: from the root on, a link at its end is itself unless
//! something stands behind it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat, fgetxattr, flistxattr,
    fstat, fstatfs, major, minor, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::out::{Out, bad, failed};
use crate::files::{Entry, Failure, Kind};

/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// An attribute, or the names of all, bytes.
const XATTR_MOST: usize = 64 << 10;
/// What is kept of a file's attributes: its capabilities, and its users' own.
const KEPT: [&[u8]; 2] = [b"security.capability", b"user."];
/// File systems of the kernel's own making (magic.h): their folders are told of, and nothing in them. `/proc` is known
/// by name; sysfs, cgroup2, mqueue, devpts and tmpfs.
const KERNEL_S: [u64; 5] = [0x6265_6572, 0x6367_7270, 0x1980_0202, 0x1cd1, 0x0102_1994];

/// Tells what is at the path; and, where the `whole` is asked for, copies it.
pub(super) fn get(path: &str, whole: bool, out: &mut Out<'_>) -> Result<(), Failure> {
    let (clean, behind, name) = absolute(path.as_bytes());
    let full = [&clean, behind].concat();
    let status = statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(&clean))?;
    let mut about = entry(&status, name.to_vec());
    if about.kind == Kind::Symlink {
        about.link = target(&clean)?;
    }
    about.about = true;
    out.entry(&about)?;
    if !whole {
        return Ok(());
    }
    let mut copy = Copy {
        out,
        links: Vec::new(),
        piece: vec![0; PIECE],
        about: false,
    };
    if about.kind == Kind::Folder {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, &full, flags, Mode::empty()).map_err(failed(&clean))?;
        return copy.folder(folder, name.to_vec());
    }
    if about.kind == Kind::Socket {
        return Err(bad(format!("{path}: a socket cannot be copied")));
    }
    copy.one(CWD, &clean, name.to_vec(), status.st_dev)
}

/// Tells what all files of the container's own disk are.
pub(super) fn list(out: &mut Out<'_>) -> Result<(), Failure> {
    let mut copy = Copy {
        out,
        links: Vec::new(),
        piece: Vec::new(),
        about: true,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, "/", flags, Mode::empty()).map_err(failed(b"/"))?;
    copy.folder(root, b"/".to_vec())
}

/// The path without `.` and `..`, what stands behind it, and the name that the copy has.
fn absolute(path: &[u8]) -> (Vec<u8>, &'static [u8], &[u8]) {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let behind: &[u8] = if path.ends_with(b"/.") || path == b"." {
        b"/."
    } else if path.ends_with(b"/") {
        b"/"
    } else {
        b""
    };
    let name = match parts.last() {
        _ if behind == b"/." => b".",
        None => b"/",
        Some(last) => *last,
    };
    ([b"/", parts.join(&b'/').as_slice()].concat(), behind, name)
}

/// Where a link leads in the end, as far as that can be told.
fn target(path: &[u8]) -> Result<Vec<u8>, Failure> {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let own = std::ffi::OsStr::from_bytes(path);
    if let Ok(found) = std::fs::canonicalize(own) {
        return Ok(found.into_os_string().into_vec());
    }
    let text = readlinkat(CWD, path, Vec::new()).map_err(failed(path))?;
    let text = text.into_bytes();
    if text.starts_with(b"/") {
        return Ok(text);
    }
    let folder = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let folder = path.get(..folder).unwrap_or_default();
    Ok([folder, b"/", text.as_slice()].concat())
}

struct Copy<'o, 't> {
    out: &'o mut Out<'t>,
    /// Files of several names that have been copied: device, number, and the name.
    links: Vec<(u64, u64, Vec<u8>)>,
    piece: Vec<u8>,
    /// Nobody wants contents, nor what is of another file system.
    about: bool,
}

impl Copy<'_, '_> {
    fn folder(&mut self, folder: OwnedFd, path: Vec<u8>) -> Result<(), Failure> {
        let status = fstat(&folder).map_err(failed(&path))?;
        let mut told = entry(&status, path.clone());
        if !self.about {
            told.xattrs = xattrs(folder.as_fd());
        }
        self.out.entry(&told)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(failed(&path))? {
            let entry = entry.map_err(failed(&path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        for name in names {
            let below: &[u8] = if path == b"/" { b"" } else { &path };
            let path = [below, b"/", name.as_slice()].concat();
            match self.one(folder.as_fd(), &name, path, status.st_dev) {
                // It has gone meanwhile.
                Err(failure) if failure.trouble == crate::files::Trouble::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// `device`: of the folder that it is in.
    fn one(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        device: u64,
    ) -> Result<(), Failure> {
        let status = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(&path))?;
        let mut told = entry(&status, path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        (told.about, told.mount) = (self.about, status.st_dev != device);
        if self.about && (told.mount || matches!(told.kind, Kind::File | Kind::Socket)) {
            return self.out.entry(&told);
        }
        match told.kind {
            Kind::Socket => Ok(()),
            Kind::Folder => {
                let flags = flags | OFlags::DIRECTORY;
                let folder = openat(at, name, flags, Mode::empty()).map_err(failed(&told.path))?;
                if status.st_dev != device && is_kernel_s(folder.as_fd()) {
                    return self.out.entry(&told);
                }
                self.folder(folder, told.path)
            }
            Kind::Symlink => {
                let link = readlinkat(at, name, Vec::new()).map_err(failed(&told.path))?;
                told.link = link.into_bytes();
                self.out.entry(&told)
            }
            Kind::File => {
                if let Some(first) = self.first_name(&status, &told.path) {
                    (told.kind, told.link) = (Kind::HardLink, first);
                    return self.out.entry(&told);
                }
                let file = openat(at, name, flags, Mode::empty()).map_err(failed(&told.path))?;
                self.file(&file, told.path)
            }
            _ => self.out.entry(&told),
        }
    }

    /// The name that the same file was copied by before.
    fn first_name(&mut self, status: &Stat, path: &[u8]) -> Option<Vec<u8>> {
        if status.st_nlink < 2 {
            return None;
        }
        let mut known = self.links.iter();
        let same =
            known.find(|(device, number, _)| (*device, *number) == (status.st_dev, status.st_ino));
        if let Some((_, _, first)) = same {
            return Some(first.clone());
        }
        self.links
            .push((status.st_dev, status.st_ino, path.to_vec()));
        None
    }

    /// As many bytes as it has now: what is appended meanwhile is not in it, what is cut off meanwhile is zeroes.
    fn file(&mut self, file: &OwnedFd, path: Vec<u8>) -> Result<(), Failure> {
        let status = fstat(file).map_err(failed(&path))?;
        let mut told = entry(&status, path);
        if told.kind != Kind::File {
            // Something else has its name now.
            return Ok(());
        }
        told.xattrs = xattrs(file.as_fd());
        self.out.entry(&told)?;
        let mut left = told.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let piece = self.piece.get_mut(..most).unwrap_or_default();
            let count = match rustix::io::read(file, &mut *piece) {
                Ok(0) => {
                    piece.fill(0);
                    most
                }
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(failed(&told.path)(error)),
            };
            self.out.bytes(piece.get(..count).unwrap_or_default())?;
            left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

fn entry(status: &Stat, path: Vec<u8>) -> Entry {
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    };
    let is_device = matches!(kind, Kind::Character | Kind::Block);
    let device = is_device.then(|| (major(status.st_rdev), minor(status.st_rdev)));
    Entry {
        kind,
        path,
        mode: status.st_mode & 0o7777,
        uid: status.st_uid,
        gid: status.st_gid,
        mtime: (
            status.st_mtime,
            u32::try_from(status.st_mtime_nsec).unwrap_or_default(),
        ),
        size: u64::try_from(status.st_size).unwrap_or_default(),
        device: device.unwrap_or_default(),
        ..Entry::default()
    }
}

/// A file system without them has none.
fn xattrs(file: BorrowedFd<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; XATTR_MOST];
    let length = flistxattr(file, &mut names).unwrap_or_default();
    names.truncate(length);
    let names = names.split(|byte| *byte == 0);
    let kept = names.filter(|name| KEPT.iter().any(|kept| name.starts_with(kept)));
    kept.filter_map(|name| {
        let mut value = vec![0; XATTR_MOST];
        let length = fgetxattr(file, name, &mut value).ok()?;
        value.truncate(length);
        Some((name.to_vec(), value))
    })
    .collect()
}

fn is_kernel_s(folder: BorrowedFd<'_>) -> bool {
    let Ok(status) = fstatfs(folder) else {
        return false;
    };
    let kind = status.f_type.cast_unsigned();
    status.f_type == PROC_SUPER_MAGIC || KERNEL_S.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_docker_takes_it() {
        for (path, clean, behind, name) in [
            ("/etc/passwd", "/etc/passwd", "", "passwd"),
            ("etc/../x/", "/x", "/", "x"),
            ("/etc/.", "/etc", "/.", "."),
            ("/../..", "/", "", "/"),
            ("/", "/", "/", "/"),
            ("", "/", "", "/"),
            (".", "/", "/.", "."),
        ] {
            let found = absolute(path.as_bytes());
            let expected = (
                clean.as_bytes().to_vec(),
                behind.as_bytes(),
                name.as_bytes(),
            );
            assert_eq!(found, expected, "{path:?}");
        }
    }
}
