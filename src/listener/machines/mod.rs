//! Containers that the appliance makes itself: docker's `create` and what follows from it. What images and VMs are
//! is known elsewhere ([`crate::image`], [`crate::provider`]); here is when which of them is made, started, ended and
//! taken away.

mod body;
mod error;
mod fields;
mod files;
mod health;
mod lan;
mod life;
mod logs;
mod mounts;
mod names;
mod networks;
mod ports;
mod rename;
mod sizes;
mod spec;
mod subnet;
mod update;
mod volumes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::Semaphore;

pub use error::MachineError;
pub use fields::{Wish, is_empty};
pub use files::{Answering, Lent, answering};
pub use health::{Health, Status};
pub use lan::{Joined, Wanted};
pub use life::{remove, start, stop};
pub use mounts::Place;
pub use networks::{PREDEFINED, joined, on};
pub use rename::rename;
pub use spec::{Restart, Spec};
pub use subnet::NewNetwork;
pub use update::update;
pub use volumes::{UNNAMED, having};

use super::clock::now_ns;
use super::container::Container;
use super::keys::{self, KeyError};
use super::registry::LENT;
use super::store::state::ContainerRecord;
use super::vm::Shared;
use crate::config::model::{Secret, Session};
use crate::image::store::short;
use crate::image::{Image, Images, Registries};
use crate::provider::{Found, Local, Machine, Provider, ProviderError};

/// Names of the notes in a machine's file.
const SPEC: &str = "container";
const NAME: &str = "name";
const RECORD: &str = "record";
const STOPPED: &str = "stopped";
/// Attempts at a name that nobody has.
const NAMES_MOST: u32 = 100;

/// What `vch listen` is told of machines.
#[derive(Clone, Debug)]
pub struct Config {
    /// What they boot from.
    pub medium: PathBuf,
    /// MiB of one for which nobody says another number.
    pub memory_mib: u64,
    /// Bytes of their disks.
    pub disk_bytes: u64,
    /// Those that may be on at once; 0: as many as this machine takes.
    pub most: usize,
    /// Where images come from.
    pub registries: Registries,
}

/// The images and the machines of an appliance.
#[derive(Debug)]
pub struct Machines {
    /// The images.
    pub images: Images,
    provider: Arc<dyn Provider>,
    config: Config,
    /// Where the machines' links call.
    appliance: SocketAddr,
    /// Machines that start at once: more would only be slower, each of them.
    boots: Semaphore,
    /// Held while those that are on are counted.
    counting: Mutex<()>,
    /// Held while a name is taken.
    naming: tokio::sync::Mutex<()>,
    /// Held while networks are told who is on them.
    telling: tokio::sync::Mutex<()>,
}

