//! What the ISO says of itself, and what lies beside it.

use std::fs;
use std::process::Command;

use crate::machine::build;

/// A file of the ISO.
fn file(name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("file");
    let output = Command::new("xorriso")
        .arg("-indev")
        .arg(build().join("bootstrap.iso"))
        .args(["-osirrox", "on", "-extract", name])
        .arg(&to)
        .output()
        .expect("xorriso");
    fs::read(&to).unwrap_or_else(|_| panic!("{name}: {output:?}"))
}

fn run(program: &mut Command) -> String {
    let output = program.output().expect("a program");
    assert!(output.status.success(), "{program:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn its_version_is_what_tether_says_and_its_sums_are_right() {
    let text = String::from_utf8(file("/VERSION")).expect("text");
    let says = run(Command::new(build().join("tether")).arg("--version"));
    assert_eq!(text.lines().next(), Some(says.trim_end()));
    for name in ["tether", "vmlinuz", "initramfs.img"] {
        let sum = run(Command::new("sha256sum").arg(build().join(name)));
        let sum = sum.split_whitespace().next().expect("a sum");
        assert!(text.contains(&format!("sha256 {sum} {name}\n")), "{text}");
    }
}

#[test]
fn its_names_stand_for_the_kernel_and_the_initramfs_that_are_in_the_unified_image() {
    for name in ["vmlinuz", "initramfs.img"] {
        let wanted = fs::read(build().join(name)).expect("make iso");
        assert!(file(&format!("/{name}")) == wanted, "{name} differs");
    }
    // Once each: the ISO is not much larger than they are.
    let size = |name: &str| fs::metadata(build().join(name)).expect("make iso").len();
    let parts = size("vmlinuz") + size("initramfs.img");
    assert!(size("bootstrap.iso") < parts + (128 << 10));
}

#[test]
fn checksums_bill_of_materials_and_licences_are_beside_it() {
    run(Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(build()));
    let bill = fs::read_to_string(build().join("bootstrap.spdx")).expect("make iso");
    for package in ["tether", "linux", "musl", "rustix"] {
        assert!(
            bill.contains(&format!("PackageName: {package}\n")),
            "no {package} in it"
        );
    }
    for licence in ["linux", "tether", "GPL-2"] {
        let text = fs::read(build().join("licences").join(licence)).expect(licence);
        assert!(text.len() > 1000, "{licence}");
    }
}
