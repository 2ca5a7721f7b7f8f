//! A machine whose container could not be started stays on for a while, where its configuration asks for that:
//! whoever looks into it has `vch debug`, and with what is mounted of the container's tree a shell of its own.

use std::time::Duration;

use super::disk::mount::ROOT;
use super::event_loop::now;
use super::machine::Machine;
use super::session::Place;
use crate::link::control::EMERGENCY;
use crate::sys::inside::Inside;

impl Machine {
    /// Turns until somebody stops the machine, or the time is over.
    pub(super) fn wait_for_help(&mut self, reason: &str) {
        let seconds = self.vm.link.emergency_wait;
        if seconds == 0 || !self.has_carrier() {
            return;
        }
        self.emergency = true;
        // Without isolation: that may be what has failed.
        self.place = Inside::open(ROOT).ok().map(|root| Place {
            root: Some(root),
            hostname: self.network.hostname().to_owned(),
            ..Place::default()
        });
        let text = format!(
            "{reason}; the machine stays on for {seconds} s: `vch debug` and `vch exec` look into it, `vch stop` ends it"
        );
        log::warn!("emergency: {text}");
        self.tell_stage(EMERGENCY, text);
        let until = now().saturating_add(Duration::from_secs(seconds.into()));
        while now() < until && self.stopping.is_none() {
            self.turn(Some(until));
        }
    }
}
