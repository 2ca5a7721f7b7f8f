//! What the VMware host is told of the machine's state, beside the link: an operator who has only
//! the .vmx knows why a container did not start. On other machines there is nobody to tell.

use std::fmt;

use crate::backdoor::rpci::Rpc;
use crate::config::guestinfo::{Keys, KeysError, StateKeys, Subject};
use crate::config::model::{Generation, IpNet, Secret};
use crate::frozen::{Record, Writer};
use crate::sys::port::{self, Hardware};

/// Fields of a frozen host.
const PRESENT: u8 = 1;
const STAGE: u8 = 2;
const HIDDEN: u8 = 3;

/// Turns of the machine for which what can wait does.
const PATIENCE: u8 = 8;

/// The host, if there is one that listens.
#[derive(Default)]
pub struct Host {
    port: Option<Hardware>,
    rpc: Option<Rpc<Hardware>>,
    keys: Option<StateKeys>,
    /// What can wait until the machine has nothing else to do, and for how many turns yet.
    later: Vec<(String, String)>,
    patience: u8,
    /// The stage that was told last.
    stage: String,
    /// The link key, and the names that it was taken away from.
    key: Secret,
    hidden: Vec<String>,
}

impl Host {
    /// The host behind the backdoor.
    pub fn new(port: Hardware) -> Self {
        // Until the configuration has said which generation it is: the blog's.
        Self {
            port: Some(port.clone()),
            rpc: Some(Rpc::new(port)),
            keys: StateKeys::of(Generation::V04),
            ..Self::default()
        }
    }

    /// Its backdoor.
    pub fn port(&self) -> Option<Hardware> {
        self.port.clone()
    }

    /// Tells it something that it may not know of, or not want: that is no harm.
    pub fn tell(&mut self, request: &[u8]) {
        if let Some(rpc) = &mut self.rpc
            && let Err(error) = rpc.call(request)
        {
            log::info!("the host: {error}");
        }
    }

    /// State is written in the generation that the configuration was read in.
    pub fn set_generation(&mut self, generation: Generation) {
        self.keys = StateKeys::of(generation);
    }

    /// The session's program runs. It is not held up for that: its first output goes first.
    pub fn started(&mut self, subject: Subject<'_>, time_ms: u64) {
        let Some(keys) = self.keys else { return };
        self.later.push(keys.started(subject, Ok(())));
        self.later
            .extend(keys.start_time(subject, seconds(time_ms)));
        self.patience = PATIENCE;
    }

    /// There is something that waits.
    pub fn has_more(&self) -> bool {
        !self.later.is_empty()
    }

    /// A turn of the machine is over, in which there was nothing to do, or was.
    pub fn after_turn(&mut self, idle: bool) {
        self.patience = self.patience.saturating_sub(1);
        if idle || self.patience == 0 {
            self.tell_more();
        }
    }

    fn tell_more(&mut self) {
        for entry in std::mem::take(&mut self.later) {
            self.write(entry);
        }
    }

    /// The session's program does not run, for this reason.
    pub fn not_started(&mut self, subject: Subject<'_>, reason: &str) {
        let Some(keys) = self.keys else { return };
        self.set(Some(keys.started(subject, Err(reason))));
    }

    /// The session has ended.
    pub fn ended(&mut self, subject: Subject<'_>, status: i32, time_ms: u64) {
        let Some(keys) = self.keys else { return };
        self.set(Some(keys.status(subject, status)));
        self.set(keys.stop_time(subject, seconds(time_ms)));
    }

    /// The session does not wait for its first client any more.
    pub fn released(&mut self, subject: Subject<'_>) {
        let Some(keys) = self.keys else { return };
        self.set(Some(keys.released(subject)));
    }

    /// The session was started again, for the so manieth time.
    pub fn restarted(&mut self, subject: Subject<'_>, count: u32) {
        let Some(keys) = self.keys else { return };
        self.set(Some(keys.resurrections(subject, count)));
    }

