//! The machine's clock, after its VMware host's, or where there is none after the listener's: a machine that
//! was paused, moved or resumed does not know the time.

use std::time::Duration;

use super::event_loop;
use super::host::Host;
use crate::backdoor::clock::host_time;

/// A difference that is left alone; setting the clock is not without harm for programs that read it.
const TOLERANCE: Duration = Duration::from_millis(100);
/// How far ahead of the listener's word it may be: that was said some while ago, as long as its carrier was
/// full.
const AHEAD_MOST: Duration = Duration::from_secs(5);

/// Who keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// The container: it was given the capability for that.
    pub of_container: bool,
}

impl Clock {
    /// Sets the clock where it differs from the VMware host's.
    pub fn follow_host(self, host: &Host) {
        if let Some(time) = host.port().and_then(|mut port| host_time(&mut port)) {
            self.step(time, TOLERANCE);
        }
    }

    /// Sets it where it differs from the listener's, and there is no host that knows better.
    pub fn follow_listener(self, host: &Host, time: Duration) {
        if host.port().is_none() {
            self.step(time, AHEAD_MOST);
        }
    }

    /// Sets the clock to this time since 1970 where it is behind that, or too far ahead of it.
    fn step(self, to: Duration, ahead_most: Duration) {
        let from = event_loop::wall();
        let good = to.saturating_sub(TOLERANCE)..=to.saturating_add(ahead_most);
        if self.of_container || good.contains(&from) {
            return;
        }
        match event_loop::set_wall(to) {
            Ok(()) => log::info!("the clock is set, from {from:?} to {to:?} since 1970"),
            Err(error) => log::warn!("setting the clock: {error}"),
        }
    }
}
