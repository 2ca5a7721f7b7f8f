//! One container as the listener knows it: its record, its log, the connection of its VM, and what
//! its clients have to say. Shared by the VM's task and the API; the lock is never held while
//! waiting, and readers of the log do not take it at all.

mod clients;
mod connection;
mod direct;
mod execs;
mod made;
mod outgoing;
mod seats;
mod stdin;
mod vm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, watch};

use self::direct::Direct;
use self::outgoing::Outgoing;
use self::seats::Seats;
use self::stdin::Stdin;
use super::events::{Events, Known};
use super::machines::{Health, Spec};
use super::store::state::{ContainerRecord, State, StoredExit};
use super::store::{Log, LogError, Positions, Reader, Rotation, StateError, Whose};
use crate::link::{Channel, Stream};

pub use clients::{ClientError, Condition, Outcome, RunWatch, Seat};
pub use connection::{Connection, Origin};
pub use direct::{AskError, Asked};
pub use execs::Ordered;
pub use made::{Began, Made};
pub use seats::{Access, NoAccess, Taken};
pub use vm::{VmError, Welcomed};

/// Folder of a container's log segments.
const LOG_DIR: &str = "log";

/// A container.
#[derive(Debug)]
pub struct Container {
    id: String,
    dir: PathBuf,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
    /// Who is told what happens, and what they know.
    events: OnceLock<Arc<Events>>,
    known: Mutex<Known>,
    /// Where its VM is made here.
    made: OnceLock<Made>,
    /// stdin was taken by the guest, or will never be.
    stdin_moved: Notify,
    /// What its machine's process 1 answers.
    direct: Arc<Direct>,
}

#[derive(Debug)]
struct Inner {
    record: ContainerRecord,
    log: Log,
    connection: Option<Arc<Connection>>,
    link: LinkState,
    outgoing: Outgoing,
    stdin: BTreeMap<Channel, Stdin>,
    /// Clients attached to the container's own session.
    seats: Seats,
    /// Why nothing is being stored now.
    trouble: Option<String>,
    /// The last boot's exit, when it was shown.
    previous: Option<(u64, StoredExit)>,
    removed: bool,
    /// The WELCOMEs of this boot that its guest may have taken last, by the listener's nonces; `None`: not
    /// known, a listener before this one gave them.
    welcomes: Option<Vec<u64>>,
    /// The clock of this boot's guest when it was last on a connection that has ended, ms.
    up_ms: u64,
    /// Epochs of the last boots that another has taken over from.
    former: Vec<u64>,
    /// Grows whenever the link comes or goes: tells one absence of the VM from the next.
    absence: u64,
    /// Where its VM is made here: how that is.
    machine: Option<made::Machine>,
    /// The container's own.
    direct: Arc<Direct>,
}

/// How far the link of a VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    Down,
    /// The VM has said hello: what it is told waits for the handshake's end, a round trip away.
    Opening,
    Up,
}

impl LinkState {
    fn is_up(self) -> bool {
        self == Self::Up
    }
}

/// A time without link that has begun; see [`Container::give_up`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence(u64);

/// What readers wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The log may be read up to this position.
    pub end: u64,
    /// Grows with each change of the record or the link.
    pub changes: u64,
}

/// A container's folder that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `record.json`.
    #[error(transparent)]
    State(#[from] StateError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What the API shows of a container, copied out at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its record.
    pub record: ContainerRecord,
    /// Its VM is connected and has shaken hands.
    pub link_up: bool,
    /// Where its VM calls from.
    pub origin: Option<Origin>,
    /// Clients attached to it that watch only, and those that type.
    pub attached: (usize, usize),
    /// Where its streams stand.
    pub positions: Positions,
    /// Position after the last record of its log.
    pub end: u64,
    /// Why nothing is being stored now.
    pub trouble: Option<String>,
    /// As it was asked for, where its VM is made here.
    pub spec: Option<Arc<Spec>>,
    /// It has not been started, or has ended and not been started again.
    pub between_runs: bool,
    /// Times that it was started again by the appliance.
    pub restarts: u64,
    /// It is being started again by the appliance.
    pub restarting: bool,
    /// How it is, where it is probed.
    pub health: Option<Health>,
}

impl Container {
    /// Opens a container's folder: reads its record, repairs its log.
    ///
    /// # Errors
    /// Either cannot be read.
    pub fn open(id: &str, dir: &Path, rotation: Rotation) -> Result<Self, OpenError> {
        let log = Log::open(&dir.join(LOG_DIR), rotation)?;
        let mut record = ContainerRecord::read(dir)?.unwrap_or_default();
        record.id = id.to_owned();
        if let Some(epoch) = log.positions().epoch
            && epoch != record.run.epoch
        {
            // The listener ended between the two writes of a new run: the log is the truth.
            record.begin_run(epoch);
        }
        let progress = Progress {
            end: log.end(),
            changes: 0,
        };
        let known = Known::of(&record, false, false, false);
        let direct = Arc::new(Direct::default());
        Ok(Self {
            events: OnceLock::new(),
            known: Mutex::new(known),
            made: OnceLock::new(),
            id: id.to_owned(),
            dir: dir.to_owned(),
            direct: Arc::clone(&direct),
            inner: Mutex::new(Inner {
                record,
                log,
                connection: None,
                link: LinkState::Down,
                outgoing: Outgoing::default(),
                stdin: BTreeMap::new(),
                seats: Seats::default(),
                trouble: None,
                previous: None,
                removed: false,
                welcomes: None,
                up_ms: 0,
                former: Vec::new(),
                absence: 0,
                machine: None,
                direct,
            }),
            progress: watch::Sender::new(progress),
            stdin_moved: Notify::new(),
        })
    }

