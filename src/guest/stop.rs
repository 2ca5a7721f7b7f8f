//! The end of the machine, top to bottom: the others stopped, the link emptied, the disk unmounted,
//! the power off. Each part has a limit: nothing keeps a machine from ending.

use std::time::Duration;

use super::console;
use super::disk::mount::ROOT;
use super::event_loop::now;
use super::machine::Machine;
use super::service::freezer;
use super::session::Session;
use crate::link::{Control, control::PowerAction};
use crate::plan::stop::{CONTINUE, DEFAULT_GRACE, DEFAULT_SIGNAL, KILL, hold_until};
use crate::sys::power::{self, Ending};
use crate::sys::signals;

/// How long processes that are no sessions may take to heed SIGTERM.
const ORPHANS_GRACE: Duration = Duration::from_secs(2);
/// How long a killed process may take to be gone; one in an uninterruptible call never is.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// How long writing the disk out may take.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(30);
/// How long the log may take to leave the serial port.
const CONSOLE_LIMIT: Duration = Duration::from_secs(1);
/// How often its port is asked; it does not say when it is done.
const CONSOLE_POLL: Duration = Duration::from_millis(5);

/// Ends the machine. `reason` is told everywhere.
pub fn run(machine: &mut Machine, reason: &str) -> ! {
    log::info!("stopping: {reason}");
    stop_sessions(machine);
    kill_the_rest(machine);
    say_goodbye(machine, reason);
    let lost = wait_for_the_listener(machine);
    let how = match machine.ending {
        Ending::Off => "off",
        Ending::Reboot => "reboot",
    };
    let text = format!("{how}: {reason}{lost}");
    log::info!("{text}");
    machine.host.stage(&text);
    unmount(machine);
    machine.network.release();
    empty_the_console(machine);
    power_off(machine)
}

/// The sessions that still run get their own stop signals, the usual grace, and SIGKILL.
fn stop_sessions(machine: &mut Machine) {
    if !machine.sessions().iter().any(Session::goes_on) {
        return;
    }
    machine.stop("the primary session has ended", DEFAULT_GRACE);
    let limit = now()
        .saturating_add(DEFAULT_GRACE)
        .saturating_add(KILL_LIMIT);
    while now() < limit && machine.sessions().iter().any(Session::goes_on) {
        machine.turn(Some(limit));
    }
}

/// Whoever is left is asked, once, then killed.
fn kill_the_rest(machine: &mut Machine) {
    machine.end_services();
    // Whoever stands still hears of nothing, but of SIGKILL.
    freezer::thaw_if_frozen();
    // In namespaces their stand-in for an init asks, and ends after the last of them.
    if !machine.dismiss_container() {
        signal_all(machine, DEFAULT_SIGNAL);
    }
    if until_childless(machine, ORPHANS_GRACE) {
        return;
    }
    signal_all(machine, KILL);
    if !until_childless(machine, KILL_LIMIT) {
        log::error!("stop: processes that not even SIGKILL ends are left behind");
    }
}

fn signal_all(machine: &mut Machine, signal: i32) {
    // The table of children is as of the last reaping: look once more.
    machine.look_for_children();
    if machine.is_childless() {
        return;
    }
    log::info!("stop: signal {signal} to all that is left");
    for number in [signal, CONTINUE] {
        if let Err(error) = signals::send_to_all(number) {
            log::debug!("stop: signal {number} to all: {error}");
        }
    }
}

/// Turns until no child is left, at most so long.
fn until_childless(machine: &mut Machine, limit: Duration) -> bool {
    let deadline = now().saturating_add(limit);
    machine.look_for_children();
    while !machine.is_childless() && now() < deadline {
        machine.turn(Some(deadline));
    }
    machine.is_childless()
}

fn say_goodbye(machine: &mut Machine, reason: &str) {
    let goodbye = Control::Power {
        action: match machine.ending {
            Ending::Off => PowerAction::Off,
            Ending::Reboot => PowerAction::Reboot,
        },
        reason: reason.to_owned(),
    };
    if machine.link.established() && !machine.link.send(&goodbye) {
        log::warn!("the link takes no more messages");
    }
}

