//! When a session that ends is started again.

use std::time::Duration;

/// The first wait; each later one is twice as long, as docker does it.
const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(60);
/// A session that ran so long is in order: the next wait is the first again.
const IN_ORDER: Duration = Duration::from_secs(10);

/// The restarts of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    /// How many there were.
    pub count: u32,
    /// Without a run that was in order.
    pub in_a_row: u32,
}

impl Restarts {
    /// Counts another one, after a run of this length. Returns how long to wait before it.
    pub fn another(&mut self, ran: Duration) -> Duration {
        self.in_a_row = if ran >= IN_ORDER {
            0
        } else {
            self.in_a_row.saturating_add(1)
        };
        self.count = self.count.saturating_add(1);
        let doublings = self.in_a_row.saturating_sub(1).min(16);
        FIRST.saturating_mul(1 << doublings).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_a_run_was_in_order() {
        let mut restarts = Restarts::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..12)
            .map(|_| restarts.another(short).as_millis())
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[10..], [60_000, 60_000]);
        assert_eq!(restarts.another(IN_ORDER), FIRST);
        assert_eq!(restarts.another(short), FIRST);
        assert_eq!(restarts.another(short), FIRST * 2);
        assert_eq!(restarts.count, 15);
    }
}
