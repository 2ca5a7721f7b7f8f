//! Volumes of real machines: disks found by label, memory, what an empty one gets of the image.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

fn e2fs(words: &[&str], image: &PathBuf) -> std::process::Output {
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output();
    output.expect("e2fsprogs is installed")
}

/// A disk of the test's own.
fn disk(label: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(label);
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(16 << 20).expect("its size");
    assert!(
        e2fs(&["mke2fs", "-q", "-t", "ext4", "-L", label], &path)
            .status
            .success()
    );
    (folder, path)
}

/// Runs a script with these volumes and disks to its end: what it said.
fn run(script: &str, mounts: &Value, disks: &[&PathBuf]) -> (String, String) {
    let appliance = Appliance::start();
    let mut machine =
        Machine::new(appliance.port, &["/bin/sh", "-c", script]).with_top("mounts", mounts.clone());
    for (number, disk) in disks.iter().enumerate() {
        let drive = format!("if=none,id=v{number},format=raw,file={}", disk.display());
        let device = format!("virtio-blk-pci,drive=v{number}");
        machine = machine.qemu(&["-drive", &drive, "-device", &device]);
    }
    machine.boot();
    machine.off();
    for disk in disks.iter().copied().chain([&machine.path("disk.ext4")]) {
        // Not even a journal to replay.
        let checked = e2fs(&["e2fsck", "-fn"], disk);
        assert!(
            checked.status.success(),
            "{checked:?}\n{}",
            machine.console()
        );
        let header = e2fs(&["dumpe2fs", "-h"], disk);
        let header = String::from_utf8_lossy(&header.stdout).into_owned();
        assert!(!header.contains("needs_recovery"), "{header}");
    }
    let output = appliance.vch(&["logs", ID]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (said, machine.console())
}

#[test]
fn volumes_are_mounted_in_order_kept_and_filled_once() {
    let (_one, data) = disk("data-1");
    let (_two, conf) = disk("conf");
    let mounts = json!({
        "inner": { "source": "tmpfs://", "dest": "/srv/data/cache", "mode": "size=1m,mode=1777" },
        "data": { "source": "label://data-1", "dest": "/srv/data", "mode": "rw" },
        "conf": { "source": "label://conf", "dest": "/etc", "copymode": "new" },
    });
    let script = "grep -c root: /etc/passwd; ls -d /etc/lost+found >/dev/null && echo disk; \
        stat -c '%a %U' /srv/data/cache; stat -f -c %T /srv/data /srv/data/cache; \
        cat /srv/data/kept /etc/mine 2>/dev/null; echo run >>/srv/data/kept; echo mine >/etc/mine";
    let (said, console) = run(script, &mounts, &[&data, &conf]);
    let first = "1\ndisk\n1777 root\next2/ext3\ntmpfs\n";
    assert_eq!(said, first, "{console}");
    let (said, console) = run(script, &mounts, &[&conf, &data]);
    assert_eq!(said, format!("{first}run\nmine\n"), "{console}");
}

#[test]
fn a_volume_of_the_original_shows_its_data_alone() {
    let (_one, data) = disk("data-1");
    let debugfs = e2fs(&["debugfs", "-w", "-R", "mkdir .vic.vol.data"], &data);
    assert!(debugfs.status.success(), "{debugfs:?}");
    let mounts = json!({ "d": { "source": "label://data-1", "dest": "/data" } });
    let script = "ls -A /data; echo run >>/data/runs; cat /data/runs";
    let (said, console) = run(script, &mounts, &[&data]);
    assert_eq!(said, "run\n", "{console}");
    let (said, console) = run(script, &mounts, &[&data]);
    assert_eq!(said, "runs\nrun\nrun\n", "{console}");
    let kept = e2fs(&["debugfs", "-R", "cat .vic.vol.data/runs"], &data);
    assert_eq!(kept.stdout, b"run\nrun\n");
}

#[test]
fn a_read_only_volume_takes_no_writes() {
    let (_one, data) = disk("data-1");
    let mounts =
        json!({ "d": { "source": "label://data-1", "dest": "/data", "mode": "ro,noexec" } });
    let script = "touch /data/x 2>/dev/null || echo read-only; grep ' /data ' /proc/mounts";
    let (said, console) = run(script, &mounts, &[&data]);
    assert!(said.starts_with("read-only\n/dev/vd"), "{said}{console}");
    assert!(said.contains(" ext4 ro,nodev,noexec"), "{said}");
}

#[test]
fn a_missing_volume_is_told_and_nothing_runs() {
    let (_one, data) = disk("other");
    let mounts = json!({ "d": { "source": "label://data-1", "dest": "/data" } });
    let (said, console) = run("echo never", &mounts, &[&data]);
    assert_eq!(said, "");
    for part in [
        "volume \"d\" for /data",
        "labelled \"data-1\"",
        "label \"other\"",
    ] {
        assert!(console.contains(part), "{part}: {console}");
    }
}

#[test]
fn a_failed_start_can_be_looked_into_where_that_is_asked_for() {
    let appliance = Appliance::start();
    let mounts = json!({ "d": { "source": "label://nowhere", "dest": "/data" } });
    let mut machine = Machine::new(appliance.port, &["/bin/echo", "never"])
        .with_top("mounts", mounts)
        .with_top("link", json!({ "emergencyWait": 3600 }));
    machine.boot();
    machine.until("an emergency", || {
        let told = appliance.vch(&["exec", ID, "sh", "-c", "echo a shell; ls -d /bin"]);
        String::from_utf8_lossy(&told.stdout) == "a shell\n/bin\n"
    });
    let stage = appliance.field(ID, "/Vch/Record/run/stage/text");
    assert!(stage.contains("nowhere"), "{stage}");
    let debug = appliance.ok(&["debug", ID]);
    assert!(debug.contains("/bin/echo: not started"), "{debug}");
    let upgrade = appliance.vch(&["upgrade", ID, "/bin/true"]);
    assert!(!upgrade.status.success());
    // Whoever is still looking ends with it; the reason stays the container's.
    let mut looking = appliance.spawn(&["exec", ID, "sh", "-c", "while :; do sleep 1; done"]);
    assert!(appliance.vch(&["stop", "-t", "1", ID]).status.success());
    machine.off();
    assert!(!looking.wait().expect("its end").success());
    assert_eq!(appliance.field(ID, "/State/ExitCode"), "125");
    let error = appliance.field(ID, "/State/Error");
    assert!(error.contains("nowhere"), "{error}");
    assert_eq!(appliance.ok(&["logs", ID]), "");
}

/// Process 1 needs nothing of an image: no folder, no /etc, nothing that it would run.
#[test]
fn an_empty_image_is_a_missing_program_and_nothing_worse() {
    let appliance = Appliance::start();
    let mut machine = Machine::new(appliance.port, &["/bin/sh"]);
    let disk = machine.path("disk.ext4");
    let words = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", "containerfs"];
    assert!(e2fs(&words, &disk).status.success());
    machine.boot();
    machine.off();
    assert_eq!(appliance.field(ID, "/State/ExitCode"), "127");
    let error = appliance.field(ID, "/State/Error");
    assert!(error.contains("no such file or directory"), "{error}");
}
