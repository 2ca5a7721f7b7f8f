//! Which of the kernel's interfaces a vNIC is.

use std::fs;

use crate::plan::network::{Nic, PciPlace, mac};
use crate::sys::file;

/// Where the kernel lists interfaces, and devices.
const INTERFACES: &str = "/sys/class/net";
const PCI: &str = "/sys/bus/pci/devices";

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, `eth0`.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its address.
    pub mac: [u8; 6],
}

impl Interface {
    fn of(name: &str) -> Option<Self> {
        let text = |what: &str| file::text(&format!("{INTERFACES}/{name}/{what}"));
        Some(Self {
            name: name.to_owned(),
            index: text("ifindex").trim().parse().ok()?,
            mac: mac(&text("address"))?,
        })
    }
}

/// The interface of a vNIC that is none of `taken`; `None`: it is not there, or not yet.
pub fn find(nic: Nic, taken: &[u32]) -> Option<Interface> {
    match nic {
        Nic::Pci(place) => Interface::of(&at(place)?),
        Nic::Mac(mac) => all().into_iter().find(|interface| interface.mac == mac),
        Nic::Any => all()
            .into_iter()
            .find(|interface| !taken.contains(&interface.index)),
    }
}

/// All that are of hardware, in the kernel's order.
pub fn all() -> Vec<Interface> {
    let is_hardware =
        |name: &String| fs::symlink_metadata(format!("{INTERFACES}/{name}/device")).is_ok();
    let mut all: Vec<Interface> = names(INTERFACES)
        .filter(is_hardware)
        .filter_map(|name| Interface::of(&name))
        .collect();
    all.sort_by_key(|interface| interface.index);
    all
}

/// The interface of the device there.
fn at(place: PciPlace) -> Option<String> {
    let (slot, function) = place.root;
    let on_root = format!("{PCI}/0000:00:{slot:02x}.{function}");
    let device = match place.behind {
        None => on_root,
        Some(behind) => {
            let end = format!(":{behind:02x}.0");
            let name =
                names(&on_root).find(|name| name.starts_with("0000:") && name.ends_with(&end));
            format!("{on_root}/{}", name?)
        }
    };
    // virtio's devices are one further.
    let virtio = names(&device).find(|name| name.starts_with("virtio"));
    let inner = virtio.map(|name| format!("{device}/{name}/net"));
    inner
        .into_iter()
        .chain([format!("{device}/net")])
        .find_map(|folder| names(&folder).next())
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
