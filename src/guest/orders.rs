//! What happens on the link and what it asks for; and stops, whoever asks for them.

use std::time::Duration;

use super::event_loop::now;
use super::machine::{Machine, Stopping};
use super::service::freezer;
use crate::config::signal;
use crate::link::{Channel, Control, Event, Fresh, Stream};
use crate::plan::stop;
use crate::sys::random;

impl Machine {
    /// Handles one thing that has happened on the link.
    pub(super) fn link_event(&mut self, now: Duration, event: Event) {
        match event {
            Event::Data {
                channel,
                stream: Stream::Stdin,
                offset,
                bytes,
            } => {
                self.session(now, channel, |session, desk| {
                    session.data(offset, &bytes, desk)
                });
            }
            Event::End {
                channel,
                stream: Stream::Stdin,
                offset,
            } => {
                self.session(now, channel, |session, desk| {
                    session.end_of_input(offset, desk)
                });
            }
            Event::Gap {
                channel,
                stream,
                from,
                to,
            } => {
                log::warn!(
                    "{stream:?} of channel {}: bytes {from} to {to} are lost",
                    channel.0
                );
                self.link.stored(channel, stream, to);
            }
            Event::Message { sequence, message } => {
                self.obey(now, message);
                self.link.message_stored(sequence);
            }
            Event::Established { forgotten } => {
                log::info!("link: the listener is there");
                if forgotten {
                    self.announce();
                }
            }
            Event::Refused { reason } => {
                let text = format!("link: the listener refuses this machine: {reason}");
                log::error!("{text}");
                self.host.stage(&text);
            }
            Event::Copy { fresh } => self.become_another(fresh),
            Event::Time(time) => self.clock.follow_listener(&self.host, time),
            Event::Lost => log::warn!("link: the listener does not answer"),
            // A listener's: never ours.
            Event::Hello(_) | Event::Data { .. } | Event::End { .. } => {
                log::warn!("link: an event that is not for a guest");
            }
        }
    }

    /// This machine goes on from the memory of another that runs, too (a clone, or a snapshot that was
    /// resumed again): it may share neither its epoch nor what it takes for random.
    fn become_another(&mut self, fresh: Fresh) {
        if let Err(error) = random::stir(&fresh.map(u64::to_ne_bytes).concat()) {
            log::error!("random numbers of a copy: {error}");
        }
        let text = "this machine is a copy of one that runs (a clone, or a snapshot): it goes on as a boot of its own";
        log::warn!("{text}");
        self.host.stage(text);
        match random::secret() {
            Ok(seed) => {
                let [epoch, nonce] = [random::different_each_boot(), random::different_each_boot()];
                self.link.become_another(epoch, nonce, seed);
            }
            // The listener says it again.
            Err(error) => log::error!("random numbers: {error}"),
        }
    }

    /// Does what a control message says, or refuses it.
    fn obey(&mut self, now: Duration, message: Control) {
        match message {
            Control::Resize {
                channel,
                rows,
                columns,
            } => {
                self.session(now, channel, |session, _| {
                    if let Err(error) = session.resize(rows, columns) {
                        log::warn!("resize to {rows} × {columns}: {error}");
                    }
                });
            }
            Control::Start { channel } => self.release(now, channel),
            Control::Signal { channel, signal } => self.obey_signal(channel, &signal),
            Control::Stop { grace_s } => {
                self.stop(
                    "the listener's stop",
                    Duration::from_secs(u64::from(grace_s)),
                );
            }
            Control::Exec(order) => self.exec(*order),
            Control::Refused { what, message } => {
                log::warn!("link: the listener does not know {what:?}: {message}");
            }
            Control::Session { .. }
            | Control::Waiting { .. }
            | Control::Started { .. }
            | Control::Exit { .. }
            | Control::Stage { .. }
            | Control::Network { .. }
            | Control::Closed { .. }
            | Control::Power { .. } => {
                self.refuse("message", "only a guest says that".into());
            }
        }
    }

    fn obey_signal(&mut self, channel: Channel, name: &str) {
        let Some(number) = signal::number(name) else {
            self.refuse("signal", format!("{name:?} is no signal"));
            return;
        };
        let sent = match self
            .sessions()
            .iter()
            .find(|session| session.channel() == channel)
        {
            Some(session) => session.signal(number).map_err(|error| error.to_string()),
            None => Err(format!("there is no session on channel {}", channel.0)),
        };
        if let Err(error) = sent {
            self.refuse("signal", format!("{name}: {error}"));
        }
    }

    pub(super) fn refuse(&mut self, what: &str, message: String) {
        log::warn!("link: {what} refused: {message}");
        self.link.send(&Control::Refused {
            what: what.into(),
            message,
        });
    }

    /// Stops all sessions. A second stop with a shorter grace hurries the first; one that comes
    /// before the sessions exist is kept for them.
    pub(super) fn stop(&mut self, reason: &str, grace: Duration) {
        log::warn!("stop: {reason}, {} s of grace", grace.as_secs());
        if let Some(stopping) = &mut self.stopping {
            let until = now().saturating_add(grace.min(stop::GRACE_MOST));
            stopping.until = stopping.until.map(|before| before.min(until));
            return;
        }
        // Who stands still hears of no signal.
        freezer::thaw_if_frozen();
        let configs = self.sessions().iter().map(|session| session.config());
        let actions = stop::sessions(configs, grace).into();
        self.stopping = Some(Stopping {
            reason: reason.to_owned(),
            actions,
            until: None,
        });
    }

    /// Takes the steps of a stop that are due. Returns when the next one is.
    pub(super) fn take_stop_actions(&mut self) -> Option<Duration> {
        let now = now();
        loop {
            let alive = self.sessions().iter().any(|session| session.is_alive());
            let stopping = self.stopping.as_mut()?;
            if let Some(until) = stopping.until {
                if alive && now < until {
                    return Some(until);
                }
                stopping.until = None;
            }
            let Some(action) = stopping.actions.pop_front() else {
                // Whoever was not started by now never is.
                let reason = format!("stopped before it started: {}", stopping.reason);
                self.each_session(|session, desk| session.fail(&reason, desk));
                return None;
            };
            match action {
                stop::Action::Wait(grace) => stopping.until = Some(now.saturating_add(grace)),
                stop::Action::Send { session, signal } => self.send_stop(session, signal),
            }
        }
    }

    fn send_stop(&self, index: usize, signal: i32) {
        let Some(session) = self
            .sessions()
            .get(index)
            .filter(|session| session.is_alive())
        else {
            return;
        };
        log::info!("stop: signal {signal} to session {}", session.config().id);
        if let Err(error) = session.signal(signal) {
            log::warn!(
                "stop: signal {signal} to session {}: {error}",
                session.config().id
            );
        }
    }
}
