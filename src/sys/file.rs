//! Small files, read whole: open, read, close and nothing else. A boot reads a dozen of the kernel's.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What is in the file.
///
/// # Errors
/// It cannot be opened or read.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rest(&file, usize::MAX)
}

/// The same as text, empty where there is none to be had.
pub fn text(path: &str) -> String {
    let bytes = read(path).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Writes all of it, whatever the kernel takes at a time.
///
/// # Errors
/// As `write(2)`.
pub fn write_all(file: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&file, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is left in an open file, at most `most` bytes.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn rest(file: impl AsFd, most: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut piece = [0u8; 4096];
    loop {
        match rustix::io::read(&file, &mut piece) {
            Ok(0) => return Ok(content),
            Ok(length) => content.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if content.len() > most {
            return Err(Errno::FBIG.into());
        }
    }
}
