//! One session: a process tree with its streams, from its configuration to its exit record.
//!
//! ```text
//!  Waiting ──start──▶ Starting ──exec──▶ Running ──exit──▶ Ended ──outputs read──▶ Reported
//!      └────────────────┴── could not start ──────────────────────────────────────────▶┘
//! ```

mod ending;
mod exit;
mod freeze;
mod input;
mod output;
mod record;
mod restart;
mod start;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use self::input::Input;
use self::output::Output;
use super::event_loop::{EventLoop, wall_ms};
use super::host::Host;
use crate::config::guestinfo::Subject;
use crate::config::model;
use crate::link::{Channel, Control, ExitClass, ExitRecord, Link, Stream};
use crate::plan::restart::Restarts;
use crate::sys::{pty, signals, spawn};

pub use self::freeze::frozen_id;
pub use self::record::text_of;
pub use self::start::{DATABASE_MOST, OwnEnds, Place};

/// What a session works with, lent to it for one call.
#[derive(Debug)]
pub struct Desk<'a> {
    /// Who watches its descriptors.
    pub events: &'a EventLoop,
    /// Who takes and brings its bytes.
    pub link: &'a mut Link,
    /// Who is told of its state beside the link.
    pub host: &'a mut Host,
    /// Room for one read.
    pub scratch: &'a mut [u8],
    /// The time of this turn.
    pub now: Duration,
}

/// How long things may take that depend on others.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long an output may stay open when the process has ended.
    pub grace: Duration,
    /// How long the link may stand still before output is given up; for the primary session alone,
    /// the others have as long as the machine runs.
    pub stall: Duration,
    /// When the link last got on.
    pub progress: Duration,
    /// Nothing is started any more.
    pub stopping: bool,
}

#[derive(Debug)]
enum State {
    Waiting,
    Starting {
        pid: i32,
        pidfd: OwnedFd,
        outcome: OwnedFd,
    },
    Running {
        pid: i32,
        pidfd: OwnedFd,
    },
    Ended {
        record: ExitRecord,
        at: Duration,
    },
    /// Ended, and to be started again.
    Resting {
        record: ExitRecord,
        at: Duration,
        until: Duration,
    },
    Reported {
        record: ExitRecord,
        at: Duration,
    },
}

/// What a session is to its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The container's own: its end is the end of the machine.
    Primary,
    /// Another one of the configuration's.
    Other,
    /// One that was added to a running machine.
    Added,
    /// Something that process 1 itself does for the appliance: what it says is for no log.
    Service,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    channel: Channel,
    config: model::Session,
    role: Role,
    state: State,
    started: Option<Control>,
    stdin: Input,
    stdout: Output,
    stderr: Output,
    /// The path that each candidate of the start stands for, until it is known to run.
    tried: Vec<String>,
    master: Option<OwnedFd>,
    /// Lines and columns that its terminal begins with.
    size: (u16, u16),
    /// When its process was started, the last time.
    begun: Duration,
    /// It waits for its first client.
    held_back: bool,
    restarts: Restarts,
}

/// A terminal's size until a client says otherwise.
const TERMINAL: (u16, u16) = (24, 80);

impl Session {
    /// A session that is configured and does not run yet.
    pub fn new(channel: Channel, config: model::Session, role: Role) -> Self {
        let stdin = if config.openstdin {
            Input::expected(channel)
        } else {
            Input::none(channel)
        };
        Self {
            channel,
            held_back: config.runblock,
            config,
            role,
            state: State::Waiting,
            started: None,
            stdin,
            stdout: Output::none(channel, Stream::Stdout),
            stderr: Output::none(channel, Stream::Stderr),
            tried: Vec::new(),
            master: None,
            size: TERMINAL,
            begun: Duration::ZERO,
            restarts: Restarts::default(),
        }
    }

    /// Its terminal begins with this many lines and columns; 0: as usual.
    pub fn begin_with_size(&mut self, (rows, columns): (u16, u16)) {
        if rows > 0 && columns > 0 {
            self.size = (rows, columns);
        }
    }

