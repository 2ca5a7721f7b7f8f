//! Sessions that clients add to a running container.

use super::clients::{ClientError, Outcome, RunWatch, lost_reason};
use super::{Container, Inner};
use crate::link::control::EMERGENCY;
use crate::link::{Channel, Control, Exec};
use crate::listener::store::state::{SessionRecord, State};
use crate::listener::store::{Positions, Reader, Whose};

/// An added session that has been ordered: its output from the first byte on, and its end.
#[derive(Debug)]
pub struct Ordered {
    /// Reads its output; it begins behind all that was logged before.
    pub reader: Reader,
    /// Where the streams stand there.
    pub positions: Positions,
    /// Its end.
    pub run: RunWatch,
}

impl Container {
    /// Processes can be added to it now.
    ///
    /// # Errors
    /// It does not run.
    pub fn takes_execs(&self, report: bool) -> Result<(), ClientError> {
        let inner = self.lock();
        match inner.record.state {
            State::Running if inner.record.run.paused && !report => {
                Err(ClientError::Paused(inner.called()))
            }
            State::Running if !inner.removed => Ok(()),
            // It waits for somebody to look into it.
            State::Created if !inner.removed && inner.is_emergency() => Ok(()),
            // A machine can be asked before it has got so far, all the more then.
            State::Created if !inner.removed && report => Ok(()),
            State::Created if !inner.removed => Err(ClientError::NotStarted(inner.called())),
            _ => Err(ClientError::NotRunning(inner.called())),
        }
    }

    /// Has the VM run another process.
    ///
    /// # Errors
    /// It does not run, or is not connected.
    pub fn exec(&self, order: &Exec) -> Result<Ordered, ClientError> {
        self.takes_execs(order.report)?;
        let whose = Whose::Session(order.id.clone());
        // Before the order: its output is logged behind this.
        let (reader, positions) = self.reader_at_end(whose.clone());
        let run = self.run(whose);
        self.lock()
            .command(Control::Exec(Box::new(order.clone())))?;
        Ok(Ordered {
            reader,
            positions,
            run,
        })
    }

    /// Ends an added session's process, if there is one.
    pub fn kill_added(&self, id: &str) {
        let mut inner = self.lock();
        if let Ok(channel) = inner.added(id) {
            let signal = "KILL".to_owned();
            // One that cannot be told is not there any more.
            let _ = inner.command(Control::Signal { channel, signal });
        }
    }

    /// What is known of an added session: `None` before its VM has announced it, and long after its
    /// end.
    pub fn added(&self, id: &str) -> Option<SessionRecord> {
        self.lock().record.run.session(id).cloned()
    }
}

impl Inner {
    /// Its container could not be started, and its machine stays on for a while.
    fn is_emergency(&self) -> bool {
        let stage = self.record.run.stage.as_ref();
        stage.is_some_and(|stage| stage.name == EMERGENCY)
    }

    /// Channel of an added session, if its process may still do something.
    pub(super) fn added(&self, id: &str) -> Result<Channel, ClientError> {
        let mut open = self.record.run.sessions.iter();
        if let Some((channel, session)) = open.find(|(_, session)| session.id == id) {
            return match session.exit {
                None => Ok(Channel(*channel)),
                Some(_) => Err(ClientError::StdinClosed(self.called())),
            };
        }
        match self.record.run.session(id) {
            Some(_) => Err(ClientError::StdinClosed(self.called())),
            // The VM has not got to it yet.
            None => Err(ClientError::NotStarted(self.called())),
        }
    }

    /// How an added session of that boot has ended.
    pub(super) fn session_outcome(&self, id: &str, epoch: u64) -> Option<Outcome> {
        if self.removed {
            return Some(Outcome::Removed(None));
        }
        if self.record.run.epoch != epoch {
            return Some(Outcome::Lost("the VM was booted anew".to_owned()));
        }
        let exit = self.record.run.session(id).and_then(|s| s.exit.as_ref());
        if let Some(exit) = exit.filter(|exit| exit.shown) {
            return Some(Outcome::Exited(exit.clone()));
        }
        match self.record.state {
            State::Created | State::Running => None,
            // Its exit is told before the primary session's, where it is told at all.
            State::Exited => Some(Outcome::Lost(
                "the container has ended, and this process with it".to_owned(),
            )),
            State::Lost => Some(Outcome::Lost(lost_reason(&self.record))),
        }
    }
}
