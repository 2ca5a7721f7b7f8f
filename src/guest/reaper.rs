//! The one place where children are taken off the process table: the sessions' own, our helpers,
//! and every orphan that the kernel gives to PID 1. Before anything else, always.

use std::time::Duration;

use super::event_loop::now;
use super::machine::Machine;
use crate::plan::stop;
use crate::sys::file;
use crate::sys::reap::{self, Reaped};

impl Machine {
    /// Takes what has ended off the process table now, rather than at the next signal.
    pub fn look_for_children(&mut self) {
        self.reap(now());
    }

    /// Takes the signals that have come: ends of children, and requests to stop.
    pub(super) fn take_signals(&mut self, now: Duration) {
        loop {
            match self.signals.next() {
                Ok(Some(libc::SIGCHLD)) => {}
                Ok(Some(libc::SIGINT)) => self.stop("Ctrl-Alt-Del", stop::DEFAULT_GRACE),
                Ok(Some(libc::SIGPWR)) => self.stop("power failure", stop::DEFAULT_GRACE),
                Ok(Some(number)) => self.stop(&format!("signal {number}"), stop::DEFAULT_GRACE),
                Ok(None) => break,
                Err(error) => {
                    log::error!("reading signals: {error}");
                    break;
                }
            }
        }
        self.reap(now);
    }

    /// Takes all ended processes off the table: the sessions' own, and the orphans that the kernel
    /// has given us.
    fn reap(&mut self, now: Duration) {
        loop {
            match reap::next() {
                Ok(Reaped::Child { pid, end }) => self.reaped(now, pid, end),
                Ok(Reaped::NoneEnded) => {
                    self.childless = false;
                    return;
                }
                Ok(Reaped::NoChildren) => {
                    self.childless = true;
                    return;
                }
                Err(error) => {
                    log::error!("waiting for children: {error}");
                    return;
                }
            }
        }
    }

    fn reaped(&mut self, now: Duration, pid: i32, end: reap::End) {
        if let Some((_, helper)) = self.helpers.iter_mut().find(|(helper, _)| *helper == pid) {
            *helper = Some(end);
            return;
        }
        let oom = self.was_oom_killed(end);
        let (sessions, mut desk) = self.desk(now);
        for session in sessions {
            if session.reaped(pid, end, oom, &mut desk) {
                return;
            }
        }
        log::debug!("process {pid}, an orphan, ended: {end:?}");
    }

    /// Killed, and the kernel has killed something for want of memory since we looked last: as with
    /// docker, that counts for the container, and the whole machine is the container.
    fn was_oom_killed(&mut self, end: reap::End) -> bool {
        let killed = matches!(
            end,
            reap::End::Signaled {
                signal: stop::KILL,
                ..
            }
        );
        if !killed {
            return false;
        }
        let count = oom_kills();
        count > std::mem::replace(&mut self.oom_kills, count)
    }
}

/// Processes that the kernel has killed for want of memory since it started.
pub(super) fn oom_kills() -> u64 {
    let text = file::text("/proc/vmstat");
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or_default()
}
