//! One turn: waits for whatever comes first, takes all of it, and lets everybody get on.

use std::time::Duration;

use super::carrier::Carrier;
use super::event_loop::{Token, now};
use super::machine::Machine;
use super::session::{Patience, Session};
use super::tools::Tools;
use crate::plan::stop;
use crate::sys::power_button::PowerButton;

/// How long what the host is to be told may wait for something else to happen.
const HOST_WAITS: Duration = Duration::from_millis(50);

impl Machine {
    /// One turn: waits for something to happen, at most until `until`, and handles all of it.
    pub fn turn(&mut self, until: Option<Duration>) {
        let stop = self.take_stop_actions();
        self.transmit(now());
        let link = self.link_deadline();
        let more = self
            .carrier
            .as_ref()
            .is_some_and(Carrier::has_more)
            .then_some(Duration::ZERO);
        let until = [
            until,
            self.settles,
            stop,
            link,
            more,
            self.network.timeout(),
            self.tools.as_ref().map(Tools::due),
            self.host
                .has_more()
                .then(|| now().saturating_add(HOST_WAITS)),
        ]
        .into_iter()
        .flatten()
        .min();
        let mut ready = std::mem::take(&mut self.ready);
        if let Err(error) = self.events.wait(until, &mut ready) {
            log::error!("epoll: {error}");
        }
        let now = now();
        // Reaping before anything else.
        if ready.iter().any(|ready| ready.token == Token::Signals) {
            self.take_signals(now);
        }
        for ready in &ready {
            match ready.token {
                // Looked at above, and by whoever has them made.
                Token::Signals | Token::Namespaces | Token::Document => {}
                Token::Dhcp => self.network.turn(&mut self.host, now),
                Token::Carrier => {
                    if let Some(carrier) = &mut self.carrier {
                        carrier.changed(*ready, &mut self.link);
                    }
                }
                Token::Uevents => self.uevents = true,
                Token::PowerButton => self.take_button(),
                Token::Start(channel) => self.session(now, channel, Session::outcome),
                Token::Stream(channel, stream) => {
                    self.session(now, channel, |session, desk| session.stream(stream, desk));
                }
            }
        }
        let idle = ready.is_empty();
        self.ready = ready;
        self.receive(now);
        if self.network.timeout().is_some_and(|until| until <= now) {
            self.network.turn(&mut self.host, now);
        }
        if self.network.take_news() {
            self.tell_network();
        }
        self.poll_host(now);
        self.each_session(Session::refill);
        self.start_due(now);
        self.proceed_with_upgrade(now);
        self.settles = self.settle();
        self.retire();
        self.transmit(now);
        self.note_progress(now);
        self.host.after_turn(idle);
    }

    /// The link's own timers count while its words go out.
    fn link_deadline(&self) -> Option<Duration> {
        let carrier = self.carrier.as_ref()?;
        if carrier.is_flushed() {
            self.link.poll_timeout()
        } else {
            None
        }
    }

    fn receive(&mut self, now: Duration) {
        if let Some(carrier) = &mut self.carrier {
            carrier.receive(now, &mut self.link);
        }
        while let Some(event) = self.link.poll_event() {
            self.link_event(now, event);
        }
    }

    pub(super) fn transmit(&mut self, now: Duration) {
        if let Some(carrier) = &mut self.carrier {
            carrier.transmit(now, &mut self.link);
        }
    }

    fn note_progress(&mut self, now: Duration) {
        let left = self.link.unacknowledged();
        let before = self.unacknowledged;
        if left.is_zero() || left.bytes < before.bytes || left.messages < before.messages {
            self.progress = now;
        }
        self.unacknowledged = left;
        let bytes = self.link.noise();
        if bytes > self.noise_bytes && !self.link.established() {
            self.noise = now;
        }
        self.noise_bytes = bytes;
    }

    /// Sends exit records that are due. Returns when the next one may be.
    fn settle(&mut self) -> Option<Duration> {
        let patience = Patience {
            grace: Duration::from_secs(u64::from(self.vm.link.stdio_grace)),
            stall: Duration::from_secs(u64::from(self.vm.link.exit_wait)),
            progress: self.progress,
            stopping: self.stopping.is_some(),
        };
        let held = self.upgrade_due();
        let (sessions, mut desk) = self.desk(now());
        sessions
            .iter_mut()
            .filter(|session| Some(session.channel()) != held)
            .filter_map(|session| session.settle(&patience, &mut desk))
            .min()
    }

    fn take_button(&mut self) {
        if self.button.as_ref().is_some_and(PowerButton::pressed) {
            self.stop("the power button", stop::DEFAULT_GRACE);
        }
    }
}
