//! `vmx run` with real virtual machines: a guest of our own on a real kernel, in QEMU.
#![cfg(feature = "vm-tests")]

mod vm;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use rustix::process::Signal;
use vm::{Machine, is_gone, wait_for};

/// A quoted value with every byte in it that a value can have, and its escaped form in the file.
fn every_byte() -> (Vec<u8>, String) {
    let bytes: Vec<u8> = (0..=255).cycle().take(20_000).filter(|b| *b != 0).collect();
    let escaped: String = bytes.iter().map(|byte| format!("|{byte:02x}")).collect();
    (bytes, escaped)
}

#[test]
fn values_go_both_ways_in_both_bandwidths() {
    let (bytes, escaped) = every_byte();
    let machine = Machine::new("echo", &format!("guestinfo.test.in = \"{escaped}\"\n"));
    let stderr = machine.run(&["--count"]);
    assert_eq!(machine.value("guestinfo..test.low"), bytes);
    assert_eq!(machine.value("guestinfo..test.high"), bytes);
    assert!(stderr.contains("2 rep outsb, 2 rep insb"), "{stderr}");
    let log = machine.log();
    assert!(log.contains("Guest: hello from the guest"), "{log}");
    assert!(log.contains("power off: by the guest"), "{log}");
}

#[test]
fn instructions_of_others_at_the_same_address_are_passed_over() {
    let machine = Machine::new("foreign", "numvcpus = \"2\"\n");
    let stderr = machine.run(&["--count"]);
    assert_eq!(machine.value("guestinfo..test.child"), b"42");
    assert!(stderr.contains("20 stops elsewhere"), "{stderr}");
}

#[test]
fn a_guest_may_reboot_more_often_than_the_host_has_channels() {
    let machine = Machine::new("reboot", "");
    machine.run(&[]);
    assert_eq!(machine.value("guestinfo..test.boots"), b"10");
}

#[test]
fn sigterm_ends_the_machine_and_what_the_guest_has_set_is_there_before() {
    let machine = Machine::new("hang", "");
    let running = machine.start(&[]);
    wait_for("the guest's key in the file", || {
        (machine.value("guestinfo..test.state") == b"hanging").then_some(())
    });
    let qemu = running.qemu();
    running.signal(Signal::TERM);
    let (status, stderr) = running.wait();
    assert_eq!(status, Some(128 + 15), "{stderr}");
    assert!(is_gone(qemu));
}

#[test]
fn a_killed_host_leaves_no_machine_behind() {
    let machine = Machine::new("hang", "");
    let running = machine.start(&[]);
    let qemu = running.qemu();
    running.signal(Signal::KILL);
    running.wait();
    wait_for("QEMU to end", || is_gone(qemu).then_some(()));
}

#[test]
fn the_time_given_ends_the_machine() {
    let machine = Machine::new("hang", "");
    let (status, stderr) = machine.start(&["--timeout", "0.5"]).wait();
    assert_eq!(status, Some(124), "{stderr}");
    assert!(stderr.contains("--timeout"), "{stderr}");
}

#[test]
fn a_listener_may_come_late_and_come_back() {
    // A port that is free now, and ours again when the guest already dials it.
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = reserved.local_addr().unwrap();
    drop(reserved);
    let machine = Machine::new(
        "serial",
        &format!(
            "serial0.fileType = \"network\"\nserial0.fileName = \"tcp://{port}\"\nserial0.network.endPoint = \"client\"\n"
        ),
    );
    let running = machine.start(&[]);
    wait_for("the guest to be at its serial port", || {
        (machine.value("guestinfo..test.state") == b"serial").then_some(())
    });
    for turn in 0..2 {
        let listener = TcpListener::bind(port).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        writeln!(stream, "turn {turn}").unwrap();
        let expected = format!("got turn {turn}");
        let mut line = String::new();
        while !line.contains(&expected) {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "{expected}");
        }
        if turn == 1 {
            writeln!(stream, "quit").unwrap();
        }
    }
    let (status, stderr) = running.wait();
    assert_eq!(status, Some(0), "{stderr}");
}

/// A disk of 1 MiB: a descriptor, and an extent that is the raw content.
fn make_vmdk(folder: &std::path::Path, name: &str) {
    let extent = format!("{name}-flat.vmdk");
    std::fs::write(folder.join(&extent), vec![0; 1 << 20]).expect("an extent");
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW 2048 FLAT \"{extent}\" 0\nddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"13\"\n\
         ddb.geometry.cylinders = \"1\"\nddb.geometry.heads = \"64\"\nddb.geometry.sectors = \"32\"\n"
    );
    std::fs::write(folder.join(format!("{name}.vmdk")), descriptor).expect("a descriptor");
}

#[test]
fn qemu_takes_every_device_that_is_planned() {
    let lines = r#"
        scsi0.virtualDev = "pvscsi"
        scsi0:15.fileName = "a, b.vmdk"
        scsi1.virtualDev = "lsisas1068"
        scsi1:1.fileName = "c.vmdk"
        scsi1:1.mode = "independent-nonpersistent"
        scsi2.virtualDev = "lsilogic"
        scsi2:6.fileName = "d.vmdk"
        sata0:2.deviceType = "cdrom-raw"
        ethernet0.virtualDev = "vmxnet3"
        ethernet1.virtualDev = "e1000"
        ethernet1.connectionType = "hostonly"
        ethernet2.virtualDev = "e1000e"
        ethernet2.startConnected = "FALSE"
        ethernet3.virtualDev = "vlance"
        serial0.fileType = "pipe"
        serial0.fileName = "pipe"
        serial2.fileType = "network"
        serial2.fileName = "telnet://127.0.0.1:1"
        serial2.network.endPoint = "client"
        serial3.fileType = "file"
        serial3.fileName = "port"
        firmware = "efi"
        numvcpus = "4"
        cpuid.coresPerSocket = "2"
        displayName = "a, b"
        uuid.bios = "56 4d 2c f7 f4 83 bf 6e-7f 32 da a5 3f 51 ca 38"
    "#;
    let machine = Machine::new("echo", lines);
    let folder = machine.path();
    let folder = folder.parent().unwrap();
    for name in ["a, b", "c", "d"] {
        make_vmdk(folder, name);
    }
    // Held before its first instruction: that QEMU got so far is what counts.
    let arguments = ["--no-backdoor", "--qemu-arg=-S", "--timeout", "2"];
    let (status, stderr) = machine.start(&arguments).wait();
    assert_eq!(status, Some(124), "{stderr}");
    assert!(folder.join("port").exists());
}
