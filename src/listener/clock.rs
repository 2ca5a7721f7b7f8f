//! The listener's two clocks: one for what is written down, one for the links' timers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Nanoseconds since 1970, UTC.
pub fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What the time since 1970 was when the other clock, which says `now`, was zero.
pub fn wall_at_zero(now: Duration) -> Duration {
    Duration::from_nanos(now_ns()).saturating_sub(now)
}

/// Time that only goes forward, as durations since its start.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic(Instant);

impl Monotonic {
    /// Starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// The instant at this time since the start.
    pub fn at(self, time: Duration) -> Instant {
        self.0 + time
    }
}
