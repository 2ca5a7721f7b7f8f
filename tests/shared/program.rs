//! `build/tether` with other bytes in it: another program for an upgrade, of which all else is the same.

use std::path::Path;

/// The program with these bytes for those, wherever they stand.
pub fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/tether");
    let mut program = std::fs::read(path).expect("make build");
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut count = 0;
    let mut at = 0;
    while let Some(found) = program[at..].windows(from.len()).position(|w| w == from) {
        at += found;
        program[at..at + to.len()].copy_from_slice(to);
        count += 1;
    }
    assert!(count > 0, "no {from:?} in the program");
    program
}

/// The program under the name of another version, as long as its own.
pub fn of_version(version: &str) -> Vec<u8> {
    patched(env!("CARGO_PKG_VERSION"), version)
}
