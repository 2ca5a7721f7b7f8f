//! The real `vch`, daemon and client, against guests that drive the real guest's end of the link.

mod abuse;
mod api;
mod appliance;
mod archives;
#[cfg(feature = "vm-tests")]
#[path = "../shared/bytes.rs"]
mod bytes;
mod commands;
mod direct;
mod docker;
mod guest;
mod host;
mod identity;
mod images;
mod output;
mod pipe;
#[cfg(feature = "vm-tests")]
#[path = "../shared/program.rs"]
mod program;
mod registry;
mod restart;
mod service;
mod soak;
mod stdin;
mod strangers;
mod tls;
mod viewers;
#[cfg(feature = "vm-tests")]
mod vm;
mod vspc;
