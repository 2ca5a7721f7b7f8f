//! What the appliance remembers of a container that it has made, beside what its machine is told: docker's two
//! objects, as `inspect` shows them. It stands in the machine's .vmx.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lan::Joined;
use super::logs::rotation;
use super::mounts::Place;
use crate::listener::store::Rotation;

/// A container as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Its image, as it was named.
    pub image: String,
    /// The image's ID.
    pub image_id: String,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// Docker's `Config`, with what the image says filled in.
    pub config: Value,
    /// Docker's `HostConfig`.
    pub host: Value,
    /// Published ports by `80/tcp`: addresses and ports of this host.
    pub ports: BTreeMap<String, Vec<(String, u16)>>,
    /// Volumes, and where it has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Place>,
    /// Networks that it shares with others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Joined>,
}

/// When a container is started again after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Never by itself.
    No,
    /// Whatever its status; after a start of the appliance, too.
    Always,
    /// The same, but not once it was stopped by somebody.
    UnlessStopped,
    /// After a status that is not 0, so often at most; 0: without end.
    OnFailure(u64),
}

impl Spec {
    /// Its labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.config.get("Labels").cloned().unwrap_or_default();
        serde_json::from_value(labels).unwrap_or_default()
    }

    /// Seconds that a stop leaves it.
    pub fn stop_timeout(&self) -> Option<i64> {
        self.config.get("StopTimeout")?.as_i64()
    }

    /// The signal that it ends by, as docker names it; none: the usual one.
    pub fn stop_signal(&self) -> Option<String> {
        let signal = self.config.get("StopSignal")?.as_str()?;
        (!signal.is_empty()).then(|| signal.to_owned())
    }

    fn host_flag(&self, name: &str) -> bool {
        self.host.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// It is removed after its end.
    pub fn auto_remove(&self) -> bool {
        self.host_flag("AutoRemove")
    }

    /// The end of one client's input is the end of the process's.
    pub fn stdin_once(&self) -> bool {
        self.config.get("StdinOnce").and_then(Value::as_bool) == Some(true)
    }

    /// It is on the network of its own that leads outside, by name.
    pub fn has_bridge(&self) -> bool {
        let mode = self.host.get("NetworkMode").and_then(Value::as_str);
        let disabled = self.config.get("NetworkDisabled").and_then(Value::as_bool);
        disabled != Some(true) && matches!(mode, None | Some("" | "default" | "bridge"))
    }

    /// It was made for a network that it is not on any more.
    pub fn is_detached(&self) -> bool {
        let mode = self.host.get("NetworkMode").and_then(Value::as_str);
        !self.has_bridge() && mode != Some("none") && self.networks.is_empty()
    }

    /// Servers of names that it wants to be asked.
    pub fn servers(&self) -> Vec<IpAddr> {
        let named = self.host.get("Dns").and_then(Value::as_array);
        let named = named.into_iter().flatten();
        named
            .filter_map(|text| text.as_str()?.parse().ok())
            .collect()
    }

    /// How much of its output is kept; none: as of all others.
    pub fn rotation(&self) -> Option<Rotation> {
        // What is none was refused when it was made.
        rotation(&self.host).ok().flatten()
    }

    /// When it is started again.
    pub fn restart(&self) -> Restart {
        let policy = self.host.get("RestartPolicy");
        let name = policy.and_then(|policy| policy.get("Name")?.as_str());
        let most = policy.and_then(|policy| policy.get("MaximumRetryCount")?.as_u64());
        match name {
            Some("always") => Restart::Always,
            Some("unless-stopped") => Restart::UnlessStopped,
            Some("on-failure") => Restart::OnFailure(most.unwrap_or_default()),
            _ => Restart::No,
        }
    }
}
