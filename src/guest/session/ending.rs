//! When the exit record may be sent: process exit and end of stream are separate facts.

use std::time::Duration;

/// What is known of a session whose process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// An output is still open: somebody else holds its other end.
    pub open: bool,
    /// An output still holds bytes from before the exit that were not read.
    pub owed: bool,
    /// When the process ended.
    pub ended: Duration,
    /// How long an output may stay open after that.
    pub grace: Duration,
    /// When the link last got on, or had nothing to get on with.
    pub progress: Duration,
    /// How long the link may stand still before bytes are given up; none: for ever.
    pub patience: Option<Duration>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing before this time, or before the link gets on.
    Wait(Option<Duration>),
    /// Send the record: all has been read.
    Complete,
    /// Close what is open, and send the record with what was read.
    Cut,
}

/// Decides. The grace is for those who hold an output; bytes that were in it before the exit are
/// read in any case, however long that takes, unless the link stands still.
pub fn decide(now: Duration, facts: &Facts) -> Decision {
    if !facts.open {
        return Decision::Complete;
    }
    if facts.owed {
        let Some(patience) = facts.patience else {
            return Decision::Wait(None);
        };
        let until = facts.progress.max(facts.ended).saturating_add(patience);
        return if now < until {
            Decision::Wait(Some(until))
        } else {
            Decision::Cut
        };
    }
    let until = facts.ended.saturating_add(facts.grace);
    if now < until {
        Decision::Wait(Some(until))
    } else {
        Decision::Cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const FACTS: Facts = Facts {
        open: true,
        owed: false,
        ended: Duration::from_secs(100),
        grace: Duration::from_secs(2),
        progress: Duration::from_secs(99),
        patience: Some(Duration::from_secs(10)),
    };

    #[test]
    fn closed_outputs_end_it_at_once() {
        let facts = Facts {
            open: false,
            ..FACTS
        };
        assert_eq!(decide(100 * S, &facts), Decision::Complete);
    }

    #[test]
    fn a_held_output_ends_with_the_grace() {
        assert_eq!(decide(100 * S, &FACTS), Decision::Wait(Some(102 * S)));
        assert_eq!(decide(102 * S, &FACTS), Decision::Cut);
    }

    #[test]
    fn bytes_from_before_the_exit_are_waited_for_while_the_link_gets_on() {
        let owed = Facts {
            owed: true,
            ..FACTS
        };
        assert_eq!(decide(105 * S, &owed), Decision::Wait(Some(110 * S)));
        assert_eq!(decide(110 * S, &owed), Decision::Cut);
        let moving = Facts {
            progress: 105 * S,
            ..owed
        };
        assert_eq!(decide(110 * S, &moving), Decision::Wait(Some(115 * S)));
        let patient = Facts {
            patience: None,
            ..owed
        };
        assert_eq!(decide(1000 * S, &patient), Decision::Wait(None));
    }
}
