//! The one record of how a session ended, as docker counts.

use crate::link::{ExitClass, ExitRecord};
use crate::sys::reap::End;
use crate::sys::spawn::{Note, StartError, Step};

/// What a shell and docker add to a signal's number.
const SIGNALED: i32 = 128;
/// SIGKILL, the out-of-memory killer's.
pub(super) const KILL: i32 = 9;

/// The record of a process that ran. Offsets and `stdio_held` are the caller's to set.
pub fn ended(end: End, oom: bool, time_ms: u64) -> ExitRecord {
    let empty = ExitRecord::failed(ExitClass::Failed, String::new(), time_ms);
    match end {
        End::Exited { code } => ExitRecord {
            status: code,
            code: Some(code),
            class: ExitClass::Exited,
            ..empty
        },
        End::Signaled { signal, core } => ExitRecord {
            status: SIGNALED.saturating_add(signal),
            signal: Some(signal),
            core,
            oom: oom && signal == KILL,
            class: ExitClass::Signaled,
            ..empty
        },
    }
}

/// The record of a process that never ran. `program` is what the configuration calls it, `tried`
/// the path that the error is about.
pub fn not_started(error: StartError, program: &str, tried: &str, time_ms: u64) -> ExitRecord {
    let looked_up = !program.as_bytes().contains(&b'/');
    let (class, reason) = match (error.step, error.errno, error.note) {
        (Step::Execute, libc::ENOENT, Note::Interpreter) => (
            ExitClass::NotFound,
            format!("exec: {tried:?}: the interpreter or loader that it asks for does not exist"),
        ),
        (Step::Execute, libc::ENOENT, _) if looked_up => (
            ExitClass::NotFound,
            format!("exec: {program:?}: executable file not found in $PATH"),
        ),
        (Step::Execute, libc::ENOENT | libc::ENOTDIR, _) => (
            ExitClass::NotFound,
            format!("exec: {program:?}: {}", text_of(error.errno)),
        ),
        (Step::Execute, _, Note::Directory) => (
            ExitClass::NotExecutable,
            format!("exec: {tried:?}: is a directory"),
        ),
        (Step::Execute, libc::EACCES | libc::ENOEXEC | libc::EISDIR | libc::EPERM, _) => (
            ExitClass::NotExecutable,
            format!("exec: {tried:?}: {}", text_of(error.errno)),
        ),
        (Step::Execute, errno, _) => (
            ExitClass::Failed,
            format!("exec: {tried:?}: {}", text_of(errno)),
        ),
        (step, errno, _) => (
            ExitClass::Failed,
            format!("cannot {}: {}", what(step), text_of(errno)),
        ),
    };
    ExitRecord::failed(class, reason, time_ms)
}

fn what(step: Step) -> &'static str {
    match step {
        Step::Session => "make a session (setsid)",
        Step::Terminal => "take the terminal",
        Step::Stdio => "set up stdin, stdout and stderr",
        Step::Score => "reset oom_score_adj",
        Step::Root => "enter the container's root",
        Step::Directory => "enter the working directory (cmd/Dir)",
        Step::Limits => "set the limit of open files",
        Step::Identity => "become the session's user and group",
        Step::Privileges => "give up new privileges",
        Step::Filter => "filter system calls (seccomp)",
        Step::Signals => "reset signals",
        Step::Execute => "execute the program",
    }
}

/// The system's text of an error number, without Rust's suffix, in the field's lower case.
pub fn text_of(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(program: &str, tried: &str, errno: i32, note: Note) -> (i32, ExitClass, String) {
        let error = StartError {
            step: Step::Execute,
            note,
            candidate: 0,
            errno,
        };
        let record = not_started(error, program, tried, 5);
        assert_eq!(
            (record.code, record.signal, record.time_ms),
            (None, None, 5)
        );
        (record.status, record.class, record.reason)
    }

    #[test]
    fn a_signal_is_128_and_more_and_never_a_code() {
        let record = ended(
            End::Signaled {
                signal: 11,
                core: true,
            },
            false,
            5,
        );
        assert_eq!(
            (record.status, record.code, record.signal),
            (139, None, Some(11))
        );
        assert!(record.core && !record.oom);
        let record = ended(End::Exited { code: 139 }, false, 5);
        assert_eq!(
            (record.status, record.code, record.signal),
            (139, Some(139), None)
        );
    }

    #[test]
    fn out_of_memory_is_a_sigkill_only() {
        assert!(
            ended(
                End::Signaled {
                    signal: 9,
                    core: false
                },
                true,
                0
            )
            .oom
        );
        assert!(
            !ended(
                End::Signaled {
                    signal: 15,
                    core: false
                },
                true,
                0
            )
            .oom
        );
        assert!(!ended(End::Exited { code: 137 }, true, 0).oom);
    }

    #[test]
    fn a_missing_program_is_127_in_docker_s_words() {
        let (status, class, reason) = failed("nosuch", "/bin/nosuch", libc::ENOENT, Note::None);
        assert_eq!((status, class), (127, ExitClass::NotFound));
        assert_eq!(
            reason,
            "exec: \"nosuch\": executable file not found in $PATH"
        );
        let (status, _, reason) = failed("/nosuch", "/nosuch", libc::ENOENT, Note::None);
        assert_eq!(
            (status, reason.as_str()),
            (127, "exec: \"/nosuch\": no such file or directory")
        );
        let (status, _, reason) = failed("/run.sh", "/run.sh", libc::ENOENT, Note::Interpreter);
        assert!(status == 127 && reason.contains("interpreter"), "{reason}");
    }

    #[test]
    fn what_cannot_be_executed_is_126() {
        let (status, class, reason) = failed("/etc", "/etc", libc::EACCES, Note::Directory);
        assert_eq!((status, class), (126, ExitClass::NotExecutable));
        assert_eq!(reason, "exec: \"/etc\": is a directory");
        let (status, _, reason) = failed("data", "/bin/data", libc::EACCES, Note::None);
        assert_eq!(
            (status, reason.as_str()),
            (126, "exec: \"/bin/data\": permission denied")
        );
        let (status, _, reason) = failed("/x", "/x", libc::ENOEXEC, Note::None);
        assert_eq!(
            (status, reason.as_str()),
            (126, "exec: \"/x\": exec format error")
        );
    }

    #[test]
    fn our_own_failure_is_125_and_says_what_was_attempted() {
        assert_eq!(failed("/x", "/x", libc::ENOMEM, Note::None).0, 125);
        let error = StartError {
            step: Step::Directory,
            note: Note::None,
            candidate: 0,
            errno: libc::ENOTDIR,
        };
        let record = not_started(error, "/x", "/x", 0);
        assert_eq!((record.status, record.class), (125, ExitClass::Failed));
        assert_eq!(
            record.reason,
            "cannot enter the working directory (cmd/Dir): not a directory"
        );
    }
}
