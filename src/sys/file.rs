//! Small files, read whole: open, read, close and nothing else. A boot reads a dozen of the kernel's.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
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

/// Reads what comes next, at most `limit` later; `None`: nothing came.
///
/// # Errors
/// As `read(2)`.
pub fn read_within(
    file: impl AsFd,
    buffer: &mut [u8],
    limit: std::time::Duration,
) -> io::Result<Option<usize>> {
    let limit = limit.try_into().map_err(io::Error::other)?;
    loop {
        let mut ready = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut ready, Some(&limit)) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        match rustix::io::read(&file, &mut *buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_does_not_come_is_not_waited_for_and_an_end_is_told() {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let mut buffer = [0; 8];
        let mut read =
            || read_within(&reader, &mut buffer, Duration::from_millis(1)).expect("open");
        assert_eq!(read(), None);
        write_all(&writer, b"abc").expect("room");
        assert_eq!(read(), Some(3));
        drop(writer);
        assert_eq!(read(), Some(0));
    }
}