impl Machines {
    /// Images and machines below the state folder.
    ///
    /// # Errors
    /// The folders cannot be used, or a program is not there.
    pub fn open(state: &Path, config: Config, port: SocketAddr) -> Result<Self, MachineError> {
        let mut appliance = port;
        if port.ip().is_unspecified() {
            appliance.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let images = Images::open(&state.join("images"), config.disk_bytes)?;
        let provider = Local::open(state, &config.medium)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            images,
            provider: Arc::new(provider),
            config,
            appliance,
            boots: Semaphore::new(processors + 1),
            counting: Mutex::default(),
            naming: tokio::sync::Mutex::default(),
            telling: tokio::sync::Mutex::default(),
        })
    }

    /// Where images come from.
    pub fn registries(&self) -> &Registries {
        &self.config.registries
    }

    /// Asks the provider, on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Provider) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, MachineError> {
        let provider = Arc::clone(&self.provider);
        let asked = tokio::task::spawn_blocking(move || question(&*provider));
        match asked.await {
            Ok(answer) => Ok(answer?),
            Err(gone) => Err(MachineError::Broken(gone.to_string())),
        }
    }

    /// Makes a container as docker's request has it.
    ///
    /// # Errors
    /// It makes no sense or cannot be had, the image is not here, the name is taken, or the machine cannot be made:
    /// nothing of it is left.
    pub async fn create(
        &self,
        shared: &Shared,
        name: Option<&str>,
        body: &Value,
    ) -> Result<Arc<Container>, MachineError> {
        let wanted = body.get("Image").and_then(Value::as_str);
        let wanted = wanted.unwrap_or_default();
        // Names, images and volumes stay what they are until the container has them.
        let naming = self.naming.lock().await;
        let image = self
            .images
            .find(wanted)
            .ok_or_else(|| MachineError::NoImage(wanted.to_owned()))?;
        let setting = body::Setting {
            memory_mib: self.config.memory_mib,
            seed: keys::random()?,
            now_ns: now_ns(),
        };
        let (mut machine, mut spec, wanted) = body::machine(body, &image, setting)?;
        spec.networks = self.join_all(shared, &wanted).await?;
        machine.wiring = lan::wiring(&spec)?;
        let name = free_name(shared, name)?;
        machine.image = self.images.disk(&image);
        machine.appliance = Some(self.appliance);
        let volumes = spec.volumes.clone();
        let made = self.furnish(shared, &name, machine, spec).await;
        drop(naming);
        if made.is_err() {
            self.remove_unnamed(shared, &volumes).await?;
        }
        made
    }

    /// Makes the volumes, the machine and the container; of the last two nothing is left where that fails.
    async fn furnish(
        &self,
        shared: &Shared,
        name: &str,
        mut machine: Machine,
        spec: Spec,
    ) -> Result<Arc<Container>, MachineError> {
        self.ensure(&spec.volumes).await?;
        let (id, key) = (keys::hex(&keys::random()?), keys::random()?);
        let session = christen(&mut machine, &id, name, key);
        machine.notes = notes(&spec, name)?;
        let key = machine.config.link_key.clone();
        self.ask(move |provider| provider.make(&machine)).await?;
        let taken = take_in(shared, &id, name, spec, &session, None, &key);
        if taken.is_err() {
            forget_key(shared, &id)?;
            self.ask(move |provider| provider.destroy(&id)).await?;
        }
        taken
    }

    /// Takes in all machines that are there from before, and those that are on in their stride.
    ///
    /// # Errors
    /// They cannot be looked through.
    pub async fn take_up(shared: &Arc<Shared>) -> Result<(), MachineError> {
        let Some(machines) = &shared.machines else {
            return Ok(());
        };
        for lent in shared.keys.ids()?.iter().filter(|id| id.starts_with(LENT)) {
            forget_key(shared, lent)?;
        }
        for found in machines.ask(|provider| provider.list()).await? {
            let id = found.id.clone();
            if let Err(error) = machines.take_one_up(shared, found).await {
                tracing::error!(id, %error, "a machine is left alone");
            }
        }
        if let Err(error) = machines.tell_networks(shared).await {
            tracing::error!(%error, "networks do not know who is on them");
        }
        Ok(())
    }

    async fn take_one_up(&self, shared: &Arc<Shared>, found: Found) -> Result<(), MachineError> {
        let note = |name: &str| {
            let mut notes = found.notes.iter();
            notes.find(|(own, _)| own == name).map(|(_, value)| value)
        };
        let damaged = || MachineError::Broken("its file does not say what it was made of".into());
        let spec: Spec = note(SPEC)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(damaged)?;
        let name = note(NAME).ok_or_else(damaged)?;
        let record: Option<ContainerRecord> =
            note(RECORD).and_then(|text| serde_json::from_str(text).ok());
        let stopped = note(STOPPED).is_some_and(|text| text == "1");
        let session = found.config.sessions.get(&found.id).ok_or_else(damaged)?;
        let policy = spec.restart();
        let key = &found.config.link_key;
        let container = take_in(shared, &found.id, name, spec, session, record, key)?;
        let id = found.id.clone();
        let off = match found.on {
            true => self.ask(move |provider| Ok(provider.adopt(&id))).await?,
            false => None,
        };
        if let Some(off) = off {
            container.powered_on(true);
            life::watch(shared, &container, off);
            health::watch(shared, &container);
            return Ok(());
        }
        container.powered_off(now_ns());
        let again = match policy {
            Restart::Always => container.snapshot().record.boots > 0,
            Restart::UnlessStopped => container.snapshot().record.boots > 0 && !stopped,
            Restart::No | Restart::OnFailure(_) => false,
        };
        if again {
            life::start_again(shared, &container, std::time::Duration::ZERO);
        } else if container
            .made()
            .is_some_and(|made| made.spec().auto_remove())
        {
            // Its end came when nobody was there to see it.
            self.take_away(shared, &container, true).await?;
        }
        Ok(())
    }

    /// Removes a container whose machine is off, and its machine; and the `volumes` that were made for it alone.
    async fn take_away(
        &self,
        shared: &Shared,
        container: &Arc<Container>,
        volumes: bool,
    ) -> Result<(), MachineError> {
        if !shared.registry.holds(container) {
            // Somebody else was quicker.
            return Ok(());
        }
        let id = container.id().to_owned();
        self.ask(move |provider| provider.destroy(&id)).await?;
        forget_key(shared, container.id())?;
        container.remove(true, || shared.registry.forget(container))?;
        if volumes && let Some(made) = container.made() {
            self.remove_unnamed(shared, &made.spec().volumes).await?;
        }
        Ok(())
    }

    /// Removes an image, or one name of it, unless a container was made of it: as [`Images::remove`].
    ///
    /// # Errors
    /// A container was made of it.
    pub async fn remove_image(
        &self,
        shared: &Shared,
        image: &Image,
        name: Option<&str>,
    ) -> Result<Vec<Value>, MachineError> {
        let _naming = self.naming.lock().await;
        let last = name.is_none() || image.names.len() < 2;
        if let Some(container) = self.uses(shared, &image.id).filter(|_| last) {
            return Err(MachineError::ImageUsed {
                image: short(&image.id).to_owned(),
                by: container.name(),
            });
        }
        Ok(self.images.remove(&image.id, name)?)
    }

    /// Whether a container was made of an image.
    fn uses(&self, shared: &Shared, image_id: &str) -> Option<Arc<Container>> {
        let mut all = shared.registry.all().into_iter();
        all.find(|container| {
            container
                .made()
                .is_some_and(|made| made.spec().image_id == image_id)
        })
    }
}

