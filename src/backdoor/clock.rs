//! The host's clock, as the guest asks for it: one instruction.

use std::time::Duration;

use super::protocol::{MAGIC, PORT_LOW, UNSUPPORTED, command, word};
use super::{Port, Registers};

/// The host's time since 1970; `None`: it has no clock for guests.
pub fn host_time(port: &mut impl Port) -> Option<Duration> {
    let mut registers = Registers {
        rax: u64::from(MAGIC),
        rcx: u64::from(command::GET_TIME_FULL),
        rdx: u64::from(PORT_LOW),
        ..Registers::default()
    };
    port.low(&mut registers);
    // A host that knows the command leaves the magic; one that does not, or none at all, leaves no time.
    let seconds = (u64::from(word(registers.rsi)) << u32::BITS) | u64::from(word(registers.rdx));
    let micros = word(registers.rbx);
    let answered = word(registers.rax) != UNSUPPORTED && micros < 1_000_000;
    // Nor does one that says a time before there were such hosts.
    const FIRST: u64 = 946_684_800;
    (answered && seconds > FIRST)
        .then(|| Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backdoor::loopback::Loopback;

    #[test]
    fn the_host_s_time_is_read_past_2106_too() {
        let mut port = Loopback::default();
        for seconds in [1_800_000_000, 5_000_000_000] {
            let time = Duration::new(seconds, 123_456_000);
            port.host.set_time(Some(time));
            assert_eq!(host_time(&mut port), Some(time));
        }
    }

    #[test]
    fn a_host_without_a_clock_says_none() {
        let mut port = Loopback::default();
        port.host.set_time(None);
        assert_eq!(host_time(&mut port), None);
        port.host.set_time(Some(Duration::from_secs(3)));
        assert_eq!(host_time(&mut port), None);
    }
}
