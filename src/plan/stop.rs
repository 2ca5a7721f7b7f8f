//! How sessions are stopped: each by its own signal, then all by SIGKILL.

use std::time::Duration;

use crate::config::model::Session;
use crate::config::signal;

/// Signal for a session whose configuration names none.
pub const DEFAULT_SIGNAL: i32 = 15;
/// SIGKILL.
pub const KILL: i32 = 9;
/// SIGCONT: a stopped process does not see its stop signal before it goes on.
pub const CONTINUE: i32 = 18;
/// Time between the stop signal and SIGKILL where nobody says otherwise, docker's own.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Longest time that anybody may ask for.
pub const GRACE_MOST: Duration = Duration::from_secs(3600);

/// One step of a stop. The executor goes on to the next when no session is left to stop, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this signal to the session of that index.
    Send {
        /// Index in the list that was planned from.
        session: usize,
        /// Signal number.
        signal: i32,
    },
    /// Wait until all have ended, at most so long.
    Wait(Duration),
}

/// The stop of these sessions: signals (and SIGCONT) to all, the grace, SIGKILL to all.
pub fn sessions<'a>(
    sessions: impl Iterator<Item = &'a Session> + Clone,
    grace: Duration,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for (index, session) in sessions.clone().enumerate() {
        let signal = signal_of(session);
        actions.push(Action::Send {
            session: index,
            signal,
        });
        if signal != KILL {
            actions.push(Action::Send {
                session: index,
                signal: CONTINUE,
            });
        }
    }
    actions.push(Action::Wait(grace.min(GRACE_MOST)));
    for (index, _) in sessions.enumerate() {
        actions.push(Action::Send {
            session: index,
            signal: KILL,
        });
    }
    actions
}

/// The signal that asks a session to stop.
pub fn signal_of(session: &Session) -> i32 {
    signal::number(&session.stop_signal).unwrap_or(DEFAULT_SIGNAL)
}

/// How long after the end garbage on the port may keep the power on: a listener may still be found
/// behind it, and a port that brings nothing else must not hold a machine for ever.
pub const NOISE_MOST: Duration = Duration::from_secs(60);

/// Until when the power-off waits for the listener: `patience` after the link last got on, or the
/// container ended, or garbage came that a listener may be behind.
pub fn hold_until(
    ended: Duration,
    progress: Duration,
    noise: Duration,
    patience: Duration,
) -> Duration {
    let noise = noise.min(ended.saturating_add(NOISE_MOST));
    ended.max(progress).max(noise).saturating_add(patience)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_asked_by_its_own_signal_before_all_are_killed() {
        let list = [
            Session::default(),
            Session {
                stop_signal: "SIGQUIT".into(),
                ..Session::default()
            },
            Session {
                stop_signal: "9".into(),
                ..Session::default()
            },
        ];
        let send = |session, signal| Action::Send { session, signal };
        let grace = Duration::from_secs(3);
        assert_eq!(
            sessions(list.iter(), grace),
            [
                send(0, 15),
                send(0, CONTINUE),
                send(1, 3),
                send(1, CONTINUE),
                send(2, KILL),
                Action::Wait(grace),
                send(0, KILL),
                send(1, KILL),
                send(2, KILL),
            ]
        );
    }

    #[test]
    fn a_grace_has_a_limit() {
        let actions = sessions([].iter(), Duration::MAX);
        assert_eq!(actions, [Action::Wait(GRACE_MOST)]);
    }

    #[test]
    fn garbage_holds_the_power_off_for_a_while_and_not_for_ever() {
        let seconds = Duration::from_secs;
        let held = |progress, noise| {
            hold_until(seconds(100), seconds(progress), seconds(noise), seconds(10))
        };
        assert_eq!(held(0, 0), seconds(110));
        assert_eq!(held(105, 0), seconds(115));
        assert_eq!(held(0, 130), seconds(140));
        assert_eq!(held(0, 99_999), seconds(170));
        assert_eq!(held(500, 99_999), seconds(510));
    }
}
