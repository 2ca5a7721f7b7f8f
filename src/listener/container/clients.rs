//! What the API asks of a container for its clients.

use std::fs;
use std::pin::pin;
use std::sync::Arc;

use super::seats::{Access, Granted, Taken};
use super::stdin::Stdin;
use super::{Container, Inner, LinkState};
use crate::link::{Channel, Control};
use crate::listener::store::state::{ContainerRecord, State, StoredExit};
use crate::listener::store::{StateError, Whose};

/// Why a container cannot do what a client wants.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its process has ended, or the VM is lost.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It runs, and must not.
    #[error(
        "cannot remove container \"/{0}\": container is running: stop the container before removing or force remove"
    )]
    Running(String),
    /// Its processes stand still.
    #[error("Container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// It has not got as far as starting its process.
    #[error("container {0} has not started its process yet")]
    NotStarted(String),
    /// Its VM is not connected now.
    #[error(
        "container {0} has no link: its VM is not connected now; look whether the VM runs and its \
         serial port points here, then try again"
    )]
    NoLink(String),
    /// Too much waits for its VM already.
    #[error("container {0} does not answer: too many requests wait for its VM already")]
    Busy(String),
    /// Another client's access does not allow it.
    #[error("container {0}: {1}")]
    Taken(String, Taken),
    /// Its stdin takes nothing.
    #[error("stdin of container {0} is closed")]
    StdinClosed(String),
    /// The folder could not be changed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// How a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this exit record.
    Exited(StoredExit),
    /// The VM is gone, and nobody knows how its process ended.
    Lost(String),
    /// The container was removed; its exit, when it had one.
    Removed(Option<StoredExit>),
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The process does not run (any more). One that has yet to start is waited for.
    NotRunning,
    /// The next end of the process from now on.
    NextExit,
    /// The container is removed.
    Removed,
}

/// Follows one session of a container to its end: the primary one over reboots that told no exit, an
/// added one as long as its boot lasts.
#[derive(Clone, Debug)]
pub struct RunWatch {
    epoch: u64,
    whose: Whose,
    /// The run of this epoch is over: the one after it is meant.
    pub(super) next: bool,
}

impl RunWatch {
    pub(super) fn primary_of(epoch: u64) -> Self {
        Self {
            epoch,
            whose: Whose::Primary,
            next: false,
        }
    }

    /// It watches a session that was added to the container.
    pub fn is_added(&self) -> bool {
        self.whose != Whose::Primary
    }

    /// The end of the run, once it has come. Reading the log up to its end *after* this has
    /// answered gets all of the run's output.
    pub fn outcome(&mut self, container: &Container) -> Option<Outcome> {
        let inner = container.lock();
        match &self.whose {
            Whose::Primary => self.primary(&inner),
            Whose::Session(id) => inner.session_outcome(id, self.epoch),
        }
    }

    fn primary(&mut self, inner: &Inner) -> Option<Outcome> {
        if inner.removed {
            return Some(Outcome::Removed(inner.record.exit().cloned()));
        }
        let current = inner.record.run.epoch;
        if self.next {
            if current == self.epoch {
                return None;
            }
            (self.next, self.epoch) = (false, current);
        }
        if current != self.epoch {
            if let Some((epoch, exit)) = &inner.previous
                && *epoch == self.epoch
            {
                return Some(Outcome::Exited(exit.clone()));
            }
            self.epoch = current;
        }
        match inner.record.state {
            State::Created | State::Running => None,
            State::Exited => inner.record.exit().cloned().map(Outcome::Exited),
            State::Lost => Some(Outcome::Lost(lost_reason(&inner.record))),
        }
    }
}

pub(super) fn lost_reason(record: &ContainerRecord) -> String {
    let mut reason = "the VM is gone and did not tell an exit status".to_owned();
    if let Some(power) = &record.run.power {
        let action = if power.is_off() {
            "powered off"
        } else {
            "rebooted"
        };
        reason += &format!("; it {action}: {}", power.reason);
    }
    let last_words = record.run.last_words.as_deref();
    if let Some(panic) = last_words.and_then(|words| words.panic.as_deref()) {
        reason += &format!("; its kernel panicked: {panic}");
    }
    if let Some(stage) = &record.run.stage {
        reason += &format!("; its last step was {}", stage.name);
        if !stage.text.is_empty() {
            reason += &format!(" ({})", stage.text);
        }
    }
    if let Some(words) = last_words {
        reason += &format!("; the last lines of its console:\n{}", words.console);
    }
    reason
}

/// A client's place at a container, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    container: Arc<Container>,
    granted: Granted,
}

impl Seat {
    /// What is typed goes to the process.
    pub fn types(&self) -> bool {
        self.granted.types
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.container.lock().seats.leave(self.granted);
    }
}

