//! The names and durations of the boot's steps, for the log and for the operator.

use std::fmt;
use std::time::Duration;

use super::event_loop::now;

/// The steps taken so far.
#[derive(Debug, Default)]
pub struct Steps {
    taken: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Takes a step and notes how long it took, whatever came of it.
    pub fn take<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = now();
        let result = work();
        let took = now().saturating_sub(start);
        log::info!("{name}: {}", Milliseconds(took));
        self.taken.push((name, took));
        result
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, took)) in self.taken.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}", Milliseconds(*took))?;
        }
        Ok(())
    }
}

/// To a tenth. Without floating point, whose text form alone takes kilobytes of the binary.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_micros() / 100;
        write!(f, "{}.{} ms", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_order_with_their_durations() {
        let steps = Steps {
            taken: vec![
                ("signals", Duration::from_micros(40)),
                ("modules", Duration::from_millis(900)),
            ],
        };
        assert_eq!(steps.to_string(), "signals 0.0 ms, modules 900.0 ms");
    }

    #[test]
    fn a_step_gives_back_what_came_of_it() {
        let mut steps = Steps::default();
        assert_eq!(steps.take("one", || 7), 7);
        assert!(steps.to_string().starts_with("one "));
    }
}
