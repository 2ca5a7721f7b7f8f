//! Names of the signals of Linux on x86-64.

/// First real-time signal as C libraries tell their programs (glibc keeps 32 and 33 to itself);
/// docker counts `RTMIN+n` from here too, and so does what a container's systemd expects.
const SIGRTMIN: i32 = 34;
/// Last real-time signal.
const SIGRTMAX: i32 = 64;

const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// Number of a signal: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `RTMAX-1`. None: no such signal.
///
/// ```
/// use tether::config::signal::number;
/// assert_eq!(number("SIGTERM"), Some(15));
/// assert_eq!(number("rtmin+3"), Some(37));
/// assert_eq!(number("0"), None);
/// ```
pub fn number(text: &str) -> Option<i32> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok().filter(|n| (1..=SIGRTMAX).contains(n));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = if let Some(offset) = name.strip_prefix("RTMIN") {
        SIGRTMIN.checked_add(after_sign(offset, '+')?)
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        SIGRTMAX.checked_sub(after_sign(offset, '-')?)
    } else {
        return NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| *number);
    };
    real_time.filter(|n| (SIGRTMIN..=SIGRTMAX).contains(n))
}

/// The number after `sign`; zero for nothing at all.
fn after_sign(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_with_and_without_sig_in_either_case() {
        for text in ["SIGTERM", "TERM", "sigterm", "Term", "15"] {
            assert_eq!(number(text), Some(15), "{text}");
        }
        assert_eq!(number("SIGKILL"), Some(libc::SIGKILL));
        assert_eq!(number("WINCH"), Some(libc::SIGWINCH));
        assert_eq!(number("SYS"), Some(libc::SIGSYS));
    }

    #[test]
    fn real_time_signals_count_from_both_ends() {
        assert_eq!(number("SIGRTMIN"), Some(34));
        assert_eq!(number("SIGRTMIN+3"), Some(37));
        assert_eq!(number("RTMAX-30"), Some(34));
        assert_eq!(number("SIGRTMAX"), Some(64));
    }

    #[test]
    fn what_is_no_signal_is_none() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "+9",
            "99999999999",
            "SIG",
            "SIGFOO",
            "RTMIN+31",
            "RTMIN-1",
            "RTMIN++1",
            "RTMIN+",
            "RTMAX-31",
            "RTMAX+1",
            "15x",
            "TERM ",
        ] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
