//! Control messages: what the two ends say to each other about sessions, as JSON.

use serde::{Deserialize, Serialize};

use super::Channel;

/// One control message. `type` names it on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// Guest: this channel is that session.
    Session {
        /// Its channel from now on.
        channel: Channel,
        /// Session ID.
        id: String,
        /// Session name.
        #[serde(default)]
        name: String,
        /// Program.
        #[serde(default)]
        path: String,
        /// Arguments, the program's name first.
        #[serde(default)]
        args: Vec<String>,
        /// One pseudo-terminal instead of three pipes.
        #[serde(default)]
        tty: bool,
        /// stdin takes bytes.
        #[serde(default)]
        openstdin: bool,
        /// Clients may attach.
        #[serde(default)]
        attach: bool,
        /// Its end is the end of the VM.
        #[serde(default)]
        primary: bool,
    },
    /// Guest: the session's process runs.
    Started {
        /// Session.
        channel: Channel,
        /// Process ID in the VM.
        pid: i32,
        /// Milliseconds since 1970, guest's clock.
        time_ms: u64,
    },
    /// Guest: the session's process has ended, or never ran.
    Exit {
        /// Session.
        channel: Channel,
        /// How.
        record: ExitRecord,
    },
    /// Guest: a step of boot or stop, for the operator.
    Stage {
        /// The step, `root-disk`.
        name: String,
        /// What there is to say of it.
        #[serde(default)]
        text: String,
        /// Milliseconds since 1970, guest's clock.
        time_ms: u64,
    },
    /// Guest: the VM ends now.
    Power {
        /// Off or reboot.
        action: PowerAction,
        /// Why.
        reason: String,
    },
    /// Listener: the terminal's size.
    Resize {
        /// Session.
        channel: Channel,
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
    /// Listener: send a signal to the session's process.
    Signal {
        /// Session.
        channel: Channel,
        /// `SIGTERM`, `TERM`, `15`.
        signal: String,
    },
    /// Listener: stop all sessions, then the VM.
    Stop {
        /// Seconds between the stop signal and SIGKILL.
        grace_s: u32,
    },
    /// Either: I do not know this message, or cannot do it.
    Refused {
        /// `type` of the message refused.
        what: String,
        /// Why.
        message: String,
    },
}

/// What ends a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerAction {
    /// Power off.
    Off,
    /// Reboot.
    Reboot,
}

/// The one record of how a session ended. True once the streams have reached their final offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// 0 to 255 as docker has it: the code, 128 + signal, 126, 127, or 125 for our own failure.
    pub status: i32,
    /// The process's own exit code, where it returned one.
    #[serde(default)]
    pub code: Option<i32>,
    /// The signal that killed it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// It dumped core.
    #[serde(default)]
    pub core: bool,
    /// The kernel killed it for want of memory.
    #[serde(default)]
    pub oom: bool,
    /// Kind of end.
    pub class: ExitClass,
    /// Why it could not start; empty otherwise.
    #[serde(default)]
    pub reason: String,
    /// Final length of stdout, bytes.
    #[serde(default)]
    pub stdout: u64,
    /// Final length of stderr, bytes.
    #[serde(default)]
    pub stderr: u64,
    /// Another process still held an output open when the grace was over.
    #[serde(default)]
    pub stdio_held: bool,
    /// Milliseconds since 1970, guest's clock.
    #[serde(default)]
    pub time_ms: u64,
}

impl ExitRecord {
    /// The process never ran.
    pub fn failed(class: ExitClass, reason: String, time_ms: u64) -> Self {
        let status = match class {
            ExitClass::NotFound => 127,
            ExitClass::NotExecutable => 126,
            ExitClass::Exited | ExitClass::Signaled | ExitClass::Failed => 125,
        };
        Self {
            status,
            code: None,
            signal: None,
            core: false,
            oom: false,
            class,
            reason,
            stdout: 0,
            stderr: 0,
            stdio_held: false,
            time_ms,
        }
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// It returned a code.
    Exited,
    /// A signal killed it.
    Signaled,
    /// The program is there and cannot be executed.
    NotExecutable,
    /// There is no such program.
    NotFound,
    /// Something of ours failed first.
    Failed,
}

/// A message as it came: known, or refused by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Known(Control),
    Unknown { what: String, message: String },
}

/// Reads a message. What cannot be read is refused, never ignored: the sender learns of it.
pub(super) fn parse(bytes: &[u8]) -> Incoming {
    #[derive(Deserialize)]
    struct Tag {
        #[serde(default, rename = "type")]
        what: String,
    }
    match serde_json::from_slice(bytes) {
        Ok(message) => Incoming::Known(message),
        Err(error) => {
            let what = serde_json::from_slice(bytes)
                .map(|tag: Tag| tag.what)
                .unwrap_or_default();
            Incoming::Unknown {
                what,
                message: error.to_string(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_type() {
        let text = r#"{"type":"signal","channel":1,"signal":"SIGTERM"}"#;
        let message = Control::Signal {
            channel: Channel(1),
            signal: "SIGTERM".into(),
        };
        assert_eq!(serde_json::to_string(&message).expect("plain data"), text);
        assert_eq!(parse(text.as_bytes()), Incoming::Known(message));
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let text = br#"{"type":"stop","grace_s":3,"mercy":true}"#;
        assert_eq!(parse(text), Incoming::Known(Control::Stop { grace_s: 3 }));
    }

    #[test]
    fn an_unknown_message_is_refused_by_name() {
        let Incoming::Unknown { what, message } = parse(br#"{"type":"dance"}"#) else {
            panic!("known")
        };
        assert_eq!(what, "dance");
        assert!(message.contains("unknown variant `dance`"), "{message}");
    }
}
