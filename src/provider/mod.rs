//! What makes the VMs of containers and runs them. The appliance knows [`Provider`] and no more of it: `local` is
//! this machine; a vSphere would be another.
//!
//! A container is a VM, and its state is its .vmx: [`vmx`] writes what a machine is into one, and reads it back.

mod local;
mod networks;
pub mod vmx;
mod volumes;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;

pub use local::Local;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::model::{ContainerVm, IpNet, Network as Endpoint, Secret};
use crate::lan::Names;
use crate::vmm::on_disk::DiskError;

/// A VM, as it is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The container's configuration, which the guest reads.
    pub config: ContainerVm,
    /// What its own disk is a delta of.
    pub image: PathBuf,
    /// MiB of memory, a multiple of 4.
    pub memory_mib: u64,
    /// Virtual processors.
    pub processors: u32,
    /// Where its link's port connects to.
    pub appliance: Option<SocketAddr>,
    /// Its network adapters.
    pub wiring: Wiring,
    /// Names of the volumes that it has, in the order of their places.
    pub volumes: Vec<String>,
    /// What the appliance wants to find again, by names of its own: no guest can read it.
    pub notes: Vec<(String, String)>,
}

/// A machine's network adapters, and what its guest is told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// One leads outside.
    pub outside: bool,
    /// Ports of the host that lead to that one.
    pub ports: Vec<Forward>,
    /// Those on networks that machines share, in the order of their places ([`vmx::lan_slot`]).
    pub cables: Vec<Cable>,
    /// What the guest is told, by name: it stands in the place of its configuration's own.
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// A disk that outlives containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// Bytes of its disk; of these, only what is written takes room.
    pub bytes: u64,
    /// Docker's labels.
    pub labels: BTreeMap<String, String>,
}

impl Volume {
    /// The label of its file system, by which a guest finds it: of 16 bytes, whatever its name.
    pub fn label(&self) -> String {
        label(&self.name)
    }
}

/// The label of a volume's file system.
pub fn label(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v{}", digits.get(..15).unwrap_or_default())
}

/// A network that machines of one host share, with names ([`crate::lan`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// The addresses on it (IPv4).
    pub subnet: IpNet,
    /// Those that are given out, where they are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNet>,
    /// The host's own address on it, which knows names.
    pub gateway: Ipv4Addr,
    /// Addresses that are given to nobody, by names of their owner's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Nothing leads outside.
    #[serde(default)]
    pub internal: bool,
    /// Docker's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// An adapter on a network that machines share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cable {
    /// ID of the network.
    pub network: String,
    /// The adapter's address, `00:50:56:00:00:02`.
    pub mac: String,
}

/// A port of the host that leads to one of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Address and port of the host.
    pub host: SocketAddr,
    /// The machine's port.
    pub guest: u16,
}

/// A VM that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The container's ID.
    pub id: String,
    /// What the appliance has noted of it.
    pub notes: Vec<(String, String)>,
    /// What the guest, or the appliance, has written of the container.
    pub config: ContainerVm,
    /// It is on.
    pub on: bool,
}

/// Why a machine is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A step of it.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program that is needed.
    #[error("{program}: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// How it failed.
        reason: String,
    },
    /// A disk, or a machine's file on it.
    #[error("{0}")]
    Disk(String),
    /// Its configuration cannot be written as keys.
    #[error("{0}")]
    Config(String),
    /// It is on already.
    #[error("the machine of {0} is on already")]
    On(String),
    /// There is none.
    #[error("there is no machine of {0}")]
    None(String),
    /// A machine is to be on a network that is not there.
    #[error("network {0} not found")]
    NoNetwork(String),
}

impl From<DiskError> for ProviderError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error.to_string())
    }
}

/// Comes when a machine is off, with what there is to say of why; empty: nothing.
pub type Off = Pin<Box<dyn Future<Output = String> + Send>>;

