//! One connection of a VM, as its container sees it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::listener::vspc::About;

/// Where a VM calls from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address.
    pub peer: SocketAddr,
    /// In TLS.
    pub tls: bool,
    /// What its host has told of the port, where it speaks the proxy's dialect.
    pub serial_port: Option<About>,
}

/// One connection of a VM, as its container sees it; it stays the same over a vMotion.
#[derive(Debug)]
pub struct Connection {
    origin: Mutex<Origin>,
    /// Wakes the connection's task: there is something to send, or it has been replaced.
    pub wake: Notify,
    closed: AtomicBool,
    /// The guest's clock as it was told last, ms.
    pub(super) up_ms: AtomicU64,
    question: Mutex<Question>,
}

/// Whether a guest is still behind its connection.
#[derive(Clone, Copy, Debug, Default)]
struct Question {
    /// Number of the last one.
    number: u64,
    asked_at: Option<Instant>,
    to_be_asked: bool,
    answered: bool,
}

/// What has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// No answer yet.
    Asked,
    /// It answers.
    There,
    /// It does not.
    Gone,
}

/// A guest that is there has answered by then.
pub(super) const ANSWER_MOST: Duration = Duration::from_secs(1);
/// An answer counts for so long.
const ANSWER_GOOD: Duration = Duration::from_secs(3);

impl Connection {
    /// A connection from this address.
    pub fn new(peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            origin: Mutex::new(Origin {
                peer,
                tls: false,
                serial_port: None,
            }),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            up_ms: AtomicU64::new(0),
            question: Mutex::default(),
        })
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        let origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        origin.clone()
    }

    /// It comes from somewhere else now, or more is known of where.
    pub fn comes_from(&self, origin: Origin) {
        *self.origin.lock().unwrap_or_else(PoisonError::into_inner) = origin;
    }

    /// The number to ask its guest for, when somebody wants to know whether it is there.
    pub fn take_question(&self) -> Option<u64> {
        let mut question = self.question();
        std::mem::take(&mut question.to_be_asked).then_some(question.number)
    }

    /// Its guest has answered the question of this number, and told its clock.
    pub fn heard(&self, answered: u64, up_ms: u64) {
        self.up_ms.fetch_max(up_ms, Ordering::Relaxed);
        let mut question = self.question();
        question.answered |= answered == question.number;
    }

    fn question(&self) -> MutexGuard<'_, Question> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks its guest, or says what has come of it.
    pub(super) fn presence(&self) -> Presence {
        let mut question = self.question();
        let since = question.asked_at.map(|at| at.elapsed());
        let Some(since) = since.filter(|since| *since < ANSWER_GOOD) else {
            *question = Question {
                number: question.number + 1,
                asked_at: Some(Instant::now()),
                to_be_asked: true,
                answered: false,
            };
            drop(question);
            self.wake.notify_one();
            return Presence::Asked;
        };
        match (question.answered, since < ANSWER_MOST) {
            (true, _) => Presence::There,
            (false, true) => Presence::Asked,
            (false, false) => Presence::Gone,
        }
    }

    /// Another connection of the same VM has taken over, or the container was removed.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Makes its task end it.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}
