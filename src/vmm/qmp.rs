//! QEMU's monitor protocol: what happens to the machine that its gdb stub does not
//! tell (resets, why it shut down, disks that fail). Commands without arguments. Pure: a line in, an event out. See "QEMU
//! Machine Protocol Specification" and "QMP Reference Manual" in QEMU's documentation.

use serde::Deserialize;

/// What must be sent before QEMU tells anything.
pub const NEGOTIATION: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

/// The line that gives a command.
pub fn command(name: &str) -> String {
    format!("{{\"execute\":\"{name}\"}}\n")
}

/// What happened to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It starts anew, and why (`guest-reset`); the guest's programs are gone.
    Reset(String),
    /// It is ending, for a reason that QEMU names (`guest-shutdown`, `host-signal`).
    Shutdown(String),
    /// A disk or CD-ROM failed.
    DiskFailed {
        /// QEMU's name for the drive: that of the .vmx with a dash (`scsi0-0`).
        device: String,
        /// `read` or `write`.
        operation: String,
        /// Why.
        reason: String,
    },
    /// The firmware or the guest has stopped for good.
    Panicked,
}

#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    device: String,
    #[serde(default)]
    operation: String,
}

/// The event that a line tells; `None`: it tells another, or none.
pub fn event(line: &[u8]) -> Option<Event> {
    let Line { event, data } = serde_json::from_slice(line).ok()?;
    match event.as_str() {
        "RESET" => Some(Event::Reset(data.reason)),
        "SHUTDOWN" => Some(Event::Shutdown(data.reason)),
        "BLOCK_IO_ERROR" => Some(Event::DiskFailed {
            device: data.device,
            operation: data.operation,
            reason: data.reason,
        }),
        "GUEST_PANICKED" => Some(Event::Panicked),
        _ => None,
    }
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reset(reason) => write!(f, "the virtual machine was reset ({reason})"),
            Self::Shutdown(reason) => write!(f, "the virtual machine shuts down ({reason})"),
            Self::DiskFailed {
                device,
                operation,
                reason,
            } => write!(f, "{device}: {operation} failed: {reason}"),
            Self::Panicked => f.write_str("the guest has panicked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_answers_and_from_each_other() {
        let cases: [(&str, Option<Event>); 6] = [
            (
                r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#,
                None,
            ),
            (r#"{"return": {}}"#, None),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}"#,
                Some(Event::Reset("guest-reset".into())),
            ),
            (
                r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#,
                Some(Event::Shutdown("guest-shutdown".into())),
            ),
            (
                r#"{"event": "BLOCK_IO_ERROR", "data": {"device": "scsi0-0", "node-name": "n", "reason": "No space left on device", "operation": "write", "action": "stop", "nospace": true}}"#,
                Some(Event::DiskFailed {
                    device: "scsi0-0".into(),
                    operation: "write".into(),
                    reason: "No space left on device".into(),
                }),
            ),
            (r#"{"event": "RTC_CHANGE", "data": {"offset": 1}}"#, None),
        ];
        for (line, expected) in cases {
            assert_eq!(event(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(event(b"not JSON"), None);
    }
}
