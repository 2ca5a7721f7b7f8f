//! Boot media with something wrong say so on the console (ttyS1), whatever part it is.

use std::fs;

use crate::machine::{Machine, build};

/// Boots this ISO until the console says all of `parts`.
fn says(iso: &[u8], parts: &[&str]) {
    says_under("bios", iso, parts);
}

fn says_under(firmware: &str, iso: &[u8], parts: &[&str]) {
    let mut machine = Machine::new(&[]);
    machine.set("firmware", firmware);
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

#[test]
fn a_damaged_initramfs() {
    says(&damaged("initramfs.img"), &["the boot medium is damaged"]);
}

#[test]
fn a_damaged_kernel() {
    says(&damaged("vmlinuz"), &["the boot medium is damaged"]);
}

// UEFI firmware looks at no sums where nothing is signed: the kernel says what is wrong.

#[test]
fn a_damaged_initramfs_under_efi() {
    let wanted = ["nitramfs", "Kernel panic"];
    says_under("efi", &damaged("initramfs.img"), &wanted);
}

#[test]
fn a_damaged_kernel_under_efi() {
    let wanted = ["Failed to decompress kernel"];
    says_under("efi", &damaged("vmlinuz"), &wanted);
}

#[test]
fn an_initramfs_of_nothing() {
    let mut iso = iso();
    let place = place(&iso, "initramfs.img");
    iso[place].fill(0);
    says(&iso, &["the boot medium is damaged"]);
}

#[test]
fn no_kernel() {
    let mut iso = iso();
    let start = place(&iso, "vmlinuz").start;
    iso[start..start + 4096].fill(0);
    says(&iso, &["no kernel where one should be"]);
}

#[test]
fn half_an_iso() {
    let mut iso = iso();
    iso.truncate(iso.len() / 2 / 2048 * 2048);
    // (SeaBIOS says that it has read what is not there.)
    says(&iso, &["the boot medium"]);
}

#[test]
fn too_little_memory() {
    let mut machine = Machine::new(&[]);
    machine.set("memsize", "24");
    machine.boot();
    machine.until("the boot loader says why", |machine| {
        machine.console().contains("too little memory")
    });
}