/// Makes VMs and runs them. Calls may take a while: they are made where waiting is allowed.
pub trait Provider: Debug + Send + Sync {
    /// Makes a machine, whole or not at all.
    ///
    /// # Errors
    /// It cannot be made; nothing of it is left.
    fn make(&self, machine: &Machine) -> Result<(), ProviderError>;

    /// Powers it on.
    ///
    /// # Errors
    /// It cannot be started, is on already, or is not there.
    fn start(&self, id: &str) -> Result<Off, ProviderError>;

    /// Powers another machine on, of the ID `lent` and with this link key, which has the disks of one that is off and
    /// starts no process. It is gone when it is off, or the appliance anew.
    ///
    /// # Errors
    /// As [`Provider::start`].
    fn lend(&self, id: &str, lent: &str, key: &Secret) -> Result<Off, ProviderError>;

    /// Takes up one that is on since before: comes when it is off. None: it is off.
    fn adopt(&self, id: &str) -> Option<Off>;

    /// Pulls the plug. What is off stays off.
    ///
    /// # Errors
    /// It cannot be reached.
    fn off(&self, id: &str) -> Result<(), ProviderError>;

    /// Deletes a machine that is off. What is not there is as well.
    ///
    /// # Errors
    /// It cannot be deleted.
    fn destroy(&self, id: &str) -> Result<(), ProviderError>;

    /// Notes something else of it than before.
    ///
    /// # Errors
    /// It cannot be written.
    fn note(&self, id: &str, name: &str, value: &str) -> Result<(), ProviderError>;

    /// Gives a machine that is off other network adapters.
    ///
    /// # Errors
    /// They cannot be written.
    fn rewire(&self, id: &str, wiring: &Wiring) -> Result<(), ProviderError>;

    /// Gives a machine that is off another size: MiB of memory, virtual processors; none: as before.
    ///
    /// # Errors
    /// It cannot be written.
    fn resize(
        &self,
        id: &str,
        memory_mib: Option<u64>,
        processors: Option<u32>,
    ) -> Result<(), ProviderError>;

    /// Gives a machine another name, whether it is on or not.
    ///
    /// # Errors
    /// It cannot be written.
    fn rename(&self, id: &str, name: &str) -> Result<(), ProviderError>;

    /// Bytes that a machine's own disk takes.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn disk_bytes(&self, id: &str) -> Result<u64, ProviderError>;

    /// Bytes that a volume takes.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn volume_bytes(&self, name: &str) -> Result<u64, ProviderError>;

    /// Makes a volume, whole or not at all.
    ///
    /// # Errors
    /// It cannot be made.
    fn make_volume(&self, volume: &Volume) -> Result<(), ProviderError>;

    /// Deletes a volume that no machine has. What is not there is as well.
    ///
    /// # Errors
    /// It cannot be deleted.
    fn remove_volume(&self, name: &str) -> Result<(), ProviderError>;

    /// All volumes, by their names.
    ///
    /// # Errors
    /// They cannot be looked through.
    fn volumes(&self) -> Result<Vec<Volume>, ProviderError>;

    /// Makes a network, whole or not at all.
    ///
    /// # Errors
    /// It cannot be made.
    fn make_network(&self, network: &Network) -> Result<(), ProviderError>;

    /// Deletes a network that no machine is on. What is not there is as well.
    ///
    /// # Errors
    /// It cannot be deleted.
    fn remove_network(&self, id: &str) -> Result<(), ProviderError>;

    /// All networks, the oldest first.
    ///
    /// # Errors
    /// They cannot be looked through.
    fn networks(&self) -> Result<Vec<Network>, ProviderError>;

    /// Who is on a network from now on.
    ///
    /// # Errors
    /// It is not there, or cannot be told.
    fn name_hosts(&self, id: &str, names: &Names) -> Result<(), ProviderError>;

    /// All machines; those that are not whole are swept.
    ///
    /// # Errors
    /// They cannot be looked through.
    fn list(&self) -> Result<Vec<Found>, ProviderError>;
}
