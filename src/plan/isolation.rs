//! What a container sees of the kernel: docker's rules (moby's `oci/defaults.go`).

use super::mounts::Flags;
use crate::config::isolation::Isolation;

/// What is covered: a folder by an empty one, a file by `/dev/null`.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    FIRMWARE,
];

/// What may only be read.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Of those the one that is covered whatever a configuration says: QEMU's fw_cfg is in it, and there the
/// link's key.
const FIRMWARE: &str = "/sys/firmware";

/// What is covered in this container.
pub fn masked(isolation: &Isolation) -> Vec<&str> {
    let mut paths = of_configuration(isolation.masked_paths.as_ref(), &MASKED);
    if !paths.contains(&FIRMWARE) {
        paths.push(FIRMWARE);
    }
    paths
}

/// What may only be read in this container.
pub fn read_only(isolation: &Isolation) -> Vec<&str> {
    of_configuration(isolation.readonly_paths.as_ref(), &READ_ONLY)
}

fn of_configuration<'a>(configured: Option<&'a Vec<String>>, usual: &[&'a str]) -> Vec<&'a str> {
    match configured {
        Some(paths) => paths.iter().map(String::as_str).collect(),
        None => usual.to_vec(),
    }
}

/// File systems that show the namespaces of whoever mounts them: type, place, flags.
pub const OF_NAMESPACES: [(&str, &str, Flags); 3] = [
    ("proc", "/proc", Flags::Data),
    ("mqueue", "/dev/mqueue", Flags::Data),
    ("cgroup2", "/sys/fs/cgroup", Flags::ReadOnly),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_what_is_covered_but_never_uncovers_the_key() {
        let usual = Isolation::default();
        assert_eq!(masked(&usual), MASKED);
        assert_eq!(read_only(&usual), READ_ONLY);
        let own = Isolation {
            masked_paths: Some(vec!["/proc/version".into()]),
            readonly_paths: Some(Vec::new()),
            ..Isolation::default()
        };
        assert_eq!(masked(&own), ["/proc/version", FIRMWARE]);
        assert!(read_only(&own).is_empty());
    }
}
