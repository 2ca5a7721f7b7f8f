//! What a containerVM does from power-on to its command's start, with good input and with bad.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use crate::machine::{ID, Machine};

#[test]
fn output_and_status_reach_the_appliance_and_the_vmx() {
    let mut machine = Machine::new(&["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(machine.run(), "3");
    assert_eq!(machine.output(), (b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(
        machine.written("status").as_deref(),
        Some("3"),
        "{}",
        machine.told()
    );
    assert_eq!(
        machine.written("started").as_deref(),
        Some("true"),
        "{}",
        machine.told()
    );
}

#[test]
fn the_blog_s_hello_says_hello() {
    let mut machine = Machine::new(&[]);
    assert_eq!(machine.run(), "0");
    let (stdout, stderr) = machine.output();
    let text = String::from_utf8(stdout).expect("text");
    assert!(text.contains("Hello from a container"), "{text}");
    assert_eq!(stderr, b"");
    let table = String::from_utf8(machine.vch(&["ps", "-a"]).stdout).expect("text");
    for column in [
        &ID[..12],
        "hello-world",
        "/hello",
        "Exited (0)",
        "jolly_panini",
    ] {
        assert!(table.contains(column), "no {column} in:\n{table}");
    }
}

#[test]
fn without_guestinfo_the_roots_that_were_looked_under_are_named() {
    let mut machine = Machine::new(&[]);
    machine.unset_all("guestinfo.");
    machine.boot();
    machine.off();
    let error = machine.error();
    for part in ["no guestinfo", "guestinfo./", "guestinfo.vice./"] {
        assert!(
            error.contains(part),
            "{part} is not named\n{}",
            machine.told()
        );
    }
}

#[test]
fn with_the_excerpt_s_lines_alone_the_keys_that_are_missed_are_named() {
    let mut machine = Machine::new(&[]);
    machine.unset_all("guestinfo./common/id");
    machine.unset_all("guestinfo./sessions =");
    machine.boot();
    machine.off();
    let error = machine.error();
    for key in ["guestinfo./common/id", "guestinfo./sessions"] {
        assert!(
            error.contains(key),
            "{key} is not named\n{}",
            machine.told()
        );
    }
}

#[test]
fn a_malformed_key_is_named_with_its_value_and_nothing_starts() {
    let mut machine = Machine::new(&["/bin/sh", "-c", "echo never"]);
    machine.set(&format!("guestinfo./sessions|{ID}/cmd/Args"), "seven");
    machine.listen();
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(
        error.contains("cmd/Args") && error.contains("seven"),
        "{}",
        machine.told()
    );
    assert!(!machine.vch(&["logs", ID]).stdout.starts_with(b"never"));
}

#[test]
fn a_command_that_does_not_exist_ends_with_127() {
    let mut machine = Machine::new(&["/no/such/command"]);
    assert_eq!(machine.run(), "127");
    let started = machine
        .written("started")
        .expect("what kept it from starting");
    assert!(started.contains("/no/such/command"), "{started}");
}

#[test]
fn a_command_that_is_not_executable_ends_with_126() {
    let mut machine = Machine::new(&["/etc/passwd"]);
    assert_eq!(machine.run(), "126");
    let started = machine
        .written("started")
        .expect("what kept it from starting");
    assert!(started.contains("/etc/passwd"), "{started}");
}

#[test]
fn a_command_that_is_a_directory_ends_with_126() {
    let mut machine = Machine::new(&["/etc"]);
    assert_eq!(machine.run(), "126");
    let started = machine
        .written("started")
        .expect("what kept it from starting");
    assert!(started.contains("/etc"), "{started}");
}

#[test]
fn a_disk_without_the_label_is_told_with_the_disks_that_were_seen() {
    let mut machine = Machine::new(&[]);
    let raw = machine.path("other.ext4");
    fs::File::create(&raw)
        .and_then(|file| file.set_len(8 << 20))
        .expect("an image");
    let made = Command::new("mke2fs")
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .args(["-q", "-t", "ext4", "-L", "somethingelse"])
        .arg(&raw)
        .status()
        .expect("mke2fs");
    assert!(made.success());
    to_vmdk(&raw, &machine);
    machine.boot();
    machine.off();
    let error = machine.error();
    for part in ["containerfs", "sda", "somethingelse"] {
        assert!(
            error.contains(part),
            "{part} is not named\n{}",
            machine.told()
        );
    }
}

#[test]
fn a_corrupt_file_system_is_told_by_its_label() {
    let mut machine = Machine::new(&[]);
    let raw = machine.path("corrupt.ext4");
    fs::copy(crate::machine::test_disk(), &raw).expect("the disk");
    let disk = fs::File::options()
        .write(true)
        .open(&raw)
        .expect("the disk");
    // The superblock keeps its magic and its label (bytes 1080 and 1144) but for its first fields:
    // a file system of no inodes in no groups.
    disk.write_all_at(&[0xff; 40], 1024).expect("a write");
    to_vmdk(&raw, &machine);
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(
        error.contains("containerfs") || error.contains("/dev/sda"),
        "{}",
        machine.told()
    );
    assert_ne!(
        machine.written("started").as_deref(),
        Some("true"),
        "{}",
        machine.told()
    );
}

/// Makes a raw image the machine's disk.
fn to_vmdk(raw: &std::path::Path, machine: &Machine) {
    let made = Command::new("qemu-img")
        .args(["convert", "-q", "-f", "raw", "-O", "vmdk"])
        .arg(raw)
        .arg(machine.path("container.vmdk"))
        .status()
        .expect("qemu-img");
    assert!(made.success());
}

/// The kernel's errors are on the console always; with `diagnostics/debug` what it does is, too.
#[test]
fn the_kernel_s_own_messages_are_on_the_console_when_they_are_asked_for() {
    const MOUNTED: &str = "EXT4-fs (sda): mounted filesystem";
    for (debug, shown) in [("0", false), ("1", true)] {
        let mut machine = Machine::new(&["/bin/true"]);
        machine.set("guestinfo./diagnostics/debug", debug);
        assert_eq!(machine.run(), "0", "{}", machine.told());
        let console = machine.console();
        assert_eq!(console.contains(MOUNTED), shown, "{console}");
    }
}
