//! A session in another process's hands: its process, its streams and how far it has got.

use std::io;
use std::os::fd::OwnedFd;

use super::input::Input;
use super::output::Output;
use super::{Desk, Role, Session, State};
use crate::config::model;
use crate::frozen::{Record, Writer};
use crate::link::{Channel, Control, ExitClass, ExitRecord, Stream};
use crate::plan::restart::Restarts;
use crate::sys::handover::{Kept, adopt};

/// Fields of a session.
const CHANNEL: u8 = 1;
const ID: u8 = 2;
const ROLE: u8 = 3;
const STATE: u8 = 4;
const PID: u8 = 5;
const PIDFD: u8 = 6;
const RECORD: u8 = 7;
const AT: u8 = 8;
const UNTIL: u8 = 9;
const STARTED_PID: u8 = 10;
const STARTED_MS: u8 = 11;
const STDIN: u8 = 12;
const STDOUT: u8 = 13;
const STDERR: u8 = 14;
const MASTER: u8 = 15;
const ROWS: u8 = 16;
const COLUMNS: u8 = 17;
const BEGUN: u8 = 18;
const HELD_BACK: u8 = 19;
const RESTARTS: u8 = 20;
const RESTARTS_IN_A_ROW: u8 = 21;

/// What [`STATE`] may be; waiting is 0.
const RUNNING: u8 = 1;
const ENDED: u8 = 2;
const RESTING: u8 = 3;
const REPORTED: u8 = 4;

/// In the order of their numbers, as [`CLASSES`] is.
const ROLES: [Role; 4] = [Role::Primary, Role::Other, Role::Added, Role::Service];

/// The number of what stands in such a list.
fn place<T: PartialEq>(all: &[T], one: &T) -> u64 {
    let before = all.iter().take_while(|other| *other != one);
    u64::try_from(before.count()).unwrap_or_default()
}

/// The ID in a frozen session: its configuration is found by it.
pub fn frozen_id(from: Record<'_>) -> String {
    from.text(ID)
}

impl Session {
    /// Writes all but its configuration.
    pub fn freeze(&self, to: &mut Writer, kept: &mut Kept) {
        to.number(CHANNEL, self.channel.0);
        to.bytes(ID, self.config.id.as_bytes());
        to.number(ROLE, place(&ROLES, &self.role));
        let (number, ended) = match &self.state {
            // A start is waited for.
            State::Waiting | State::Starting { .. } => (0, None),
            State::Running { pid, pidfd } => {
                to.number(PID, pid.unsigned_abs());
                to.number(PIDFD, kept.keep(pidfd));
                (RUNNING, None)
            }
            State::Ended { record, at } => (ENDED, Some((record, at))),
            State::Resting { record, at, until } => {
                to.time(UNTIL, *until);
                (RESTING, Some((record, at)))
            }
            State::Reported { record, at } => (REPORTED, Some((record, at))),
        };
        to.number(STATE, number);
        if let Some((record, at)) = ended {
            to.time(AT, *at);
            to.record(RECORD, |to| freeze_record(record, to));
        }
        if let Some(Control::Started { pid, time_ms, .. }) = &self.started {
            to.number(STARTED_PID, pid.unsigned_abs());
            to.number(STARTED_MS, *time_ms);
        }
        to.record(STDIN, |to| self.stdin.freeze(to, kept));
        to.record(STDOUT, |to| self.stdout.freeze(to, kept));
        to.record(STDERR, |to| self.stderr.freeze(to, kept));
        if let Some(master) = &self.master {
            to.number(MASTER, kept.keep(master));
        }
        to.number(ROWS, self.size.0);
        to.number(COLUMNS, self.size.1);
        to.time(BEGUN, self.begun);
        to.number(HELD_BACK, self.held_back);
        to.number(RESTARTS, self.restarts.count);
        to.number(RESTARTS_IN_A_ROW, self.restarts.in_a_row);
    }

    /// The session that was frozen, with its configuration.
    ///
    /// # Errors
    /// A descriptor of its is not there.
    pub fn thaw(from: Record<'_>, config: model::Session) -> io::Result<Self> {
        let channel = Channel(from.number(CHANNEL));
        let role = *ROLES
            .get(from.number::<usize>(ROLE))
            .unwrap_or(&Role::Added);
        let stream = |field, stream| {
            let record = from.record(field).unwrap_or_default();
            Output::thaw(record, channel, stream)
        };
        let started = from.maybe(STARTED_PID).map(|pid| Control::Started {
            channel,
            pid,
            time_ms: from.number(STARTED_MS),
        });
        Ok(Self {
            state: state(from)?,
            started,
            stdin: Input::thaw(from.record(STDIN).unwrap_or_default(), channel)?,
            stdout: stream(STDOUT, Stream::Stdout)?,
            stderr: stream(STDERR, Stream::Stderr)?,
            master: adopt(from.number(MASTER))?,
            size: (from.number(ROWS), from.number(COLUMNS)),
            begun: from.time(BEGUN),
            held_back: from.flag(HELD_BACK),
            restarts: Restarts {
                count: from.number(RESTARTS),
                in_a_row: from.number(RESTARTS_IN_A_ROW),
            },
            ..Self::new(channel, config, role)
        })
    }

    /// Goes on with its streams.
    pub fn resume(&mut self, desk: &mut Desk<'_>) {
        self.stdin.pump(desk);
        self.stdout.pump(desk);
        self.stderr.pump(desk);
    }
}

