//! The end of a PID 1 that cannot go on: a reason where somebody can read it, and the power off,
//! never a kernel panic.

use std::panic::PanicHookInfo;
use std::time::Duration;

use super::event_loop::{EventLoop, now};
use super::host::Host;
use crate::sys::faults::{self, Fault};
use crate::sys::power::{self, Ending};
use crate::sys::{fork, port, reap};

/// How long writing the disks out may take.
const SYNC_LIMIT: Duration = Duration::from_secs(5);
/// How often it is asked for.
const SYNC_POLL: Duration = Duration::from_millis(20);

/// A panic is a defect of ours, and so is a fault; it ends the machine with its reason. (What initramfs/tether.sh
/// builds panics by a fault: its place says more than the message does, and takes less room.)
pub fn install() {
    std::panic::set_hook(Box::new(panicked));
    if let Err(error) = faults::tell(faulted) {
        log::warn!("a fault of process 1 will end in the kernel: {error}");
    }
}

fn panicked(info: &PanicHookInfo<'_>) {
    defect(&info.to_string())
}

fn faulted(fault: Fault) -> ! {
    defect(&format!("{} at {:#x}", fault.what, fault.at))
}

fn defect(what: &str) -> ! {
    // A helper's is told by how it ends: whoever has started it sees that, and the machine goes on.
    if !rustix::process::getpid().is_init() {
        std::process::abort()
    }
    // Whatever was broken may be borrowed: everything here is made anew.
    let host = port::open().map_or_else(|_| Host::default(), Host::new);
    give_up(
        host,
        &format!("tether {} has a defect: {what}", env!("CARGO_PKG_VERSION")),
    )
}

/// Ends the machine without its loop: says why, writes the disks out, and switches off.
pub fn give_up(mut host: Host, reason: &str) -> ! {
    log::error!("{reason}");
    host.stage(reason);
    host.log(&format!("tether: {reason}"));
    sync();
    for how in [Ending::Off, Ending::Reboot] {
        if let Err(error) = power::end(how) {
            log::error!("the kernel refuses to end the machine ({how:?}): {error}");
        }
    }
    // Not PID 1, then: a test or a mistake.
    std::process::abort()
}

/// In a child: a dead disk must not keep the power on.
fn sync() {
    let writer = fork::run(|| {
        rustix::fs::sync();
        0
    });
    let (Ok(writer), Ok(mut events)) = (writer, EventLoop::new()) else {
        return;
    };
    let deadline = now().saturating_add(SYNC_LIMIT);
    let mut ready = Vec::new();
    while now() < deadline {
        match reap::next() {
            Ok(reap::Reaped::Child { pid, .. }) if pid == writer => return,
            Ok(reap::Reaped::Child { .. }) => {}
            Ok(reap::Reaped::NoneEnded) => {
                let soon = Some(now().saturating_add(SYNC_POLL));
                if events.wait(soon, &mut ready).is_err() {
                    return;
                }
            }
            Ok(reap::Reaped::NoChildren) | Err(_) => return,
        }
    }
}
