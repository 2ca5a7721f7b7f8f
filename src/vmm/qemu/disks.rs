//! Disks and CD-ROMs: IDE, SATA and SCSI.

use std::path::PathBuf;

use super::lines::{Device, LineError, Lines, Options};
use super::{BootOrder, Medium, Plan};

/// The PIIX has two channels of two.
const IDE_CHANNELS: u32 = 2;
const IDE_UNITS: u32 = 2;
/// QEMU's AHCI has as many ports.
const SATA_PORTS: u32 = 6;
/// A SCSI bus has as many in VMware; in QEMU all of them on a pvscsi adapter only.
const SCSI_TARGETS: u32 = 16;
const SCSI_TARGETS_LSI: u32 = 7;
/// The adapter's own place among them.
const SCSI_ADAPTER: u32 = 7;

/// What a unit is on.
struct Slot {
    /// QEMU's device for a CD-ROM and for a disk there.
    cdrom: &'static str,
    disk: &'static str,
    place: Vec<(&'static str, String)>,
}

/// What is in a unit.
enum Content {
    Cdrom(Option<PathBuf>),
    Disk { path: PathBuf, mode: Mode },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Persistent,
    /// What the guest writes is forgotten when it is powered off.
    Nonpersistent,
}

pub(super) fn add(plan: &mut Plan, lines: &Lines, order: &BootOrder) -> Result<(), LineError> {
    let mut cdroms = Vec::new();
    let mut disks = 0;
    for device in lines.devices(&["nvme"]) {
        let key = format!("{device}.present");
        if lines.truth(&key)?.unwrap_or(false) {
            return Err(lines.unsupported(&key, "put the disk on a pvscsi controller"));
        }
    }
    controllers(plan, lines)?;
    for device in lines.devices(&["ide", "sata", "scsi"]) {
        let (Some(bus), Some(unit)) = (device.number, device.unit) else {
            continue;
        };
        let controller = format!("{}{bus}", device.name);
        let on_controller = device.name == "ide" || lines.present(&controller)?;
        if !on_controller || !lines.present(&device.to_string())? {
            continue;
        }
        let slot = slot(lines, &device, bus, unit)?;
        let content = content(plan, lines, &device)?;
        let index = match &content {
            Content::Cdrom(path) => {
                let index = order.index("cdrom", cdroms.len());
                cdroms.push((index, path.clone()));
                index
            }
            Content::Disk { .. } => {
                disks += 1;
                order.index("hdd", disks - 1)
            }
        };
        drive(plan, &device, &slot, content, index);
    }
    cdroms.sort_by_key(|(index, _)| index.unwrap_or(usize::MAX));
    plan.boot_image = cdroms.into_iter().find_map(|(_, path)| path);
    Ok(())
}

/// SATA and SCSI adapters; the IDE one is a part of the machine.
fn controllers(plan: &mut Plan, lines: &Lines) -> Result<(), LineError> {
    let mut done = Vec::new();
    for device in lines.devices(&["sata", "scsi"]) {
        let controller = Device {
            unit: None,
            ..device
        };
        let id = controller.to_string();
        if done.contains(&id) || !lines.present(&id)? {
            continue;
        }
        let model = match controller.name.as_str() {
            "sata" => "ich9-ahci",
            _ => scsi_model(plan, lines, &id)?,
        };
        plan.option("-device", Options::of(model).with("id", &id));
        done.push(id);
    }
    Ok(())
}

fn scsi_model(plan: &mut Plan, lines: &Lines, id: &str) -> Result<&'static str, LineError> {
    let key = format!("{id}.virtualDev");
    match lines.choice(&key).as_deref() {
        Some("pvscsi") => Ok("pvscsi"),
        Some("lsisas1068") => Ok("mptsas1068"),
        Some("lsilogic") => {
            plan.warnings.push(format!(
                "{key} = \"lsilogic\": QEMU has no LSI 53C1030, the guest gets its SAS sibling, the 1068 (Linux driver mptsas, not mptspi)"
            ));
            Ok("mptsas1068")
        }
        None => Err(lines.missing(&key, "name pvscsi, lsisas1068 or lsilogic")),
        Some(_) => Err(lines.unsupported(&key, "take pvscsi, lsisas1068 or lsilogic")),
    }
}

