//! What the container takes of its machine, as its kernel tells it: for `docker stats`.

use std::time::Duration;

use super::out::Out;
use crate::files::{Entry, Failure, Kind};
use crate::guest::container::CGROUP;
use crate::guest::event_loop::child_waits;
use crate::sys::file;

/// Of the container's cgroup; of the machine, where there is none.
const OF_CGROUP: [&str; 7] = [
    "cpu.stat",
    "memory.current",
    "memory.max",
    "memory.stat",
    "memory.events",
    "pids.current",
    "pids.max",
];
const OF_MACHINE: [&str; 4] = [
    "/proc/stat",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/diskstats",
];

/// Between two tellings.
const PERIOD: Duration = Duration::from_secs(1);

/// Tells them again and again, an entry without a name behind each time, until nobody takes it.
pub(super) fn go_on(out: &mut Out<'_>) -> Result<(), Failure> {
    loop {
        tell(out)?;
        out.entry(&Entry {
            about: true,
            ..Entry::default()
        })?;
        out.send()?;
        child_waits(PERIOD);
    }
}

/// Each file as it is now; one that is not there is left out.
fn tell(out: &mut Out<'_>) -> Result<(), Failure> {
    let of_cgroup = OF_CGROUP.map(|name| (name, format!("{CGROUP}/{name}")));
    let of_machine = OF_MACHINE.map(|path| (path, path.to_owned()));
    for (name, path) in of_cgroup.into_iter().chain(of_machine) {
        let Ok(text) = file::read(&path) else {
            continue;
        };
        out.entry(&Entry {
            kind: Kind::File,
            path: name.into(),
            size: u64::try_from(text.len()).unwrap_or_default(),
            ..Entry::default()
        })?;
        out.bytes(&text)?;
    }
    Ok(())
}
