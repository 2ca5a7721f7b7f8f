//! What a containerVM is told: one model, and the codecs that read and write it.
//!
//! [`model`] is the only vocabulary past this room: no string key exists beyond it.
//! [`guestinfo`] reads and writes both generations of the original system's keys, [`json`] the
//! JSON document of plain QEMU machines, `oci` the OCI runtime's; [`from_document`] tells them apart in a file.
//! Whatever the form, [`validate`] holds the rules, and all that is wrong is said at once
//! ([`Errors`]), each by the name it has where it was read: a guestinfo key, or a JSON path.
//!
//! This room never opens a file, a socket or a port: [`guestinfo::Keys`] is how the caller
//! fetches a key, and documents come as bytes.

pub mod capability;
pub mod cmdline;
mod document;
mod encoding;
mod error;
mod field;
pub mod guestinfo;
mod ip_net;
pub mod isolation;
pub mod json;
pub mod model;
mod mount_source;
pub mod names;
mod oci;
mod port;
pub mod seccomp;
pub mod signal;
mod syscall;
mod ulimit;
mod validate;

pub use document::{from_document, from_packed};
pub use encoding::{Encoding, EncodingError};
pub use error::{Errors, Problem, Shown};
pub use mount_source::{MountSource, MountSourceError, host_and_port, nfs_server};
pub use port::{PublishedPort, PublishedPortError, Transport};
pub use ulimit::{Ulimit, UlimitError};
pub use validate::validate;

#[cfg(test)]
mod tests;
