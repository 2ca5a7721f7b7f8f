//! What the task of a VM's connection asks of its container.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::Presence;
use super::stdin::Stdin;
use super::{Absence, Connection, Container, Inner, LinkState, Origin};
use crate::link::{Control, Hello, Link, Resume, Stream};
use crate::listener::last_words;
use crate::listener::store::state::State;
use crate::listener::store::{Batch, LogError, StateError};

/// Why a VM's connection cannot go on as it was.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// Another connection of the same VM speaks for it now, or the container was removed.
    #[error("the connection has been replaced")]
    Replaced,
    /// It is a boot that another VM has taken over from.
    #[error(
        "another VM of this container, at {0}, is connected and was started later: only one may be at a \
         time. This one is let in again when that one has gone"
    )]
    TakenOver(String),
    /// The log cannot be written: not acknowledged, to be tried again.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The record cannot be written: not acknowledged, to be tried again.
    #[error(transparent)]
    State(#[from] StateError),
}

/// WELCOMEs that are remembered while none of them is known to have been taken.
const WELCOMES_MOST: usize = 64;
/// Boots that are remembered after another has taken over from them.
const FORMER_MOST: usize = 8;

/// How a VM is let in.
#[derive(Debug)]
pub enum Welcomed {
    /// What is stored of its boot.
    Back(Resume),
    /// It goes on from the memory of one that was let in since: it is another.
    AsAnother,
    /// Another connection of its boot is there; whether a guest is behind it is being asked.
    NotYet,
}

impl Container {
    /// A VM has proved that it is there: this connection speaks for it from now on, the one before
    /// is closed.
    ///
    /// # Errors
    /// A new boot cannot be written down, another VM is connected that has taken over from this one, or
    /// the container was removed meanwhile.
    pub fn hello(
        &self,
        hello: &Hello,
        connection: &Arc<Connection>,
        now_ns: u64,
    ) -> Result<Welcomed, VmError> {
        let mut inner = self.lock();
        if inner.removed {
            return Err(VmError::Replaced);
        }
        let epoch = hello.identity.epoch;
        let fresh = inner.log.positions().epoch != Some(epoch) || inner.record.run.epoch != epoch;
        let own = inner.owned_by(connection);
        if !fresh && !own && inner.is_copy(hello) {
            return Ok(Welcomed::AsAnother);
        }
        if !fresh && let Some(other) = inner.other(connection) {
            match other.presence() {
                Presence::Asked => return Ok(Welcomed::NotYet),
                Presence::There => return Ok(Welcomed::AsAnother),
                // Its network broke, and nobody has told.
                Presence::Gone => {}
            }
        }
        if let Some(other) = inner.other(connection).filter(|_| fresh) {
            self.two_vms(&inner, epoch, [&other.origin(), &connection.origin()])?;
        }
        if fresh {
            inner.begin_run(hello, now_ns)?;
            inner.record.write(&self.dir)?;
        } else {
            inner.outgoing.resume(hello.messages);
            inner.end_unwanted();
            inner.come_back();
            self.note_software(&mut inner, &hello.identity.software);
        }
        inner.expect_taken(hello);
        connection.heard(0, hello.up_ms);
        inner.resume_stdin(hello);
        if let Some(old) = inner.connection.replace(Arc::clone(connection))
            && !Arc::ptr_eq(&old, connection)
        {
            old.close();
        }
        inner.link = LinkState::Opening;
        inner.absence += 1;
        let resume = Resume {
            messages: inner.record.run.messages,
            streams: [inner.log.positions().resume(), inner.resume_direct()].concat(),
        };
        self.publish(&inner, true);
        Ok(Welcomed::Back(resume))
    }

    /// Stores what one read brought: output first, then messages. When it returns, all of it may
    /// be acknowledged.
    ///
    /// # Errors
    /// Nothing may be acknowledged; after [`VmError::Log`] and [`VmError::State`] the same call may
    /// be made again.
    pub fn store(
        &self,
        connection: &Arc<Connection>,
        batch: &mut Batch,
        messages: &[(u64, Control)],
        now_ns: u64,
    ) -> Result<(), VmError> {
        let mut inner = self.lock();
        if !inner.owned_by(connection) {
            return Err(VmError::Replaced);
        }
        let trouble = inner.trouble.take();
        let stored = inner.store(batch, messages, now_ns, &self.dir);
        if let Err(error) = &stored {
            inner.trouble = Some(error.to_string());
        }
        if messages
            .iter()
            .any(|(_, message)| matches!(message, Control::Waiting { .. }))
        {
            inner.start_for_the_seated();
        }
        let changed = inner.trouble != trouble || matches!(stored, Ok(true));
        self.publish(&inner, changed);
        stored.map(|_| ())
    }

