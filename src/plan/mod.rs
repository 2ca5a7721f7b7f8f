//! From the model to what is to be done, as data: ordered lists that a test can compare. Nothing
//! here does anything; `guest` carries the lists out.
//!
//! | | |
//! |---|---|
//! | [`mounts`] | what a container's tree needs before its first process |
//! | [`network`] | endpoints, their routes, and the files that tell of them |
//! | [`process`] | a session's program, arguments, environment and working directory |
//! | [`user`] | names to numbers, by the container's own `/etc/passwd` and `/etc/group` |
//! | [`gaps`] | what a configuration asks for and this version does not do |
//! | [`restart`] | when a session that ends is started again |
//! | [`stop`] | who is asked to stop, by which signal, and what comes after |

pub mod bounds;
pub mod gaps;
pub mod isolation;
pub mod mounts;
pub mod network;
pub mod process;
pub mod restart;
pub mod stop;
pub mod user;
pub mod volumes;
