//! Bodies of answers, shaped as the Docker Engine API has them. The command line reads the same
//! types, so that the two cannot drift apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::endpoints;
use crate::listener::container::{Outcome, Snapshot};
use crate::listener::machines::{Health, Spec, Status};
use crate::listener::store::state::{ContainerRecord, State};
use crate::listener::vspc::About;

/// Version of the Docker Engine API that this one is shaped after.
pub const API_VERSION: &str = "1.47";
/// Oldest version whose paths are understood.
pub const MIN_API_VERSION: &str = "1.24";

/// One row of `GET /containers/json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Container ID.
    pub id: String,
    /// Its name, a slash before it.
    pub names: Vec<String>,
    /// Repository of its image.
    pub image: String,
    /// ID of its image, where its VM was made here.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// Program and arguments, joined by spaces.
    pub command: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Published ports, where its VM was made here.
    pub ports: Vec<Value>,
    /// Labels, where its VM was made here.
    pub labels: BTreeMap<String, String>,
    /// `created`, `running`, `paused`, `exited`, `dead`.
    pub state: String,
    /// The same in words, with a time.
    pub status: String,
    /// Networks by their names.
    pub network_settings: Value,
    /// Volumes, where its VM was made here.
    pub mounts: Vec<Value>,
    /// Bytes of its own disk, where they are asked for and its VM was made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_rw: Option<u64>,
    /// The same with its image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_root_fs: Option<u64>,
}

/// Body of `POST /containers/{id}/wait`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Waited {
    /// Exit status as docker has it.
    pub status_code: i64,
    /// Why there is no true status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WaitError>,
    /// Bytes of output that never came (not in docker's).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing_bytes: u64,
}

/// Part of [`Waited`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WaitError {
    /// The reason.
    pub message: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Status of a failure of ours, as docker has it.
const STATUS_UNKNOWN: i64 = 125;

impl From<Outcome> for Waited {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Exited(exit) | Outcome::Removed(Some(exit)) => Self {
                status_code: i64::from(exit.record.status),
                error: None,
                missing_bytes: exit.missing,
            },
            Outcome::Lost(message) => Self::unknown(message),
            Outcome::Removed(None) => {
                Self::unknown("the container was removed before its exit status came".to_owned())
            }
        }
    }
}

impl Waited {
    fn unknown(message: String) -> Self {
        Self {
            status_code: STATUS_UNKNOWN,
            error: Some(WaitError { message }),
            missing_bytes: 0,
        }
    }
}

/// A container's row.
pub fn summary(snapshot: &Snapshot, now_ns: u64) -> Summary {
    let record = &snapshot.record;
    let spec = snapshot.spec.as_deref();
    let running = record.state == State::Running;
    Summary {
        id: record.id.clone(),
        names: vec![format!("/{}", record.name)],
        image: record.image.clone(),
        image_id: spec.map_or(String::new(), |spec| spec.image_id.clone()),
        command: command(record).join(" "),
        created: record.created_ns / 1_000_000_000,
        ports: spec.filter(|_| running).map_or(Vec::new(), ports),
        labels: spec.map_or(BTreeMap::new(), Spec::labels),
        state: state_word(snapshot).to_owned(),
        status: status(snapshot, now_ns),
        network_settings: json!({ "Networks": endpoints::by_name(snapshot) }),
        mounts: spec.map_or(Vec::new(), mounts),
        size_rw: None,
        size_root_fs: None,
    }
}

