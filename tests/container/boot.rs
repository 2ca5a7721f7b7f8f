//! The machines that bootstrap.iso boots: both firmwares, all media, controllers, sizes; each value of
//! each column at least once, and the pairs that share code.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::Duration;

use tether::link::frame::MARKER;

use crate::machine::Machine;

/// In MiB: the least that works under BIOS, with our own kernel (36 is too little to unpack the
/// initramfs). UEFI itself, OVMF here, wants 96.
const LEAST_MEMORY: u32 = 36;
const LEAST_MEMORY_EFI: u32 = 96;

/// What the firmware starts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    IdeCd,
    SataCd,
    /// The same file as a USB disk.
    Usb,
    /// `-kernel` and `-initrd`.
    Direct,
}

/// Where the container's disk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Pvscsi,
    LsiSas,
    VirtioBlk,
    VirtioScsi,
    Nvme,
    Ide,
    Sata,
}

struct Row {
    firmware: &'static str,
    cpus: u32,
    /// In MiB.
    memory: u32,
    medium: Medium,
    disk: Disk,
}

fn boots(row: &Row) {
    let mut machine = Machine::new(&[
        "/bin/sh",
        "-c",
        "nproc; grep MemTotal /proc/meminfo; grep ' / ' /proc/mounts",
    ]);
    machine.set("firmware", row.firmware);
    machine.set("numvcpus", &row.cpus.to_string());
    machine.set("memsize", &row.memory.to_string());
    medium(&mut machine, row.medium);
    disk(&mut machine, row.disk);
    assert_eq!(machine.run(), "0", "{}", machine.told());
    let (stdout, _) = machine.output();
    let text = String::from_utf8(stdout).expect("text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(&*row.cpus.to_string()), "{text}");
    let memory: u32 = lines
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("the memory in KiB");
    // The kernel keeps a part for itself.
    assert!(memory <= row.memory << 10, "{text}");
    assert!(memory >= (row.memory << 10) / 3, "{text}");
    assert!(
        lines.next().is_some_and(|line| line.contains("ext4")),
        "{text}"
    );
}

fn medium(machine: &mut Machine, medium: Medium) {
    match medium {
        Medium::IdeCd => (),
        Medium::SataCd => {
            machine.unset_all("ide0:0");
            machine.set("sata0.present", "TRUE");
            machine.set("sata0:0.present", "TRUE");
            machine.set("sata0:0.deviceType", "cdrom-image");
            machine.set("sata0:0.fileName", "bootstrap.iso");
        }
        Medium::Usb => {
            machine.unset_all("ide0:0");
            let file = machine.path("bootstrap.iso").display().to_string();
            machine.with_qemu(&[
                "-drive",
                &format!("if=none,id=usb,format=raw,snapshot=on,file={file}"),
                "-device",
                "qemu-xhci",
                "-device",
                "usb-storage,drive=usb,bootindex=0",
            ]);
        }
        Medium::Direct => {
            machine.unset_all("ide0:0");
            let build = crate::machine::build().display().to_string();
            machine.with_qemu(&[
                "-kernel",
                &format!("{build}/vmlinuz"),
                "-initrd",
                &format!("{build}/initramfs.img"),
                "-append",
                "quiet console=ttyS1,115200",
            ]);
        }
    }
}

fn disk(machine: &mut Machine, disk: Disk) {
    let file = machine.path("container.vmdk").display().to_string();
    let drive = format!("if=none,id=root,format=vmdk,file={file}");
    let mut other = |devices: &[&str]| {
        machine.unset_all("scsi0");
        machine.with_arguments(&["--qemu-arg=-drive", &format!("--qemu-arg={drive}")]);
        for device in devices {
            machine.with_arguments(&["--qemu-arg=-device", &format!("--qemu-arg={device}")]);
        }
    };
    match disk {
        Disk::Pvscsi => (),
        Disk::LsiSas => machine.set("scsi0.virtualDev", "lsisas1068"),
        Disk::VirtioBlk => other(&["virtio-blk-pci,drive=root"]),
        Disk::VirtioScsi => other(&["virtio-scsi-pci", "scsi-hd,drive=root"]),
        Disk::Nvme => other(&["nvme,drive=root,serial=1"]),
        Disk::Ide => other(&["ide-hd,drive=root,bus=ide.1"]),
        Disk::Sata => other(&["ich9-ahci,id=ahci", "ide-hd,drive=root,bus=ahci.1"]),
    }
}

/// A test a row.
macro_rules! rows {
    ($($name:ident: $firmware:literal, $cpus:literal, $memory:expr, $medium:ident, $disk:ident;)*) => {
        $(#[test]
        fn $name() {
            boots(&Row {
                firmware: $firmware,
                cpus: $cpus,
                memory: $memory,
                medium: Medium::$medium,
                disk: Disk::$disk,
            });
        })*
    };
}

rows! {
    bios_the_least_memory: "bios", 1, LEAST_MEMORY, IdeCd, Pvscsi;
    bios_four_processors_sata_cdrom_lsi: "bios", 4, 512, SataCd, LsiSas;
    bios_much_memory_virtio_disk: "bios", 1, 4096, IdeCd, VirtioBlk;
    bios_usb_nvme: "bios", 4, 256, Usb, Nvme;
    bios_virtio_scsi: "bios", 1, 512, SataCd, VirtioScsi;
    bios_ide_disk: "bios", 1, 256, IdeCd, Ide;
    direct_sata_disk: "bios", 1, 256, Direct, Sata;
    efi_the_least_memory_virtio_disk: "efi", 1, LEAST_MEMORY_EFI, IdeCd, VirtioBlk;
    efi_four_processors_sata_cdrom_much_memory: "efi", 4, 4096, SataCd, Pvscsi;
    efi_usb_lsi: "efi", 1, 512, Usb, LsiSas;
    efi_nvme: "efi", 4, 256, IdeCd, Nvme;
}

/// What comes out of ttyS0 before the link's first frame.
fn before_the_first_frame(firmware: &str) -> Vec<u8> {
    let mut machine = Machine::new(&[]);
    machine.set("firmware", firmware);
    let listener = TcpListener::bind(("127.0.0.1", machine.port())).expect("the machine's port");
    machine.boot();
    let (mut stream, _) = listener.accept().expect("the machine's call");
    stream
        .set_read_timeout(Some(Duration::from_secs(240)))
        .expect("a limit");
    let mut seen = Vec::new();
    let mut piece = [0; 256];
    loop {
        let count = stream.read(&mut piece).expect("bytes of the machine's");
        assert_ne!(count, 0, "no frame in {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..count]);
        if let Some(at) = seen.windows(2).position(|two| two == MARKER) {
            seen.truncate(at);
            return seen;
        }
    }
}

#[test]
fn bios_leaves_nothing_but_frames_on_the_first_port() {
    assert_eq!(before_the_first_frame("bios"), b"");
}

#[test]
fn efi_leaves_nothing_of_ours_but_frames_on_the_first_port() {
    let seen = before_the_first_frame("efi");
    let text = String::from_utf8_lossy(&seen);
    // The firmware's last word is that it starts the image.
    let (_, ours) = text
        .split_once("BdsDxe: starting")
        .expect("OVMF's own words");
    let (_, ours) = ours.split_once('\n').expect("a line");
    assert_eq!(ours, "", "{text}");
}