fn slot(lines: &Lines, device: &Device, bus: u32, unit: u32) -> Result<Slot, LineError> {
    let limit = |fits: bool, what: &str| match fits {
        true => Ok(()),
        false => Err(LineError::Unsupported {
            key: device.to_string(),
            value: lines
                .text(&format!("{device}.fileName"))
                .unwrap_or_default(),
            reason: what.to_owned(),
        }),
    };
    match device.name.as_str() {
        "ide" => {
            limit(
                bus < IDE_CHANNELS && unit < IDE_UNITS,
                "there are ide0:0, ide0:1, ide1:0 and ide1:1",
            )?;
            Ok(Slot {
                cdrom: "ide-cd",
                disk: "ide-hd",
                place: vec![("bus", format!("ide.{bus}")), ("unit", unit.to_string())],
            })
        }
        "sata" => {
            limit(unit < SATA_PORTS, "an AHCI has ports 0 to 5 here")?;
            Ok(Slot {
                cdrom: "ide-cd",
                disk: "ide-hd",
                place: vec![("bus", format!("sata{bus}.{unit}"))],
            })
        }
        _ => {
            let model = lines.choice(&format!("scsi{bus}.virtualDev"));
            let (targets, what) = match model.as_deref() {
                Some("pvscsi") => (
                    SCSI_TARGETS,
                    "a pvscsi adapter has targets 0 to 15 without 7, which is itself",
                ),
                _ => (
                    SCSI_TARGETS_LSI,
                    "an LSI adapter has targets 0 to 6 here: take pvscsi for more",
                ),
            };
            limit(unit < targets && unit != SCSI_ADAPTER, what)?;
            Ok(Slot {
                cdrom: "scsi-cd",
                disk: "scsi-hd",
                place: vec![
                    ("bus", format!("scsi{bus}.0")),
                    ("scsi-id", unit.to_string()),
                ],
            })
        }
    }
}

fn content(plan: &mut Plan, lines: &Lines, device: &Device) -> Result<Content, LineError> {
    let kind_key = format!("{device}.deviceType");
    let file_key = format!("{device}.fileName");
    match lines.choice(&kind_key).as_deref() {
        Some("cdrom-image") => {
            let connected = lines
                .truth(&format!("{device}.startConnected"))?
                .unwrap_or(true);
            let path = lines.path(&file_key)?.filter(|_| connected);
            if let Some(path) = &path {
                plan.media.push(Medium {
                    key: file_key,
                    path: path.clone(),
                    written: false,
                });
            }
            Ok(Content::Cdrom(path))
        }
        Some("cdrom-raw" | "atapi-cdrom") => {
            plan.warnings.push(format!(
                "{kind_key}: the host's own drive is not used, the guest's is empty"
            ));
            Ok(Content::Cdrom(None))
        }
        None | Some("disk" | "scsi-harddisk" | "ata-harddisk") => {
            let path = lines
                .path(&file_key)?
                .ok_or_else(|| lines.missing(&file_key, "a disk needs its VMDK"))?;
            let mode = mode(lines, device)?;
            plan.media.push(Medium {
                key: file_key,
                path: path.clone(),
                written: mode == Mode::Persistent,
            });
            Ok(Content::Disk { path, mode })
        }
        Some(_) => Err(lines.unsupported(&kind_key, "take cdrom-image or disk")),
    }
}

fn mode(lines: &Lines, device: &Device) -> Result<Mode, LineError> {
    let key = format!("{device}.mode");
    match lines.choice(&key).as_deref() {
        None | Some("persistent" | "independent-persistent") => Ok(Mode::Persistent),
        Some("nonpersistent" | "independent-nonpersistent") => Ok(Mode::Nonpersistent),
        Some(_) => Err(lines.unsupported(&key, "take persistent or independent-nonpersistent")),
    }
}

fn drive(plan: &mut Plan, device: &Device, slot: &Slot, content: Content, index: Option<usize>) {
    let id = device.to_string().replace(':', "-");
    let drive = Options::new().with("if", "none").with("id", &id);
    let (model, drive) = match content {
        Content::Cdrom(path) => {
            let drive = drive.with("media", "cdrom").with("readonly", "on");
            let drive = match path {
                Some(path) => drive.with("format", "raw").with("file", path),
                None => drive,
            };
            (slot.cdrom, drive)
        }
        Content::Disk { path, mode } => {
            let format = match path.extension().and_then(|extension| extension.to_str()) {
                Some("qcow2") => "qcow2",
                Some("raw" | "img") => "raw",
                _ => "vmdk",
            };
            let drive = drive.with("format", format).with("file", path);
            let drive = match mode {
                Mode::Persistent => drive,
                Mode::Nonpersistent => drive.with("snapshot", "on"),
            };
            (slot.disk, drive)
        }
    };
    plan.option("-drive", drive);
    let mut options = Options::of(model).with("drive", &id);
    for (name, value) in &slot.place {
        options = options.with(name, value);
    }
    if model == "scsi-hd" {
        options = options
            .with("vendor", "VMware")
            .with("product", "Virtual disk")
            .with("wwn", world_wide_name(plan.uuid, device));
    }
    plan.option("-device", options.with_some("bootindex", index));
}

/// A name that stays the same, from the machine's UUID and the disk's place: an SAS adapter shows
/// no disk without one. NAA 5 (IEEE registered), VMware's OUI, 36 bits of ours.
fn world_wide_name(uuid: Option<[u8; 16]>, device: &Device) -> String {
    const REGISTERED_VMWARE: u64 = 0x5_000c29;
    let [.., a, b, c] = uuid.unwrap_or_default();
    let machine = u64::from(u32::from_be_bytes([0, a, b, c]));
    let bus = u64::from(device.number.unwrap_or_default() & 0xf);
    let unit = u64::from(device.unit.unwrap_or_default() & 0xf);
    let name = (REGISTERED_VMWARE << 36) | (machine << 12) | (bus << 4) | unit;
    format!("{name:#x}")
}