    /// Its channel on the link.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Its configuration.
    pub fn config(&self) -> &model::Session {
        &self.config
    }

    /// Its end is the end of the machine.
    pub fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Its process has not executed its program yet.
    pub fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    /// It is something of our own.
    pub fn is_service(&self) -> bool {
        self.role == Role::Service
    }

    /// It was added to a running machine.
    pub fn is_added(&self) -> bool {
        matches!(self.role, Role::Added | Role::Service)
    }

    /// Its exit record has been sent.
    pub fn is_reported(&self) -> bool {
        matches!(self.state, State::Reported { .. })
    }

    /// In a few words, without its arguments.
    pub fn describe(&self) -> String {
        let state = match &self.state {
            State::Waiting if self.held_back => "waits for its first client".to_owned(),
            State::Waiting => "not started".to_owned(),
            State::Starting { pid, .. } => format!("starting as process {pid}"),
            State::Running { pid, .. } => format!("runs as process {pid}"),
            State::Resting { record, .. } => {
                format!(
                    "has ended with status {}, to be started again",
                    record.status
                )
            }
            State::Ended { record, .. } => {
                format!("has ended with status {}, output to be read", record.status)
            }
            State::Reported { record, .. } => format!("has ended with status {}", record.status),
        };
        let (channel, id, program) = (self.channel.0, &self.config.id, self.program());
        format!("{channel} {id} {program}: {state}")
    }

    /// Its program runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Somebody may still write to its outputs.
    pub fn is_held(&self) -> bool {
        self.stdout.is_held() || self.stderr.is_held()
    }

