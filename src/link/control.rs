//! Control messages: what the two ends say to each other about sessions, as JSON.

#[cfg(feature = "appliance")]
use serde::Deserialize;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Channel;

/// The [`Control::Stage`] of a guest whose container could not be started, and which stays on for whoever looks into
/// it: processes may be added to it.
pub const EMERGENCY: &str = "emergency";

/// The [`Control::Stage`] of a guest that has done all that is configured.
pub const BOOTED: &str = "boot";

/// What [`Exec::service`] may be.
pub mod service {
    /// What is at a path (`args`: the path): an entry, and the end ([`crate::files`]).
    pub const STAT: &str = "stat";
    /// The same, and then the file or the whole folder.
    pub const GET: &str = "get";
    /// What all files of the container's own disk are, without their contents: an entry each, the root's first.
    pub const LIST: &str = "list";
    /// Entries that stdin brings are put into a folder (`args`: its path, [`OWN`], [`KEEP_KINDS`]).
    pub const PUT: &str = "put";
    /// What is put is to be the container's user's.
    pub const OWN: &str = "own";
    /// No folder takes the place of something else, and nothing else a folder's.
    pub const KEEP_KINDS: &str = "keep-kinds";
    /// What the container takes of its machine, again and again.
    pub const FIGURES: &str = "figures";
    /// Its processes stand still.
    pub const FREEZE: &str = "freeze";
    /// They go on.
    pub const THAW: &str = "thaw";
}

/// One control message. `type` names it on the wire.
///
/// A guest reads the listener's four messages by hand ([`from_listener`]): serde's derive of the
/// whole set is a tenth of the guest's binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Control {
    /// Guest: this channel is that session.
    Session {
        /// Its channel from now on.
        channel: Channel,
        /// Session ID.
        id: String,
        /// Session name.
        #[cfg_attr(feature = "appliance", serde(default))]
        name: String,
        /// Program.
        #[cfg_attr(feature = "appliance", serde(default))]
        path: String,
        /// Arguments, the program's name first.
        #[cfg_attr(feature = "appliance", serde(default))]
        args: Vec<String>,
        /// One pseudo-terminal instead of three pipes.
        #[cfg_attr(feature = "appliance", serde(default))]
        tty: bool,
        /// stdin takes bytes.
        #[cfg_attr(feature = "appliance", serde(default))]
        openstdin: bool,
        /// Clients may attach.
        #[cfg_attr(feature = "appliance", serde(default))]
        attach: bool,
        /// Its end is the end of the VM.
        #[cfg_attr(feature = "appliance", serde(default))]
        primary: bool,
        /// What it says is for whoever has asked for it, and for no log.
        #[cfg_attr(feature = "appliance", serde(default))]
        direct: bool,
    },
    /// Guest: the session's process is started when somebody asks for it ([`Control::Start`]).
    Waiting {
        /// Session.
        channel: Channel,
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
        #[cfg_attr(feature = "appliance", serde(default))]
        text: String,
        /// Milliseconds since 1970, guest's clock.
        time_ms: u64,
    },
    /// Guest: its network, as it is now.
    Network {
        /// Its endpoints that have an address.
        endpoints: Vec<NetworkEndpoint>,
    },
    /// Guest: the VM ends now.
    Power {
        /// Off or reboot.
        action: PowerAction,
        /// Why.
        reason: String,
    },
    /// Listener: start the process of a session that waits.
    #[cfg_attr(not(feature = "appliance"), serde(skip_serializing))]
    Start {
        /// Session.
        channel: Channel,
    },
    /// Listener: the terminal's size.
    #[cfg_attr(not(feature = "appliance"), serde(skip_serializing))]
    Resize {
        /// Session.
        channel: Channel,
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
    /// Listener: send a signal to the session's process.
    #[cfg_attr(not(feature = "appliance"), serde(skip_serializing))]
    Signal {
        /// Session.
        channel: Channel,
        /// `SIGTERM`, `TERM`, `15`.
        signal: String,
    },
    /// Listener: stop all sessions, then the VM.
    #[cfg_attr(not(feature = "appliance"), serde(skip_serializing))]
    Stop {
        /// Seconds between the stop signal and SIGKILL.
        grace_s: u32,
    },
    /// Guest: the session is over, and the listener has stored all of it: its channel is free.
    Closed {
        /// Channel.
        channel: Channel,
    },
    /// Listener: run another process beside the primary session's.
    #[cfg_attr(not(feature = "appliance"), serde(skip_serializing))]
    Exec(Box<Exec>),
    /// Either: I do not know this message, or cannot do it.
    Refused {
        /// `type` of the message refused.
        what: String,
        /// Why.
        message: String,
    },
}

/// A session that is added to a running machine. What it does not say is as with the primary session.
#[derive(Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "appliance", derive(Serialize, Deserialize))]
pub struct Exec {
    /// ID of the new session, which the guest announces it by.
    pub id: String,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, `NAME=value`, beside the primary session's.
    pub env: Vec<String>,
    /// Working directory; empty: the primary session's.
    pub dir: String,
    /// `name`, `number`, `user:group`; empty: the primary session's.
    pub user: String,
    /// A pseudo-terminal instead of pipes.
    pub tty: bool,
    /// stdin takes bytes.
    pub openstdin: bool,
    /// The terminal's lines; 0: as usual.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
    /// No program: process 1 writes what it knows of its machine to stdout.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub report: bool,
    /// No program to be run: stdin brings another tether, which is to go on as process 1. What it is signed
    /// with ([`sign`](super::sign)), in hexadecimal digits; empty: no upgrade.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub upgrade: String,
    /// No program: what process 1 itself is to do ([`service`]), with `args` as that takes them. Its session is a direct one.
    /// Empty: nothing.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub service: String,
}

