//! How far a container is kept from its machine: settings of our own.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seccomp::Seccomp;
use super::{Ulimit, capability};

/// What a container may do in its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Isolation {
    /// The whole machine is the container's: no namespaces, all capabilities, all devices.
    pub privileged: bool,
    /// An init of ours is the container's process 1, as with `docker run --init`; without, its command is.
    pub init: bool,
    /// The root file system is read-only.
    pub read_only: bool,
    /// No program gets more rights by its set-user-ID bit or its capabilities.
    pub no_new_privileges: bool,
    /// Capabilities beside the usual ones, by name; `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities that are taken away, by name; `ALL`.
    pub cap_drop: Vec<String>,
    /// Groups that its processes are in besides their users' own, each a name or a number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// The mask of its processes, octal; empty: 022.
    pub umask: String,
    /// Limits of its processes, each as an [`Ulimit`](super::Ulimit) is written.
    pub ulimits: Vec<String>,
    /// How willingly the kernel ends them when memory is short, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Bytes of memory that all of them may use; 0: all that the machine has.
    pub memory: u64,
    /// How many there may be; 0: as many as the machine takes.
    pub pids: u64,
    /// Settings of the kernel, `net.core.somaxconn=1024`.
    pub sysctls: Vec<String>,
    /// Paths that are covered, instead of docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_paths: Option<Vec<String>>,
    /// Paths that may only be read, instead of docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_paths: Option<Vec<String>>,
    /// Which system calls it may make, as an OCI document says it ([`Seccomp`]); none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Value>,
}

impl Default for Isolation {
    fn default() -> Self {
        Self {
            privileged: false,
            init: true,
            read_only: false,
            no_new_privileges: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            group_add: Vec::new(),
            umask: String::new(),
            ulimits: Vec::new(),
            oom_score_adj: 0,
            memory: 0,
            pids: 0,
            sysctls: Vec::new(),
            masked_paths: None,
            readonly_paths: None,
            seccomp: None,
        }
    }
}

impl Isolation {
    /// Its profile of system calls; what is none was refused with the configuration.
    pub fn seccomp(&self) -> Option<Seccomp> {
        Seccomp::parse(self.seccomp.as_ref()?).ok()
    }

    /// Somebody in it is to set the clock.
    pub fn keeps_clock(&self) -> bool {
        let names = self.cap_add.iter().map(|name| name.to_ascii_uppercase());
        let mut names = names.map(|name| name.trim_start_matches("CAP_").to_owned());
        names.any(|name| name == "SYS_TIME" || name == "ALL")
    }

    /// The mask of its processes.
    pub fn mask(&self) -> u32 {
        const DEFAULT: u32 = 0o022;
        parse_mask(&self.umask).unwrap_or(DEFAULT)
    }

    /// Their limits; what is none was refused with the configuration.
    pub fn limits(&self) -> Vec<Ulimit> {
        let limits = self.ulimits.iter();
        limits.filter_map(|text| text.parse().ok()).collect()
    }

    /// The capabilities that its processes can have, by their bits.
    pub fn capabilities(&self) -> u64 {
        if self.privileged {
            u64::MAX
        } else {
            capability::of_container(&self.cap_add, &self.cap_drop)
        }
    }
}

/// A mask in octal digits.
pub(crate) fn parse_mask(text: &str) -> Option<u32> {
    const ALL: u32 = 0o777;
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| *mask <= ALL)
}

/// A setting's name and value: `net.core.somaxconn=1024`, with a name that leads nowhere else.
pub fn sysctl(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let good = !name.is_empty() && name.chars().all(plain) && !name.contains("..");
    (good && !name.starts_with(['.', '/'])).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_octal() {
        assert_eq!(parse_mask("0027"), Some(0o27));
        for bad in ["", "8", "-1", "1000", "0x1"] {
            assert_eq!(parse_mask(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_setting_of_the_kernel_leads_nowhere_else() {
        assert_eq!(
            sysctl("kernel.msgmax=65536"),
            Some(("kernel.msgmax", "65536"))
        );
        for bad in ["", "a", "=1", "../x=1", "a..b=1", "/etc/x=1", "a b=1"] {
            assert_eq!(sysctl(bad), None, "{bad}");
        }
    }
}
