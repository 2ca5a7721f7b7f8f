//! Whole containerVMs: bootstrap.iso in a real machine (QEMU, as `vmx run` makes it), a real
//! listener, and the promises that hold between the two. What runs is what `make build iso` left in
//! `build/`; `make test` sees to that.
//!
//! A machine takes about ten seconds, so these are behind the feature `vm-tests`.

mod boot;
#[path = "../shared/bytes.rs"]
mod bytes;
mod damage;
mod exec;
mod iso;
mod isolation;
mod keys;
mod link;
mod machine;
mod network;
mod noise;
mod processes;
#[path = "../shared/program.rs"]
mod program;
mod start;
mod tools;
mod upgrade;