    /// The address in use on the endpoint of this name.
    pub fn address(&mut self, endpoint: &str, net: &IpNet) {
        let Some(keys) = self.keys else { return };
        for entry in keys.address(endpoint, net) {
            self.set(Some(entry));
        }
    }

    /// The step that the machine is at, and what there is to say of it. Said once where it does not
    /// change: each time costs the machine five backdoor instructions.
    pub fn stage(&mut self, text: &str) {
        let Some(keys) = self.keys else { return };
        if self.stage == text {
            return;
        }
        text.clone_into(&mut self.stage);
        self.set(Some(keys.stage(text)));
    }

    /// Takes the link key away from under these names: whatever runs on this machine can ask the host
    /// for it. It is kept for [`Host::give_back`].
    ///
    /// # Errors
    /// The name that still has it, and why.
    pub fn hide(&mut self, names: Vec<String>, key: &Secret) -> Result<(), String> {
        let Some(rpc) = &mut self.rpc else {
            return Ok(());
        };
        for name in names {
            let there = rpc.info_get(&name).map_err(|e| format!("{name}: {e}"))?;
            if there.is_some_and(|value| !value.is_empty()) {
                rpc.info_set(&name, b"")
                    .map_err(|e| format!("{name}: {e}"))?;
                self.hidden.push(name);
            }
        }
        self.key = key.clone();
        Ok(())
    }

    /// Puts the link key back for the next boot. Nothing of the container's may run any more.
    pub fn give_back(&mut self) {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.key.0);
        for name in std::mem::take(&mut self.hidden) {
            self.set(Some((name, text.clone())));
        }
    }

    /// Writes what a later program has to know to go on as this one.
    pub fn freeze(&self, to: &mut Writer) {
        to.number(PRESENT, self.port.is_some());
        to.bytes(STAGE, self.stage.as_bytes());
        for name in &self.hidden {
            to.bytes(HIDDEN, name.as_bytes());
        }
    }

    /// The host that was frozen; `key` is the link's.
    ///
    /// # Errors
    /// It was there and does not answer this program.
    pub fn thaw(
        from: Record<'_>,
        generation: Generation,
        key: &Secret,
    ) -> Result<Self, port::NoBackdoor> {
        if !from.flag(PRESENT) {
            return Ok(Self::default());
        }
        let mut host = Self::new(port::open()?);
        host.set_generation(generation);
        host.stage = from.text(STAGE);
        host.key = key.clone();
        let hidden = from.all(HIDDEN).map(String::from_utf8_lossy);
        host.hidden = hidden.map(|name| name.into_owned()).collect();
        Ok(host)
    }

    /// Closes its channel: the next request opens another.
    pub fn close(&mut self) {
        self.tell_more();
        if let Some(port) = &self.port {
            self.rpc = Some(Rpc::new(port.clone()));
        }
    }

    /// A line for the host's own log of this machine.
    pub fn log(&mut self, line: &str) {
        if let Some(rpc) = &mut self.rpc
            && let Err(error) = rpc.log(line)
        {
            log::warn!("the host's log: {error}");
        }
    }

    fn set(&mut self, entry: Option<(String, String)>) {
        self.tell_more();
        if let Some(entry) = entry {
            self.write(entry);
        }
    }

    fn write(&mut self, (key, value): (String, String)) {
        let Some(rpc) = &mut self.rpc else { return };
        if let Err(error) = rpc.info_set(&key, value.as_bytes()) {
            log::warn!("{key} was not written: {error}");
        }
    }
}

impl Keys for Host {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError> {
        let rpc = self
            .rpc
            .as_mut()
            .ok_or_else(|| KeysError("there is no VMware host".into()))?;
        rpc.info_get(key)
            .map_err(|error| KeysError(error.to_string()))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.rpc.is_some() {
            "Host(VMware)"
        } else {
            "Host(none)"
        })
    }
}

fn seconds(time_ms: u64) -> i64 {
    i64::try_from(time_ms / 1000).unwrap_or(i64::MAX)
}
