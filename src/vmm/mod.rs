//! Plays the VMware host on a developer's machine: the .vmx file, the virtual machine in QEMU, and
//! the backdoor behind a gdb stub or under ptrace.

pub mod agent;
pub mod exec;
pub mod file;
pub mod gdb;
pub mod on_disk;
pub mod store;
