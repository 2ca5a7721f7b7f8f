//! What a container's processes are bounded by, as the kernel wants it.

use std::ffi::CString;

use super::seccomp::{self, Instruction};
use crate::config::Ulimit;
use crate::config::isolation::Isolation;

/// Open files that a process may have where nothing else is said: what docker's services set.
const OPEN_FILES: u64 = 1 << 20;
/// The mask of those that no container says one for.
const UMASK: u32 = 0o022;

/// The bounds of each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of its resources: the kernel's number, what counts, and what it may be raised to.
    pub limits: Vec<(u8, u64, u64)>,
    /// Groups that they are in besides their users' own.
    pub groups: Vec<String>,
    /// What is taken from the modes of its files.
    pub umask: u32,
    /// How willingly the kernel ends it when memory is short; none: as process 1.
    pub oom_score: Option<CString>,
    /// Nothing that it executes gets it more rights.
    pub no_new_privileges: bool,
    /// Which system calls it may make, as the kernel's filter; empty: all.
    pub filter: Vec<Instruction>,
}

impl Default for Bounds {
    /// None: for programs that are in no container.
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            groups: Vec::new(),
            umask: UMASK,
            oom_score: None,
            no_new_privileges: false,
            filter: Vec::new(),
        }
    }
}

/// The bounds of a container's processes.
pub fn bounds(isolation: &Isolation) -> Bounds {
    let configured = isolation.limits();
    let mut limits: Vec<(u8, u64, u64)> = configured
        .iter()
        .map(|limit| (limit.resource, limit.soft, limit.hard))
        .collect();
    if !configured
        .iter()
        .any(|limit| limit.resource == Ulimit::OPEN_FILES)
    {
        limits.push((Ulimit::OPEN_FILES, OPEN_FILES, OPEN_FILES));
    }
    Bounds {
        limits,
        groups: isolation.group_add.clone(),
        umask: isolation.mask(),
        oom_score: CString::new(isolation.oom_score_adj.to_string()).ok(),
        no_new_privileges: isolation.no_new_privileges,
        filter: isolation
            .seccomp()
            .map(|profile| seccomp::filter(&profile))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_takes_the_place_of_the_usual() {
        let usual = bounds(&Isolation::default());
        assert_eq!(usual.limits, [(7, 1 << 20, 1 << 20)]);
        assert_eq!((usual.umask, usual.no_new_privileges), (0o022, false));
        assert_eq!(usual.oom_score.as_deref(), Some(c"0"));
        let configured = bounds(&Isolation {
            ulimits: vec!["nofile=10:20".into(), "core=0".into()],
            umask: "0077".into(),
            oom_score_adj: -7,
            ..Isolation::default()
        });
        assert_eq!(configured.limits, [(7, 10, 20), (4, 0, 0)]);
        assert_eq!(configured.umask, 0o077);
        assert_eq!(configured.oom_score.as_deref(), Some(c"-7"));
    }
}
