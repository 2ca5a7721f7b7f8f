//! Plays the VMware host on a developer's machine: the .vmx file, the virtual machine in QEMU, and
//! the backdoor behind a gdb stub or under ptrace.

pub mod agent;
pub mod edit;
pub mod exec;
pub mod file;
pub mod gdb;
pub mod log;
pub mod on_disk;
pub mod power;
pub mod qemu;
pub mod qmp;
pub mod run;
pub mod store;
pub mod stub;
pub mod switch;
pub mod trace;
pub mod trap;

/// An error and all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
