//! What process 1 says when it is asked for something of its own: for whoever has asked, and for no log. What its client has
//! not taken is not acknowledged: the VM's own buffer bounds what is kept here.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::clients::{ClientError, Outcome, RunWatch};
use super::{Container, Inner, Progress};
use crate::link::{Channel, Control, Exec, Stream};
use crate::listener::store::Whose;

/// A process of ours that nobody waits for any more.
const KILL: &str = "KILL";

/// The answers of one container's process 1 that clients wait for, by the IDs of their sessions.
#[derive(Debug, Default)]
pub(super) struct Direct {
    pipes: Mutex<BTreeMap<String, Pipe>>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Pipe {
    pieces: VecDeque<Bytes>,
    received: u64,
    taken: u64,
    ended: bool,
}

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Bytes that have come.
    pub received: u64,
    /// Bytes that its client has; all that came, where it has none.
    pub taken: u64,
    /// No more will come.
    pub ended: bool,
}

impl Direct {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pipe>> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: nobody waits for it.
    pub(super) fn standing(&self, id: &str) -> Option<Standing> {
        self.lock().get(id).map(|pipe| Standing {
            received: pipe.received,
            taken: pipe.taken,
            ended: pipe.ended,
        })
    }
}

/// Why there is no (whole) answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The machine does not do it.
    #[error("{0}")]
    Refused(String),
    /// It is gone, or the container was removed.
    #[error("container {0}: its machine went away before it had answered")]
    Gone(String),
}

/// A question to a machine's process 1, and the answer as it comes.
#[derive(Debug)]
pub struct Asked {
    container: Arc<Container>,
    whose: Whose,
    id: String,
    run: RunWatch,
    progress: watch::Receiver<Progress>,
}

impl Asked {
    /// The answer's next bytes; `None`: there are no more.
    ///
    /// # Errors
    /// The machine refuses, or went away.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        let container = Arc::clone(&self.container);
        loop {
            let mut moved = pin!(container.direct.moved.notified());
            moved.as_mut().enable();
            self.progress.borrow_and_update();
            // In this order: what came before the outcome is there.
            let outcome = self.run.outcome(&container);
            let piece = {
                let mut pipes = container.direct.lock();
                let pipe = pipes.entry(self.id.clone()).or_default();
                let piece = pipe.pieces.pop_front();
                if let Some(piece) = &piece {
                    pipe.taken += piece.len() as u64;
                } else if pipe.ended {
                    return self.end(outcome);
                }
                piece
            };
            if let Some(piece) = piece {
                container.lock().wake();
                return Ok(Some(piece));
            }
            if outcome.is_some() {
                return self.end(outcome);
            }
            tokio::select! {
                () = moved => {}
                changed = self.progress.changed() => {
                    if changed.is_err() {
                        return Err(AskError::Gone(container.name()));
                    }
                }
            }
        }
    }

    /// A session that never was has a reason.
    fn end(&self, outcome: Option<Outcome>) -> Result<Option<Bytes>, AskError> {
        match outcome {
            None => Ok(None),
            Some(Outcome::Exited(exit)) if !exit.record.reason.is_empty() => {
                Err(AskError::Refused(exit.record.reason))
            }
            Some(Outcome::Exited(exit)) if exit.missing == 0 => Ok(None),
            Some(_) => Err(AskError::Gone(self.container.name())),
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// It takes no more: what it says tells why.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ClientError> {
        self.container.write_stdin(&self.whose, bytes).await
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let pipe = self.container.direct.lock().remove(&self.id);
        // One that has said all ends by itself.
        if !pipe.is_some_and(|pipe| pipe.ended) {
            self.container.kill_added(&self.id);
        }
        self.container.lock().wake();
    }
}

impl Container {
    /// Asks its machine's process 1.
    ///
    /// # Errors
    /// It is not connected, or not so far.
    pub fn ask(self: &Arc<Self>, order: &Exec) -> Result<Asked, AskError> {
        let whose = Whose::Session(order.id.clone());
        let asked = Asked {
            run: self.run(whose.clone()),
            progress: self.watch(),
            container: Arc::clone(self),
            id: order.id.clone(),
            whose,
        };
        self.direct.lock().insert(order.id.clone(), Pipe::default());
        let mut inner = self.lock();
        if inner.removed {
            return Err(ClientError::NotRunning(inner.called()).into());
        }
        inner.command(Control::Exec(Box::new(order.clone())))?;
        drop(inner);
        Ok(asked)
    }

    /// Sessions of its machine's own that have not been closed, and where their answers stand.
    pub fn direct_sessions(&self) -> Vec<(Channel, String, Option<Standing>)> {
        let inner = self.lock();
        inner.direct_sessions().collect()
    }

    /// Bytes of an answer have come. Those that nobody waits for are nobody's.
    pub fn direct_data(&self, id: &str, offset: u64, bytes: &[u8]) {
        if let Some(pipe) = self.direct.lock().get_mut(id) {
            // After another connection some may come again.
            let known = pipe.received.saturating_sub(offset);
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) else {
                return;
            };
            pipe.received = offset + bytes.len() as u64;
            pipe.pieces.push_back(Bytes::copy_from_slice(new));
        }
        self.direct.moved.notify_waiters();
    }

    /// No more will come of it.
    pub fn direct_end(&self, id: &str) {
        if let Some(pipe) = self.direct.lock().get_mut(id) {
            pipe.ended = true;
        }
        self.direct.moved.notify_waiters();
    }

    /// Where an answer stands; `None`: nobody waits for it.
    pub fn direct_standing(&self, id: &str) -> Option<Standing> {
        self.direct.standing(id)
    }
}

impl Inner {
    fn direct_sessions(&self) -> impl Iterator<Item = (Channel, String, Option<Standing>)> {
        let own = self.record.run.sessions.iter().filter(|(_, s)| s.direct);
        own.map(|(channel, session)| {
            let standing = self.direct.standing(&session.id);
            (Channel(*channel), session.id.clone(), standing)
        })
    }

    /// Where their answers go on, the end counted as one. Of those that nobody waits for nothing is kept; they have to be
    /// named all the same, for the link to take them.
    pub(super) fn resume_direct(&self) -> Vec<(Channel, Stream, u64)> {
        let next = |standing: Standing| standing.received + u64::from(standing.ended);
        let both = self.direct_sessions().flat_map(|(channel, _, standing)| {
            let stdout = (channel, Stream::Stdout, standing.map_or(0, next));
            [stdout, (channel, Stream::Stderr, 0)]
        });
        both.collect()
    }

    /// A listener before this one has asked for them, or a client that is gone.
    pub(super) fn end_unwanted(&mut self) {
        let unwanted = self
            .direct_sessions()
            .filter(|(.., standing)| standing.is_none());
        let unwanted: Vec<Channel> = unwanted.map(|(channel, ..)| channel).collect();
        for channel in unwanted {
            let session = self.record.run.sessions.get(&channel.0);
            if session.is_some_and(|session| session.exit.is_none()) {
                let signal = KILL.to_owned();
                self.outgoing.push(Control::Signal { channel, signal });
            }
        }
    }
}
