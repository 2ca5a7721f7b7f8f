//! A VM that moves to another host: its link goes on over the new host's connection.
//!
//! The task of the old connection keeps link and container. The new connection's task proves with
//! the cookie whose it is, and hands its socket over; from COMPLETE on it is the line.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::carrier::Carrier;
use super::{End, Scratch, Task};
use crate::listener::container::Connection;
use crate::listener::keys;
use crate::listener::vspc::{SECRET_BYTES, Told, Vmotion};

/// All vMotions under way, by the cookie that the new host's connection shows.
#[derive(Debug, Default)]
pub struct Moves(Mutex<HashMap<Vec<u8>, Arc<Meeting>>>);

/// Where the task of the new connection leaves it for that of the old one.
#[derive(Debug)]
struct Meeting {
    carrier: Mutex<Option<Carrier>>,
    connection: Arc<Connection>,
}

/// One VM's vMotion.
pub(super) struct Moving {
    vmotion: Vmotion,
    meeting: Arc<Meeting>,
    /// The new host's connection.
    arriving: Option<Carrier>,
    /// The old host's connection has ended.
    left: bool,
    /// The VM is on the new host; what is still to be read of the old connection comes first.
    completed: bool,
}

impl Moves {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Arc<Meeting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, vmotion: Vmotion, connection: &Arc<Connection>) -> Moving {
        let meeting = Arc::new(Meeting {
            carrier: Mutex::new(None),
            connection: Arc::clone(connection),
        });
        self.lock().insert(vmotion.cookie(), Arc::clone(&meeting));
        Moving {
            vmotion,
            meeting,
            arriving: None,
            left: false,
            completed: false,
        }
    }

    /// Hands a connection to the VM whose cookie it has shown; a cookie is for one use. Where none
    /// has it the connection is closed, and the VM stays where it is.
    pub(super) fn join(&self, cookie: &[u8], carrier: Carrier) {
        let peer = carrier.peer;
        let Some(meeting) = self.lock().remove(cookie) else {
            return tracing::warn!(%peer, "a moved VM's connection, of a vMotion that is not known");
        };
        *meeting.lock() = Some(carrier);
        meeting.connection.wake.notify_one();
    }

    /// The vMotion is over, or its VM is gone.
    pub(super) fn end(&self, moving: &Moving) {
        self.lock().remove(&moving.vmotion.cookie());
    }
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Option<Carrier>> {
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moving {
    /// Waits until something moves on the new host's connection.
    pub(super) async fn moved(moving: Option<&Self>, reading: bool) {
        let Some(arriving) = moving.and_then(|m| m.arriving.as_ref()) else {
            return pending().await;
        };
        // An error shows at the next read or write.
        let _ = arriving.moved(reading).await;
    }
}

impl Task {
    /// The old host's connection has ended, the VM has not.
    pub(super) fn has_left(&self) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.left)
    }

    /// Passes a result of the line's connection on. Its end is the VM's only while it does not
    /// move: the last bytes of the old host and the word of the new one come in either order.
    pub(super) fn ended_old<T: Default, E: Into<End>>(
        &mut self,
        result: Result<T, E>,
    ) -> Result<T, End> {
        match (result, &mut self.moving) {
            (Ok(value), _) => Ok(value),
            (Err(_), Some(moving)) => {
                moving.left = true;
                Ok(T::default())
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    /// The VM asks to move. What it was sent so far is on its way before the answer; what comes
    /// from now on waits.
    pub(super) fn begin_move(&mut self, sequence: Vec<u8>, now: Duration) {
        self.stay("a newer one begins");
        let Some(port) = self.carrier.vspc() else {
            return;
        };
        let Ok(random) = keys::random() else {
            return port.not_now(&sequence);
        };
        let mut secret = [0; SECRET_BYTES];
        secret.copy_from_slice(&random[..SECRET_BYTES]);
        let vmotion = Vmotion::new(sequence, secret, now);
        port.go_ahead(vmotion.sequence(), vmotion.secret());
        let moving = self.shared.moves.begin(vmotion, &self.connection);
        self.shared.counters.moves_begun.add(1);
        self.moving = Some(Box::new(moving));
    }

    /// There is no vMotion any more, if there was one: the line goes on as it was.
    pub(super) fn stay(&mut self, why: &str) {
        if let Some(moving) = self.moving.take() {
            self.shared.moves.end(&moving);
            let id = self.container.as_ref().map(|c| c.id());
            tracing::info!(id, peer = %self.carrier.peer, why, "the VM stays where it is");
        }
    }

    /// Output has come on the line.
    pub(super) fn heard(&mut self, now: Duration) {
        let stayed = |m: &Moving| m.arriving.is_none() && m.vmotion.has_stayed(now);
        if self.moving.as_deref().is_some_and(stayed) {
            self.stay("it goes on talking there");
        }
    }

    /// When the vMotion is given up; now, the end of the VM's only connection is the VM's.
    pub(super) fn move_limit(&mut self, now: Duration) -> Result<Option<Duration>, End> {
        let Some(moving) = &self.moving else {
            return Ok(None);
        };
        let limit = moving.vmotion.limit();
        if now < limit {
            return Ok(Some(limit));
        }
        let left = moving.left;
        self.stay("the vMotion takes too long");
        if left { Err(End::Closed) } else { Ok(None) }
    }

    /// Takes the new host's connection over where its task has left it.
    pub(super) fn meet(&mut self) {
        let Some(moving) = &mut self.moving else {
            return;
        };
        let Some(mut carrier) = moving.meeting.lock().take() else {
            return;
        };
        if let Some(port) = carrier.vspc() {
            port.peer_ok(moving.vmotion.sequence());
        }
        moving.arriving = Some(carrier);
    }

    /// Answers what the new host's connection asks.
    pub(super) fn flush_arriving(&mut self) {
        let now = self.shared.clock.now();
        if let Some(moving) = &mut self.moving
            && let Some(arriving) = &mut moving.arriving
            && let Err(error) = arriving.flush(now)
        {
            moving.lose(&error);
        }
    }

    /// One read of the new host's connection; or, when the VM is there and the old connection has
    /// nothing more, the change to it. False: there is nothing to do now.
    pub(super) fn read_arriving(&mut self, scratch: &mut Scratch) -> bool {
        let Some(moving) = &mut self.moving else {
            return false;
        };
        if moving.completed {
            self.arrive();
            return true;
        }
        let Some(arriving) = &mut moving.arriving else {
            return false;
        };
        let count = match arriving.read(&mut scratch.input) {
            Ok(None) => return false,
            Ok(Some(count)) if count > 0 => count,
            Ok(_) => {
                moving.lose(&io::ErrorKind::UnexpectedEof.into());
                return true;
            }
            Err(error) => {
                moving.lose(&error);
                return true;
            }
        };
        let now = self.shared.clock.now();
        let mut input = &scratch.input[..count];
        while !input.is_empty() {
            // Until the VM is there, nothing on the line is the VM's.
            let (taken, _, told) = arriving.take(input, &mut scratch.data, &self.shared.tls, now);
            input = &input[taken..];
            if told == Some(Told::Complete(moving.vmotion.sequence().to_vec())) {
                arriving.unread(input);
                moving.completed = true;
                return true;
            }
        }
        true
    }

    /// From now on the new host's connection is the line.
    fn arrive(&mut self) {
        let Some(mut moving) = self.moving.take() else {
            return;
        };
        self.shared.moves.end(&moving);
        let Some(arriving) = moving.arriving.take() else {
            return;
        };
        let (from, to) = (self.carrier.peer, arriving.peer);
        let id = self.container.as_ref().map(|c| c.id());
        tracing::info!(id, %from, %to, "the VM has moved");
        self.shared.counters.moved.add(1);
        // What was queued and not sent was for a host that has let go of the VM: the link sends it
        // again.
        self.carrier.hand_over(arriving);
        self.introduce();
    }
}

impl Moving {
    fn lose(&mut self, error: &io::Error) {
        if let Some(carrier) = self.arriving.take() {
            tracing::warn!(peer = %carrier.peer, %error, "a moving VM's new connection has ended");
        }
    }
}
