//! The machine's clock, after its host's: a machine that was paused, moved or resumed does not know the time.

use std::time::Duration;

use super::event_loop;
use super::host::Host;
use crate::backdoor::clock::host_time;

/// A difference that is left alone; setting the clock is not without harm for programs that read it.
const TOLERANCE: Duration = Duration::from_millis(100);

/// Sets the clock where it differs from the VMware host's by more than [`TOLERANCE`].
pub fn follow_host(host: &Host) {
    if let Some(time) = host.port().and_then(|mut port| host_time(&mut port)) {
        step(time);
    }
}

/// Sets the clock to this time since 1970 where it differs.
fn step(to: Duration) {
    let from = event_loop::wall();
    if from.abs_diff(to) <= TOLERANCE {
        return;
    }
    match event_loop::set_wall(to) {
        Ok(()) => log::info!("the clock is set, from {from:?} to {to:?} since 1970"),
        Err(error) => log::warn!("setting the clock: {error}"),
    }
}
