//! Where the configuration comes from: the VMware host, QEMU's `fw_cfg`, or a file.

use std::io;

use super::host::Host;
use crate::config::model::ContainerVm;
use crate::config::{Errors, from_document, guestinfo};
use crate::sys::file;
use crate::sys::port::{self, NoBackdoor};

/// The document that QEMU's `-fw_cfg name=opt/tether/config` hands to the guest.
pub const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/tether/config/raw";

/// There is no configuration, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither a VMware host nor a document.
    #[error(
        "no configuration: {backdoor}, and QEMU hands over no document opt/tether/config ({FW_CFG}: {document})"
    )]
    Nowhere {
        /// Why there is no VMware host to ask.
        backdoor: NoBackdoor,
        /// Why there is no document.
        document: io::Error,
    },
    /// The document cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// What was read is wrong.
    #[error("{0}")]
    Wrong(#[from] Errors),
}

/// What PID 1 reads: the keys of the VMware host where there is one, QEMU's document elsewhere.
/// The host comes back even when its keys are wrong, to be told so.
pub fn read() -> (Host, Result<ContainerVm, SourceError>) {
    match port::open() {
        Ok(hardware) => {
            let mut host = Host::new(hardware);
            let read = guestinfo::decode(&mut host);
            if let Ok(vm) = &read {
                host.set_generation(vm.generation);
            }
            (host, read.map_err(SourceError::Wrong))
        }
        Err(backdoor) => {
            let read = match file::read(FW_CFG) {
                Ok(document) => from_document(&document).map_err(SourceError::Wrong),
                Err(document) => Err(SourceError::Nowhere { backdoor, document }),
            };
            (Host::default(), read)
        }
    }
}

/// The resolved model as JSON, read as PID 1 would, or from a file that holds a JSON map of
/// guestinfo keys or a JSON document.
///
/// # Errors
/// There is none, or all that is wrong with it.
pub fn resolved(file: Option<&str>) -> Result<String, SourceError> {
    let vm = match file {
        None => read().1?,
        Some(path) => {
            let read = file::read(path);
            let document = read.map_err(|cause| SourceError::Read {
                path: path.into(),
                cause,
            })?;
            from_document(&document)?
        }
    };
    serde_json::to_string_pretty(&vm).map_err(|error| SourceError::Read {
        path: file.unwrap_or(FW_CFG).into(),
        cause: io::Error::other(error),
    })
}
