//! What is known of a container besides its bytes, and what a guest's messages change in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::link::control::PowerAction;
use crate::link::{Channel, Control, ExitClass, ExitRecord, NetworkEndpoint};

/// Added sessions that are remembered after their end: whoever waits for one has asked by then.
const ENDED_MOST: usize = 16;

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The VM has said hello; its process does not run yet.
    #[default]
    Created,
    /// The process runs.
    Running,
    /// The process has ended, and the log holds all that it wrote (or never will).
    Exited,
    /// The VM went away without telling an exit status. It may come back.
    Lost,
}

/// Everything in `record.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRecord {
    /// Version of this shape.
    pub version: u32,
    /// The container's ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Repository of its image.
    pub image: String,
    /// When its VM first said hello: nanoseconds since 1970.
    pub created_ns: u64,
    /// Where it is in its life.
    pub state: State,
    /// When the process was started, listener's clock; `None`: not yet.
    pub started_ns: Option<u64>,
    /// When it ended (or was lost), listener's clock.
    pub finished_ns: Option<u64>,
    /// Times that its VM was booted.
    pub boots: u64,
    /// Software of its guest, for the operator.
    pub software: String,
    /// The current boot of its VM.
    pub run: Run,
}

/// What belongs to one boot of the VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// The boot's random number.
    pub epoch: u64,
    /// Control messages of this boot that are in this file.
    pub messages: u64,
    /// Sessions by channel. Boxed: a map makes room for eleven, and most VMs have one.
    pub sessions: BTreeMap<u16, Box<SessionRecord>>,
    /// Added sessions that are over, the newest last, at most [`ENDED_MOST`].
    pub ended: Vec<SessionRecord>,
    /// Last step of boot or stop that the guest told.
    pub stage: Option<Stage>,
    /// Endpoints of its network that have an address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<NetworkEndpoint>,
    /// The guest's last word, when it had one.
    pub power: Option<Power>,
    /// Its processes stand still, by somebody's wish.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What was on its port beside the link when it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_words: Option<Box<LastWords>>,
}

/// What a VM's kernel has said at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastWords {
    /// Why it panicked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic: Option<String>,
    /// The last lines.
    pub console: String,
}

impl SessionRecord {
    /// Its process runs since this time. Told again after a listener's loss it is the same start.
    fn starts(&mut self, pid: i32, time_ms: u64) {
        self.pid = Some(pid);
        let before = self.started_ms.replace(time_ms);
        if before.is_some_and(|before| before != time_ms) {
            self.restarts = self.restarts.saturating_add(1);
        }
    }

    /// Its process waits for somebody to ask for it.
    pub fn is_waiting(&self) -> bool {
        self.waits && self.pid.is_none() && self.exit.is_none()
    }

    /// The guest would not have it.
    fn refused(id: &str, reason: &str) -> Self {
        let record = ExitRecord::failed(ExitClass::Failed, reason.to_owned(), 0);
        Self {
            id: id.to_owned(),
            exit: Some(StoredExit {
                record,
                shown: true,
                missing: 0,
            }),
            ..Self::default()
        }
    }
}

impl Run {
    /// A session is over, and all of it stored.
    fn close(&mut self, channel: Channel) {
        if let Some(mut session) = self.sessions.remove(&channel.0) {
            // The guest has seen every byte acknowledged.
            if let Some(exit) = &mut session.exit {
                exit.shown = true;
            }
            self.remember(*session);
        }
    }

    fn remember(&mut self, session: SessionRecord) {
        if self.ended.len() >= ENDED_MOST {
            self.ended.remove(0);
        }
        self.ended.push(session);
    }

