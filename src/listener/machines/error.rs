//! Why a container or its machine is not as it was asked for.

use std::io;

use super::fields::Wish;
use crate::image::ImageError;
use crate::listener::container::ClientError;
use crate::listener::keys::KeyError;
use crate::listener::registry::RegistryError;
use crate::listener::store::StateError;
use crate::provider::ProviderError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The request.
    #[error(transparent)]
    Wish(#[from] Wish),
    /// Its image has to be pulled first; docker's client does so on this text's status.
    #[error("No such image: {0}")]
    NoImage(String),
    /// The name is none.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    BadName(String),
    /// The name is another's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// A container was made of it.
    #[error(
        "conflict: unable to remove image {image} (must remove container first) - container {by} is using it: its disk \
         is a delta of the image's"
    )]
    ImageUsed {
        /// The image's short ID.
        image: String,
        /// A container's name.
        by: String,
    },
    /// There is no such volume.
    #[error("get {0}: no such volume")]
    NoVolume(String),
    /// Containers have it.
    #[error("remove {name}: volume is in use - [{ids}]")]
    VolumeUsed {
        /// The volume.
        name: String,
        /// Their IDs.
        ids: String,
    },
    /// There is no such network.
    #[error("network {0} not found")]
    NoNetwork(String),
    /// Another has its name.
    #[error("network with name {0} already exists")]
    NetworkTaken(String),
    /// It is always there.
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    /// The container is on it.
    #[error("endpoint with name {name} already exists in network {network}")]
    NetworkJoined {
        /// The container's name.
        name: String,
        /// The network.
        network: String,
    },
    /// The container is not on it.
    #[error("container {name} is not connected to network {network}")]
    NetworkApart {
        /// The container's name.
        name: String,
        /// The network.
        network: String,
    },
    /// Adapters are part of a machine that runs.
    #[error(
        "container {0} is running: its VM's network adapters are what they are until it is stopped (docker stop)"
    )]
    Wired(String),
    /// So are memory and processors.
    #[error(
        "container {0} is running: its VM's memory and processors are what they are until it is stopped (docker stop)"
    )]
    Sized(String),
    /// A machine is on it.
    #[error("error while removing network: network {name} has active endpoints (name:{by:?})")]
    NetworkUsed {
        /// The network.
        name: String,
        /// A container's name.
        by: String,
    },
    /// Another machine has it now.
    #[error(
        "volume {name} is in use by container {by}: a volume is a disk, of one machine at a time"
    )]
    VolumeTaken {
        /// The volume.
        name: String,
        /// The container's name.
        by: String,
    },
    /// No more machines may be on.
    #[error("{0} machines are on, and no more may be: stop one, or see vch listen --machines-most")]
    Full(usize),
    /// The process could not be started.
    #[error("{0}")]
    NotStarted(String),
    /// Not made here.
    #[error(
        "not possible: the VM of container {0} was made elsewhere; docker stop ends it, power it on again where it is"
    )]
    Elsewhere(String),
    /// The images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The machine.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The container.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Its record.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its folder.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no randomness.
    #[error("getrandom: {0}")]
    Random(#[from] io::Error),
    /// What should not be.
    #[error("{0}")]
    Broken(String),
}