/// Gives a machine what is its own: ID, name, key. Its session, as it is told to the guest.
fn christen(machine: &mut Machine, id: &str, name: &str, key: [u8; 32]) -> Session {
    let config = &mut machine.config;
    id.clone_into(&mut config.id);
    name.clone_into(&mut config.name);
    config.link_key = Secret(key.to_vec());
    let sessions = std::mem::take(&mut config.sessions);
    let mut session = sessions.into_values().next().unwrap_or_default();
    id.clone_into(&mut session.id);
    name.clone_into(&mut session.name);
    config.sessions.insert(id.to_owned(), session.clone());
    session
}

fn notes(spec: &Spec, name: &str) -> Result<Vec<(String, String)>, MachineError> {
    let text = serde_json::to_string(spec).map_err(|e| MachineError::Broken(e.to_string()))?;
    Ok(vec![
        (NAME.to_owned(), name.to_owned()),
        (SPEC.to_owned(), text),
    ])
}

/// A container of this machine, in the list of all.
fn take_in(
    shared: &Shared,
    id: &str,
    name: &str,
    spec: Spec,
    session: &Session,
    record: Option<ContainerRecord>,
    key: &Secret,
) -> Result<Arc<Container>, MachineError> {
    if shared.keys.get(id)?.is_none() {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&key.0);
        shared.keys.add(id, &text)?;
    }
    let container = shared.registry.take_in(id)?;
    container.prepare(spec, name, session, record)?;
    Ok(container)
}

fn forget_key(shared: &Shared, id: &str) -> Result<(), MachineError> {
    match shared.keys.remove(id) {
        Ok(()) | Err(KeyError::Unknown(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The name that is asked for, or one that nobody has.
fn free_name(shared: &Shared, asked: Option<&str>) -> Result<String, MachineError> {
    let all = shared.registry.all();
    let whose = |name: &str| all.iter().find(|container| container.name() == name);
    if let Some(asked) = asked {
        let name = asked.strip_prefix('/').unwrap_or(asked);
        if !names::is_name(name) {
            return Err(MachineError::BadName(asked.to_owned()));
        }
        return match whose(name) {
            None => Ok(name.to_owned()),
            Some(other) => Err(MachineError::NameTaken {
                name: name.to_owned(),
                id: other.id().to_owned(),
            }),
        };
    }
    for attempt in 0..NAMES_MOST {
        let [a, b, c, d, ..] = keys::random()?;
        let name = names::propose([a, b, c, d], attempt);
        if whose(&name).is_none() {
            return Ok(name);
        }
    }
    Err(MachineError::Broken("no name is free".into()))
}
