//! A tree of files copied into an empty volume: by descriptors, so that no link of an image leads anywhere.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmodat, chownat,
    fchmod, fchown, fstat, mkdirat, mknodat, openat, readlinkat, sendfile, statat, symlinkat,
    utimensat,
};
use rustix::io::{Errno, Result};

/// What mke2fs leaves in an empty file system.
const LOST_AND_FOUND: &CStr = c"lost+found";
/// Bytes that one call copies, at most.
const PIECE: usize = 1 << 20;

/// Copies all that is in `from` to `to`, and the folder's own owner and permissions, if there is nothing in
/// `to`. Contents, owners, permissions and times; hard links become files of their own.
///
/// # Errors
/// Of the system call that failed.
pub fn into_empty(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    for entry in Dir::read_from(to)? {
        let entry = entry?;
        if !is_self(entry.file_name()) && entry.file_name() != LOST_AND_FOUND {
            return Ok(());
        }
    }
    tree(from, to)?;
    let status = fstat(from)?;
    fchown(to, Some(owner(&status)), Some(group(&status)))?;
    fchmod(to, Mode::from_raw_mode(status.st_mode))
}

fn is_self(name: &CStr) -> bool {
    name == c"." || name == c".."
}

fn owner(status: &Stat) -> Uid {
    Uid::from_raw(status.st_uid)
}

fn group(status: &Stat) -> Gid {
    Gid::from_raw(status.st_gid)
}

fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_self(name) && name != LOST_AND_FOUND {
            one(from, to, name)?;
        }
    }
    Ok(())
}

fn one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let status = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let (kind, mode) = (
        FileType::from_raw_mode(status.st_mode),
        Mode::from_raw_mode(status.st_mode),
    );
    match kind {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let folder = OFlags::RDONLY | OFlags::DIRECTORY;
            tree(
                open(from, name, folder)?.as_fd(),
                open(to, name, folder)?.as_fd(),
            )?;
        }
        FileType::RegularFile => content(from, to, name)?,
        FileType::Symlink => symlinkat(&readlinkat(from, name, Vec::new())?, to, name)?,
        // A socket is nothing without the process that made it.
        FileType::Socket => return Ok(()),
        _ => mknodat(to, name, kind, Mode::RWXU, status.st_rdev)?,
    }
    let unfollowed = AtFlags::SYMLINK_NOFOLLOW;
    chownat(
        to,
        name,
        Some(owner(&status)),
        Some(group(&status)),
        unfollowed,
    )?;
    if kind != FileType::Symlink {
        chmodat(to, name, mode, AtFlags::empty())?;
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    };
    utimensat(to, name, &times, unfollowed)
}

fn open(folder: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd> {
    openat(
        folder,
        name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )
}

fn content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let source = open(from, name, OFlags::RDONLY)?;
    let target = open(to, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
    loop {
        match sendfile(&target, &source, None, PIECE) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn folder(path: &std::path::Path) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(path, flags, Mode::empty()).expect("a folder")
    }

    #[test]
    fn all_kinds_are_copied_and_what_is_there_stays() {
        let (from, to) = (
            tempfile::tempdir().expect("one"),
            tempfile::tempdir().expect("other"),
        );
        let (a, b) = (from.path(), to.path());
        fs::create_dir_all(a.join("deep/er")).expect("made");
        fs::write(a.join("deep/er/file"), vec![7; 3 << 20]).expect("written");
        fs::set_permissions(a.join("deep/er/file"), fs::Permissions::from_mode(0o4751))
            .expect("mode");
        symlink("/etc/passwd", a.join("link")).expect("linked");
        fs::set_permissions(a, fs::Permissions::from_mode(0o1777)).expect("mode");
        fs::create_dir(b.join("lost+found")).expect("as mke2fs");

        into_empty(folder(a).as_fd(), folder(b).as_fd()).expect("copied");
        let file = b.join("deep/er/file");
        assert_eq!(fs::read(&file).expect("read"), vec![7; 3 << 20]);
        let (copied, original) = (file.metadata(), a.join("deep/er/file").metadata());
        let (copied, original) = (copied.expect("there"), original.expect("there"));
        assert_eq!(copied.mode() & 0o7777, 0o4751);
        assert_eq!(copied.mtime_nsec(), original.mtime_nsec());
        assert_eq!(
            fs::read_link(b.join("link")).expect("a link"),
            std::path::Path::new("/etc/passwd")
        );
        assert_eq!(b.metadata().expect("there").mode() & 0o7777, 0o1777);

        fs::write(a.join("late"), "x").expect("written");
        into_empty(folder(a).as_fd(), folder(b).as_fd()).expect("nothing to do");
        assert!(!b.join("late").exists());
    }
}
