//! Every container is its own virtual machine; these are its init, its link and the
//! appliance's side of both.
//!
//! The tree, top down (imports point down only; `tests/tidy.rs` keeps it so):
//!
//! | room | duty |
//! |---|---|
//! | [`guest`] | PID 1 of a containerVM: boot, sessions, stop; one thread, one epoll loop |
//! | [`listener`], [`client`] | the appliance: accepts the VMs' links, stores, serves the API; and its command line |
//! | [`vmm`] | plays the VMware host on a developer's machine: .vmx files, QEMU, gdb stub, ptrace |
//! | [`lan`] | a network that machines share, as a state machine: a switch, and a host that knows names |
//! | [`sys`] | the only room with `unsafe`: thin owners of descriptors and instructions, no policy |
//! | [`fuzz`] | what any bytes may be fed to, for the fuzzer and its corpus |
//! | [`link`], [`config`], [`backdoor`], [`net`], [`plan`], [`files`], [`frozen`] | pure: bytes and time in, bytes and events out |
//!
//! `guest` and `listener` never import each other: they share only the pure rooms.

pub mod backdoor;
pub mod config;
pub mod files;
pub mod frozen;
pub mod link;
pub mod net;
pub mod plan;
pub mod sys;

#[cfg(feature = "guest")]
pub mod guest;

#[cfg(feature = "appliance")]
pub mod client;
#[cfg(feature = "appliance")]
pub mod fuzz;
#[cfg(feature = "appliance")]
pub mod image;
#[cfg(feature = "appliance")]
pub mod lan;
#[cfg(feature = "appliance")]
pub mod listener;
#[cfg(feature = "appliance")]
pub mod provider;
#[cfg(feature = "appliance")]
pub mod vmm;
