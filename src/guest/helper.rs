//! Calls that may block without end, made in a child so that the loop goes on.

use std::io;
use std::time::Duration;

use super::event_loop::now;
use super::machine::Machine;
use crate::sys::fork;
use crate::sys::reap::End;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// No child could be made.
    #[error("cannot make a helper process: {0}")]
    Fork(io::Error),
    /// It did not come back in time.
    #[error("no answer within {} s", .0.as_secs())]
    Limit(Duration),
    /// The kernel has refused what was asked.
    #[error("{}", super::session::text_of(*.0))]
    Refused(i32),
    /// It was killed.
    #[error("its process was killed by signal {0}")]
    Killed(i32),
}

impl Machine {
    /// Makes a call in a child process and waits for its result, at most `limit`, while everything
    /// else goes on.
    ///
    /// # Errors
    /// The call fails, or does not come back.
    pub(super) fn help(
        &mut self,
        limit: Duration,
        call: impl FnOnce() -> rustix::io::Result<()>,
    ) -> Result<(), HelperError> {
        let code = || match call() {
            Ok(()) => 0,
            // Linux's error numbers end below 134.
            Err(error) => u8::try_from(error.raw_os_error()).unwrap_or(u8::MAX),
        };
        let pid = fork::run(code).map_err(HelperError::Fork)?;
        self.helpers.push((pid, None));
        let deadline = now().saturating_add(limit);
        loop {
            let end = self
                .helpers
                .iter()
                .find(|(helper, _)| *helper == pid)
                .and_then(|(_, end)| *end);
            let result = match end {
                Some(End::Exited { code: 0 }) => Ok(()),
                Some(End::Exited { code }) => Err(HelperError::Refused(code)),
                Some(End::Signaled { signal, .. }) => Err(HelperError::Killed(signal)),
                None if now() >= deadline => {
                    give_up(pid);
                    Err(HelperError::Limit(limit))
                }
                None => {
                    self.turn(Some(deadline));
                    continue;
                }
            };
            self.helpers.retain(|(helper, _)| *helper != pid);
            return result;
        }
    }
}

/// It may be where not even SIGKILL reaches it. It is reaped as an orphan, should it end after all.
fn give_up(pid: i32) {
    let killed = rustix::process::Pid::from_raw(pid)
        .map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    if let Some(Err(error)) = killed {
        log::warn!("killing helper process {pid}: {error}");
    }
}
