//! A container whose VM the appliance has made: it is there before its VM calls, and between two runs of it.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Container, Inner, LinkState, RunWatch};
use crate::config::model::Session;
use crate::link::{Channel, Control};
use crate::listener::machines::{Health, Lent, Spec};
use crate::listener::store::StateError;
use crate::listener::store::state::{ContainerRecord, State};

/// Channel of a container's own session.
const OWN: Channel = Channel(1);

/// What goes with a container that was made here.
#[derive(Debug)]
pub struct Made {
    spec: Mutex<Arc<Spec>>,
    /// Held by whoever powers its machine on or takes it away.
    pub turn: tokio::sync::Mutex<()>,
    /// Somebody wanted it to end.
    pub stopped: AtomicBool,
    /// Times that it was started again by itself.
    pub restarts: AtomicU64,
    /// It has ended and is being started again by itself.
    pub again: AtomicBool,
    /// Another machine that has its disks, while somebody wants its files.
    pub lent: tokio::sync::Mutex<Option<Arc<Lent>>>,
    /// Its disks are that one's, or are to be.
    pub lends: AtomicBool,
    /// How it is, where it is probed.
    health: Mutex<Option<Health>>,
    /// Why its machine went off, where that was said.
    said: Mutex<String>,
}

impl Made {
    /// As it was asked for.
    pub fn spec(&self) -> Arc<Spec> {
        let spec = self.spec.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&spec)
    }

    /// As it is to be from now on.
    pub fn set_spec(&self, spec: Spec) {
        *self.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec);
    }

    /// Why its machine went off; empty: nobody has said.
    pub fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// How it is; none: nobody probes it.
    pub fn health(&self) -> Option<Health> {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.clone()
    }

    /// How it is from now on.
    pub fn set_health(&self, now: Option<Health>) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Its machine went off, because of this.
    pub fn heard(&self, said: String) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }
}

/// The machine's part of a container's state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// It is on.
    on: bool,
    /// The run that is over, or 0 before the first: the next one's has another epoch.
    over: u64,
}

impl Inner {
    /// Its next run has not begun.
    pub(super) fn not_begun(&self) -> bool {
        let machine = self.machine.as_ref();
        !self.removed && machine.is_some_and(|machine| machine.over == self.record.run.epoch)
    }

    /// The same, or its run is over and its machine on its way off.
    pub(super) fn between_runs(&self) -> bool {
        let ended = matches!(self.record.state, State::Exited | State::Lost);
        self.not_begun() || (ended && self.machine.is_some() && !self.removed)
    }

    /// Epoch of the run that is known, if that is over; else one that no run has.
    fn run_that_is_over(&self) -> u64 {
        let goes_on = match self.record.state {
            State::Created => self.record.boots > 0,
            State::Running => true,
            State::Exited | State::Lost => false,
        };
        if goes_on {
            u64::MAX
        } else {
            self.record.run.epoch
        }
    }

    /// Its machine is on.
    pub(super) fn is_on(&self) -> bool {
        self.machine.is_some_and(|machine| machine.on)
    }
}

/// How a start has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Began {
    /// Its process runs, or has run.
    Runs,
    /// It could not be started: status and reason.
    Failed(i32, String),
    /// Its machine is off again.
    Off,
}

