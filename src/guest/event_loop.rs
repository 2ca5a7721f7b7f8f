//! The one place of the guest that waits, and the one that reads a clock.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rustix::event::epoll;
use rustix::time::Timespec;

use crate::link::{Channel, Stream};

/// What a watched descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Signals to PID 1.
    Signals,
    /// The link's carrier.
    Carrier,
    /// The kernel's announcements of devices.
    Uevents,
    /// The power button.
    PowerButton,
    /// It is known whether the container's namespaces are made.
    Namespaces,
    /// A DHCP server has something to say.
    Dhcp,
    /// More of a configuration has come.
    Document,
    /// A session's start is decided.
    Start(Channel),
    /// A session's stream can be read or written.
    Stream(Channel, Stream),
}

/// When to be told of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// As long as there is something to read, or the other end is closed.
    Readable,
    /// As long as it takes something.
    Writable,
    /// Each time that something changes: whoever is told reads and writes all that goes.
    Changes,
}

/// One watched descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which.
    pub token: Token,
    /// The other end is gone.
    pub hangup: bool,
}

/// Events taken from the kernel at a time; the rest comes with the next turn.
const BATCH: usize = 32;

/// An epoll instance.
pub struct EventLoop {
    epoll: OwnedFd,
    batch: Vec<epoll::Event>,
}

impl EventLoop {
    /// A new one that watches nothing.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            batch: Vec::with_capacity(BATCH),
        })
    }

    /// Watches a descriptor.
    ///
    /// # Errors
    /// It is watched already, or cannot be.
    pub fn watch(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let flags = match interest {
            Interest::Readable => epoll::EventFlags::IN,
            Interest::Writable => epoll::EventFlags::OUT,
            Interest::Changes => {
                epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET
            }
        };
        Ok(epoll::add(&self.epoll, fd, token.data(), flags)?)
    }

    /// Watches it no more. Taken off rather than muted: epoll tells of a hang-up always.
    ///
    /// # Errors
    /// It is not watched.
    pub fn unwatch(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until something is ready or `until` (as [`now`]) has come, and puts what is ready
    /// into `ready`.
    ///
    /// # Errors
    /// None that `epoll_pwait2(2)` documents for a good instance.
    pub fn wait(&mut self, until: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let timeout = until.map(|until| timespec(until.saturating_sub(now())));
        self.batch.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.batch);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &self.batch {
            let epoll::Event { flags, data, .. } = *event;
            if let Some(token) = Token::from_data(data) {
                let hangup = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
                ready.push(Ready { token, hangup });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

/// Time since the machine started, for deadlines and durations.
pub fn now() -> Duration {
    duration(ClockId::CLOCK_MONOTONIC)
}

/// A child of process 1 lets the time pass; process 1 itself never does.
pub fn child_waits(time: Duration) {
    std::thread::sleep(time);
}

/// Milliseconds since 1970, for people.
pub fn wall_ms() -> u64 {
    u64::try_from(wall().as_millis()).unwrap_or(u64::MAX)
}

/// Time since 1970.
pub fn wall() -> Duration {
    duration(ClockId::CLOCK_REALTIME)
}

/// Sets the clock.
///
/// # Errors
/// This process may not.
pub fn set_wall(to: Duration) -> io::Result<()> {
    let to = nix::sys::time::TimeSpec::from_duration(to);
    Ok(nix::time::clock_settime(ClockId::CLOCK_REALTIME, to)?)
}

/// Through the C library, which asks no kernel; rustix looks for the same page in /proc, which is not
/// there yet when it first does.
fn duration(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

fn timespec(duration: Duration) -> Timespec {
    /// Longer waits wake up once for nothing; the kernel's own limit is out of reach.
    const MOST: Duration = Duration::from_secs(24 * 3600);
    Timespec::try_from(duration.min(MOST)).unwrap_or_default()
}

impl Token {
    /// Kind in the high half, channel and stream in the low one.
    fn data(self) -> epoll::EventData {
        let (kind, channel, stream) = match self {
            Self::Signals => (1, 0, 0),
            Self::Carrier => (2, 0, 0),
            Self::Uevents => (3, 0, 0),
            Self::PowerButton => (6, 0, 0),
            Self::Namespaces => (7, 0, 0),
            Self::Dhcp => (8, 0, 0),
            Self::Document => (9, 0, 0),
            Self::Start(channel) => (4, channel.0, 0),
            Self::Stream(channel, stream) => (5, channel.0, stream.number()),
        };
        epoll::EventData::new_u64(kind << 32 | u64::from(channel) << 8 | u64::from(stream))
    }

    fn from_data(data: epoll::EventData) -> Option<Self> {
        let data = data.u64();
        let [stream, low, high, ..] = data.to_le_bytes();
        let channel = Channel(u16::from_le_bytes([low, high]));
        Some(match data >> 32 {
            1 => Self::Signals,
            2 => Self::Carrier,
            3 => Self::Uevents,
            4 => Self::Start(channel),
            6 => Self::PowerButton,
            7 => Self::Namespaces,
            8 => Self::Dhcp,
            9 => Self::Document,
            5 => Self::Stream(channel, Stream::from_number(stream)?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        let channel = Channel(0xBEEF);
        let tokens = [
            Token::Signals,
            Token::Carrier,
            Token::Uevents,
            Token::PowerButton,
            Token::Namespaces,
            Token::Dhcp,
            Token::Document,
            Token::Start(channel),
        ];
        let streams = Stream::ALL.map(|stream| Token::Stream(channel, stream));
        for token in tokens.into_iter().chain(streams) {
            assert_eq!(Token::from_data(token.data()), Some(token));
        }
        assert_eq!(Token::from_data(epoll::EventData::new_u64(0)), None);
    }

    #[test]
    fn what_is_ready_is_told_until_it_is_unwatched() {
        let mut events = EventLoop::new().expect("a descriptor");
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let token = Token::Stream(Channel(7), Stream::Stdout);
        let mut ready = Vec::new();
        events
            .watch(&reader, token, Interest::Readable)
            .expect("a pipe can be watched");
        events
            .wait(Some(Duration::ZERO), &mut ready)
            .expect("no wait");
        assert_eq!(ready, []);
        rustix::io::write(&writer, b"x").expect("room");
        events.wait(None, &mut ready).expect("ready");
        assert_eq!(
            ready,
            [Ready {
                token,
                hangup: false
            }]
        );
        events.unwatch(&reader).expect("watched");
        events
            .wait(Some(Duration::ZERO), &mut ready)
            .expect("no wait");
        assert_eq!(ready, []);
    }
}
