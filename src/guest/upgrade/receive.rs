//! In a child of process 1: takes the new program in, checks its signature, and becomes it for a trial.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::TRIAL;
use crate::config::model::Secret;
use crate::guest::session::OwnEnds;
use crate::link::{Digest, Key, SIGNATURE_BYTES, sign};
use crate::sys::file::{read_within, write_all};
use crate::sys::handover::{Kept, execute, memory_file, seal};

/// Longest program that is taken, bytes.
const MOST: usize = 64 << 20;
/// Bytes read at a time.
const PIECE: usize = 64 << 10;
/// How long the next piece may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a trial may compute, seconds.
const TRIAL_SECONDS: u64 = 10;

/// What is to be done.
#[derive(Debug)]
pub struct Order {
    /// In hexadecimal digits.
    pub signature: String,
    /// The link's key, if it has one.
    pub key: Secret,
    /// What this program would leave to the new one now.
    pub state: Vec<u8>,
}

/// Returns only when it went wrong, with the words for it written.
pub fn run(order: &Order, ends: &OwnEnds, program: &OwnedFd) -> u8 {
    let taken = take(order, ends, program).and_then(|()| {
        let state = memory_file(c"state")
            .and_then(|state| write_all(&state, &order.state).map(|()| state))
            .and_then(|state| seal(&state).map(|()| state));
        become_it(
            ends,
            program,
            &state.map_err(|error| format!("state: {error}"))?,
        )
    });
    if let Err(trouble) = taken {
        // Nobody is left to tell when this fails.
        let _ = write_all(&ends.stdout, format!("tether: {trouble}\n").as_bytes());
    }
    1
}

fn take(order: &Order, ends: &OwnEnds, program: &OwnedFd) -> Result<(), String> {
    let stdin = ends.stdin.as_ref().ok_or("there is no stdin")?;
    let (mut piece, mut digest, mut length) = (vec![0; PIECE], Digest::default(), 0usize);
    loop {
        let read = read_within(stdin, &mut piece, PATIENCE);
        let bytes = match read.map_err(|error| format!("reading the new program: {error}"))? {
            Some(0) => break,
            Some(length) => piece.get(..length).unwrap_or_default(),
            // Whoever has sent it is gone: that is not its end.
            None => {
                return Err(format!(
                    "nothing more of the new program came within {} s",
                    PATIENCE.as_secs()
                ));
            }
        };
        length = length.saturating_add(bytes.len());
        if length > MOST {
            return Err(format!("the new program is longer than {} MiB", MOST >> 20));
        }
        digest.add(bytes);
        write_all(program, bytes).map_err(|error| format!("keeping the new program: {error}"))?;
    }
    let expected = sign(Key::new(&order.key.0).as_ref(), &digest.done());
    if !is_same(&order.signature, &expected) {
        return Err(format!(
            "the {length} bytes that have come are not the program that was signed: nothing is changed"
        ));
    }
    seal(program).map_err(|error| format!("keeping the new program: {error}"))
}

/// In the same time whatever differs.
fn is_same(digits: &str, expected: &[u8; SIGNATURE_BYTES]) -> bool {
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    let differences = digits.bytes().zip(expected.bytes());
    digits.len() == expected.len() && differences.fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// What the new program says goes where this one's words do.
fn become_it(ends: &OwnEnds, program: &OwnedFd, state: &OwnedFd) -> Result<(), String> {
    for copied in [
        rustix::stdio::dup2_stdout(&ends.stdout),
        rustix::stdio::dup2_stderr(&ends.stdout),
    ] {
        copied.map_err(|error| format!("stdout: {error}"))?;
    }
    let limit = Rlimit {
        current: Some(TRIAL_SECONDS),
        maximum: Some(TRIAL_SECONDS),
    };
    setrlimit(Resource::Cpu, limit).map_err(|error| format!("limit of its time: {error}"))?;
    let mut kept = Kept::default();
    let number = CString::new(kept.keep(state).to_string()).unwrap_or_default();
    let error = execute(program.as_fd(), &[TRIAL, &number], &kept);
    Err(format!(
        "the new program cannot be executed: {error}; nothing is changed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_compared_whole() {
        let expected = [0xa5; SIGNATURE_BYTES];
        let digits = "a5".repeat(SIGNATURE_BYTES);
        assert!(is_same(&digits, &expected));
        for other in [
            "",
            &digits[1..],
            &digits[2..],
            &digits.replace("a5a5", "a5a6"),
        ] {
            assert!(!is_same(other, &expected), "{other}");
        }
    }
}