/// Arguments and environment are often secrets.
impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An endpoint of a container's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize), serde(default))]
pub struct NetworkEndpoint {
    /// Its name in the configuration.
    pub name: String,
    /// Its interface's address, `00:50:56:01:02:03`.
    pub mac: String,
    /// Its own, `172.16.0.2/16`.
    pub address: String,
    /// Where its default route leads; empty: it has none.
    pub gateway: String,
    /// A DHCP server gave the address.
    pub dhcp: bool,
}

/// What ends a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
#[serde(rename_all = "lowercase")]
pub enum PowerAction {
    /// Power off.
    Off,
    /// Reboot.
    Reboot,
}

/// The one record of how a session ended. True once the streams have reached their final offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
pub struct ExitRecord {
    /// 0 to 255 as docker has it: the code, 128 + signal, 126, 127, or 125 for our own failure.
    pub status: i32,
    /// The process's own exit code, where it returned one.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub code: Option<i32>,
    /// The signal that killed it.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub signal: Option<i32>,
    /// It dumped core.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub core: bool,
    /// The kernel killed it for want of memory.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub oom: bool,
    /// Kind of end.
    pub class: ExitClass,
    /// Why it could not start; empty otherwise.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub reason: String,
    /// Final length of stdout, bytes.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub stdout: u64,
    /// Final length of stderr, bytes.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub stderr: u64,
    /// Another process still held an output open when the grace was over.
    #[cfg_attr(feature = "appliance", serde(default))]
    pub stdio_held: bool,
    /// Milliseconds since 1970, guest's clock.
    #[cfg_attr(feature = "appliance", serde(default))]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "appliance", derive(Deserialize))]
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

/// Reads a guest's message. What cannot be read is refused, never ignored: the sender learns of it.
#[cfg(feature = "appliance")]
pub(super) fn from_guest(bytes: &[u8]) -> Incoming {
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

/// Reads a message in both ways, for the fuzzer: what is known reads the same again when it is written.
#[cfg(feature = "appliance")]
pub fn read(bytes: &[u8]) {
    if let Incoming::Known(message) = from_guest(bytes) {
        let again = serde_json::to_vec(&message).unwrap_or_default();
        assert_eq!(from_guest(&again), Incoming::Known(message));
    }
    if let Incoming::Known(message) = from_listener(bytes) {
        let again = serde_json::to_vec(&message).unwrap_or_default();
        assert_eq!(from_listener(&again), Incoming::Known(message.clone()));
        assert_eq!(from_guest(&again), Incoming::Known(message));
    }
}

/// Reads a listener's message, as [`from_guest`] does a guest's.
pub(super) fn from_listener(bytes: &[u8]) -> Incoming {
    let (what, message) = match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => match order(&fields) {
            Ok(message) => return Incoming::Known(message),
            Err(message) => (text(&fields, "type").unwrap_or_default(), message),
        },
        Ok(_) => (String::new(), "a message is a JSON object".to_owned()),
        Err(error) => (String::new(), error.to_string()),
    };
    Incoming::Unknown { what, message }
}

fn order(fields: &Map<String, Value>) -> Result<Control, String> {
    let what = text(fields, "type")?;
    let channel = || number(fields, "channel").map(Channel);
    Ok(match what.as_str() {
        "start" => Control::Start {
            channel: channel()?,
        },
        "resize" => Control::Resize {
            channel: channel()?,
            rows: number(fields, "rows")?,
            columns: number(fields, "columns")?,
        },
        "signal" => Control::Signal {
            channel: channel()?,
            signal: text(fields, "signal")?,
        },
        "stop" => Control::Stop {
            grace_s: number(fields, "grace_s")?,
        },
        "exec" => Control::Exec(Box::new(Exec {
            id: text(fields, "id")?,
            args: texts(fields, "args")?,
            env: texts(fields, "env")?,
            dir: text(fields, "dir")?,
            user: text(fields, "user")?,
            tty: flag(fields, "tty"),
            openstdin: flag(fields, "openstdin"),
            rows: number(fields, "rows")?,
            columns: number(fields, "columns")?,
            report: flag(fields, "report"),
            upgrade: text(fields, "upgrade").unwrap_or_default(),
            service: text(fields, "service").unwrap_or_default(),
        })),
        "refused" => Control::Refused {
            what: text(fields, "what")?,
            message: text(fields, "message")?,
        },
        _ => {
            return Err(format!(
                "unknown message `{what}`, expected exec, resize, signal, start, stop or refused"
            ));
        }
    })
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("field `{name}`: expected a string")),
    }
}

fn texts(fields: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let list = fields.get(name).and_then(Value::as_array).map(|list| {
        let texts = list.iter().map(|text| text.as_str().map(str::to_owned));
        texts.collect::<Option<_>>()
    });
    list.flatten()
        .ok_or_else(|| format!("field `{name}`: expected a list of strings"))
}

fn flag(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name) == Some(&Value::Bool(true))
}

fn number<T: TryFrom<u64>>(fields: &Map<String, Value>, name: &str) -> Result<T, String> {
    fields
        .get(name)
        .and_then(Value::as_u64)
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            let bits = 8 * size_of::<T>();
            format!("field `{name}`: expected a whole number of at most {bits} bits")
        })
}

#[cfg(test)]
mod tests;
