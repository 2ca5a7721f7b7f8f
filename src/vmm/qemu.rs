//! The QEMU command line of a .vmx file's own device lines, as a value: nothing is looked up and
//! nothing is started here.
//!
//! | .vmx | QEMU |
//! |---|---|
//! | `ideC:U`, `sataN:U` | `ide-cd` / `ide-hd` on the PIIX's or an AHCI's bus |
//! | `scsiN.virtualDev` `pvscsi`, `lsisas1068`, `lsilogic` | `pvscsi`, `mptsas1068`, and that again (QEMU has no 53C1030) |
//! | `ethernetN.virtualDev` `vmxnet3`, `e1000`, `e1000e`, `vlance` | the same (`pcnet`), on a user-mode network |
//! | `ethernetN.connectionType` `custom`, `ethernetN.vnet` | plugged into the switch at this socket (`vmx switch`) |
//! | `ethernetN.pciSlotNumber` above 31 | behind the bridge that the number means |
//! | `serialN.fileType` `network`, `file`, `pipe`, `device` | `isa-serial` on a chardev; a client dials again until it is heard |
//! | `memsize`, `numvcpus`, `firmware`, `bios.bootOrder` | `-m`, `-smp`, OVMF, `bootindex` |
//! | `uuid.bios` and what VMware's firmware says | `-smbios` |
//!
//! A device without its `.present` line counts as present when another line names it. What cannot
//! be had is an error that names the line; what is not missed is a warning.

mod disks;
mod lines;
mod network;
mod serial;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::file::VmxFile;
pub use lines::LineError;
use lines::{Lines, Options};

/// What `vmx run` starts where nothing else is named.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// The serial port that is the guest's console, by our convention (`ttyS1`): the first is the link.
pub const CONSOLE_PORT: u32 = 1;

/// In MiB, where the .vmx does not say.
const DEFAULT_MEMORY: u64 = 256;
/// VMware's own rule for `memsize`, in MiB.
const MEMORY_STEP: u64 = 4;

/// What the machine that runs QEMU has to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The processor's virtualisation can be used.
    pub kvm: bool,
    /// UEFI firmware for `firmware = "efi"`.
    pub firmware: Option<Firmware>,
}

/// OVMF in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Read only.
    pub code: PathBuf,
    /// A template; what the guest changes is forgotten.
    pub variables: PathBuf,
}

/// What the caller wires to the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// A listening socket that QEMU's gdb stub connects to; the machine then waits for it.
    pub gdb: Option<PathBuf>,
    /// A listening socket that QEMU's monitor connects to.
    pub monitor: Option<PathBuf>,
    /// Where the console goes instead of where the .vmx says.
    pub console: Option<Console>,
    /// More arguments, as they are.
    pub extra: Vec<OsString>,
}

/// Another end for the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// A file, made anew.
    File(PathBuf),
    /// A listening socket.
    Socket(PathBuf),
}

/// A file that a device needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// The line that names it.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// The guest's writes go into it.
    pub written: bool,
}

/// A machine, ready to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// QEMU's arguments, without the program.
    pub arguments: Vec<OsString>,
    /// The files that must be there.
    pub media: Vec<Medium>,
    /// The medium to boot from, when it is a CD-ROM image: the first in the order of booting.
    pub boot_image: Option<PathBuf>,
    /// What is not as the .vmx says.
    pub warnings: Vec<String>,
    /// `uuid.bios`
    pub uuid: Option<[u8; 16]>,
    /// `machine.id`
    pub machine_id: Option<String>,
}

/// Plans the machine of a .vmx file that lies in `folder` (absolute): its relative paths start
/// there.
///
/// # Errors
/// When a line asks for what cannot be had, or says what it cannot mean.
pub fn plan(
    file: &VmxFile,
    folder: &Path,
    environment: &Environment,
    wiring: &Wiring,
) -> Result<Plan, LineError> {
    let lines = Lines::new(file, folder);
    let uuid = lines.uuid("uuid.bios")?;
    let mut plan = Plan {
        uuid,
        machine_id: lines.text("machine.id"),
        ..Plan::default()
    };
    plan.warnings
        .extend(file.problems().iter().map(ToString::to_string));
    machine(&mut plan, &lines, environment)?;
    firmware(&mut plan, &lines, environment)?;
    smbios(&mut plan);
    let order = BootOrder::read(&lines);
    disks::add(&mut plan, &lines, &order)?;
    network::add(&mut plan, &lines, &order)?;
    serial::add(&mut plan, &lines, wiring.console.as_ref())?;
    ignored(&mut plan, &lines)?;
    let socket = |id, path| Options::of("socket").with("id", id).with("path", path);
    if let Some(path) = &wiring.monitor {
        plan.option("-chardev", socket("monitor", path));
        plan.pair("-mon", "chardev=monitor,mode=control");
    }
    if let Some(path) = &wiring.gdb {
        plan.option("-chardev", socket("gdb", path));
        plan.pair("-gdb", "chardev:gdb");
        plan.flag("-S");
    }
    plan.arguments.extend(wiring.extra.iter().cloned());
    Ok(plan)
}

impl Plan {
    fn flag(&mut self, name: &str) {
        self.arguments.push(name.into());
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.arguments.push(name.into());
        self.arguments.push(value.into());
    }

    fn option(&mut self, name: &str, options: Options) {
        self.pair(name, options.into_argument());
    }
}

