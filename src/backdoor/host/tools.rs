//! What a host knows of the guest's tools, and what it asks of them by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::backdoor::protocol::guest_info;
use crate::backdoor::tclo::PowerEvent;

/// Why a power event is not sent to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerRefusal {
    /// Nobody polls.
    #[error("no tools run in the guest: nothing there polls for the host's requests")]
    NotRunning,
    /// They have not said that they can.
    #[error(
        "the guest's tools do not say that they take power events (tools.capability.statechange)"
    )]
    NoCapability,
    /// vSphere soft-reboots such a guest once and never again.
    #[error("the guest's tools have not told its uptime since it was reset (SetGuestInfo 7)")]
    NoUptime,
    /// One after the other.
    #[error("the guest has not yet said how the last power event went ({})", .0.name())]
    Pending(PowerEvent),
}

/// The guest's tools, as far as they have told.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// They have answered `reset` since the machine started.
    pub running: bool,
    /// Of `tools.set.version`.
    pub version: Option<u32>,
    /// Names behind `tools.capability.`.
    pub capabilities: BTreeSet<String>,
    /// By kind, see [`guest_info`].
    pub info: BTreeMap<u32, Vec<u8>>,
    /// How often the machine was reset.
    pub resets: u32,
    pending: Option<PowerEvent>,
    outcome: Option<(PowerEvent, bool)>,
}

impl Tools {
    /// The machine was reset: whoever was there is gone.
    pub(super) fn reset(&mut self) {
        *self = Self {
            resets: self.resets.saturating_add(1),
            ..Self::default()
        };
    }

    /// Whether an event may be sent; it counts as sent then.
    pub(super) fn power(&mut self, event: PowerEvent) -> Result<(), PowerRefusal> {
        let soft = matches!(event, PowerEvent::Halt | PowerEvent::Reboot);
        if !self.running {
            return Err(PowerRefusal::NotRunning);
        }
        if !self.capabilities.contains("statechange") {
            return Err(PowerRefusal::NoCapability);
        }
        if soft && self.resets > 0 && !self.info.contains_key(&guest_info::UPTIME) {
            return Err(PowerRefusal::NoUptime);
        }
        if let Some(pending) = self.pending {
            return Err(PowerRefusal::Pending(pending));
        }
        self.pending = Some(event);
        self.outcome = None;
        Ok(())
    }

    /// How the last power event went, once.
    pub(super) fn take_outcome(&mut self) -> Option<(PowerEvent, bool)> {
        self.outcome.take()
    }

    /// Takes note of a request of the guest's.
    pub(super) fn said(&mut self, request: &[u8]) {
        let text = String::from_utf8_lossy(request);
        let text = text.trim_end_matches(['\0', ' ']);
        if let Some(version) = text.strip_prefix("tools.set.version ") {
            self.version = version.parse().ok();
        } else if let Some(status) = text.strip_prefix("tools.os.statechange.status ") {
            self.power_status(status);
        } else if let Some(capability) = text.strip_prefix("tools.capability.") {
            let name = capability.split(' ').next().unwrap_or_default();
            self.capabilities.insert(name.to_owned());
        } else if let Some(rest) = request.strip_prefix(b"SetGuestInfo  ") {
            let space = rest.iter().position(|byte| *byte == b' ');
            let kind = space.and_then(|space| std::str::from_utf8(rest.get(..space)?).ok());
            if let (Some(Ok(kind)), Some(space)) = (kind.map(str::parse), space) {
                let value = rest.get(space + 1..).unwrap_or_default();
                self.info.insert(kind, value.to_vec());
            }
        }
    }

    fn power_status(&mut self, status: &str) {
        let (code, number) = status.split_once(' ').unwrap_or_default();
        let mut events = PowerEvent::ALL.into_iter();
        let event = events.find(|event| number.parse() == Ok(event.number()));
        if let Some(event) = event.filter(|event| self.pending == Some(*event)) {
            self.pending = None;
            self.outcome = Some((event, code == "1"));
        }
    }

    /// What a host asks next when a request was answered in this way.
    pub(super) fn answered(&mut self, request: &[u8], answer: &[u8]) -> &'static [&'static str] {
        if request != b"reset" || !answer.starts_with(b"OK ATR toolbox") {
            return &[];
        }
        self.running = true;
        &["Capabilities_Register", "Set_Option broadcastIP 1"]
    }
}