    /// Nothing has come for a while: the log is closed until something does.
    pub fn rest(&self, connection: &Arc<Connection>) {
        let mut inner = self.lock();
        if inner.owned_by(connection) {
            inner.log.rest();
        }
    }

    /// Both ends know each other.
    pub fn link_up(&self, connection: &Arc<Connection>) {
        let mut inner = self.lock();
        if inner.owned_by(connection) && !inner.link.is_up() {
            inner.link = LinkState::Up;
            // Its guest has taken the last of them.
            if let Some(last) = inner.welcomes.as_mut().and_then(|welcomes| welcomes.pop()) {
                inner.welcomes = Some(vec![last]);
            }
            inner.absence += 1;
            inner.come_back();
            inner.start_for_the_seated();
            self.publish(&inner, true);
        }
    }

    /// The VM does not answer, its connection is still there. `None`: it does not speak for it.
    pub fn link_down(&self, connection: &Arc<Connection>) -> Option<Absence> {
        let mut inner = self.lock();
        if !inner.owned_by(connection) {
            return None;
        }
        inner.link = LinkState::Down;
        inner.absence += 1;
        self.publish(&inner, true);
        Some(Absence(inner.absence))
    }

    /// Hands what clients have said to the link. `buffer` is the link's own per session, in bytes.
    pub fn feed(&self, connection: &Arc<Connection>, link: &mut Link, buffer: usize) {
        let mut inner = self.lock();
        if !inner.owned_by(connection) || !link.established() {
            return;
        }
        inner.outgoing.feed(link);
        let mut moved = false;
        for (channel, stdin) in &mut inner.stdin {
            moved |= stdin.feed(link, *channel, buffer);
        }
        drop(inner);
        if moved {
            self.stdin_moved.notify_waiters();
        }
    }

    /// The VM's kernel has panicked, with this on its port: whatever exit it told is shown, else it is lost.
    pub fn panicked(&self, connection: &Arc<Connection>, noise: &[u8], now_ns: u64) {
        let mut inner = self.lock();
        let Some(reason) = last_words::panic(noise).filter(|_| inner.owned_by(connection)) else {
            return;
        };
        let words = inner.record.run.last_words.get_or_insert_default();
        words.console = last_words::lines(noise);
        if words.panic.replace(reason.clone()).as_ref() == Some(&reason) {
            return;
        }
        tracing::error!(id = self.id, reason, "VM's kernel has panicked");
        if let Some(events) = self.events.get() {
            events.tell(&inner.record, "panic", vec![("reason", reason)]);
        }
        inner.link = LinkState::Down;
        inner.absence += 1;
        inner.settle(now_ns, true);
        inner.save(&self.dir);
        self.publish(&inner, true);
    }

    /// The connection has ended, with this on it behind the last frame. `None`: another one speaks for the VM, or the VM said itself that
    /// it is gone for good; otherwise it may come back until [`Container::give_up`].
    pub fn disconnected(
        &self,
        connection: &Arc<Connection>,
        noise: &[u8],
        now_ns: u64,
    ) -> Option<Absence> {
        self.panicked(connection, noise, now_ns);
        let mut inner = self.lock();
        if !inner.owned_by(connection) {
            return None;
        }
        inner.connection = None;
        inner.link = LinkState::Down;
        inner.absence += 1;
        inner.up_ms = inner.up_ms.max(connection.up_ms.load(Ordering::Relaxed));
        let console = last_words::lines(noise);
        if !console.is_empty() {
            inner.record.run.last_words.get_or_insert_default().console = console;
        }
        let off = inner
            .record
            .run
            .power
            .as_ref()
            .is_some_and(|power| power.is_off());
        if off && inner.settle(now_ns, true) {
            inner.save(&self.dir);
        }
        self.publish(&inner, true);
        (!off).then_some(Absence(inner.absence))
    }

    /// The VM has been away for too long: whatever exit it told is shown, else it is lost. Nothing
    /// happens when it has come back meanwhile.
    pub fn give_up(&self, absence: Absence, now_ns: u64) {
        let mut inner = self.lock();
        if inner.absence == absence.0 && !inner.link.is_up() && inner.settle(now_ns, true) {
            tracing::warn!(id = self.id, state = ?inner.record.state, "VM given up");
            inner.save(&self.dir);
            self.publish(&inner, true);
        }
    }
}