    /// What happens to it from now on is told there.
    pub fn tell(&self, events: &Arc<Events>) {
        // The first to be told stays.
        let _ = self.events.set(Arc::clone(events));
    }

    /// Its ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.lock().record.name.clone()
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let made = self.made.get();
        Snapshot {
            record: inner.record.clone(),
            link_up: inner.link.is_up(),
            attached: inner.seats.counts(),
            origin: inner.connection.as_ref().map(|c| c.origin()),
            positions: inner.log.positions().clone(),
            end: inner.log.end(),
            trouble: inner.trouble.clone(),
            spec: made.map(Made::spec),
            between_runs: inner.between_runs(),
            health: made.and_then(Made::health),
            restarts: made.map_or(0, |made| made.restarts.load(Ordering::Relaxed)),
            restarting: inner.between_runs()
                && made.is_some_and(|made| made.again.load(Ordering::Relaxed)),
        }
    }

    /// Says when there is more in the log, or something else has changed.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Folder of its log.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join(LOG_DIR)
    }

    /// The absence of its VM, which has not called since this listener began.
    pub fn absence(&self) -> Absence {
        Absence(self.lock().absence)
    }

    /// A reader that begins at the end of the log as it is now, and where the streams stand there.
    pub fn reader_at_end(&self, whose: Whose) -> (Reader, Positions) {
        let inner = self.lock();
        let positions = inner.log.positions().clone();
        let reader = Reader::new(&self.log_dir(), inner.log.end(), whose, Some(&positions));
        (reader, positions)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves the fields as consistent as they were between two statements;
        // every container but this one would go on, so this one does too.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inner: &Inner, changed: bool) {
        let end = inner.log.end();
        self.progress.send_modify(|progress| {
            progress.end = end;
            progress.changes += u64::from(changed);
        });
        if changed {
            let now = Known::of(
                &inner.record,
                inner.link.is_up(),
                inner.removed,
                inner.machine.is_some(),
            );
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(events) = self.events.get().filter(|_| now != *known) {
                events.changed(&inner.record, *known, now);
            }
            *known = now;
            drop(known);
            // Whoever waits for room in stdin may now wait in vain.
            self.stdin_moved.notify_waiters();
        }
    }
}

impl Container {
    /// Another tether has taken over in the VM, within one boot.
    fn note_software(&self, inner: &mut Inner, software: &str) {
        let record = &mut inner.record;
        if record.software == software {
            return;
        }
        let before = std::mem::replace(&mut record.software, software.to_owned());
        tracing::info!(
            id = self.id,
            before,
            software,
            "another tether has taken over"
        );
        inner.save(&self.dir);
        if let Some(events) = self.events.get() {
            let more = vec![("from", before), ("to", software.to_owned())];
            events.tell(&inner.record, "upgrade", more);
        }
    }
}

impl Inner {
    fn owned_by(&self, connection: &Arc<Connection>) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|c| Arc::ptr_eq(c, connection))
    }

    /// Bytes of a session's outputs that its exit record counts and the log has not.
    fn missing(&self, channel: Channel, exit: &StoredExit) -> u64 {
        let session = self.record.run.sessions.get(&channel.0);
        if let Some(session) = session.filter(|session| session.direct) {
            let standing = self.direct.standing(&session.id);
            return standing.map_or(0, |s| exit.record.stdout.saturating_sub(s.received));
        }
        let short = |stream, length: u64| {
            length.saturating_sub(self.log.positions().stream(channel, stream).length)
        };
        short(Stream::Stdout, exit.record.stdout) + short(Stream::Stderr, exit.record.stderr)
    }

    /// Shows what may be shown: an exit whose streams are complete, or, when the VM is `gone`, any.
    /// True when the record has changed.
    fn settle(&mut self, now_ns: u64, gone: bool) -> bool {
        let waiting: Vec<(u16, u64)> = self
            .record
            .run
            .sessions
            .iter()
            .filter_map(|(channel, session)| {
                let exit = session.exit.as_ref().filter(|exit| !exit.shown)?;
                Some((*channel, self.missing(Channel(*channel), exit)))
            })
            .filter(|(_, missing)| gone || *missing == 0)
            .collect();
        for (channel, missing) in &waiting {
            let Some(session) = self.record.run.sessions.get_mut(channel) else {
                continue;
            };
            if let Some(exit) = session.exit.as_mut() {
                exit.shown = true;
                exit.missing = *missing;
            }
        }
        let unfinished = matches!(self.record.state, State::Created | State::Running);
        let end = match self.record.exit() {
            Some(_) => Some(State::Exited),
            None => gone.then_some(State::Lost),
        };
        let ended = end.filter(|_| unfinished);
        if let Some(state) = ended {
            self.record.state = state;
            self.record.finished_ns = Some(now_ns);
        }
        ended.is_some() || !waiting.is_empty()
    }

    /// Writes the record. A failure is told and kept as trouble: what it holds can be told by the
    /// guest, or worked out from the log, once more.
    fn save(&mut self, dir: &Path) {
        if let Err(error) = self.record.write(dir) {
            tracing::error!(id = self.record.id, %error, "record not saved");
            self.trouble = Some(error.to_string());
        }
    }
}
