//! The new program's part: goes on as process 1, or lets the one before go on again.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use super::PASSED;
use super::left::Left;
use crate::guest::event_loop::now;
use crate::guest::host::Host;
use crate::guest::machine::Machine;
use crate::guest::{boot, console, last_words};
use crate::sys::handover::{Kept, adopt, close, execute};
use crate::sys::{file, signals};

/// What process 1 calls the new program (`argv[0]`, which nobody else can choose).
pub const ROLE: &CStr = c"tether: goes on";
/// The same for the trial before.
pub const TRIAL: &CStr = c"tether: trial";

/// What the program before this one has to say: the file that it has left, itself, and, where it was this one
/// that could not go on, why.
struct Before {
    state: OwnedFd,
    program: OwnedFd,
    trouble: Option<String>,
}

impl Before {
    fn from_arguments() -> io::Result<Self> {
        let mut arguments = std::env::args_os().skip(1);
        Ok(Self {
            state: taken(arguments.next())?,
            program: taken(arguments.next())?,
            trouble: arguments
                .next()
                .map(|text| text.to_string_lossy().into_owned()),
        })
    }
}

/// The descriptor whose number an argument is, as a copy in the place of the one that was left: it closes itself.
fn taken(argument: Option<OsString>) -> io::Result<OwnedFd> {
    let number = argument.and_then(|text| text.to_str()?.parse().ok());
    let number = number.unwrap_or_default();
    let fd = adopt(number)?.ok_or(io::ErrorKind::NotFound)?;
    close(&[number]);
    Ok(fd)
}

/// Goes on as process 1.
pub fn run() -> ! {
    console::install();
    last_words::install();
    boot::come_first();
    // They are blocked already: a mask outlives the program.
    if let Err(error) = signals::block_all() {
        log::error!("blocking signals: {error}");
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    // The kernel calls it by the number of a descriptor.
    if let Err(error) = rustix::thread::set_name(c"tether") {
        log::info!("name of process 1: {error}");
    }
    console::open();
    let before = match Before::from_arguments() {
        Ok(before) => before,
        Err(error) => last_words::give_up(Host::default(), &format!("upgrade: {error}")),
    };
    match go_on(&before) {
        Ok(machine) => {
            drop(before);
            boot::serve_to_the_end(machine)
        }
        Err(reason) => go_back(&before, &reason),
    }
}

fn go_on(before: &Before) -> Result<Machine, String> {
    let bytes = content(&before.state).map_err(|error| error.to_string())?;
    let left = Left::read(&bytes).map_err(|error| error.to_string())?;
    let (channel, at, software) = (left.channel(), left.at(), left.software());
    let descriptors: Vec<u64> = left.descriptors().collect();
    let (mut machine, mut sessions) = left.machine().map_err(|error| error.to_string())?;
    // Nothing can go wrong any more.
    close(&descriptors);
    for session in &mut sessions {
        if session.channel() == channel {
            session.judge(before.trouble.clone());
        }
    }
    machine.resume(sessions);
    machine.watch_button();
    machine.serve_host();
    let milliseconds = now().saturating_sub(at).as_millis();
    let text = match &before.trouble {
        None => format!(
            "tether {} has taken over from {software} in {milliseconds} ms",
            env!("CARGO_PKG_VERSION")
        ),
        Some(trouble) => format!("tether {software} goes on after {milliseconds} ms: {trouble}"),
    };
    log::warn!("upgrade: {text}");
    machine.tell_stage("upgrade", text);
    Ok(machine)
}

/// The one before can read what it has left.
fn go_back(before: &Before, reason: &str) -> ! {
    let reason = format!("the new program cannot go on from what was left: {reason}");
    if before.trouble.is_none() {
        let mut kept = Kept::default();
        let numbers = [kept.keep(&before.state), kept.keep(&before.program)];
        let [state, program] =
            numbers.map(|number| CString::new(number.to_string()).unwrap_or_default());
        let told = CString::new(reason.replace('\0', " ")).unwrap_or_default();
        let arguments = [ROLE, &state, &program, &told];
        let error = execute(before.program.as_fd(), &arguments, &kept);
        log::error!("the program before cannot be executed: {error}");
    }
    last_words::give_up(Host::default(), &format!("upgrade: {reason}"))
}

fn content(state: &OwnedFd) -> io::Result<Vec<u8>> {
    rustix::fs::seek(state, rustix::fs::SeekFrom::Start(0))?;
    file::rest(state, usize::MAX)
}

/// In a process beside process 1: can this program go on from what the old one would leave?
pub fn trial() -> ExitCode {
    let bytes = taken(std::env::args_os().nth(1)).and_then(|state| content(&state));
    let read = bytes.map_err(|error| error.to_string());
    let read = read.and_then(|bytes| match Left::read(&bytes) {
        Ok(left) => Ok(left.software()),
        Err(error) => Err(error.to_string()),
    });
    let new = env!("CARGO_PKG_VERSION");
    match read {
        Ok(old) => {
            println!("tether {new} takes over from {old}");
            ExitCode::from(PASSED)
        }
        Err(error) => {
            println!(
                "tether {new} cannot go on from what the running one leaves: {error}; nothing is changed"
            );
            ExitCode::FAILURE
        }
    }
}
