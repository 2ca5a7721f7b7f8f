//! Signals by the names and numbers that people and docker's clients use.

use nix::sys::signal::Signal;

/// Real-time signals, by number: Linux's 34 to 64 as a process sees them.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// `TERM`, `sigterm`, `15` → `SIGTERM`; a real-time signal → its number. `None`: no such signal.
pub fn canonical(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i32>() {
        if REAL_TIME.contains(&number) {
            return Some(number.to_string());
        }
        return Signal::try_from(number)
            .ok()
            .map(|signal| signal.as_str().to_owned());
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") {
        upper
    } else {
        format!("SIG{upper}")
    };
    name.parse::<Signal>()
        .ok()
        .map(|signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_be_called_by_any_of_its_names() {
        for text in ["TERM", "SIGTERM", "sigterm", "term", "15"] {
            assert_eq!(canonical(text).as_deref(), Some("SIGTERM"), "{text}");
        }
        assert_eq!(canonical("winch").as_deref(), Some("SIGWINCH"));
        assert_eq!(canonical("34").as_deref(), Some("34"));
        for text in ["", "0", "99", "-9", "SIG", "HELLO"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