impl Container {
    /// Another VM speaks for this container now, and has not said that it ends.
    fn two_vms(&self, inner: &Inner, epoch: u64, peers: [&Origin; 2]) -> Result<(), VmError> {
        let [there, newcomer] = peers.map(|origin| origin.peer.to_string());
        if inner.former.contains(&epoch) {
            return Err(VmError::TakenOver(there));
        }
        tracing::warn!(
            id = self.id,
            there,
            newcomer,
            "two VMs are this container: the one that came last takes over, the other waits"
        );
        if let Some(events) = self.events.get() {
            let more = vec![("replaced", there), ("by", newcomer)];
            events.tell(&inner.record, "takeover", more);
        }
        Ok(())
    }
}

impl Inner {
    /// The connection of another VM whose link is up.
    fn other(&self, connection: &Arc<Connection>) -> Option<Arc<Connection>> {
        let other = self.connection.clone().filter(|_| self.link.is_up())?;
        (!Arc::ptr_eq(&other, connection)).then_some(other)
    }

    /// It has not taken the WELCOME that the guest of this boot has, or its clock has gone back.
    fn is_copy(&self, hello: &Hello) -> bool {
        let known = self.welcomes.as_ref();
        let other = known.is_some_and(|welcomes| !welcomes.contains(&hello.last));
        let connection = self.connection.as_ref();
        let up_ms = connection.map_or(0, |c| c.up_ms.load(Ordering::Relaxed));
        other || hello.up_ms < self.up_ms.max(up_ms)
    }

    /// The WELCOME for this hello may be taken, or be lost and the one before stay the last.
    fn expect_taken(&mut self, hello: &Hello) {
        let welcomes = self.welcomes.get_or_insert_with(|| vec![hello.last]);
        welcomes.push(hello.answer);
        if welcomes.len() > WELCOMES_MOST {
            self.welcomes = None;
        }
    }

    fn begin_run(&mut self, hello: &Hello, now_ns: u64) -> Result<(), LogError> {
        let identity = &hello.identity;
        self.settle(now_ns, true);
        self.welcomes = None;
        self.up_ms = 0;
        self.former.retain(|former| *former != identity.epoch);
        if self.record.boots > 0 {
            if self.former.len() == FORMER_MOST {
                self.former.remove(0);
            }
            self.former.push(self.record.run.epoch);
        }
        self.log.begin_run(identity.epoch, now_ns)?;
        if let Some(exit) = self.record.exit().cloned() {
            self.previous = Some((self.record.run.epoch, exit));
        }
        self.record.begin_run(identity.epoch);
        // One that is made here is called as its owner says, which a guest that has booted since does not know.
        if self.machine.is_none() {
            self.record.name.clone_from(&identity.name);
        }
        self.record.image.clone_from(&identity.repo);
        self.record.software.clone_from(&identity.software);
        if self.record.created_ns == 0 {
            self.record.created_ns = now_ns;
        }
        self.stdin.clear();
        self.outgoing.forget(hello.messages);
        Ok(())
    }

    /// A VM that was taken for lost is there again.
    fn come_back(&mut self) {
        if self.record.state == State::Lost {
            let started = self.record.started_ns.is_some();
            self.record.state = if started {
                State::Running
            } else {
                State::Created
            };
            self.record.finished_ns = None;
        }
    }

    fn resume_stdin(&mut self, hello: &Hello) {
        for (channel, stream, next) in &hello.streams {
            if *stream != Stream::Stdin {
                continue;
            }
            let session = self.record.run.sessions.get(&channel.0);
            let end = session.and_then(|s| s.stdin_end);
            if let Some(known) = self.stdin.get_mut(channel) {
                known.resume(*next);
            } else if *next > 0 || end.is_some() {
                // Most sessions never get any: they take no room.
                self.stdin.insert(*channel, Stdin::new(*next, end));
            }
        }
    }

    fn store(
        &mut self,
        batch: &mut Batch,
        messages: &[(u64, Control)],
        now_ns: u64,
        dir: &std::path::Path,
    ) -> Result<bool, VmError> {
        self.log.append(batch)?;
        // Tried again after a failed write of the record, the batch must not be there twice.
        batch.restart(now_ns);
        if !messages.is_empty() {
            let mut record = self.record.clone();
            for (sequence, message) in messages {
                record.apply(message, now_ns);
                if let Control::Closed { channel } = message {
                    self.stdin.remove(channel);
                }
                record.run.messages = sequence + 1;
            }
            record.write(dir)?;
            self.record = record;
            let direct =
                |message: &Control| matches!(message, Control::Session { direct: true, .. });
            if messages.iter().any(|(_, message)| direct(message)) {
                self.end_unwanted();
            }
        }
        let settled = self.settle(now_ns, false);
        if settled {
            self.save(dir);
        }
        Ok(settled || !messages.is_empty())
    }
}

#[cfg(test)]
mod tests;