impl Container {
    /// It was made here. `known`: what was known of it, for a record that is lost.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn prepare(
        &self,
        spec: Spec,
        name: &str,
        session: &Session,
        known: Option<ContainerRecord>,
    ) -> Result<(), StateError> {
        let mut inner = self.lock();
        if let Some(rotation) = spec.rotation() {
            inner.log.set_rotation(rotation);
        }
        if inner.record.name.is_empty() {
            match known.filter(|known| known.id == self.id) {
                Some(known) => inner.record = known,
                None => inner.record.announce(&spec, session),
            }
        }
        name.clone_into(&mut inner.record.name);
        inner.record.write(&self.dir)?;
        inner.machine = Some(Machine {
            on: false,
            over: inner.run_that_is_over(),
        });
        let _ = self.made.set(Made {
            spec: Mutex::new(Arc::new(spec)),
            turn: tokio::sync::Mutex::default(),
            stopped: AtomicBool::default(),
            restarts: AtomicU64::default(),
            again: AtomicBool::default(),
            lent: tokio::sync::Mutex::default(),
            lends: AtomicBool::default(),
            health: Mutex::default(),
            said: Mutex::default(),
        });
        self.publish(&inner, true);
        Ok(())
    }

    /// It has another name.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn rename(&self, name: &str) -> Result<(), StateError> {
        let mut inner = self.lock();
        name.clone_into(&mut inner.record.name);
        inner.record.write(&self.dir)?;
        self.publish(&inner, true);
        Ok(())
    }

    /// What goes with it, if it was made here.
    pub fn made(&self) -> Option<&Made> {
        self.made.get()
    }

    /// Its machine is on; `adopted`: since before, in the run that is known.
    pub fn powered_on(&self, adopted: bool) {
        let mut inner = self.lock();
        let over = match adopted {
            true => inner.run_that_is_over(),
            false => inner.record.run.epoch,
        };
        inner.machine = Some(Machine { on: true, over });
        self.publish(&inner, true);
    }

    /// Its machine is off: whatever it told is all that there is.
    pub fn powered_off(&self, now_ns: u64) {
        let mut inner = self.lock();
        let over = inner.record.run.epoch;
        // A machine that has never called leaves the container as it was.
        if !inner.not_begun() && inner.settle(now_ns, true) {
            inner.save(&self.dir);
        }
        inner.link = LinkState::Down;
        inner.machine = Some(Machine { on: false, over });
        self.publish(&inner, true);
    }

    /// Its machine is on.
    pub fn is_on(&self) -> bool {
        self.lock().is_on()
    }

    /// Its next run has not begun.
    pub fn not_begun(&self) -> bool {
        self.lock().not_begun()
    }

    /// The same, or its run is over.
    pub fn between_runs(&self) -> bool {
        self.lock().between_runs()
    }

    /// Comes when its machine is off.
    pub async fn until_off(&self) {
        self.until(|inner| (!inner.is_on()).then_some(())).await;
    }

    /// Comes when nothing more is read from its machine.
    pub async fn until_disconnected(&self) {
        self.until(|inner| inner.connection.is_none().then_some(()))
            .await;
    }

    /// Comes when the run after the one that is over has started its process, or never will.
    pub async fn began(&self) -> Began {
        let began = |inner: &Inner| {
            if inner.removed || !inner.is_on() {
                return Some(Began::Off);
            }
            let primary = inner.record.primary().filter(|_| !inner.not_begun());
            let (_, session) = primary?;
            match &session.exit {
                Some(exit) if session.pid.is_none() => {
                    let record = &exit.record;
                    Some(Began::Failed(record.status, record.reason.clone()))
                }
                None if session.pid.is_none() => None,
                _ => Some(Began::Runs),
            }
        };
        self.until(began).await
    }

    async fn until<T>(&self, so: impl Fn(&Inner) -> Option<T>) -> T {
        let mut progress = self.watch();
        loop {
            progress.borrow_and_update();
            if let Some(found) = so(&self.lock()) {
                return found;
            }
            if progress.changed().await.is_err() {
                // The sender is this container's own.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A watch over the run that goes on.
    pub fn this_run(&self) -> RunWatch {
        RunWatch::primary_of(self.lock().record.run.epoch)
    }

    /// A watch over the run that goes on, or the next one where none does.
    pub fn next_run(&self) -> RunWatch {
        let inner = self.lock();
        let mut run = RunWatch::primary_of(inner.record.run.epoch);
        run.next = inner.between_runs();
        run
    }
}

impl ContainerRecord {
    /// What is known of a container whose VM has never called.
    fn announce(&mut self, spec: &Spec, session: &Session) {
        self.image.clone_from(&spec.image);
        self.created_ns = spec.created_ns;
        let message = Control::Session {
            channel: OWN,
            id: self.id.clone(),
            name: session.name.clone(),
            path: session.path.clone(),
            args: session.args.clone(),
            tty: session.tty,
            openstdin: session.openstdin,
            attach: session.attach,
            primary: true,
            direct: false,
        };
        self.apply(&message, spec.created_ns);
    }
}
