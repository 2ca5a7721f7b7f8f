//! From the model to what is to be done, as data: ordered lists that a test can compare. Nothing
//! here does anything; `guest` carries the lists out.
//!
//! | | |
//! |---|---|
//! | [`bounds`], [`isolation`] | what bounds a container's processes, and what they see of the kernel |
//! | [`mounts`] | what a container's tree needs before its first process |
//! | [`volumes`], [`nfs`] | its volumes, in their order; what the kernel is told of a server's |
//! | [`network`] | endpoints, their routes, and the files that tell of them |
//! | [`process`] | a session's program, arguments, environment and working directory |
//! | [`user`] | names to numbers, by the container's own `/etc/passwd` and `/etc/group` |
//! | [`restart`] | when a session that ends is started again |
//! | [`seccomp`] | a profile of system calls, as the kernel's filter |
//! | [`stop`] | who is asked to stop, by which signal, and what comes after |

pub mod bounds;
pub mod isolation;
pub mod mounts;
pub mod network;
pub mod nfs;
pub mod process;
pub mod restart;
pub mod seccomp;
pub mod stop;
pub mod user;
pub mod volumes;