fn state(from: Record<'_>) -> io::Result<State> {
    let record = || thaw_record(from.record(RECORD).unwrap_or_default());
    let at = from.time(AT);
    Ok(match from.number(STATE) {
        RUNNING => State::Running {
            pid: from.number(PID),
            pidfd: adopt(from.number(PIDFD))?.ok_or(io::ErrorKind::NotFound)?,
        },
        ENDED => State::Ended {
            record: record(),
            at,
        },
        RESTING => State::Resting {
            record: record(),
            at,
            until: from.time(UNTIL),
        },
        REPORTED => State::Reported {
            record: record(),
            at,
        },
        _ => State::Waiting,
    })
}

/// Fields of a stream of a session.
const FD: u8 = 1;
const TERMINAL: u8 = 2;
const WAITING: u8 = 3;
const RECEIVED: u8 = 4;
const ENDS: u8 = 5;
const AT_LINE_START: u8 = 6;
const OWED: u8 = 7;
const GOES_ON: u8 = 8;
const CUT: u8 = 9;
const EXPECTED: u8 = 10;

fn keep(fd: Option<&OwnedFd>, to: &mut Writer, kept: &mut Kept) {
    if let Some(fd) = fd {
        to.number(FD, kept.keep(fd));
    }
}

impl Input {
    fn freeze(&self, to: &mut Writer, kept: &mut Kept) {
        let (first, second) = self.waiting.as_slices();
        keep(self.fd.as_ref(), to, kept);
        to.number(TERMINAL, self.terminal);
        to.pieces(WAITING, &[first, second]);
        to.number(RECEIVED, self.received);
        to.number(ENDS, self.ends);
        to.number(AT_LINE_START, self.at_line_start);
        to.number(EXPECTED, self.expected);
    }

    fn thaw(from: Record<'_>, channel: Channel) -> io::Result<Self> {
        Ok(Self {
            fd: adopt(from.number(FD))?,
            terminal: from.flag(TERMINAL),
            waiting: from.bytes(WAITING).to_vec().into(),
            received: from.number(RECEIVED),
            ends: from.flag(ENDS),
            at_line_start: from.flag(AT_LINE_START),
            expected: from.flag(EXPECTED),
            ..Self::none(channel)
        })
    }
}

impl Output {
    fn freeze(&self, to: &mut Writer, kept: &mut Kept) {
        keep(self.fd.as_ref(), to, kept);
        to.number(OWED, self.owed);
        to.number(GOES_ON, self.goes_on);
        to.number(CUT, self.cut);
    }

    fn thaw(from: Record<'_>, channel: Channel, stream: Stream) -> io::Result<Self> {
        Ok(Self {
            fd: adopt(from.number(FD))?,
            owed: from.number(OWED),
            goes_on: from.flag(GOES_ON),
            cut: from.flag(CUT),
            ..Self::none(channel, stream)
        })
    }
}

/// Fields of an exit record.
const STATUS: u8 = 1;
const CODE: u8 = 2;
const SIGNAL: u8 = 3;
const CORE: u8 = 4;
const OOM: u8 = 5;
const CLASS: u8 = 6;
const REASON: u8 = 7;
const STDOUT_LENGTH: u8 = 8;
const STDERR_LENGTH: u8 = 9;
const STDIO_HELD: u8 = 10;
const TIME_MS: u8 = 11;

/// In the order of their numbers.
const CLASSES: [ExitClass; 5] = [
    ExitClass::Exited,
    ExitClass::Signaled,
    ExitClass::NotExecutable,
    ExitClass::NotFound,
    ExitClass::Failed,
];

fn freeze_record(record: &ExitRecord, to: &mut Writer) {
    to.number(STATUS, record.status.unsigned_abs());
    // One more than it is: 0 is no code.
    if let Some(code) = record.code {
        to.number(CODE, code.unsigned_abs().saturating_add(1));
    }
    to.number(SIGNAL, record.signal.unwrap_or_default().unsigned_abs());
    to.number(CORE, record.core);
    to.number(OOM, record.oom);
    to.number(CLASS, place(&CLASSES, &record.class));
    to.bytes(REASON, record.reason.as_bytes());
    to.number(STDOUT_LENGTH, record.stdout);
    to.number(STDERR_LENGTH, record.stderr);
    to.number(STDIO_HELD, record.stdio_held);
    to.number(TIME_MS, record.time_ms);
}

fn thaw_record(from: Record<'_>) -> ExitRecord {
    let code: i32 = from.number(CODE);
    ExitRecord {
        status: from.number(STATUS),
        code: code.checked_sub(1).filter(|code| *code >= 0),
        signal: from.maybe(SIGNAL),
        core: from.flag(CORE),
        oom: from.flag(OOM),
        class: *CLASSES
            .get(from.number::<usize>(CLASS))
            .unwrap_or(&ExitClass::Failed),
        reason: from.text(REASON),
        stdout: from.number(STDOUT_LENGTH),
        stderr: from.number(STDERR_LENGTH),
        stdio_held: from.flag(STDIO_HELD),
        time_ms: from.number(TIME_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_same_afterwards() {
        for class in CLASSES {
            let failed = ExitRecord::failed(class, "why".into(), 1 << 41);
            let all = ExitRecord {
                status: 139,
                code: Some(0),
                signal: Some(11),
                core: true,
                oom: true,
                stdout: 1 << 40,
                stderr: 5,
                stdio_held: true,
                ..failed.clone()
            };
            for record in [failed, all] {
                let mut to = Writer::default();
                freeze_record(&record, &mut to);
                let bytes = to.done();
                assert_eq!(thaw_record(Record::new(&bytes)), record);
            }
        }
    }
}
