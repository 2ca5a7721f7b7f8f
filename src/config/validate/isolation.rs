//! The rules of the isolation.

use super::Check;
use crate::config::Ulimit;
use crate::config::field::{self, Entry, Leaf};
use crate::config::isolation::{Isolation, parse_mask, sysctl};
use crate::config::seccomp::Seccomp;

/// The kernel's bounds for the score.
const SCORE_MOST: i32 = 1000;
/// Less memory than any process takes: a number of megabytes, perhaps.
const MEMORY_LEAST: u64 = 1 << 20;

impl Check {
    pub(super) fn isolation(&mut self, isolation: &Isolation) {
        let at = Entry::Isolation;
        if !isolation.umask.is_empty() && parse_mask(&isolation.umask).is_none() {
            let expected = "an octal number, 0000 to 0777";
            self.malformed(at, &field::UMASK, &isolation.umask, expected);
        }
        for group in &isolation.group_add {
            if group.is_empty() || group.contains(['+', ',', ':', '\0']) {
                let expected = "a group's name or number";
                self.malformed(at, &field::GROUP_ADD, group, expected);
            }
        }
        for limit in &isolation.ulimits {
            if limit.parse::<Ulimit>().is_err() {
                self.malformed(at, &field::ULIMITS, limit, Ulimit::EXPECTED);
            }
        }
        for setting in &isolation.sysctls {
            if sysctl(setting).is_none() {
                let expected = "a setting such as net.core.somaxconn=1024";
                self.malformed(at, &field::SYSCTLS, setting, expected);
            }
        }
        let score = isolation.oom_score_adj;
        if score.abs() > SCORE_MOST {
            let expected = "a number from -1000 to 1000";
            self.malformed(at, &field::OOM_SCORE_ADJ, &score.to_string(), expected);
        }
        if (1..MEMORY_LEAST).contains(&isolation.memory) {
            let memory = isolation.memory.to_string();
            self.malformed(at, &field::MEMORY, &memory, "bytes, 1 MiB at least");
        }
        for (leaf, most) in [
            (&field::MEMORY, isolation.memory),
            (&field::PIDS, isolation.pids),
        ] {
            if isolation.privileged && most > 0 {
                let expected =
                    "none where privileged is true: such a container has the whole machine";
                self.malformed(at, leaf, &most.to_string(), expected);
            }
        }
        if let Some(profile) = &isolation.seccomp
            && let Err(error) = Seccomp::parse(profile)
        {
            let expected = format!("a seccomp profile ({error})");
            self.malformed(at, &field::SECCOMP, "…", expected);
        }
        self.absolute(at, &field::MASKED_PATHS, &isolation.masked_paths);
        self.absolute(at, &field::READONLY_PATHS, &isolation.readonly_paths);
    }

    fn absolute(&mut self, at: Entry<'_>, leaf: &Leaf, paths: &Option<Vec<String>>) {
        for path in paths.iter().flatten() {
            if !super::is_place(path) || path.contains('\0') {
                self.malformed(at, leaf, path, "an absolute path below /, without ..");
            }
        }
    }
}
