//! The part of an OCI document that is about Linux.

use super::reader::{At, Reader};
use crate::config::model::ContainerVm;

const MACHINE: &str = "the machine's own processors, disks and network are what bounds it";

pub(super) fn read(reader: &mut Reader, top: &At<'_>, vm: &mut ContainerVm) {
    let linux = reader.object(top, "linux");
    for (name, instead) in [
        ("uidMappings", "users are the machine's own"),
        ("gidMappings", "groups are the machine's own"),
        (
            "devices",
            "a container gets docker's devices; say privileged for those of the machine",
        ),
        ("intelRdt", MACHINE),
        ("personality", "the machine has one"),
        ("timeOffsets", "the clock is the machine's own"),
        ("netDevices", "say networks in a document of ours"),
    ] {
        reader.refuse(&linux, name, instead);
    }
    resources(reader, &linux, vm);
    let isolation = &mut vm.isolation;
    for (name, value) in reader.object(&linux, "sysctl").members() {
        match value.as_str() {
            Some(value) => isolation.sysctls.push(format!("{name}={value}")),
            None => {
                let expected = "a string";
                reader.malformed(
                    &linux,
                    &format!("sysctl.{name}"),
                    &value.to_string(),
                    expected,
                );
            }
        }
    }
    isolation.seccomp = linux.get("seccomp").cloned();
    if linux.get("maskedPaths").is_some() {
        isolation.masked_paths = Some(reader.texts(&linux, "maskedPaths"));
    }
    if linux.get("readonlyPaths").is_some() {
        isolation.readonly_paths = Some(reader.texts(&linux, "readonlyPaths"));
    }
}

fn resources(reader: &mut Reader, linux: &At<'_>, vm: &mut ContainerVm) {
    let resources = reader.object(linux, "resources");
    // Rules for devices are left out: there is nothing in /dev that they would keep away.
    for name in [
        "cpu",
        "blockIO",
        "network",
        "rdma",
        "hugepageLimits",
        "unified",
    ] {
        reader.refuse(&resources, name, MACHINE);
    }
    let memory = reader.object(&resources, "memory");
    for name in [
        "reservation",
        "swap",
        "kernel",
        "kernelTCP",
        "swappiness",
        "disableOOMKiller",
    ] {
        if memory
            .get(name)
            .is_some_and(|value| value.as_i64().is_some_and(|n| n > 0))
        {
            reader.refuse(
                &memory,
                name,
                "limit is what there is, and a machine has no swap",
            );
        }
    }
    // Negative: no limit.
    let limit = |reader: &mut Reader, at: &At<'_>| {
        let limit = reader.integer::<i64>(at, "limit").unwrap_or_default();
        u64::try_from(limit).unwrap_or_default()
    };
    vm.isolation.memory = limit(reader, &memory);
    let pids = reader.object(&resources, "pids");
    vm.isolation.pids = limit(reader, &pids);
}
