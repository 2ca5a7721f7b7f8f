//! What a container sees of the kernel: docker's rules (moby's `oci/defaults.go`).

use super::mounts::Flags;

/// What is covered: a folder by an empty one, a file by `/dev/null`.
pub const MASKED: [&str; 12] = [
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
    // QEMU's fw_cfg is here, and in it the configuration with the link's key.
    "/sys/firmware",
];

/// What may only be read.
pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// File systems that show the namespaces of whoever mounts them: type, place, flags.
pub const OF_NAMESPACES: [(&str, &str, Flags); 3] = [
    ("proc", "/proc", Flags::Data),
    ("mqueue", "/dev/mqueue", Flags::Data),
    ("cgroup2", "/sys/fs/cgroup", Flags::ReadOnly),
];
