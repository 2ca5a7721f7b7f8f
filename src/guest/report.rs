//! What process 1 knows of its machine, for an operator whose container does not do what it should
//! (`vch debug`). A child of ours collects it: whatever blocks, blocks that alone.

use std::fmt::Write as _;
use std::fs;

use rustix::fs::{Mode, OFlags};

use super::container::CGROUP;
use super::event_loop::now;
use super::machine::Machine;
use super::session::{OwnEnds, Role, Session};
use crate::config::model;
use crate::link::Channel;
use crate::sys::file;

/// Characters of a command line that are shown.
const COMMAND_MOST: usize = 100;
/// The kernel's log, a record a read.
const KERNEL_LOG: &str = "/dev/kmsg";
/// Files that are shown as they are, and what they are of.
const FILES: [(&str, &str); 9] = [
    ("mounts of process 1", "/proc/self/mountinfo"),
    ("memory of process 1", "/proc/1/smaps_rollup"),
    ("disks", "/proc/partitions"),
    ("interfaces", "/proc/net/dev"),
    ("routes", "/proc/net/route"),
    ("TCP sockets", "/proc/net/tcp"),
    ("TCP sockets of IPv6", "/proc/net/tcp6"),
    ("memory", "/proc/meminfo"),
    ("interrupts", "/proc/interrupts"),
];
/// Of the container's cgroup.
const CGROUP_FILES: [&str; 5] = [
    "memory.current",
    "memory.max",
    "memory.events",
    "pids.current",
    "pids.max",
];

impl Machine {
    /// Starts a session that reports. It needs neither the container nor that there is one.
    pub(super) fn report(&mut self, channel: Channel, id: String) {
        let config = model::Session {
            id,
            path: "report".into(),
            ..model::Session::default()
        };
        let mut session = Session::new(channel, config, Role::Added);
        session.announce(&mut self.link);
        let known = self.known();
        let (sessions, mut desk) = self.desk(now());
        session.start_own(&[], &|ends| write_all(ends, &known), &mut desk);
        sessions.push(session);
    }

    /// What stands in no file.
    fn known(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{name}: {value}");
        };
        let uname = rustix::system::uname();
        line("tether", &env!("CARGO_PKG_VERSION"));
        let program = fs::read_link("/proc/self/exe").unwrap_or_default();
        line("program", &program.display());
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        line("descriptors", &open);
        line("kernel", &uname.release().to_string_lossy());
        line("up", &format_args!("{} s", now().as_secs()));
        line("boot", &self.boot_steps);
        let carrier = self
            .carrier
            .as_ref()
            .map_or("none", |carrier| carrier.name());
        line("link over", &carrier);
        let left = self.link.unacknowledged();
        line(
            "not acknowledged",
            &format_args!("{} bytes, {} messages", left.bytes, left.messages),
        );
        line("network", &self.network.describe().unwrap_or_default());
        if let Some(stopping) = &self.stopping {
            line("stopping", &stopping.reason);
        }
        for session in self.sessions() {
            line("session", &session.describe());
        }
        text
    }
}

/// In the child: 0, or 1 where nobody reads it.
fn write_all(ends: &OwnEnds, known: &str) -> u8 {
    let write = |title: &str, text: &str| {
        let title = format!("== {title}\n");
        let end = if text.ends_with('\n') { "" } else { "\n" };
        file::write_all(&ends.stdout, [&title, text, end].concat().as_bytes())
    };
    let written = write("machine", known)
        .and_then(|()| write("processes", &processes()))
        .and_then(|()| {
            for (title, path) in FILES {
                write(title, &file::text(path))?;
            }
            for name in CGROUP_FILES {
                write(name, &file::text(&format!("{CGROUP}/{name}")))?;
            }
            write("kernel's log", &kernel_log())
        });
    u8::from(written.is_err())
}

/// One line for each, a word for each title and the rest: number, parent, state, memory, what it waits for in the
/// kernel, and its command.
fn processes() -> String {
    let mut text = "PID PPID STATE RSS-KB WAITS-FOR COMMAND\n".to_owned();
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    // This one only looks.
    let own = std::process::id();
    let mut numbers: Vec<u32> = names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number != own)
        .collect();
    numbers.sort_unstable();
    for number in numbers {
        let of = |what: &str| file::text(&format!("/proc/{number}/{what}"));
        let status = of("status");
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map_or("-", str::trim)
        };
        let command = of("cmdline").replace('\0', " ");
        let command = match command.trim() {
            "" => format!("[{}]", field("Name")),
            command => command.chars().take(COMMAND_MOST).collect(),
        };
        let _ = writeln!(
            text,
            "{number} {} {} {} {} {command}",
            first(field("PPid")),
            first(field("State")),
            first(field("VmRSS")),
            first(&of("wchan")),
        );
    }
    text
}

fn first(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("-")
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, then lines of details.
fn kernel_log() -> String {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(log) = rustix::fs::open(KERNEL_LOG, flags, Mode::empty()) else {
        return String::new();
    };
    let (mut text, mut record) = (String::new(), [0; 8192]);
    while let Ok(length) = rustix::io::read(&log, &mut record) {
        let record = String::from_utf8_lossy(record.get(..length).unwrap_or_default()).into_owned();
        let Some((head, message)) = record.split_once(';') else {
            continue;
        };
        let micros: u64 = head
            .split(',')
            .nth(2)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        let message = message.lines().next().unwrap_or_default();
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        let _ = writeln!(text, "[{seconds:5}.{rest:06}] {message}");
    }
    text
}
