//! Boot media with something wrong say so on the console (ttyS1), whatever part it is.

use std::fs;

use crate::machine::{Machine, build};

/// Boots this ISO until the console says all of `parts`.
fn says(iso: &[u8], parts: &[&str]) {
    let mut machine = Machine::new(&[]);
    // vmx finds the backdoor's user in no damaged initramfs.
    machine.with_qemu(&[]);
    machine.boot_from(iso);
    machine.boot();
    machine.until(&format!("the console says {parts:?}"), |machine| {
        let console = machine.console();
        parts.iter().all(|part| console.contains(part))
    });
}

fn iso() -> Vec<u8> {
    fs::read(build().join("bootstrap.iso")).expect("make iso")
}

/// Where the bytes of a file of `build/` are on the ISO.
fn place(iso: &[u8], name: &str) -> std::ops::Range<usize> {
    let file = fs::read(build().join(name)).expect("make iso");
    let start = position(iso, &file[..4096]).expect("the file is on the ISO");
    start..start + file.len()
}

fn position(iso: &[u8], wanted: &[u8]) -> Option<usize> {
    iso.windows(wanted.len())
        .position(|window| window == wanted)
}

/// Breaks a page in the middle of a file.
fn damaged(name: &str) -> Vec<u8> {
    let mut iso = iso();
    let place = place(&iso, name);
    let middle = place.start + place.len() / 2;
    iso[middle..middle + 4096].fill(0xff);
    iso
}

/// Takes a name out of the ISO's folder.
fn without(name: &str) -> Vec<u8> {
    let mut iso = iso();
    while let Some(found) = position(&iso[..64 << 10], name.as_bytes()) {
        iso[found..found + name.len()].fill(b'_');
    }
    iso
}

#[test]
fn a_damaged_initramfs() {
    says(&damaged("initramfs.img"), &["nitramfs", "Kernel panic"]);
}

#[test]
fn a_damaged_kernel() {
    says(&damaged("vmlinuz"), &["System halted"]);
}

#[test]
fn no_initramfs() {
    let mut iso = without("INITRAMF.IMG");
    let name = b"initramfs.img";
    let folder = &mut iso[..128 << 10];
    // Rock Ridge's name, and not the one in isolinux.cfg, which has a slash.
    for at in 1..folder.len() - name.len() {
        if folder[at..].starts_with(name) && folder[at - 1] != b'/' {
            folder[at..at + name.len()].fill(b'_');
        }
    }
    says(&iso, &["initramfs.img"]);
}
