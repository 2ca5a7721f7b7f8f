//! A machine and a listener on the two ends of a socket, with real processes of this machine
//! between them. Each test runs in a process of its own: whoever reaps all children cannot share.

mod bench;
mod endings;
mod execs;
mod input;
mod output;

use self::bench::{Bench, alone, shell};
