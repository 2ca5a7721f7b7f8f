//! Names of Linux's capabilities (linux/capability.h), and sets of them.

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// All of them.
const ALL: u64 = (1 << NAMES.len()) - 1;
/// What docker gives a container, but for MKNOD: docker lets a container make device nodes and keeps it
/// from opening them (by a cgroup's device rules, which a kernel without BPF has not).
const DEFAULT: u64 = bit("CHOWN")
    | bit("DAC_OVERRIDE")
    | bit("FSETID")
    | bit("FOWNER")
    | bit("NET_RAW")
    | bit("SETGID")
    | bit("SETUID")
    | bit("SETFCAP")
    | bit("SETPCAP")
    | bit("NET_BIND_SERVICE")
    | bit("SYS_CHROOT")
    | bit("KILL")
    | bit("AUDIT_WRITE");

/// The bit of a name in upper case; none for a wrong one.
const fn bit(name: &str) -> u64 {
    let mut number = 0;
    while number < NAMES.len() {
        if same(NAMES[number].as_bytes(), name.as_bytes()) {
            return 1 << number;
        }
        number += 1;
    }
    0
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The set that a name stands for: `NET_ADMIN`, `cap_net_admin`, `all`. None: there is no such
/// capability.
///
/// ```
/// use tether::config::capability::set;
/// assert_eq!(set("CAP_CHOWN"), Some(1));
/// assert_eq!(set("chmod"), None);
/// ```
pub fn set(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Some(ALL);
    }
    let number = NAMES.iter().position(|known| *known == name)?;
    Some(1 << number)
}

/// A container's set: the default, with these and without those, in docker's order: `ALL` first, then the
/// others. Names that are none count for nothing.
pub fn of_container(add: &[String], drop: &[String]) -> u64 {
    let sets = |names: &[String], all: bool| {
        let of = names.iter().filter_map(|name| set(name));
        of.filter(|set| (*set == ALL) == all)
            .fold(0, |sum, set| sum | set)
    };
    let start = (DEFAULT | sets(add, true)) & !sets(drop, true);
    (start | sets(add, false)) & !sets(drop, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(add: &[&str], drop: &[&str]) -> u64 {
        let texts = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        of_container(&texts(add), &texts(drop))
    }

    #[test]
    fn numbers_are_the_kernel_s() {
        for (name, number) in [
            ("KILL", 5),
            ("SYS_ADMIN", 21),
            ("MKNOD", 27),
            ("SYSLOG", 34),
        ] {
            assert_eq!(set(name), Some(1 << number), "{name}");
        }
        assert_eq!(set("checkpoint_restore"), Some(1 << 40));
        assert_eq!(set(""), None);
    }

    #[test]
    fn a_container_has_docker_s_set_and_what_is_asked_for() {
        // docker's 0xa80425fb without MKNOD.
        assert_eq!(of(&[], &[]), 0xa004_25fb);
        assert_eq!(
            of(&["NET_ADMIN"], &["KILL"]),
            0xa004_25fb & !(1 << 5) | 1 << 12
        );
        assert_eq!(of(&["cap_kill"], &["ALL"]), 1 << 5);
        assert_eq!(of(&["ALL"], &["SYS_ADMIN"]), ALL & !(1 << 21));
    }
}
