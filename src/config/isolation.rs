//! How far a container is kept from its machine: settings of our own.

use serde::{Deserialize, Serialize};

use super::capability;

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
        }
    }
}

impl Isolation {
    /// The capabilities that its processes can have, by their bits.
    pub fn capabilities(&self) -> u64 {
        if self.privileged {
            u64::MAX
        } else {
            capability::of_container(&self.cap_add, &self.cap_drop)
        }
    }
}
