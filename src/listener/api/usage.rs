//! What images, containers and volumes take of this host's disk, as docker tells it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;
use super::shape::{self, Summary};
use crate::listener::clock::now_ns;
use crate::listener::container::{Container, Snapshot};
use crate::listener::machines::{Machines, having};
use crate::listener::vm::Shared;

/// Bytes of a container: its own disk's, and with those of its image's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    own: u64,
    whole: u64,
}

impl Size {
    /// In a row of a list.
    pub(super) fn tell(self, row: &mut Summary) {
        (row.size_rw, row.size_root_fs) = (Some(self.own), Some(self.whole));
    }

    /// In what is told of one container.
    pub(super) fn add(self, details: &mut Value) {
        details["SizeRw"] = self.own.into();
        details["SizeRootFs"] = self.whole.into();
    }
}

/// Sizes of containers by their IDs; of one whose machine was made elsewhere it is not known here.
pub(super) async fn sizes(
    shared: &Shared,
    containers: &[Arc<Container>],
) -> Result<HashMap<String, Size>, ApiError> {
    let Some(machines) = shared.machines.as_deref() else {
        return Ok(HashMap::new());
    };
    let made = containers.iter().filter(|one| one.made().is_some());
    let ids = made.clone().map(|one| one.id().to_owned()).collect();
    let own = machines.disk_bytes(ids).await?;
    let size = |container: &Arc<Container>| {
        let own = own.get(container.id()).copied().unwrap_or_default();
        let whole = own + image_bytes(machines, container);
        (container.id().to_owned(), Size { own, whole })
    };
    Ok(made.map(size).collect())
}

fn image_bytes(machines: &Machines, container: &Container) -> u64 {
    let id = container.made().map(|made| made.spec().image_id.clone());
    let image = id.and_then(|id| machines.images.find(&id));
    image.map_or(0, |image| image.size)
}

/// `GET /system/df`.
pub(super) async fn disk_usage(State(shared): Api) -> Result<Json<Value>, ApiError> {
    let Some(machines) = shared.machines.as_deref() else {
        return Ok(Json(json!({
            "LayersSize": 0, "Images": [], "Containers": [], "Volumes": [], "BuildCache": [],
        })));
    };
    let all = machines.images.all();
    let bytes: u64 = all.iter().map(|image| image.size).sum();
    let images = all.iter().map(|image| super::images::row(&shared, image));
    let images: Vec<Value> = images.collect();
    let containers = shared.registry.all();
    let sizes = sizes(&shared, &containers).await?;
    let now = now_ns();
    let rows = containers.iter().map(|one| one.snapshot());
    let rows = rows.map(|snapshot: Snapshot| {
        let mut row = shape::summary(&snapshot, now);
        let size = sizes.get(&row.id).copied().unwrap_or_default();
        size.tell(&mut row);
        row
    });
    let rows: Vec<Summary> = rows.collect();
    let volumes = machines.volumes().await?;
    let names = volumes.iter().map(|volume| volume.name.clone()).collect();
    let taken = machines.volume_bytes(names).await?;
    let volumes = volumes.iter().map(|volume| {
        let mut row = super::volumes::shown(volume);
        row["UsageData"] = json!({
            "Size": taken.get(&volume.name).copied().unwrap_or_default(),
            "RefCount": having(&shared, &volume.name).len(),
        });
        row
    });
    let volumes: Vec<Value> = volumes.collect();
    Ok(Json(json!({
        "LayersSize": bytes, "Images": images, "Containers": rows, "Volumes": volumes, "BuildCache": [],
    })))
}
