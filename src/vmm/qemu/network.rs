//! Network adapters, each on a user-mode network of its own, to which ports of the host may lead, or on one that
//! machines share (`vmx switch`): no privilege, no bridge.

use super::lines::{Device, LineError, Lines, Options};
use super::{BootOrder, Plan};

/// VMware's own prefix for addresses that its programs generate.
const GENERATED_PREFIX: [u8; 3] = [0x00, 0x0c, 0x29];

pub(super) fn add(plan: &mut Plan, lines: &Lines, order: &BootOrder) -> Result<(), LineError> {
    let mut bridges = Vec::new();
    for (count, device) in lines.devices(&["ethernet"]).into_iter().enumerate() {
        let (Some(number), None) = (device.number, device.unit) else {
            continue;
        };
        let id = device.to_string();
        if !lines.present(&id)? {
            continue;
        }
        let boot = order.index("ethernet", count);
        let mut adapter = Options::of(model(lines, &id)?)
            .with("mac", address(plan, lines, &id, number)?)
            .with_some("bootindex", boot);
        if let Some(netdev) = connection(plan, lines, &device)? {
            let netdev = forwards(lines, &id, netdev)?;
            plan.option("-netdev", netdev.with("id", &id));
            adapter = adapter.with("netdev", &id);
        }
        if boot.is_none() {
            // The firmware has nothing to load from here, and starts the sooner.
            adapter = adapter.with("romfile", "");
        }
        let adapter = placed(plan, lines, &id, adapter, &mut bridges);
        plan.option("-device", adapter);
    }
    Ok(())
}

/// Behind the bridge that its slot number means, where guests look for it: five bits each of the slot there and
/// of the bus, whose bridge is in slot 16 + bus (VMware's knowledge base, 2047927).
fn placed(
    plan: &mut Plan,
    lines: &Lines,
    id: &str,
    adapter: Options,
    bridges: &mut Vec<u32>,
) -> Options {
    // VMware writes -1 where the machine has never run.
    let number = lines.text(&format!("{id}.pciSlotNumber"));
    let Some(number) = number.and_then(|text| text.parse::<u32>().ok()) else {
        return adapter;
    };
    let (slot, bus) = (number & 31, number >> 5);
    // On the root bus QEMU has other devices there, and bridges of several functions are not made.
    if !(1..=15).contains(&bus) {
        return adapter;
    }
    let bridge = format!("pciBridge{}", bus - 1);
    if !bridges.contains(&bus) {
        bridges.push(bus);
        let device = Options::of("pci-bridge")
            .with("id", &bridge)
            .with("chassis_nr", bus.to_string())
            .with("addr", format!("{:#x}", bus + 16));
        plan.option("-device", device);
    }
    adapter
        .with("bus", bridge)
        .with("addr", format!("{slot:#x}"))
}

fn model(lines: &Lines, id: &str) -> Result<&'static str, LineError> {
    let key = format!("{id}.virtualDev");
    match lines.choice(&key).as_deref() {
        Some("vmxnet3") => Ok("vmxnet3"),
        None | Some("e1000") => Ok("e1000"),
        Some("e1000e") => Ok("e1000e"),
        Some("vlance") => Ok("pcnet"),
        Some(_) => Err(lines.unsupported(&key, "take vmxnet3, e1000e, e1000 or vlance")),
    }
}

/// What the adapter is plugged into; `None`: nothing.
fn connection(
    plan: &mut Plan,
    lines: &Lines,
    device: &Device,
) -> Result<Option<Options>, LineError> {
    if !lines
        .truth(&format!("{device}.startConnected"))?
        .unwrap_or(true)
    {
        return Ok(None);
    }
    let key = format!("{device}.connectionType");
    let kind = lines.choice(&key);
    let user = Options::of("user");
    match kind.as_deref() {
        Some("none") => Ok(None),
        Some("nat") | None => Ok(Some(user)),
        // The guest sees its gateway and no further.
        Some("hostonly") => Ok(Some(user.with("restrict", "on"))),
        Some("custom") => {
            let key = format!("{device}.vnet");
            let Some(path) = lines.text(&key) else {
                return Err(lines.bad(&key, "the socket of a network's switch (vmx switch)"));
            };
            let cable = Options::of("stream")
                .with("server", "off")
                .with("addr.type", "unix")
                .with("addr.path", path);
            Ok(Some(cable))
        }
        Some(kind) => {
            plan.warnings.push(format!(
                "{key} = \"{kind}\": the adapter is on a network of its own behind NAT"
            ));
            Ok(Some(user))
        }
    }
}

/// Ports of the host that lead to the adapter: `tcp:127.0.0.1:8080:80`, joined by commas; a key of our own.
fn forwards(lines: &Lines, id: &str, netdev: Options) -> Result<Options, LineError> {
    let key = format!("{id}.forward");
    let Some(text) = lines.choice(&key) else {
        return Ok(netdev);
    };
    let expected = "PROTOCOL:ADDRESS:PORT:PORT, as tcp:127.0.0.1:8080:80, joined by commas";
    text.split(',').try_fold(netdev, |netdev, forward| {
        let parts = forward
            .trim()
            .split_once(':')
            .and_then(|(protocol, rest)| Some((protocol, rest.rsplit_once(':')?)));
        let good = |protocol: &str, host: &str, port: &str| {
            matches!(protocol, "tcp" | "udp")
                && host.parse::<std::net::SocketAddrV4>().is_ok()
                && port.parse::<u16>().is_ok()
        };
        match parts {
            Some((protocol, (host, port))) if good(protocol, host, port) => {
                Ok(netdev.with("hostfwd", format!("{protocol}:{host}-:{port}")))
            }
            _ => Err(lines.bad(&key, expected)),
        }
    })
}

fn address(plan: &Plan, lines: &Lines, id: &str, number: u32) -> Result<String, LineError> {
    let keys = match lines.choice(&format!("{id}.addressType")).as_deref() {
        Some("static") => [format!("{id}.address"), format!("{id}.generatedAddress")],
        _ => [format!("{id}.generatedAddress"), format!("{id}.address")],
    };
    for key in keys {
        let Some(text) = lines.choice(&key) else {
            continue;
        };
        let parts: Vec<&str> = text.split(':').collect();
        let is_byte = |part: &&str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
        if parts.len() != 6 || !parts.iter().all(is_byte) {
            return Err(lines.bad(&key, "an address such as 00:50:56:00:00:01"));
        }
        return Ok(text);
    }
    // As VMware makes them: from the machine's UUID and the adapter's number.
    let uuid = plan.uuid.unwrap_or_default();
    let [.., a, b, c] = uuid;
    let last = u32::from_be_bytes([0, a, b, c]).wrapping_add(number.wrapping_mul(10));
    let [_, a, b, c] = last.to_be_bytes();
    let [x, y, z] = GENERATED_PREFIX;
    Ok(format!("{x:02x}:{y:02x}:{z:02x}:{a:02x}:{b:02x}:{c:02x}"))
}
