//! Images: pulled from registries, unpacked as the OCI image specification says, and made into the disks that
//! containers' disks are deltas of.
//!
//! ```text
//!  registry ─▶ pull ─▶ blobs/sha256/… ─▶ layer ─▶ tree ─▶ disk ─▶ disks/ID.vmdk
//!                                                          (mke2fs -d)
//! ```
//! - [`name`]: what people call an image
//! - [`store`]: the folder that all of it is in, and the list of what is there
//! - [`pull`], `registry`: blobs, checked against their digests
//! - [`layer`], [`tree`]: archives, one over the other
//! - [`listing`]: what an image has, to compare with
//! - [`load`], `save`: archives of images, for machines without a registry
//! - [`disk`], `owners`: the file system and its descriptor

mod digest;
pub mod disk;
pub mod layer;
pub mod listing;
pub mod load;
pub mod name;
mod owners;
pub mod platform;
mod pull;
mod registry;
pub mod save;
pub mod store;
pub mod tree;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use name::{Name, NameError};
pub use pull::{Login, Progress, Registries, Told};
pub use store::Images;

/// An image that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Digest of its configuration, `sha256:…`: docker's ID of it.
    pub id: String,
    /// What it is called, `busybox:latest`.
    pub names: Vec<String>,
    /// Where it came from, `busybox@sha256:…`.
    pub digests: Vec<String>,
    /// Its configuration as it came (OCI image specification, config.md).
    pub config: Value,
    /// Digests of its layers, the lowest first, and their sizes as they came, in bytes.
    pub layers: Vec<(String, u64)>,
    /// Bytes of its files.
    pub size: u64,
}

/// Why an image is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The registry has no such image.
    #[error("manifest for {0} not found: manifest unknown: manifest unknown")]
    Unknown(String),
    /// The registry will not give it.
    #[error("pull access denied for {0}, repository does not exist or may require 'docker login'")]
    Denied(String),
    /// Nobody has pulled it.
    #[error("No such image: {0}")]
    NotHere(String),
    /// It is for other machines.
    #[error("no matching manifest for {asked} in the manifest list entries of {name}")]
    Platform {
        /// Which image.
        name: String,
        /// What is needed.
        asked: String,
    },
    /// The registry cannot be spoken with.
    #[error("{registry}: {reason}")]
    Registry {
        /// Its address.
        registry: String,
        /// Why not.
        reason: String,
    },
    /// What has come is not what it should be.
    #[error("{digest}: what has come has another digest, {found}")]
    Digest {
        /// As the image names it.
        digest: String,
        /// What it is.
        found: String,
    },
    /// Something of the image makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// One of its layers.
    #[error("layer {digest} cannot be unpacked: {reason}")]
    Layer {
        /// Which.
        digest: String,
        /// Why not.
        reason: String,
    },
    /// Its disk.
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    /// The folder of the images.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What an error of the folder is made of.
fn io_error(
    step: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Io { step, path, source }
}

impl Image {
    /// A part of the configuration's `config`: what a container is to run.
    pub fn setting(&self, name: &str) -> &Value {
        static NONE: Value = Value::Null;
        self.setting_of_all().get(name).unwrap_or(&NONE)
    }

    /// The whole `config`.
    pub fn setting_of_all(&self) -> &Value {
        static NONE: Value = Value::Null;
        self.config.get("config").unwrap_or(&NONE)
    }

    /// A list of texts of the same.
    pub fn list(&self, name: &str) -> Vec<String> {
        let texts = self.setting(name).as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    }

    /// A text of the same; empty: none.
    pub fn text(&self, name: &str) -> &str {
        self.setting(name).as_str().unwrap_or_default()
    }
}
