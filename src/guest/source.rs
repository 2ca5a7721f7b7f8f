//! Where the configuration comes from, in this order: the keys of the VMware host, a document under one key of
//! that host, QEMU's `fw_cfg`, a virtio port, the kernel's command line. Fields of the command line go over any of them.

use std::io;

use super::host::Host;
use super::port_document::PORT;
use crate::config::cmdline::CommandLine;
use crate::config::guestinfo::{self, Keys, KeysError};
use crate::config::model::{ContainerVm, Generation, Secret};
use crate::config::{Encoding, EncodingError, Errors, from_document, from_packed};
use crate::sys::file;
use crate::sys::port::{self, NoBackdoor};

/// The document that QEMU's `-fw_cfg name=opt/tether/config` hands to the guest.
pub const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/tether/config/raw";
/// The host's key that may hold a document, and the one that says how it is packed.
const DOCUMENT: &str = "guestinfo.tether.config";
const DOCUMENT_ENCODING: &str = "guestinfo.tether.config.encoding";
/// What the kernel was started with.
const COMMAND_LINE: &str = "/proc/cmdline";

/// There is no configuration, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Neither a VMware host nor a document.
    #[error(
        "no configuration: {backdoor}, QEMU hands over no document opt/tether/config ({FW_CFG}: {document}), \
         there is no virtio port {PORT}, and the kernel's command line has no tether.config"
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
    /// A key of the host cannot be read.
    #[error("cannot read {key}: {cause}")]
    Key {
        /// The key.
        key: &'static str,
        /// Why.
        cause: KeysError,
    },
    /// How a document is packed.
    #[error("{DOCUMENT_ENCODING}: {0}")]
    Encoding(#[from] EncodingError),
    /// A secret where the container can read it.
    #[error("{0} holds a link key, and the container could read it there: set it under {key} of the host, or hand it over by fw_cfg",
        key = link_key())]
    Exposed(&'static str),
    /// The link key beside a document.
    #[error(
        "{}: expected 32 bytes in base64, as `vch key new` prints them",
        link_key()
    )]
    LinkKey,
    /// What was read is wrong.
    #[error("{0}")]
    Wrong(#[from] Errors),
}

/// Where the link key stands beside a document: where it stands with the blog's keys.
fn link_key() -> String {
    let mut names = guestinfo::link_keys(Generation::V04);
    names.pop().unwrap_or_default()
}

/// What PID 1 reads; `port` is how it reads a document from the virtio port, if there is one. The host comes back
/// even when its keys are wrong, to be told so.
pub fn read(
    port: impl FnOnce() -> Option<io::Result<Vec<u8>>>,
) -> (Host, Result<ContainerVm, SourceError>) {
    let line = CommandLine::parse(&file::text(COMMAND_LINE));
    let (host, read) = match port::open() {
        Ok(hardware) => {
            let mut host = Host::new(hardware);
            let read = of_host(&mut host, &line);
            if let Ok(vm) = &read {
                host.set_generation(vm.generation);
            }
            (host, read)
        }
        Err(backdoor) => (Host::default(), elsewhere(&line, backdoor, port)),
    };
    let read = read.and_then(|vm| Ok(line.apply(vm)?));
    (host, read)
}

fn of_host(host: &mut Host, line: &CommandLine) -> Result<ContainerVm, SourceError> {
    let no_guestinfo = match guestinfo::decode(host) {
        Err(errors) if errors.is_no_guestinfo() => errors,
        read => return Ok(read?),
    };
    let mut get = |key: &'static str| {
        host.get(key)
            .map_err(|cause| SourceError::Key { key, cause })
    };
    if let Some(document) = get(DOCUMENT)?.filter(|document| !document.is_empty()) {
        let encoding = get(DOCUMENT_ENCODING)?.unwrap_or_default();
        let encoding = Encoding::from_name(&String::from_utf8_lossy(&encoding))?;
        let mut vm = without_key(from_packed(encoding, &document)?, DOCUMENT)?;
        // Its state is written back as the blog's is, and its link key stands and is hidden where that does.
        vm.generation = Generation::V04;
        let key = host.get(&link_key()).map_err(|cause| SourceError::Key {
            key: DOCUMENT,
            cause,
        })?;
        if let Some(text) = key.filter(|text| !text.is_empty()) {
            let text = String::from_utf8_lossy(&text);
            vm.link_key = Secret::link_key(&text).ok_or(SourceError::LinkKey)?;
        }
        return Ok(vm);
    }
    match &line.document {
        Some(document) => of_command_line(document),
        None => Err(no_guestinfo.into()),
    }
}

fn elsewhere(
    line: &CommandLine,
    backdoor: NoBackdoor,
    port: impl FnOnce() -> Option<io::Result<Vec<u8>>>,
) -> Result<ContainerVm, SourceError> {
    let missing = match file::read(FW_CFG) {
        Ok(document) => return Ok(from_document(&document)?),
        Err(error) => error,
    };
    match (port(), &line.document) {
        (Some(Ok(document)), _) => Ok(from_document(&document)?),
        (Some(Err(cause)), _) => Err(SourceError::Read {
            path: format!("the document from the virtio port {PORT}"),
            cause,
        }),
        (None, Some(document)) => of_command_line(document),
        (None, None) => Err(SourceError::Nowhere {
            backdoor,
            document: missing,
        }),
    }
}

fn of_command_line(document: &str) -> Result<ContainerVm, SourceError> {
    without_key(from_document(document.as_bytes())?, COMMAND_LINE)
}

/// Some places are open to the container.
fn without_key(vm: ContainerVm, place: &'static str) -> Result<ContainerVm, SourceError> {
    if vm.link_key.is_empty() {
        Ok(vm)
    } else {
        Err(SourceError::Exposed(place))
    }
}

/// The resolved model as JSON, read as PID 1 would, or from a file: any of the documents, packed or not.
/// `-` is standard input; fields of a command line go over it.
///
/// # Errors
/// There is none, or all that is wrong with it.
pub fn resolved(file: Option<&str>, line: &str) -> Result<String, SourceError> {
    let vm = match file {
        None => read(|| None).1?,
        Some(path) => {
            let read = match path {
                "-" => file::rest(io::stdin(), usize::MAX),
                path => file::read(path),
            };
            let document = read.map_err(|cause| SourceError::Read {
                path: path.into(),
                cause,
            })?;
            from_document(&document)?
        }
    };
    let vm = CommandLine::parse(line).apply(vm)?;
    serde_json::to_string_pretty(&vm).map_err(|error| SourceError::Read {
        path: file.unwrap_or(FW_CFG).into(),
        cause: io::Error::other(error),
    })
}
