//! The container stands still, and goes on: the kernel's freezer of its cgroup (cgroup v2, `cgroup.freeze`).

use std::time::Duration;

use super::out::bad;
use crate::files::{Failure, Trouble};
use crate::guest::container::CGROUP;
use crate::guest::event_loop::child_waits;
use crate::sys::file;

/// Until every process of it stands still, at most.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

fn path(name: &str) -> String {
    format!("{CGROUP}/{name}")
}

/// Freezes, or thaws; comes back when it is so.
pub(super) fn set(frozen: bool) -> Result<(), Failure> {
    let freeze = path("cgroup.freeze");
    let write = |frozen: bool| {
        std::fs::write(&freeze, if frozen { "1" } else { "0" }).map_err(|error| {
            bad(format!(
                "the container cannot be frozen: {freeze}: {error} (a privileged container has no cgroup)"
            ))
        })
    };
    write(frozen)?;
    let expected = if frozen { "frozen 1" } else { "frozen 0" };
    let mut waited = Duration::ZERO;
    while !file::text(&path("cgroup.events"))
        .lines()
        .any(|line| line == expected)
    {
        if waited >= LIMIT {
            write(false)?;
            return Err(Failure {
                trouble: Trouble::Failed,
                text: format!(
                    "not all processes of the container stand still after {} s: none of them does now",
                    LIMIT.as_secs()
                ),
            });
        }
        child_waits(PAUSE);
        waited = waited.saturating_add(PAUSE);
    }
    Ok(())
}

/// Does not wait.
pub fn thaw_if_frozen() {
    let freeze = path("cgroup.freeze");
    if file::text(&freeze).trim() == "1"
        && let Err(error) = std::fs::write(&freeze, "0")
    {
        log::error!("{freeze}: {error}");
    }
}
