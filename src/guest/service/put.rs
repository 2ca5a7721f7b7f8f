//! Files into the container: what stdin brings, below a folder that is there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, StatVfsMountFlags, Timespec, Timestamps, Uid,
    XattrFlags, chownat, fchmod, fchown, fsetxattr, fstatvfs, futimens, linkat, makedev, mkdirat,
    mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::out::{bad, failed};
use crate::files::{Decoder, Entry, Event, Failure, Kind, Trouble};
use crate::sys::file::write_all;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// Puts what comes into the folder at `path`. `owner`: of all of it, whatever it says; `keeps_kinds`: no folder takes the
/// place of something else, and nothing else a folder's.
pub(super) fn put(
    path: &str,
    owner: Option<(u32, u32)>,
    keeps_kinds: bool,
    stdin: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let full = [b"/", path.as_bytes()].concat();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat(CWD, &full, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR => bad("extraction point is not a directory".into()),
        error => failed(&full)(error),
    })?;
    let mount = fstatvfs(&folder).map_err(failed(&full))?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Failure {
            trouble: Trouble::ReadOnly,
            text: "container rootfs is marked read-only".into(),
        });
    }
    let mut put = Put {
        folder,
        owner,
        keeps_kinds,
        file: None,
        times: Vec::new(),
    };
    let (mut decoder, mut piece) = (Decoder::default(), vec![0; PIECE]);
    loop {
        let count = match rustix::io::read(stdin, &mut piece) {
            Ok(0) => return Err(bad("what was to be put here has no end".into())),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed(b"stdin")(error)),
        };
        let mut input = piece.get(..count).unwrap_or_default();
        while let Some(event) = next(&mut decoder, &mut input)? {
            match event {
                Event::Entry(entry) => put.entry(entry)?,
                Event::Data(bytes) => put.data(bytes)?,
                Event::End(end) => {
                    end?;
                    return put.done();
                }
            }
        }
    }
}

fn next<'i>(decoder: &mut Decoder, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, Failure> {
    decoder.next(input).map_err(|error| bad(error.to_string()))
}

struct Put {
    folder: OwnedFd,
    owner: Option<(u32, u32)>,
    keeps_kinds: bool,
    /// What data is written to.
    file: Option<(OwnedFd, Entry)>,
    /// Of folders: what is put in them changes their times.
    times: Vec<(Vec<u8>, Timestamps)>,
}

impl Put {
    fn entry(&mut self, mut entry: Entry) -> Result<(), Failure> {
        self.close()?;
        if let Some((user, group)) = self.owner {
            (entry.uid, entry.gid) = (user, group);
        }
        let mut parts = entry.path.split(|byte| *byte == b'/');
        if entry.path.starts_with(b"/") || parts.any(|part| part == b"..") {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            return Err(bad(format!("{path}: it leads out of the folder")));
        }
        if entry.path.is_empty() {
            entry.path = b".".to_vec();
        }
        self.make_parents(&entry.path)?;
        let taken = self.make_room(&entry)?;
        let (at, path) = (self.folder.as_fd(), entry.path.as_slice());
        let fails = failed(path);
        let mode = Mode::from_raw_mode(entry.mode);
        match entry.kind {
            Kind::File => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = openat(at, path, flags, Mode::RUSR | Mode::WUSR).map_err(fails)?;
                self.file = Some((file, entry));
            }
            Kind::Folder => {
                if !taken {
                    mkdirat(at, path, mode).map_err(&fails)?;
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = openat(at, path, flags, Mode::empty()).map_err(&fails)?;
                attributes(&folder, &entry)?;
                self.times.push((entry.path.clone(), times(&entry)));
            }
            Kind::HardLink => {
                linkat(at, &entry.link, at, path, AtFlags::empty()).map_err(fails)?;
            }
            Kind::Symlink => {
                symlinkat(entry.link.as_slice(), at, path).map_err(&fails)?;
                owned(at, &entry).map_err(fails)?;
            }
            Kind::Character | Kind::Block | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::Character => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let (major, minor) = entry.device;
                mknodat(at, path, kind, mode, makedev(major, minor)).map_err(&fails)?;
                owned(at, &entry).map_err(fails)?;
            }
            Kind::Socket => {}
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some((file, entry)) = &self.file else {
            return Ok(());
        };
        write_all(file, bytes).map_err(|error| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            Failure {
                trouble: Trouble::Failed,
                text: format!("{path}: {error}"),
            }
        })
    }

    /// The file before is whole.
    fn close(&mut self) -> Result<(), Failure> {
        let Some((file, entry)) = self.file.take() else {
            return Ok(());
        };
        attributes(&file, &entry)?;
        futimens(&file, &times(&entry)).map_err(failed(&entry.path))
    }

    fn done(mut self) -> Result<(), Failure> {
        self.close()?;
        for (path, times) in self.times.iter().rev() {
            utimensat(&self.folder, path, times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed(path))?;
        }
        Ok(())
    }

    fn make_parents(&self, path: &[u8]) -> Result<(), Failure> {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = path.get(..at).unwrap_or_default();
            match mkdirat(&self.folder, parent, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(parent)(error)),
            }
        }
        Ok(())
    }

    /// What has the name already goes, unless both are folders: true.
    fn make_room(&self, entry: &Entry) -> Result<bool, Failure> {
        let path = entry.path.as_slice();
        let status = match statat(&self.folder, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(failed(path)(error)),
        };
        let is_folder = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        let to_be = entry.kind == Kind::Folder;
        if is_folder && to_be {
            return Ok(true);
        }
        if self.keeps_kinds && is_folder != to_be {
            let path = String::from_utf8_lossy(path);
            let (kept, new) = if is_folder {
                ("directory", "non-directory")
            } else {
                ("non-directory", "directory")
            };
            return Err(bad(format!(
                "cannot overwrite {kept} \"{path}\" with {new} \"{path}\""
            )));
        }
        remove(self.folder.as_fd(), path, is_folder).map_err(failed(path))?;
        Ok(false)
    }
}

fn remove(at: BorrowedFd<'_>, name: &[u8], is_folder: bool) -> rustix::io::Result<()> {
    if !is_folder {
        return unlinkat(at, name, AtFlags::empty());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(at, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let status = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_folder = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        remove(folder.as_fd(), name.to_bytes(), is_folder)?;
    }
    unlinkat(at, name, AtFlags::REMOVEDIR)
}

/// Owner before permissions: a change of it takes set-ID bits away.
fn attributes(file: &OwnedFd, entry: &Entry) -> Result<(), Failure> {
    let fails = failed(&entry.path);
    let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(file, Some(user), Some(group)).map_err(&fails)?;
    fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(&fails)?;
    for (name, value) in &entry.xattrs {
        match fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
            // A file system without them.
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(fails(error)),
        }
    }
    Ok(())
}

fn owned(at: BorrowedFd<'_>, entry: &Entry) -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(at, entry.path.as_slice(), Some(user), Some(group), flags)?;
    utimensat(at, entry.path.as_slice(), &times(entry), flags)
}

fn times(entry: &Entry) -> Timestamps {
    let changed = Timespec {
        tv_sec: entry.mtime.0,
        tv_nsec: entry.mtime.1.into(),
    };
    Timestamps {
        last_access: changed,
        last_modification: changed,
    }
}