impl Container {
    /// A place for one more client.
    ///
    /// # Errors
    /// Somebody who is there does not allow it, or it does not allow them.
    pub fn sit(self: &Arc<Self>, access: Access) -> Result<Seat, ClientError> {
        let mut inner = self.lock();
        let granted = inner
            .seats
            .sit(access)
            .map_err(|taken| ClientError::Taken(inner.called(), taken))?;
        Ok(Seat {
            container: Arc::clone(self),
            granted,
        })
    }

    /// Its process has ended, or its VM is lost.
    pub fn has_ended(&self) -> bool {
        matches!(self.lock().record.state, State::Exited | State::Lost)
    }

    /// Its processes stand still.
    pub fn is_paused(&self) -> bool {
        let inner = self.lock();
        inner.record.state == State::Running && inner.record.run.paused
    }

    /// They stand still from now on, or go on: its machine has said so.
    pub fn set_paused(&self, paused: bool) {
        let mut inner = self.lock();
        inner.record.run.paused = paused;
        inner.save(&self.dir);
        self.publish(&inner, true);
    }

    /// A watch over a session of the current run.
    pub fn run(&self, whose: Whose) -> RunWatch {
        RunWatch {
            whose,
            ..RunWatch::primary_of(self.lock().record.run.epoch)
        }
    }

    /// Waits for the condition.
    pub async fn wait(&self, condition: Condition) -> Outcome {
        let mut progress = self.watch();
        let mut run = self.run(Whose::Primary);
        // An end that was told already is not the next one.
        run.next = condition == Condition::NextExit && run.outcome(self).is_some();
        loop {
            progress.borrow_and_update();
            match run.outcome(self) {
                Some(Outcome::Removed(exit)) => return Outcome::Removed(exit),
                Some(outcome) if condition != Condition::Removed => return outcome,
                Some(_) | None => {}
            }
            if progress.changed().await.is_err() {
                return Outcome::Removed(None);
            }
        }
    }

    /// Starts the primary session's process, if it waits for somebody to ask for it; `false`: it runs, or
    /// will by itself.
    ///
    /// # Errors
    /// It has ended, or its VM is not connected.
    pub fn start(&self) -> Result<bool, ClientError> {
        let mut inner = self.lock();
        inner.unfinished()?;
        inner.start()
    }

    /// Sends a signal to the primary session's process.
    ///
    /// # Errors
    /// Nothing runs, or the VM is not connected.
    pub fn signal(&self, signal: &str) -> Result<(), ClientError> {
        let mut inner = self.lock();
        if inner.between_runs() && !(inner.is_on() && inner.not_begun()) {
            return Err(ClientError::NotRunning(inner.called()));
        }
        let channel = inner.running(&Whose::Primary)?;
        inner.command(Control::Signal {
            channel,
            signal: signal.to_owned(),
        })
    }

    /// Sets the size of a session's terminal.
    ///
    /// # Errors
    /// Nothing runs, or the VM is not connected.
    pub fn resize(&self, whose: &Whose, rows: u16, columns: u16) -> Result<(), ClientError> {
        let mut inner = self.lock();
        let channel = inner.running(whose)?;
        inner.command(Control::Resize {
            channel,
            rows,
            columns,
        })
    }

    /// Asks the VM to stop: stop signal, grace, SIGKILL, power off. One that still boots, too.
    ///
    /// # Errors
    /// It has ended, or is not connected.
    pub fn stop(&self, grace_s: u32) -> Result<(), ClientError> {
        let mut inner = self.lock();
        inner.unfinished()?;
        inner.command(Control::Stop { grace_s })
    }

