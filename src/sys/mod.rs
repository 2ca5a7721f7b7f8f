//! The only room with `unsafe`: thin owners of descriptors, instructions and system calls. No policy.
#![allow(unsafe_code)]

#[cfg(feature = "appliance")]
pub mod child;
pub mod cpuid;
pub mod port;
#[cfg(feature = "appliance")]
pub mod trace;
