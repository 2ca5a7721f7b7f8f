//! A session's end: its process's exit, the rest of its output, and the one record of both.

use std::time::Duration;

use super::ending::{self, Decision, Facts};
use super::{Desk, Patience, Session, State, record, send};
use crate::guest::event_loop::wall_ms;
use crate::link::{Control, ExitClass, ExitRecord, Stream};
use crate::sys::reap::End;

impl Session {
    /// Takes the end of a process if it is this session's own.
    /// `oom`: the kernel has killed something for want of memory.
    pub fn reaped(&mut self, pid: i32, end: End, oom: bool, desk: &mut Desk<'_>) -> bool {
        let own = match &self.state {
            State::Starting { pid, .. } | State::Running { pid, .. } => *pid,
            State::Waiting
            | State::Ended { .. }
            | State::Resting { .. }
            | State::Reported { .. } => return false,
        };
        if own != pid {
            return false;
        }
        // What it said of its start comes first: its code means nothing if it never ran.
        self.outcome(desk);
        if self.is_alive() {
            let record = record::ended(end, oom, wall_ms());
            self.state = State::Ended {
                record,
                at: desk.now,
            };
            self.stdin.close(desk);
            // What comes from now on is the next run's.
            self.stdin.expected = self.config.restart && self.config.openstdin;
            self.stdout.process_ended(desk);
            self.stderr.process_ended(desk);
            self.stdout.pump(desk);
            self.stderr.pump(desk);
        }
        true
    }

    /// Sends the exit record if it is time. Returns when to ask again.
    pub fn settle(&mut self, patience: &Patience, desk: &mut Desk<'_>) -> Option<Duration> {
        let at = match &self.state {
            State::Ended { at, .. } => at,
            State::Resting { until, .. } => return Some(*until),
            _ => return None,
        };
        let outputs = [&self.stdout, &self.stderr];
        let facts = Facts {
            open: outputs.iter().any(|output| output.is_open()),
            owed: outputs.iter().any(|output| output.is_owed(desk)),
            ended: *at,
            grace: patience.grace,
            progress: patience.progress,
            patience: self.is_primary().then_some(patience.stall),
        };
        match ending::decide(desk.now, &facts) {
            Decision::Wait(until) => return until,
            Decision::Complete | Decision::Cut if !patience.stopping && self.rest(desk) => {
                return self.settle(patience, desk);
            }
            Decision::Complete => self.report(false, desk),
            Decision::Cut => {
                if facts.owed {
                    log::error!(
                        "session {}: output given up, nobody takes it",
                        self.config.id
                    );
                }
                self.report(true, desk);
            }
        }
        None
    }

    /// The streams end where they are, and the record says so.
    pub(super) fn report(&mut self, held: bool, desk: &mut Desk<'_>) {
        let State::Ended { record, at } = &self.state else {
            return;
        };
        let (mut record, at) = (record.clone(), *at);
        self.stdin.close(desk);
        for output in [&mut self.stdout, &mut self.stderr] {
            // A terminal that is gone is a hang-up, as its users know.
            if self.master.is_some() {
                output.close(desk);
            } else {
                output.cut(desk);
            }
        }
        self.master = None;
        record.stdio_held = held;
        record.stdout = desk.link.written(self.channel, Stream::Stdout);
        record.stderr = desk.link.written(self.channel, Stream::Stderr);
        send(
            desk.link,
            &Control::Exit {
                channel: self.channel,
                record: record.clone(),
            },
        );
        if let Some(subject) = self.subject() {
            desk.host.ended(subject, record.status, record.time_ms);
        }
        log::info!(
            "session {} ended: status {}, {} bytes of stdout, {} of stderr{}",
            self.config.id,
            record.status,
            record.stdout,
            record.stderr,
            if held {
                ", an output was still held"
            } else {
                ""
            },
        );
        self.state = State::Reported { record, at };
    }

    /// The exit code of a process of ours that has ended and is not reported yet.
    pub fn unreported_code(&self) -> Option<i32> {
        match &self.state {
            State::Ended { record, .. } => record.code,
            _ => None,
        }
    }

    /// What came of it is told by another than its process. `None`: all is well.
    pub fn judge(&mut self, trouble: Option<String>) {
        if let State::Ended { record, .. } = &mut self.state {
            let time_ms = record.time_ms;
            *record = match trouble {
                None => ExitRecord {
                    status: 0,
                    code: Some(0),
                    ..record.clone()
                },
                Some(reason) => ExitRecord::failed(ExitClass::Failed, reason, time_ms),
            };
        }
    }
}
