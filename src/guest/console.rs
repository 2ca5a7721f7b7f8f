//! Our own log: the second serial port, or the kernel's log where there is none. Never the first
//! port, which carries the link's frames alone.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::carrier::is_serial_port;
use super::event_loop::now;
use crate::sys::serial;

/// The port for the log.
const PORT: &str = "ttyS1";
/// Where the kernel is told which of its messages its consoles show.
const KERNEL_LEVEL: &str = "/proc/sys/kernel/printk";
/// Where it is told how much a program may write into its log.
const KERNEL_LIMIT: &str = "/proc/sys/kernel/printk_devkmsg";
/// Bytes of log kept until the console is open.
const PENDING_MOST: usize = 8 << 10;

static CONSOLE: Console = Console {
    target: Mutex::new(Target::Pending(Vec::new())),
};

struct Console {
    target: Mutex<Target>,
}

enum Target {
    /// Not open yet: kept.
    Pending(Vec<u8>),
    Port {
        fd: OwnedFd,
        lost: usize,
    },
    Kernel(OwnedFd),
    /// Nowhere: a machine without either starts all the same.
    Nowhere,
}

/// Takes log lines from now on. They are kept until [`open`].
pub fn install() {
    if log::set_logger(&CONSOLE).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// The configuration's `diagnostics/debug`: with 1 our own details and what the kernel does, too, with 2
/// all that either has to say.
pub fn set_level(debug: u32) {
    let kernel = match debug {
        // As its command line has it: its errors.
        0 => None,
        1 => Some("7"),
        _ => Some("8"),
    };
    if let Some(level) = kernel
        && let Err(error) = std::fs::write(KERNEL_LEVEL, level)
    {
        log::warn!("{KERNEL_LEVEL}: {error}");
    }
    log::set_max_level(match debug {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
}

/// Opens the console and writes what was kept.
pub fn open() {
    let Ok(mut target) = CONSOLE.target.lock() else {
        return;
    };
    let opened = find();
    if let Target::Pending(kept) = std::mem::replace(&mut *target, opened) {
        for line in kept.split_inclusive(|byte| *byte == b'\n') {
            target.write(line);
        }
    }
}

fn find() -> Target {
    if is_serial_port(PORT) {
        // Without flow control: nobody has to be there to read it.
        if let Ok(fd) = serial::open(&format!("/dev/{PORT}"), serial::Flow::None) {
            return Target::Port { fd, lost: 0 };
        }
    }
    // The kernel takes ten lines in five seconds from a program, and drops the others, unless told otherwise.
    // (Who calls holds the log: nothing can be said of a failure.)
    let _ = std::fs::write(KERNEL_LIMIT, "on\n");
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open("/dev/kmsg", flags, Mode::empty()).map_or(Target::Nowhere, Target::Kernel)
}

/// Lines are still on their way out of the port.
pub fn is_busy() -> bool {
    let Ok(target) = CONSOLE.target.lock() else {
        return false;
    };
    match &*target {
        Target::Port { fd, .. } => serial::unsent(fd).is_ok_and(|bytes| bytes > 0),
        Target::Pending(_) | Target::Kernel(_) | Target::Nowhere => false,
    }
}

impl Target {
    /// Writes one line. The port never makes us wait: what it does not take is counted, and the
    /// count is told with the next line that goes.
    fn write(&mut self, line: &[u8]) {
        match self {
            Self::Pending(kept) if kept.len().saturating_add(line.len()) <= PENDING_MOST => {
                kept.extend_from_slice(line);
            }
            Self::Pending(_) | Self::Nowhere => {}
            Self::Kernel(fd) => {
                // There is nobody left to tell of a failure.
                let _ = rustix::io::write(&*fd, line);
            }
            Self::Port { fd, lost } => {
                let mut text = Vec::with_capacity(line.len().saturating_add(64));
                if *lost > 0 {
                    text.extend_from_slice(format!("tether: {lost} lines lost\r\n").as_bytes());
                }
                text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                text.extend_from_slice(b"\r\n");
                let taken = rustix::io::write(&*fd, &text);
                *lost = if taken == Err(Errno::AGAIN) {
                    lost.saturating_add(1)
                } else {
                    0
                };
            }
        }
    }
}

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // There is one thread: who finds it locked has met a defect while a line was written, and has to say so
        // elsewhere.
        let Ok(mut target) = self.target.try_lock() else {
            return;
        };
        // The kernel's log has levels and times of its own; `<3>` is its "error".
        let level = match (&*target, record.level()) {
            (Target::Kernel(_), Level::Error) => "<3>",
            (Target::Kernel(_), Level::Warn) => "<4>",
            (Target::Kernel(_), _) => "<6>",
            (_, Level::Error) => "error: ",
            (_, Level::Warn) => "warning: ",
            (_, _) => "",
        };
        let line = match &*target {
            Target::Kernel(_) => format!("{level}tether: {}\n", record.args()),
            _ => {
                let now = now();
                let (seconds, millis) = (now.as_secs(), now.subsec_millis());
                format!(
                    "[{seconds:5}.{millis:03}] tether: {level}{}\n",
                    record.args()
                )
            }
        };
        target.write(line.as_bytes());
    }

    fn flush(&self) {}
}
