//! Another tether takes this one's place while the container runs (`vch upgrade`).
//!
//! ```text
//!  order ─▶ a child of ours: stdin into a file of memory, its signature, a trial: the new program reads what
//!           this one would leave to it, in a process of its own
//!        ─▶ process 1: writes what it knows into a file of memory and executes the new program, which goes on
//!           with the descriptors; should that not read it after all, the one before goes on again
//! ```
//!
//! The link begins with a new handshake, as after any loss of its carrier: nothing that was not acknowledged is
//! lost, and the listener learns of the new version.

pub mod fields;
mod handover;
pub mod left;
mod receive;
mod take_over;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

pub use self::take_over::{ROLE, TRIAL, run, trial};

use super::event_loop::now;
use super::machine::Machine;
use super::session::{Role, Session};
use crate::config::model;
use crate::link::{Channel, Exec};
use crate::sys::handover::memory_file;

/// Exit code of a trial that went well: no program that is none of ours ends so by chance.
const PASSED: u8 = 77;

/// Why a machine that ends takes no other program.
const STOPPING: &str = "the machine is being stopped";

/// An upgrade under way.
#[derive(Debug)]
pub struct Upgrade {
    /// Its session.
    channel: Channel,
    /// The program that comes.
    program: OwnedFd,
}

impl Machine {
    /// Starts a session that takes another program in.
    pub(super) fn upgrade(&mut self, channel: Channel, order: Exec) {
        let config = model::Session {
            id: order.id,
            path: "upgrade".into(),
            openstdin: true,
            ..model::Session::default()
        };
        let mut session = Session::new(channel, config, Role::Added);
        session.announce(&mut self.link);
        match self.refuses_upgrade().map_or_else(memory_for_program, Err) {
            Ok(program) => {
                let order = receive::Order {
                    signature: order.upgrade,
                    key: self.vm.link_key.clone(),
                    state: self.freeze(channel, &mut Default::default()),
                };
                let work = |ends: &_| receive::run(&order, ends, &program);
                session.start_own(&[program.as_fd()], &work, &mut self.desk(now()).1);
                self.upgrade = Some(Upgrade { channel, program });
            }
            Err(reason) => session.fail(&reason, &mut self.desk(now()).1),
        }
        self.sessions_mut().push(session);
    }

    /// Why no other program may come now.
    fn refuses_upgrade(&self) -> Option<String> {
        let reason = if self.stopping.is_some() {
            STOPPING
        } else if self.emergency {
            "the container could not be started"
        } else if self.place.is_none() {
            "the container has not been started yet"
        } else if self.upgrade.is_some() {
            "another upgrade is under way"
        } else {
            return None;
        };
        Some(reason.to_owned())
    }

    /// Channel of the upgrade whose trial went well: only what comes of it all is its session's end.
    pub(super) fn upgrade_due(&self) -> Option<Channel> {
        let channel = self.upgrade.as_ref()?.channel;
        let mut sessions = self.sessions().iter();
        let session = sessions.find(|session| session.channel() == channel)?;
        (session.unreported_code() == Some(PASSED.into())).then_some(channel)
    }

    /// Lets the new program take over when nothing is half done. Comes back where it does not.
    pub(super) fn proceed_with_upgrade(&mut self, now: Duration) {
        let Some(channel) = self.upgrade_due() else {
            let over = self.upgrade.as_ref().is_some_and(|upgrade| {
                let mut sessions = self.sessions().iter();
                !sessions.any(|s| s.channel() == upgrade.channel && s.is_alive())
            });
            if over {
                self.upgrade = None;
            }
            return;
        };
        let trouble = if self.stopping.is_some() {
            STOPPING.to_owned()
        } else if !self.helpers.is_empty() || self.sessions().iter().any(Session::is_starting) {
            // It tells us when it is through.
            return;
        } else {
            self.hand_over(channel).to_string()
        };
        log::error!("upgrade: {trouble}");
        self.upgrade = None;
        self.session(now, channel, |session, _| session.judge(Some(trouble)));
    }
}

fn memory_for_program() -> Result<OwnedFd, String> {
    memory_file(c"tether").map_err(|error| error.to_string())
}
