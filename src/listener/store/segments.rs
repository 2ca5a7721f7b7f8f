//! The files of one log. Each is named by the position of its first byte in the whole log, twenty
//! digits, so that names sort as positions do and the oldest can be deleted without touching
//! anything else.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Digits of a segment's name: every `u64` fits.
const NAME_DIGITS: usize = 20;

/// The file of the segment that begins at `start`.
pub fn path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:0width$}", width = NAME_DIGITS))
}

/// Starts of all segments, oldest first. A folder that does not exist has none.
///
/// # Errors
/// The folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut starts = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let start = name
            .to_str()
            .filter(|n| n.len() == NAME_DIGITS && n.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|n| n.parse::<u64>().ok());
        // Anything else in the folder is not ours.
        starts.extend(start);
    }
    starts.sort_unstable();
    Ok(starts)
}

/// Opens the segment that holds `position`: the one that begins there, else the last that begins
/// before it. `None`: the log has no such segment (any more).
///
/// # Errors
/// The folder or the file cannot be read.
pub fn open_at(dir: &Path, position: u64) -> io::Result<Option<(File, u64)>> {
    match File::open(path(dir, position)) {
        Ok(file) => return Ok(Some((file, position))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let starts = list(dir)?;
    let Some(start) = starts.into_iter().rev().find(|start| *start <= position) else {
        return Ok(None);
    };
    match File::open(path(dir, start)) {
        Ok(file) => Ok(Some((file, start))),
        // Deleted since it was listed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_by_position() {
        let dir = tempfile::tempdir().expect("folder");
        for start in [300, 0, 100] {
            fs::write(path(dir.path(), start), b"x").expect("file");
        }
        fs::write(dir.path().join("notes.txt"), b"x").expect("file");
        assert_eq!(list(dir.path()).expect("list"), [0, 100, 300]);
        for (position, start) in [(0, 0), (99, 0), (100, 100), (299, 100), (900, 300)] {
            let found = open_at(dir.path(), position).expect("open").map(|f| f.1);
            assert_eq!(found, Some(start), "position {position}");
        }
        fs::remove_file(path(dir.path(), 0)).expect("remove");
        assert!(open_at(dir.path(), 99).expect("open").is_none());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_segments() {
        let dir = tempfile::tempdir().expect("folder");
        assert!(list(&dir.path().join("none")).expect("list").is_empty());
    }
}