    /// A process of its own may still be there.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Running { .. })
    }

    /// How it ended, once that is known.
    pub fn record(&self) -> Option<&ExitRecord> {
        match &self.state {
            State::Ended { record, .. } | State::Reported { record, .. } => Some(record),
            State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Resting { .. } => None,
        }
    }

    /// When its process ended, or failed to start.
    pub fn ended(&self) -> Option<Duration> {
        match &self.state {
            State::Ended { at, .. } | State::Reported { at, .. } => Some(*at),
            State::Waiting
            | State::Starting { .. }
            | State::Running { .. }
            | State::Resting { .. } => None,
        }
    }

    /// What it is called where the host is told of it; of our own doings it is told nothing.
    fn subject(&self) -> Option<Subject<'_>> {
        match self.role {
            Role::Primary | Role::Other => Some(Subject::Session(&self.config.id)),
            Role::Added => Some(Subject::Exec(&self.config.id)),
            Role::Service => None,
        }
    }

    /// Tells the listener all that it has to know: at the start, and again when it has forgotten.
    pub fn announce(&self, link: &mut Link) {
        link.open(self.channel);
        let config = &self.config;
        send(
            link,
            &Control::Session {
                channel: self.channel,
                id: config.id.clone(),
                name: config.name.clone(),
                path: config.path.clone(),
                args: config.args.clone(),
                tty: config.tty,
                openstdin: config.openstdin,
                attach: config.attach,
                primary: self.is_primary(),
                direct: self.role == Role::Service,
            },
        );
        if self.is_held_back() {
            send(
                link,
                &Control::Waiting {
                    channel: self.channel,
                },
            );
        }
        if let Some(started) = &self.started {
            send(link, started);
        }
        if let State::Reported { record, .. } = &self.state {
            send(
                link,
                &Control::Exit {
                    channel: self.channel,
                    record: record.clone(),
                },
            );
        }
    }

    /// The kernel says whether the program runs.
    pub fn outcome(&mut self, desk: &mut Desk<'_>) {
        let State::Starting { outcome, .. } = &self.state else {
            return;
        };
        let result = spawn::outcome(outcome.as_fd());
        if result == Ok(false) {
            return;
        }
        if let Err(error) = desk.events.unwatch(outcome) {
            log::error!("unwatching the start of a session: {error}");
        }
        match result {
            Ok(_) => self.runs(desk),
            Err(error) => {
                let tried = self
                    .tried
                    .get(usize::from(error.candidate))
                    .map_or("", String::as_str);
                let record = record::not_started(error, self.program(), tried, wall_ms());
                self.not_started(record, desk);
            }
        }
    }

    fn program(&self) -> &str {
        match self.config.path.as_str() {
            "" => self.config.args.first().map_or("", String::as_str),
            path => path,
        }
    }

    fn runs(&mut self, desk: &mut Desk<'_>) {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Starting { pid, pidfd, .. } => {
                self.state = State::Running { pid, pidfd };
                self.tried = Vec::new();
                self.told_running(pid, desk);
                if let Some(subject) = self.subject() {
                    desk.host.started(subject, wall_ms());
                }
                log::info!("session {} runs as process {pid}", self.config.id);
            }
            other => self.state = other,
        }
    }

    fn told_running(&mut self, pid: i32, desk: &mut Desk<'_>) {
        let started = Control::Started {
            channel: self.channel,
            pid,
            time_ms: wall_ms(),
        };
        send(desk.link, &started);
        self.started = Some(started);
    }

    /// It does not run, and never will.
    pub fn fail(&mut self, reason: &str, desk: &mut Desk<'_>) {
        self.end_rest(desk);
        if matches!(self.state, State::Waiting) {
            let record = ExitRecord::failed(ExitClass::Failed, reason.to_owned(), wall_ms());
            self.not_started(record, desk);
        }
    }

    fn not_started(&mut self, record: ExitRecord, desk: &mut Desk<'_>) {
        log::error!(
            "session {} did not start: {}",
            self.config.id,
            record.reason
        );
        if let Some(subject) = self.subject() {
            desk.host.not_started(subject, &record.reason);
        }
        self.state = State::Ended {
            record,
            at: desk.now,
        };
        self.report(false, desk);
    }

    /// A stream can be read or written.
    pub fn stream(&mut self, stream: Stream, desk: &mut Desk<'_>) {
        match stream {
            Stream::Stdin => self.stdin.pump(desk),
            Stream::Stdout => self.stdout.pump(desk),
            Stream::Stderr => self.stderr.pump(desk),
        }
    }

    /// The link may have room again.
    pub fn refill(&mut self, desk: &mut Desk<'_>) {
        for output in [&mut self.stdout, &mut self.stderr] {
            if output.is_waiting_for_room() {
                output.pump(desk);
            }
        }
    }

    /// Bytes for stdin.
    pub fn data(&mut self, offset: u64, bytes: &[u8], desk: &mut Desk<'_>) {
        self.stdin.data(offset, bytes, desk);
    }

    /// The end of stdin.
    pub fn end_of_input(&mut self, offset: u64, desk: &mut Desk<'_>) {
        self.stdin.end(offset, desk);
    }

    /// Sends a signal to the process, not to those it has started.
    ///
    /// # Errors
    /// It does not run, or the number is no signal.
    pub fn signal(&self, number: i32) -> std::io::Result<()> {
        match &self.state {
            State::Starting { pidfd, .. } | State::Running { pidfd, .. } => {
                signals::send(pidfd.as_fd(), number)
            }
            State::Waiting | State::Resting { .. } => {
                Err(std::io::Error::other("the session does not run"))
            }
            State::Ended { .. } | State::Reported { .. } => {
                Err(std::io::Error::other("the session has ended"))
            }
        }
    }

    /// Sets the terminal's size; without a terminal there is nothing to set.
    ///
    /// # Errors
    /// The kernel refuses the size.
    pub fn resize(&self, rows: u16, columns: u16) -> std::io::Result<()> {
        self.master
            .as_ref()
            .map_or(Ok(()), |master| pty::resize(master, rows, columns))
    }
}

/// Queues a control message. The queue's limit is far above what one machine's sessions send.
fn send(link: &mut Link, message: &Control) {
    if !link.send(message) {
        log::error!("the link takes no more messages: {message:?} is lost");
    }
}
