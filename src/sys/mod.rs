//! The only room with `unsafe`: thin owners of descriptors, instructions and system calls. No policy.
#![allow(unsafe_code)]

pub mod child;