/// Body of `GET /containers/{id}/json`. What docker has no field for stands under `Vch`.
pub fn details(snapshot: &Snapshot) -> Value {
    let record = &snapshot.record;
    let origin = snapshot.origin.as_ref();
    let primary = record.primary().map(|(_, session)| session);
    let command = command(record);
    let exit = record.exit();
    let running = record.state == State::Running;
    let (tty, openstdin) = primary.map_or((false, false), |p| (p.tty, p.openstdin));
    let restarts = primary.map_or(0, |p| u64::from(p.restarts));
    let error = exit.map_or("", |e| e.record.reason.as_str());
    let hostname: String = record.id.chars().take(12).collect();
    let mut details = json!({
        "Id": record.id,
        "Created": rfc3339(record.created_ns),
        "Path": command.first(),
        "Args": command.get(1..).unwrap_or_default(),
        "State": {
            "Status": state_word(snapshot),
            "Running": running,
            "Paused": running && record.run.paused,
            "Restarting": snapshot.restarting,
            "OOMKilled": exit.is_some_and(|e| e.record.oom),
            "Dead": record.state == State::Lost,
            "Pid": primary.and_then(|p| p.pid).filter(|_| running).unwrap_or(0),
            "ExitCode": exit.map_or(0, |e| e.record.status),
            "Error": error,
            "StartedAt": rfc3339(record.started_ns.unwrap_or(0)),
            "FinishedAt": rfc3339(record.finished_ns.unwrap_or(0)),
        },
        "Image": record.image,
        "Name": format!("/{}", record.name),
        "RestartCount": record.boots.saturating_sub(1) + restarts,
        "Driver": "vm",
        "Platform": "linux",
        "Mounts": [],
        "Config": {
            "Hostname": hostname,
            "User": "",
            "AttachStdin": openstdin,
            "AttachStdout": true,
            "AttachStderr": !tty,
            "Tty": tty,
            "OpenStdin": openstdin,
            "StdinOnce": openstdin,
            "Env": [],
            "Cmd": command,
            "Image": record.image,
            "Entrypoint": null,
            "WorkingDir": "",
            "Labels": {},
        },
        "HostConfig": {
            "AutoRemove": false,
            "LogConfig": { "Type": "json-file", "Config": {} },
            "NetworkMode": "default",
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        },
        "NetworkSettings": endpoints::settings(snapshot),
        "Vch": {
            "Link": if snapshot.link_up { "up" } else { "down" },
            "Attached": { "ReadOnly": snapshot.attached.0, "ReadWrite": snapshot.attached.1 },
            "Peer": origin.map(|o| o.peer),
            "Tls": origin.map(|o| o.tls),
            "SerialPort": origin.and_then(|o| o.serial_port.as_ref()).map(serial_port),
            "Trouble": snapshot.trouble,
            "LogBytes": snapshot.end,
            "Streams": snapshot.positions.streams,
            "Record": record,
        },
    });
    if let Some(health) = &snapshot.health {
        details["State"]["Health"] = health_of(health);
    }
    if let Some(spec) = &snapshot.spec {
        as_asked_for(&mut details, spec, snapshot.restarts, &hostname);
    }
    details
}

/// What is known of a container that was made here, in the place of what can be guessed of others.
fn as_asked_for(details: &mut Value, spec: &Spec, restarts: u64, hostname: &str) {
    details["Image"] = json!(spec.image_id);
    details["RestartCount"] = json!(restarts);
    details["Config"] = spec.config.clone();
    if spec.config["Hostname"] == "" {
        details["Config"]["Hostname"] = json!(hostname);
    }
    let mut host = spec.host.clone();
    // As docker fills in what its clients leave out; some of them rely on it.
    if host["LogConfig"]["Type"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        host["LogConfig"] = json!({ "Type": "json-file", "Config": {} });
    }
    if host["NetworkMode"].as_str().unwrap_or_default().is_empty() {
        host["NetworkMode"] = json!("default");
    }
    for (name, usual) in [
        ("AutoRemove", json!(false)),
        (
            "RestartPolicy",
            json!({ "Name": "no", "MaximumRetryCount": 0 }),
        ),
    ] {
        if host[name].is_null() {
            host[name] = usual;
        }
    }
    details["HostConfig"] = host;
    details["Mounts"] = mounts(spec).into();
    let ports = spec.ports.iter().map(|(port, hosts)| {
        let hosts = hosts.iter();
        let hosts = hosts.map(|(ip, port)| json!({ "HostIp": ip, "HostPort": port.to_string() }));
        (port.clone(), hosts.collect::<Value>())
    });
    details["NetworkSettings"]["Ports"] = Value::Object(ports.collect());
}

/// How a container is, as docker shows it.
fn health_of(health: &Health) -> Value {
    let probes = health.probes.iter().map(|probe| {
        json!({
            "Start": rfc3339(probe.begun_ns),
            "End": rfc3339(probe.ended_ns),
            "ExitCode": probe.status,
            "Output": probe.output,
        })
    });
    json!({
        "Status": health.status.word(),
        "FailingStreak": health.streak,
        "Log": probes.collect::<Vec<_>>(),
    })
}