    /// The session with this ID, open or over.
    pub fn session(&self, id: &str) -> Option<&SessionRecord> {
        let open = self.sessions.values().map(|session| &**session);
        open.chain(&self.ended).find(|session| session.id == id)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// IDs of added sessions are made by the listener: 64 hexadecimal digits.
fn is_exec_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A VM's own word that it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// Off or reboot.
    pub action: PowerAction,
    /// Why.
    pub reason: String,
}

impl Power {
    /// This boot will not be heard of again, nor another without somebody's doing.
    pub fn is_off(&self) -> bool {
        self.action == PowerAction::Off
    }
}

/// A session as its guest announced it, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRecord {
    /// Session ID.
    pub id: String,
    /// Session name.
    pub name: String,
    /// Program.
    pub path: String,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// One terminal instead of three pipes.
    pub tty: bool,
    /// stdin takes bytes.
    pub openstdin: bool,
    /// Clients may attach.
    pub attach: bool,
    /// Its end is the end of the VM.
    pub primary: bool,
    /// What it says is for whoever has asked for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// Its process was not to start before somebody asks for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Process ID in the VM, once started.
    pub pid: Option<i32>,
    /// When that was, guest's clock, milliseconds since 1970: another start has another time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    /// How often it was started again.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// Length at which a client has ended stdin.
    pub stdin_end: Option<u64>,
    /// How it ended, once told.
    pub exit: Option<StoredExit>,
}

/// An exit record: stored when it comes, shown when the log holds what was written before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredExit {
    /// As the guest told it.
    pub record: ExitRecord,
    /// Clients may see it.
    #[serde(default)]
    pub shown: bool,
    /// Bytes of stdout and stderr that never came: the VM went away for good before.
    #[serde(default)]
    pub missing: u64,
}

/// A step of the guest's boot or stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// The step.
    pub name: String,
    /// What there is to say of it.
    pub text: String,
    /// Milliseconds since 1970, guest's clock.
    pub time_ms: u64,
}

impl ContainerRecord {
    /// The VM was booted.
    pub fn begin_run(&mut self, epoch: u64) {
        self.run = Run {
            epoch,
            ..Run::default()
        };
        self.boots += 1;
        self.state = State::Created;
        self.started_ns = None;
        self.finished_ns = None;
    }

    /// Takes a message of the guest into account. Repeating one changes nothing, so that a crash
    /// between this file and the acknowledgement does no harm.
    pub fn apply(&mut self, message: &Control, now_ns: u64) {
        match message {
            Control::Session { channel, .. } => self.announced(*channel, message),
            Control::Waiting { channel } => {
                self.run.sessions.entry(channel.0).or_default().waits = true;
            }
            Control::Started {
                channel,
                pid,
                time_ms,
            } => {
                let session = self.run.sessions.entry(channel.0).or_default();
                session.starts(*pid, *time_ms);
                if session.primary && session.exit.is_none() {
                    self.started_ns.get_or_insert(now_ns);
                    self.state = State::Running;
                }
            }
            Control::Exit { channel, record } => {
                let session = self.run.sessions.entry(channel.0).or_default();
                session.exit.get_or_insert_with(|| StoredExit {
                    record: record.clone(),
                    shown: false,
                    missing: 0,
                });
            }
            Control::Stage {
                name,
                text,
                time_ms,
            } => {
                let (name, text) = (name.clone(), text.clone());
                self.run.stage = Some(Stage {
                    name,
                    text,
                    time_ms: *time_ms,
                });
            }
            Control::Network { endpoints } => self.run.network.clone_from(endpoints),
            Control::Power { action, reason } => {
                self.run.power = Some(Power {
                    action: *action,
                    reason: reason.clone(),
                });
            }
            Control::Closed { channel } => self.run.close(*channel),
            Control::Refused { what, message } if is_exec_id(what) => {
                self.run.remember(SessionRecord::refused(what, message));
            }
            // Ours to send, and a refusal is for the log of the listener.
            Control::Start { .. }
            | Control::Resize { .. }
            | Control::Signal { .. }
            | Control::Stop { .. }
            | Control::Exec(_)
            | Control::Refused { .. } => {}
        }
    }

    /// The guest says what runs on a channel.
    fn announced(&mut self, channel: Channel, message: &Control) {
        let Control::Session {
            channel: _,
            id,
            name,
            path,
            args,
            tty,
            openstdin,
            attach,
            primary,
            direct,
        } = message
        else {
            return;
        };
        let session = self.run.sessions.entry(channel.0).or_default();
        if session.id != *id {
            // A channel that another session had.
            **session = SessionRecord::default();
        }
        session.id.clone_from(id);
        session.name.clone_from(name);
        session.path.clone_from(path);
        session.args.clone_from(args);
        session.tty = *tty;
        session.openstdin = *openstdin;
        session.attach = *attach;
        session.primary = *primary;
        session.direct = *direct;
    }

