//! The only room with `unsafe`: thin owners of descriptors, instructions and system calls. No policy.
#![allow(unsafe_code)]

pub mod capabilities;
#[cfg(feature = "appliance")]
pub mod child;
pub mod cpuid;
pub mod datagram;
pub mod faults;
pub mod file;
pub mod fork;
pub mod handover;
pub mod inside;
pub mod memory;
pub mod namespaces;
pub mod netlink;
pub mod port;
pub mod power;
pub mod power_button;
pub mod pty;
pub mod random;
pub mod reap;
#[cfg(feature = "guest")]
pub mod serial;
pub mod signals;
pub mod spawn;
#[cfg(feature = "appliance")]
pub mod trace;
pub mod uevent;