/// The machine without its devices.
fn machine(plan: &mut Plan, lines: &Lines, environment: &Environment) -> Result<(), LineError> {
    plan.flag("-no-user-config");
    plan.flag("-nodefaults");
    plan.pair("-display", "none");
    if let Some(name) = lines.text("displayName").filter(|name| !name.is_empty()) {
        plan.option("-name", Options::of(name));
    }
    // QEMU's own half of a backdoor would answer what we do not see.
    plan.pair("-machine", "pc,vmport=off");
    if environment.kvm {
        plan.pair("-accel", "kvm");
        plan.pair("-accel", "tcg");
        plan.pair("-cpu", "max");
    } else {
        plan.pair("-accel", "tcg");
        // Five levels of page tables cost a software processor time, and buy a small guest nothing.
        // A kernel that sees erms or fsrm copies with `rep movsb`: byte by byte, when emulated.
        plan.pair("-cpu", "max,la57=off,-erms,-fsrm");
    }
    let memory = lines.number("memsize")?.unwrap_or(DEFAULT_MEMORY);
    if memory == 0 || !memory.is_multiple_of(MEMORY_STEP) {
        return Err(lines.bad("memsize", "a multiple of 4, in MiB"));
    }
    plan.pair("-m", format!("{memory}M"));
    let processors = lines.number("numvcpus")?.unwrap_or(1);
    if processors == 0 {
        return Err(lines.bad("numvcpus", "at least 1"));
    }
    let cores = lines.number("cpuid.coresPerSocket")?.unwrap_or(1);
    if cores == 0 || processors % cores != 0 {
        return Err(lines.bad("cpuid.coresPerSocket", "a divisor of numvcpus"));
    }
    let topology = format!(
        "{processors},sockets={},cores={cores},threads=1",
        processors / cores
    );
    plan.pair("-smp", topology);
    plan.pair("-rtc", "base=utc");
    Ok(())
}

fn firmware(plan: &mut Plan, lines: &Lines, environment: &Environment) -> Result<(), LineError> {
    const KEY: &str = "firmware";
    match lines.choice(KEY).as_deref() {
        None | Some("bios") => return Ok(()),
        Some("efi") => {}
        Some(_) => return Err(lines.bad(KEY, "bios or efi")),
    }
    let Some(firmware) = &environment.firmware else {
        return Err(lines.unsupported(
            KEY,
            "OVMF, the UEFI firmware for QEMU, is not installed (Debian package ovmf)",
        ));
    };
    let part = |unit: &str, file: &Path| {
        Options::new()
            .with("if", "pflash")
            .with("unit", unit)
            .with("format", "raw")
            .with("file", file.as_os_str())
    };
    plan.option("-drive", part("0", &firmware.code).with("readonly", "on"));
    plan.option(
        "-drive",
        part("1", &firmware.variables).with("snapshot", "on"),
    );
    Ok(())
}

/// What a VMware machine's firmware says of itself; guests know VMware by it.
fn smbios(plan: &mut Plan) {
    let uuid = plan.uuid.unwrap_or_default();
    let bytes: Vec<String> = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    // The same form as `uuid.bios` has, with a dash between the halves.
    let serial = format!("VMware-{}-{}", first.join(" "), second.join(" "));
    let mut system = Options::new()
        .with("type", "1")
        .with("manufacturer", "VMware, Inc.")
        .with("product", "VMware Virtual Platform")
        .with("version", "None")
        .with("serial", serial);
    if plan.uuid.is_some() {
        let group = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default().concat();
        let groups = [
            group(0..4),
            group(4..6),
            group(6..8),
            group(8..10),
            group(10..16),
        ];
        system = system.with("uuid", groups.join("-"));
    }
    let bios = Options::new()
        .with("type", "0")
        .with("vendor", "Phoenix Technologies LTD")
        .with("version", "6.00");
    let board = Options::new()
        .with("type", "2")
        .with("manufacturer", "Intel Corporation")
        .with("product", "440BX Desktop Reference Platform")
        .with("version", "None");
    for options in [bios, system, board] {
        plan.option("-smbios", options);
    }
}

/// What is booted first. VMware's firmware tries what can be removed before the disks, and goes on
/// where nothing can be booted.
struct BootOrder(Vec<String>);

impl BootOrder {
    /// Devices of one kind are in the order of their names; more of them than this share the last
    /// place.
    const OF_A_KIND: usize = 16;

    fn read(lines: &Lines) -> BootOrder {
        let order = lines
            .choice("bios.bootOrder")
            .unwrap_or_else(|| String::from("cdrom,hdd"));
        let kinds = order.split(',').map(|kind| {
            let kind = kind.trim();
            match kind.starts_with("ethernet") {
                true => "ethernet",
                false => kind,
            }
            .to_owned()
        });
        BootOrder(kinds.collect())
    }

    /// QEMU's `bootindex` for the `number`th device of a kind; `None`: never booted.
    fn index(&self, kind: &str, number: usize) -> Option<usize> {
        let place = self.0.iter().position(|own| own == kind)?;
        Some(place * Self::OF_A_KIND + number.min(Self::OF_A_KIND - 1))
    }
}

/// Devices that no guest of ours misses.
fn ignored(plan: &mut Plan, lines: &Lines) -> Result<(), LineError> {
    const MISSING: [&str; 6] = ["floppy", "parallel", "sound", "usb", "ehci", "usb_xhci"];
    for device in lines.devices(&MISSING) {
        let key = format!("{device}.present");
        if lines.truth(&key)?.unwrap_or(false) {
            plan.warnings.push(format!(
                "{key}: the virtual machine has no such device here"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
