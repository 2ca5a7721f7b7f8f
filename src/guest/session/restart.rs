//! A session that is started again when it ends (`restart` of its configuration): its streams go on where they
//! were, and it has no exit record before the last run's.

use std::time::Duration;

use super::{Desk, Place, Session, State, send};
use crate::guest::event_loop::wall_ms;
use crate::link::{Control, ExitClass};

impl Session {
    /// It has ended, all of its output was read, and it is to run again: rests until then. `false`: it has
    /// come to its end.
    pub(super) fn rest(&mut self, desk: &mut Desk<'_>) -> bool {
        let State::Ended { record, at } = &self.state else {
            return false;
        };
        // What could not be executed will not be the next time.
        let ran = matches!(record.class, ExitClass::Exited | ExitClass::Signaled);
        if !self.config.restart || !ran {
            return false;
        }
        let (record, at) = (record.clone(), *at);
        let wait = self.restarts.another(at.saturating_sub(self.begun));
        let count = self.restarts.count;
        self.stdin.close(desk);
        self.stdout.let_go(desk);
        self.stderr.let_go(desk);
        self.master = None;
        desk.host
            .ended(self.subject(), record.status, record.time_ms);
        desk.host.restarted(self.subject(), count);
        let text = format!(
            "session {} has ended with status {}: started again in {} ms, for the {count}. time",
            self.config.id,
            record.status,
            wait.as_millis()
        );
        log::warn!("{text}");
        send(
            desk.link,
            &Control::Stage {
                name: "restart".into(),
                text,
                time_ms: wall_ms(),
            },
        );
        self.state = State::Resting {
            record,
            at,
            until: desk.now.saturating_add(wait),
        };
        true
    }

    /// It will run, or may have to be stopped.
    pub fn goes_on(&self) -> bool {
        self.is_alive() || matches!(self.state, State::Resting { .. })
    }

    /// It rests, and its time has come.
    pub fn is_due(&self, now: Duration) -> bool {
        matches!(self.state, State::Resting { until, .. } if until <= now)
    }

    /// Runs again, if it is time.
    pub fn restart(&mut self, place: &Place, desk: &mut Desk<'_>) {
        if self.is_due(desk.now) {
            self.state = State::Waiting;
            self.start(place, desk);
        }
    }

    /// It rests and will not run again: the last run's record is its own.
    pub(super) fn end_rest(&mut self, desk: &mut Desk<'_>) {
        if let State::Resting { record, at, .. } = &self.state {
            self.state = State::Ended {
                record: record.clone(),
                at: *at,
            };
            self.report(false, desk);
        }
    }
}
