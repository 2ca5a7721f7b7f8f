//! The stand-in for an init in the container's PID namespace: it takes ended orphans off the process table
//! and passes signals on to the container's own process, as `docker run --init` does.

use crate::sys::reap::{self, Reaped};
use crate::sys::signals::{self, Received};

/// The signal by which process 1 of the machine asks for the end (a real-time one that no C library uses
/// for itself). It kills whoever does not heed that in time.
pub const DISMISS: i32 = 40;
/// The container's own process: the first that comes after this one.
const CONTAINER: i32 = 2;

/// Never returns: the namespace ends with this process, and all that is left in it.
pub fn run() -> ! {
    if signals::block_all().is_err() {
        // It cannot fail; an init that signals kill would be worse than none.
        std::process::exit(1);
    }
    let mut dismissed = false;
    loop {
        let childless = reap_all();
        if dismissed && childless {
            std::process::exit(0);
        }
        match signals::receive() {
            None
            | Some(Received {
                number: libc::SIGCHLD,
                ..
            }) => {}
            Some(Received {
                number: DISMISS,
                from_outside: true,
            }) => {
                dismissed = true;
                for number in [libc::SIGTERM, libc::SIGCONT] {
                    // Nobody may be left.
                    let _ = signals::send_to_all(number);
                }
            }
            Some(Received { number, .. }) => signals::pass_on(CONTAINER, number),
        }
    }
}

/// True when there is no child left.
fn reap_all() -> bool {
    loop {
        match reap::next() {
            Ok(Reaped::Child { .. }) => {}
            Ok(Reaped::NoneEnded) => return false,
            Ok(Reaped::NoChildren) | Err(_) => return true,
        }
    }
}
