//! A session that is started again when it ends (`restart` of its configuration): its streams go on where they
//! were, and it has no exit record before the last run's.

use std::time::Duration;

use super::{Desk, Session, State, send};
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
        self.stdout.let_go(desk);
        self.stderr.let_go(desk);
        self.master = None;
        let (subject, host) = (self.subject(), &mut *desk.host);
        if let Some(subject) = subject {
            host.ended(subject, record.status, record.time_ms);
            host.restarted(subject, count);
        }
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

    /// It does not run, and is to: from the beginning, or because its rest is over.
    pub fn is_ready(&self, now: Duration) -> bool {
        match &self.state {
            State::Waiting => self.config.active && !self.held_back,
            State::Resting { until, .. } => *until <= now,
            _ => false,
        }
    }

    /// It waits for its first client.
    pub fn is_held_back(&self) -> bool {
        self.held_back && matches!(self.state, State::Waiting)
    }

    /// Its first client is there. It will not wait for one after the next boot, either, as the original has it.
    pub fn release(&mut self, desk: &mut Desk<'_>) {
        if std::mem::take(&mut self.held_back)
            && let Some(subject) = self.subject()
        {
            desk.host.released(subject);
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
