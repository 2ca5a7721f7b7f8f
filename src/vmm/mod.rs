//! Plays the VMware host on a developer's machine.

pub mod exec;
