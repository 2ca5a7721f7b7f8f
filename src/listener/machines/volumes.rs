//! Volumes: made when a container wants one, or by themselves; kept as long as a container has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::end_lent;
use super::life::{OFF_MOST, parts, put_off};
use super::names::is_name;
use super::{MachineError, Machines, Place, Wish};
use crate::listener::clock::now_ns;
use crate::listener::container::{Container, Made};
use crate::listener::keys;
use crate::listener::vm::Shared;
use crate::provider::Volume;

/// Bytes that a file system with a journal needs at least.
const LEAST: u64 = 64 << 20;
/// Docker's label of a volume that nobody has given a name.
pub const UNNAMED: &str = "com.docker.volume.anonymous";
/// Disks are whole blocks of this.
const STEP: u64 = 1 << 20;

impl Machines {
    /// All volumes, by their names.
    ///
    /// # Errors
    /// They cannot be looked through.
    pub async fn volumes(&self) -> Result<Vec<Volume>, MachineError> {
        self.ask(|provider| provider.volumes()).await
    }

    /// The volume of a name, made if there is none; without a name one of its own.
    ///
    /// # Errors
    /// The name is none, or it cannot be made.
    pub async fn make_volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        bytes: Option<u64>,
    ) -> Result<Volume, MachineError> {
        let _naming = self.naming.lock().await;
        if name.is_empty() {
            let name = keys::hex(&keys::random()?);
            let labels = unnamed().into_iter().chain(labels).collect();
            return self.volume(&name, labels, bytes).await;
        }
        self.volume(name, labels, bytes).await
    }

    /// The same; whoever calls holds the lock of names.
    async fn volume(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        bytes: Option<u64>,
    ) -> Result<Volume, MachineError> {
        if !is_name(name) {
            let text = format!(
                "{name:?} includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
            );
            return Err(Wish::Bad(text).into());
        }
        let known = self
            .volumes()
            .await?
            .into_iter()
            .find(|volume| volume.name == name);
        if let Some(known) = known {
            return Ok(known);
        }
        let volume = Volume {
            name: name.to_owned(),
            created_ns: now_ns(),
            bytes: bytes
                .unwrap_or(self.config.disk_bytes)
                .max(LEAST)
                .checked_next_multiple_of(STEP)
                .unwrap_or(self.config.disk_bytes),
            labels,
        };
        let made = volume.clone();
        self.ask(move |provider| provider.make_volume(&made))
            .await?;
        Ok(volume)
    }

    /// All that a container is to have, made where they are not; whoever calls holds the lock of names.
    pub(super) async fn ensure(&self, places: &[Place]) -> Result<(), MachineError> {
        for place in places {
            let mut labels = place.labels.clone();
            if place.anonymous {
                labels.extend(unnamed());
            }
            self.volume(&place.name, labels, None).await?;
        }
        Ok(())
    }

    /// Deletes those of a container that is gone which were made for it, unless another one has them by now.
    pub(super) async fn remove_unnamed(
        &self,
        shared: &Shared,
        places: &[Place],
    ) -> Result<(), MachineError> {
        for place in places.iter().filter(|place| place.anonymous) {
            match self.remove_volume(shared, &place.name).await {
                Ok(()) | Err(MachineError::VolumeUsed { .. } | MachineError::NoVolume(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Deletes a volume that no container has.
    ///
    /// # Errors
    /// There is none, or a container has it.
    pub async fn remove_volume(&self, shared: &Shared, name: &str) -> Result<(), MachineError> {
        let _naming = self.naming.lock().await;
        if !self
            .volumes()
            .await?
            .iter()
            .any(|volume| volume.name == name)
        {
            return Err(MachineError::NoVolume(name.to_owned()));
        }
        let used: Vec<String> = having(shared, name)
            .iter()
            .map(|c| c.id().to_owned())
            .collect();
        if !used.is_empty() {
            return Err(MachineError::VolumeUsed {
                name: name.to_owned(),
                ids: used.join(", "),
            });
        }
        let name = name.to_owned();
        self.ask(move |provider| provider.remove_volume(&name))
            .await
    }
}

/// Labels of a volume that nobody has given a name.
fn unnamed() -> BTreeMap<String, String> {
    BTreeMap::from([(UNNAMED.to_owned(), String::new())])
}

/// The containers that have a volume.
pub fn having(shared: &Shared, name: &str) -> Vec<Arc<Container>> {
    let mut all = shared.registry.all();
    all.retain(|container| {
        let made = container.made();
        made.is_some_and(|made| made.spec().volumes.iter().any(|place| place.name == name))
    });
    all
}

/// Its own machine is on, or another one with its disks.
fn has_disks(container: &Container) -> bool {
    let lends = |made: &Made| made.lends.load(Ordering::SeqCst);
    container.is_on() || container.made().is_some_and(lends)
}

/// Waits until machines give these up that are on their way off, or lent to somebody who copies.
///
/// # Errors
/// One of them does not go off.
pub(super) async fn until_given_up(
    shared: &Arc<Shared>,
    container: &Container,
    places: &[Place],
) -> Result<(), MachineError> {
    for place in places {
        for other in having(shared, &place.name) {
            if other.id() == container.id() {
                continue;
            }
            let (machines, made) = parts(shared, &other)?;
            if other.is_on() && other.has_ended() && !other.not_begun() {
                put_off(machines, &other, OFF_MOST).await?;
            }
            if made.lends.load(Ordering::SeqCst) {
                end_lent(shared, &other, true).await?;
            }
        }
    }
    Ok(())
}

/// Another machine that is on and has one of these: a disk is one machine's at a time.
pub(super) fn taken(
    shared: &Shared,
    container: &Container,
    places: &[Place],
) -> Option<MachineError> {
    places.iter().find_map(|place| {
        let others = having(shared, &place.name);
        let other = others
            .iter()
            .find(|other| has_disks(other) && other.id() != container.id())?;
        Some(MachineError::VolumeTaken {
            name: place.name.clone(),
            by: other.name(),
        })
    })
}