    /// The primary session and its channel, once announced.
    pub fn primary(&self) -> Option<(Channel, &SessionRecord)> {
        let mut sessions = self.run.sessions.iter();
        sessions
            .find(|(_, s)| s.primary)
            .map(|(c, s)| (Channel(*c), &**s))
    }

    /// The container's exit, once it may be seen.
    pub fn exit(&self) -> Option<&StoredExit> {
        let (_, session) = self.primary()?;
        session.exit.as_ref().filter(|exit| exit.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Channel = Channel(1);

    fn session() -> Control {
        Control::Session {
            channel: ONE,
            id: "abc".into(),
            name: "jolly_panini".into(),
            path: "/hello".into(),
            args: vec!["/hello".into()],
            tty: false,
            openstdin: true,
            attach: true,
            primary: true,
            direct: false,
        }
    }

    fn exit(status: i32) -> Control {
        let mut record = ExitRecord::failed(ExitClass::Failed, "test".into(), 5);
        record.status = status;
        Control::Exit {
            channel: ONE,
            record,
        }
    }

    fn after(messages: &[Control]) -> ContainerRecord {
        let mut record = ContainerRecord::default();
        record.begin_run(7);
        for message in messages {
            record.apply(message, 10);
        }
        record
    }

    #[test]
    fn messages_told_twice_change_nothing() {
        let started = Control::Started {
            channel: ONE,
            pid: 3,
            time_ms: 1,
        };
        let once = after(&[session(), started.clone(), exit(3)]);
        let twice = after(&[
            session(),
            session(),
            started.clone(),
            started,
            exit(3),
            exit(4),
        ]);
        assert_eq!(once, twice);
    }

    #[test]
    fn starts_at_other_times_are_restarts() {
        let started = |time_ms| Control::Started {
            channel: ONE,
            pid: 3,
            time_ms,
        };
        let record = after(&[
            session(),
            started(1),
            started(1),
            session(),
            started(5),
            started(9),
        ]);
        assert_eq!(
            record.primary().map(|(_, session)| session.restarts),
            Some(2)
        );
    }

    #[test]
    fn an_exit_is_not_seen_before_it_is_shown() {
        let mut record = after(&[session(), exit(3)]);
        assert_eq!(record.exit(), None);
        if let Some(exit) = record
            .run
            .sessions
            .get_mut(&1)
            .and_then(|s| s.exit.as_mut())
        {
            exit.shown = true;
        }
        assert_eq!(record.exit().map(|e| e.record.status), Some(3));
    }

    #[test]
    fn a_closed_session_is_over_and_its_channel_another_s() {
        let mut record = after(&[session(), exit(3), Control::Closed { channel: ONE }]);
        assert!(record.run.sessions.is_empty());
        let over = record.run.session("abc").and_then(|s| s.exit.clone());
        assert!(over.is_some_and(|exit| exit.shown && exit.record.status == 3));
        for number in 0..100 {
            let mut next = session();
            if let Control::Session { id, .. } = &mut next {
                *id = format!("e{number}");
            }
            record.apply(&next, 10);
            assert!(record.run.sessions[&1].exit.is_none());
            record.apply(&Control::Closed { channel: ONE }, 10);
        }
        assert_eq!(record.run.ended.len(), ENDED_MOST);
        assert!(record.run.session("e99").is_some());
    }

    #[test]
    fn a_reboot_forgets_the_run_and_keeps_the_container() {
        let mut record = after(&[session(), exit(3)]);
        record.name = "jolly_panini".into();
        record.begin_run(8);
        assert_eq!(record.primary(), None);
        assert_eq!((record.run.messages, record.boots), (0, 2));
        assert_eq!(record.name, "jolly_panini");
    }
}