    /// Hands all of these bytes to a session's stdin, waiting for room as needed. While
    /// the VM is away they wait for it.
    ///
    /// # Errors
    /// The process has ended, or its stdin is closed.
    pub async fn write_stdin(&self, whose: &Whose, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let mut moved = pin!(self.stdin_moved.notified());
            moved.as_mut().enable();
            let taken = self.push_stdin(whose, bytes)?;
            bytes = &bytes[taken..];
            if taken == 0 {
                moved.await;
            }
        }
        Ok(())
    }

    fn push_stdin(&self, whose: &Whose, bytes: &[u8]) -> Result<usize, ClientError> {
        let mut inner = self.lock();
        let channel = match inner.running(whose) {
            Ok(channel) => channel,
            // It will start: keep the bytes by not taking them.
            Err(ClientError::NotStarted(_)) => return Ok(0),
            Err(e) => return Err(e),
        };
        let openstdin = inner
            .record
            .run
            .sessions
            .get(&channel.0)
            .is_some_and(|s| s.openstdin);
        let stdin = inner.stdin(channel);
        if stdin.closed() || !openstdin {
            return Err(ClientError::StdinClosed(inner.called()));
        }
        let taken = stdin.push(bytes);
        inner.wake();
        Ok(taken)
    }

    /// Ends a session's stdin after what was written to it, as soon as there is such a session. A
    /// terminal has no end, and a stdin that was never open none to tell: nothing happens then.
    ///
    /// # Errors
    /// The process has ended, or this cannot be written down.
    pub async fn end_stdin(&self, whose: &Whose) -> Result<(), ClientError> {
        loop {
            let mut moved = pin!(self.stdin_moved.notified());
            moved.as_mut().enable();
            match self.close_stdin(whose) {
                // It will start.
                Err(ClientError::NotStarted(_)) => moved.await,
                result => return result,
            }
        }
    }

    fn close_stdin(&self, whose: &Whose) -> Result<(), ClientError> {
        let mut inner = self.lock();
        let channel = inner.running(whose)?;
        let session = inner.record.run.sessions.get(&channel.0);
        if session.is_none_or(|s| s.tty || !s.openstdin) {
            return Ok(());
        }
        let end = inner.stdin(channel).close();
        if let Some(session) = inner.record.run.sessions.get_mut(&channel.0)
            && session.stdin_end.replace(end) != Some(end)
        {
            inner.record.write(&self.dir)?;
        }
        inner.wake();
        Ok(())
    }

    /// Closes the VM's connection and deletes the folder. `force` takes a running one too. When it is gone, `forget`
    /// is called, and whoever waits for that is told.
    ///
    /// # Errors
    /// It runs, or the folder cannot be deleted.
    pub fn remove(&self, force: bool, forget: impl FnOnce()) -> Result<(), ClientError> {
        let mut inner = self.lock();
        let running = matches!(inner.record.state, State::Created | State::Running);
        if running && !force {
            return Err(ClientError::Running(inner.called()));
        }
        inner.removed = true;
        inner.link = LinkState::Down;
        if let Some(connection) = inner.connection.take() {
            connection.close();
        }
        let deleted = fs::remove_dir_all(&self.dir).map_err(|source| {
            let path = self.dir.clone();
            StateError::Io {
                action: "delete",
                path,
                source,
            }
        });
        forget();
        self.publish(&inner, true);
        Ok(deleted?)
    }
}

impl Inner {
    /// What people call it: its name, else its ID.
    pub(super) fn called(&self) -> String {
        let (id, name) = (&self.record.id, &self.record.name);
        if name.is_empty() {
            id.clone()
        } else {
            name.clone()
        }
    }

    /// It has not ended.
    fn unfinished(&self) -> Result<(), ClientError> {
        match self.record.state {
            State::Created | State::Running if !self.removed => Ok(()),
            _ => Err(ClientError::NotRunning(self.called())),
        }
    }

    /// Channel of the session, if its process may still do something.
    fn running(&self, whose: &Whose) -> Result<Channel, ClientError> {
        if *whose == Whose::Primary && self.between_runs() {
            return Err(ClientError::NotStarted(self.called()));
        }
        self.unfinished()?;
        match whose {
            Whose::Primary => {
                let primary = self.record.primary().map(|(channel, _)| channel);
                primary.ok_or_else(|| ClientError::NotStarted(self.called()))
            }
            Whose::Session(id) => self.added(id),
        }
    }

    /// Starts the primary session where it waits.
    pub(super) fn start(&mut self) -> Result<bool, ClientError> {
        match self.record.primary() {
            Some((channel, session)) if session.is_waiting() => {
                self.command(Control::Start { channel }).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// The same where a client is there already.
    pub(super) fn start_for_the_seated(&mut self) {
        if self.seats.counts() != (0, 0)
            && let Err(error) = self.start()
        {
            // The next client's coming asks again.
            tracing::debug!(%error, "waiting session not started");
        }
    }

    pub(super) fn command(&mut self, message: Control) -> Result<(), ClientError> {
        let open = self.link != LinkState::Down;
        let Some(connection) = self.connection.clone().filter(|_| open) else {
            return Err(ClientError::NoLink(self.called()));
        };
        if !self.outgoing.push(message) {
            return Err(ClientError::Busy(self.called()));
        }
        connection.wake.notify_one();
        Ok(())
    }

    fn stdin(&mut self, channel: Channel) -> &mut Stdin {
        let session = self.record.run.sessions.get(&channel.0);
        let end = session.and_then(|s| s.stdin_end);
        self.stdin
            .entry(channel)
            .or_insert_with(|| Stdin::new(0, end))
    }

    pub(super) fn wake(&self) {
        if let Some(connection) = &self.connection {
            connection.wake.notify_one();
        }
    }
}
