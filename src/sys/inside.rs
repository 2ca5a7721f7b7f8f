//! A container's tree, used from outside of it: every path is resolved inside, so that a symbolic
//! link of the image never leads into the tree of PID 1.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, RawMode, ResolveFlags, makedev, mkdirat, mknodat, openat2, readlinkat,
    symlinkat,
};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// The root of a container's tree.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
}

/// A device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Inside {
    /// The tree at `path` of our own.
    ///
    /// # Errors
    /// There is no such directory.
    pub fn open(path: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: rustix::fs::open(path, flags, Mode::empty())?,
        })
    }

    /// Opens what `path` leads to.
    ///
    /// # Errors
    /// As `openat2(2)`.
    pub fn get(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )?)
    }

    /// Reads a file of at most `most` bytes.
    ///
    /// # Errors
    /// It is missing, no file, or longer.
    pub fn read(&self, path: &str, most: usize) -> io::Result<Vec<u8>> {
        let fd = self.get(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        super::file::rest(fd, most)
    }

    /// Makes a directory and those above it; one that is there stays as it is.
    ///
    /// # Errors
    /// The file system is read-only, or something else has the name.
    pub fn make_directory(&self, path: &str, mode: RawMode) -> io::Result<Folder> {
        if let Ok(there) = self.folder(path) {
            return Ok(there);
        }
        let (parent, name) = split(path);
        if name.is_empty() {
            return Err(io::Error::from(Errno::INVAL));
        }
        if !parent.is_empty() {
            self.make_directory(parent, 0o755)?;
        }
        mkdirat(&self.parent(parent)?, name, Mode::from_raw_mode(mode))?;
        self.folder(path)
    }

    /// A folder, to make things in it.
    ///
    /// # Errors
    /// There is none.
    pub fn folder(&self, path: &str) -> io::Result<Folder> {
        self.parent(path).map(Folder)
    }

    /// Makes an empty file, something to mount over.
    ///
    /// # Errors
    /// The name is taken, or the file system is read-only.
    pub fn make_file(&self, path: &str, mode: RawMode) -> io::Result<()> {
        let (parent, name) = split(path);
        let parent = self.parent(parent)?;
        Ok(mknodat(
            &parent,
            name,
            FileType::RegularFile,
            Mode::from_raw_mode(mode),
            0,
        )?)
    }

    /// Where the symbolic link at `path` leads to, from the root.
    ///
    /// # Errors
    /// There is no link, or its text is no UTF-8.
    pub fn link(&self, path: &str) -> io::Result<String> {
        let (parent, name) = split(path);
        let text = readlinkat(self.parent(parent)?, name, Vec::new())?;
        let text = text.into_string().map_err(io::Error::other)?;
        Ok(if text.starts_with('/') {
            text
        } else {
            format!("{parent}/{text}")
        })
    }

    fn parent(&self, path: &str) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "/" } else { path };
        self.get(path, OFlags::PATH | OFlags::DIRECTORY)
    }
}

/// A folder of a container's tree.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Mounts a file system on it.
    ///
    /// # Errors
    /// As `mount(2)`.
    pub fn mount(
        &self,
        source: &str,
        kind: &str,
        flags: MountFlags,
        options: &str,
    ) -> io::Result<()> {
        let options = std::ffi::CString::new(options)?;
        Ok(rustix::mount::mount(
            source,
            by_descriptor(self.0.as_fd()),
            kind,
            flags,
            &*options,
        )?)
    }

    /// Mounts what is open over it, with the flags that it is mounted with.
    ///
    /// # Errors
    /// As `mount(2)`.
    pub fn bind(&self, what: BorrowedFd<'_>) -> io::Result<()> {
        let to = by_descriptor(self.0.as_fd());
        Ok(rustix::mount::mount_bind(by_descriptor(what), to)?)
    }

    /// Makes a character device.
    ///
    /// # Errors
    /// The name is taken, or the file system is read-only.
    pub fn make_device(&self, name: &str, device: Device, mode: RawMode) -> io::Result<()> {
        let number = makedev(device.major, device.minor);
        let mode = Mode::from_raw_mode(mode);
        Ok(mknodat(
            &self.0,
            name,
            FileType::CharacterDevice,
            mode,
            number,
        )?)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// The name is taken, or the file system is read-only.
    pub fn make_link(&self, name: &str, target: &str) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }
}

impl AsFd for Inside {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The path that leads to an open descriptor, for calls that take paths alone.
fn by_descriptor(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// `/a/b` is `/a` and `b`; `/a` is nothing and `a`.
pub fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_the_image_does_not_lead_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::fs::write(path.join("secret"), "inside").expect("written");
        std::os::unix::fs::symlink("/secret", path.join("absolute")).expect("linked");
        std::os::unix::fs::symlink("../../../../secret", path.join("climbing")).expect("linked");
        let inside = Inside::open(path.to_str().expect("UTF-8")).expect("it is there");
        assert_eq!(inside.read("/absolute", 100).expect("read"), b"inside");
        assert_eq!(inside.read("climbing", 100).expect("read"), b"inside");
        assert_eq!(
            inside
                .read("secret", 3)
                .expect_err("too long")
                .raw_os_error(),
            Some(libc::EFBIG)
        );
    }

    #[test]
    fn directories_are_made_with_those_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = Inside::open(folder.path().to_str().expect("UTF-8")).expect("it is there");
        inside.make_directory("/a/b/c/", 0o700).expect("made");
        inside
            .make_directory("/a/b/c", 0o700)
            .expect("there already");
        assert!(folder.path().join("a/b/c").is_dir());
        let in_a = inside.folder("/a").expect("it is there");
        in_a.make_link("to", "b").expect("linked");
        inside
            .make_directory("/a/to/d", 0o755)
            .expect("made through the link");
        assert!(folder.path().join("a/b/d").is_dir());
        inside.make_file("/a/file", 0o644).expect("made");
        in_a.make_link("up", "../x/y").expect("linked");
        assert_eq!(inside.link("/a/up").expect("a link"), "/a/../x/y");
        assert!(inside.link("/a/file").is_err());
        assert!(inside.make_directory("/a/file/x", 0o755).is_err());
    }
}