/// Holds the power until the listener has everything, or the link has stood still for its time.
/// Returns what is to be said of what it has not.
fn wait_for_the_listener(machine: &mut Machine) -> String {
    let patience = Duration::from_secs(u64::from(machine.timing().exit_wait));
    let start = machine.ended().unwrap_or_else(now);
    // Without a port nobody will ever acknowledge anything.
    while machine.has_carrier() && !machine.unacknowledged().is_zero() {
        let until = hold_until(start, machine.progress(), machine.noise(), patience);
        if now() >= until {
            break;
        }
        machine.turn(Some(until));
    }
    let left = machine.unacknowledged();
    if left.is_zero() {
        return String::new();
    }
    let why = if machine.has_carrier() {
        format!("within {} s", patience.as_secs())
    } else {
        "for want of a port".to_owned()
    };
    let text = format!(
        "; {} bytes of output and {} messages were not acknowledged by the listener {why}",
        left.bytes, left.messages
    );
    log::error!("link{text}");
    text
}

/// The disk is written out and taken off; read-only where somebody cannot be made to leave it.
fn unmount(machine: &mut Machine) {
    machine.leave();
    let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = below_root(&mounted);
    if points.is_empty() {
        return;
    }
    let done = machine.help(UNMOUNT_LIMIT, || {
        rustix::fs::sync();
        for (point, is_disk) in points.iter().rev().filter(|(point, _)| *point != ROOT) {
            if *is_disk {
                // As below, for volumes.
                let _ = rustix::mount::mount_remount(*point, rustix::mount::MountFlags::RDONLY, "");
            }
            // What is busy is the kernel's own and needs no writing out.
            let _ = rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH);
        }
        // Read-only first: the container's namespaces, which end in the kernel's own time, may have it
        // mounted, too. What is still written to refuses that, and unmounting then waits for it.
        let read_only = rustix::mount::mount_remount(ROOT, rustix::mount::MountFlags::RDONLY, "");
        rustix::mount::unmount(ROOT, rustix::mount::UnmountFlags::empty()).or(read_only)
    });
    match done {
        Ok(()) => log::info!("the disk is unmounted"),
        Err(error) => log::error!("unmounting the container's disk: {error}"),
    }
}

/// Mount points at and below the container's root, outermost first (`mountinfo`'s fifth field), and whether a
/// disk is there (its source, behind the type, is a device).
fn below_root(mountinfo: &str) -> Vec<(&str, bool)> {
    let points = mountinfo.lines().filter_map(|line| {
        let source = line.split_once(" - ")?.1.split(' ').nth(1)?;
        Some((line.split(' ').nth(4)?, source.starts_with("/dev/")))
    });
    points
        .filter(|(point, _)| {
            let rest = point.strip_prefix(ROOT);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .collect()
}

fn empty_the_console(machine: &mut Machine) {
    let limit = now().saturating_add(CONSOLE_LIMIT);
    while console::is_busy() && now() < limit {
        machine.turn(Some(now().saturating_add(CONSOLE_POLL)));
    }
}

/// Off, or from the beginning again; where the machine will not, whatever ends it.
fn power_off(machine: &mut Machine) -> ! {
    // Only now, when nobody is left who could read it.
    if machine.is_childless() {
        machine.host.give_back();
    }
    for how in [machine.ending, Ending::Off, Ending::Reboot] {
        if let Err(error) = power::end(how) {
            log::error!("the kernel refuses to end the machine ({how:?}): {error}");
        }
    }
    // PID 1 must not return.
    loop {
        machine.turn(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_container_are_found_in_order() {
        let mountinfo = "\
            21 1 0:20 / /proc rw - proc proc rw\n\
            30 1 8:0 / /newroot rw,relatime - ext4 /dev/sda rw\n\
            31 30 0:25 / /newroot/dev rw - tmpfs tmpfs rw\n\
            32 31 0:26 / /newroot/dev/pts rw - devpts devpts rw\n\
            33 1 0:27 / /newroot2 rw - tmpfs tmpfs rw\n";
        assert_eq!(
            below_root(mountinfo),
            [
                ("/newroot", true),
                ("/newroot/dev", false),
                ("/newroot/dev/pts", false)
            ]
        );
        assert!(below_root("").is_empty());
    }
}
