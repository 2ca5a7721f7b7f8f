//! PID 1 of a containerVM: one thread, one epoll loop, from the first instruction to the power off.
//!
//! | file | duty |
//! |---|---|
//! | [`boot`](self) | the boot order, to be read top to bottom |
//! | `early_mounts`, `console`, `modules`, `source`, `port_document`, `carrier`, `disk`, `tree` | its steps |
//! | `volumes`, `tree_copy` | the container's volumes, filled from its image where they are new |
//! | `network` | its interfaces, addresses and routes, and the files that tell of them |
//! | `container`, `stand_in` | its namespaces, and the process 1 in them |
//! | `machine`, `turn` | its parts; one turn after another: whatever is ready is handled, everybody gets on |
//! | `reaper` | every child that ends, and the signals to PID 1 |
//! | `starts` | which session starts when |
//! | `orders` | what the listener and the operator ask for |
//! | `exec` | sessions that are added to the running machine, and their channels |
//! | `upgrade` | another program that takes this one's place while the container runs |
//! | `report` | what process 1 knows of its machine, for who asks (`vch debug`) |
//! | `service` | what process 1 does for the appliance: files out and in, figures, freezing |
//! | `session` | one process tree with its streams, to its exit record |
//! | `host` | what the VMware host is told, for whoever has only the .vmx |
//! | `tools`, `clock` | what that host asks for: who runs here, power events; and its time |
//! | `helper` | calls that may block without end, in a child |
//! | `emergency` | the time that a machine gives to whoever looks into a failed start |
//! | `stop`, `last_words` | the end of the machine; and of one that cannot go on |
//! | `event_loop` | the only code that waits or reads a clock |
//!
//! It never runs a program of the image for itself, never reads a path of the container through
//! the container's own links, and never blocks its loop.

mod boot;
mod carrier;
mod clock;
mod console;
mod container;
mod disk;
mod early_mounts;
mod emergency;
mod event_loop;
mod exec;
mod helper;
mod host;
mod last_words;
mod machine;
mod modules;
mod network;
mod orders;
mod port_document;
mod reaper;
mod report;
mod service;
mod session;
mod source;
mod stand_in;
mod starts;
mod steps;
mod stop;
mod tools;
mod tree;
mod tree_copy;
mod turn;
mod upgrade;
mod volumes;

#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::process::ExitCode;

pub use self::source::resolved;

/// Process 1 of the machine or of the container's namespaces, from the beginning or in another program's place,
/// and does not return. `None`: this process is none of these; a trial for one has this outcome.
pub fn in_a_role() -> Option<ExitCode> {
    let role = std::env::args_os().next().unwrap_or_default();
    let is = |name: &CStr| role.as_encoded_bytes() == name.to_bytes();
    match std::process::id() {
        1 if is(crate::sys::namespaces::ROLE) => stand_in::run(),
        1 if is(upgrade::ROLE) => upgrade::run(),
        1 => boot::run(),
        _ if is(upgrade::TRIAL) => Some(upgrade::trial()),
        _ => None,
    }
}