/// Volumes as docker shows them.
fn mounts(spec: &Spec) -> Vec<Value> {
    let all = spec.volumes.iter().map(|place| {
        json!({
            "Type": "volume",
            "Name": place.name,
            "Source": "",
            "Destination": place.dest,
            "Driver": "local",
            "Mode": if place.read_only { "ro" } else { "" },
            "RW": !place.read_only,
            "Propagation": "",
        })
    });
    all.collect()
}

/// Published ports as a list shows them.
fn ports(spec: &Spec) -> Vec<Value> {
    let all = spec.ports.iter().flat_map(|(port, hosts)| {
        let (private, kind) = port.split_once('/').unwrap_or((port, "tcp"));
        let private: u16 = private.parse().unwrap_or_default();
        hosts.iter().map(move |(ip, public)| {
            json!({ "IP": ip, "PrivatePort": private, "PublicPort": public, "Type": kind })
        })
    });
    all.collect()
}

/// What a VM's host has told of its port.
fn serial_port(about: &About) -> Value {
    json!({
        "Service": about.service,
        "Port": about.label(),
        "VmUuid": about.uuid,
        "VmName": about.name,
    })
}

fn command(record: &ContainerRecord) -> Vec<String> {
    match record.primary() {
        Some((_, session)) if session.args.is_empty() => vec![session.path.clone()],
        Some((_, session)) => {
            // The first argument is what the program calls itself; its path says more.
            let rest = session.args.iter().skip(1).cloned();
            std::iter::once(session.path.clone()).chain(rest).collect()
        }
        None => Vec::new(),
    }
}

pub(super) fn state_word(snapshot: &Snapshot) -> &'static str {
    match snapshot.record.state {
        _ if snapshot.restarting => "restarting",
        State::Created => "created",
        State::Running if snapshot.record.run.paused => "paused",
        State::Running => "running",
        State::Exited => "exited",
        // Docker's word for a container that is neither running nor properly ended.
        State::Lost => "dead",
    }
}

fn status(snapshot: &Snapshot, now_ns: u64) -> String {
    let record = &snapshot.record;
    let ago = |then: Option<u64>| duration(now_ns.saturating_sub(then.unwrap_or(now_ns)));
    let mut text = match record.state {
        State::Created => "Created".to_owned(),
        State::Running => format!("Up {}", ago(record.started_ns)),
        State::Exited => {
            let status = record.exit().map_or(0, |e| e.record.status);
            let word = if snapshot.restarting {
                "Restarting"
            } else {
                "Exited"
            };
            format!("{word} ({status}) {} ago", ago(record.finished_ns))
        }
        State::Lost => format!("Lost {} ago", ago(record.finished_ns)),
    };
    let expected =
        matches!(record.state, State::Created | State::Running) && !snapshot.between_runs;
    if expected && !snapshot.link_up {
        text += " (link down)";
    }
    if record.state == State::Running && record.run.paused {
        text += " (Paused)";
    } else if record.state == State::Running
        && let Some(health) = &snapshot.health
    {
        text += match health.status {
            Status::Starting => " (health: starting)",
            Status::Healthy => " (healthy)",
            Status::Unhealthy => " (unhealthy)",
        };
    }
    if snapshot.trouble.is_some() {
        text += " (not being stored)";
    }
    text
}

/// A length of time in docker's words.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Docker writes the year 1 for a time that has not come.
pub(super) fn rfc3339(ns: u64) -> String {
    if ns == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_dockers_words() {
        let second = 1_000_000_000;
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3540, "59 minutes"),
            (3600, "About an hour"),
            (2 * 3600, "2 hours"),
            (3 * 86400, "3 days"),
            (21 * 86400, "3 weeks"),
            (90 * 86400, "3 months"),
            (3 * 365 * 86400, "3 years"),
        ] {
            assert_eq!(duration(seconds * second), words, "{seconds} s");
        }
    }

    #[test]
    fn a_time_that_has_not_come_is_the_year_one() {
        assert_eq!(rfc3339(0), "0001-01-01T00:00:00Z");
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.000000001Z");
    }

    #[test]
    fn a_lost_vm_has_no_status_of_its_own() {
        let waited = Waited::from(Outcome::Lost("gone".into()));
        assert_eq!(waited.status_code, 125);
        let json = serde_json::to_string(&waited).expect("JSON");
        assert_eq!(json, r#"{"StatusCode":125,"Error":{"Message":"gone"}}"#);
    }
}
