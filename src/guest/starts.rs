//! Which session starts when.

use std::time::Duration;

use super::event_loop::now;
use super::machine::{Machine, keep_as_configured};
use super::session::{Place, Session};
use crate::link::Channel;

impl Machine {
    /// Starts every session that is to run from the beginning.
    pub fn start_sessions(&mut self, place: Place) {
        self.place = Some(place);
        for session in self.sessions() {
            let id = &session.config().id;
            if !session.config().active {
                log::info!("session {id} is configured not to start");
            } else if session.is_held_back() {
                log::info!("session {id} waits for its first client");
            }
        }
        self.start_due(now());
        self.transmit(now());
    }

    /// Starts those that nothing keeps from it (any more). After a stop none starts: it is kept.
    pub(super) fn start_due(&mut self, now: Duration) {
        let over = self.stopping.is_some() || self.emergency;
        if over || !self.sessions().iter().any(|session| session.is_ready(now)) {
            return;
        }
        let Some(mut place) = self.place.take() else {
            return;
        };
        let others_may = place.first.is_none() || self.primary_runs();
        let mut namespaces = None;
        self.each_session(|session, desk| {
            let first = session.is_primary() && place.first.is_some();
            if session.is_ready(now) && (session.is_primary() || others_may) {
                session.start(&place, desk);
                if first {
                    namespaces = session.namespaces(&place);
                }
            }
        });
        if namespaces.is_some() {
            place.namespaces = namespaces;
        }
        self.place = Some(place);
    }

    /// A session of the configuration's waits no longer: its first client has come.
    pub(super) fn release(&mut self, now: Duration, channel: Channel) {
        self.session(now, channel, Session::release);
        self.start_due(now);
    }

    /// Takes another session in and starts it, where sessions can run.
    pub(super) fn add_session(&mut self, mut session: Session) {
        let ready = match &self.place {
            Some(place) => place.first.is_none() || self.primary_runs(),
            None => false,
        };
        let refusal = match (&self.stopping, ready) {
            (Some(_), _) => Some("the machine is being stopped"),
            (None, false) => Some("the container has not been started yet"),
            (None, true) => None,
        };
        keep_as_configured(&mut self.link, &session, &self.vm.link);
        let place = self.place.take();
        let (sessions, mut desk) = self.desk(now());
        match (refusal, &place) {
            (None, Some(place)) => session.start(place, &mut desk),
            (reason, _) => session.fail(reason.unwrap_or_default(), &mut desk),
        }
        sessions.push(session);
        self.place = place;
    }

    fn primary_runs(&self) -> bool {
        let mut sessions = self.sessions().iter();
        sessions.any(|session| session.is_primary() && session.is_running())
    }

    /// The primary session fails for a reason of ours, before it is tried.
    pub fn fail_primary(&mut self, reason: &str) {
        self.each_session(|session, desk| {
            if session.is_primary() {
                session.fail(reason, desk);
            }
        });
        self.transmit(now());
    }
}
