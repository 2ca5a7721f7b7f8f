//! Volumes: listed, made, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::create::{json_body, machines, to_the_end};
use super::error::ApiError;
use super::filters::{Filters, labelled};
use super::params::Params;
use super::shape::rfc3339;
use super::{Api, RawParams, done};
use crate::listener::machines::{MachineError, UNNAMED, having};
use crate::listener::size;
use crate::provider::Volume;

/// Filters of lists.
const FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];
/// The one driver.
const LOCAL: &str = "local";

pub(super) fn shown(volume: &Volume) -> Value {
    json!({
        "Name": volume.name,
        "Driver": LOCAL,
        "Mountpoint": "",
        "CreatedAt": rfc3339(volume.created_ns),
        "Labels": volume.labels,
        "Scope": "local",
        "Options": { "size": volume.bytes.to_string() },
    })
}

pub(super) async fn list(
    State(shared): Api,
    Query(query): RawParams,
) -> Result<Json<Value>, ApiError> {
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"), &FILTERS)?;
    let all = match shared.machines.as_deref() {
        Some(machines) => machines.volumes().await?,
        None => Vec::new(),
    };
    let fits = |volume: &&Volume| {
        filters.pass(|name, value| match name {
            "dangling" => having(&shared, &volume.name).is_empty() == matches!(value, "1" | "true"),
            "driver" => value == LOCAL,
            "label" => labelled(&volume.labels, value),
            _ => volume.name.contains(value),
        })
    };
    let rows: Vec<Value> = all.iter().filter(fits).map(shown).collect();
    Ok(Json(json!({ "Volumes": rows, "Warnings": null })))
}

pub(super) async fn create(State(shared): Api, body: Bytes) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let body = json_body(&body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let driver = text("Driver").to_owned();
    if !matches!(driver.as_str(), "" | LOCAL) {
        return Err(ApiError::not_found(format!(
            "error looking up volume plugin {driver}: plugin {driver:?} not found"
        )));
    }
    let mut bytes = None;
    let options = body.get("DriverOpts").and_then(Value::as_object);
    for (name, value) in options.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        match name.as_str() {
            "size" => {
                let size = size::bytes(value).map_err(|why| {
                    ApiError::bad_request(format!("DriverOpts.size {value:?}: {why}"))
                })?;
                bytes = Some(size);
            }
            _ => {
                let text = format!(
                    "DriverOpts.{name} is not done: a volume is a disk of this host, of a size"
                );
                return Err(ApiError::not_implemented(text));
            }
        }
    }
    let labels: Option<BTreeMap<String, String>> =
        serde_json::from_value(body.get("Labels").cloned().unwrap_or_default())
            .map_err(|e| ApiError::bad_request(format!("Labels: {e}")))?;
    let name = text("Name").to_owned();
    let made = async move {
        machines
            .make_volume(&name, labels.unwrap_or_default(), bytes)
            .await
    };
    let volume = to_the_end(made).await?;
    Ok((StatusCode::CREATED, Json(shown(&volume))).into_response())
}

pub(super) async fn inspect(
    State(shared): Api,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let volumes = machines(&shared)?.volumes().await?;
    let found = volumes.iter().find(|volume| volume.name == name);
    match found {
        Some(volume) => Ok(Json(shown(volume))),
        None => Err(MachineError::NoVolume(name).into()),
    }
}

pub(super) async fn remove(
    State(shared): Api,
    Path(name): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let force = Params(query).flag("force");
    let removed = async move {
        match machines.remove_volume(&shared, &name).await {
            Err(MachineError::NoVolume(_)) if force => Ok(()),
            removed => removed,
        }
    };
    to_the_end(removed).await?;
    Ok(done())
}

/// Those that no container has: as with docker, those without a name unless the client says all.
pub(super) async fn prune(
    State(shared): Api,
    Query(query): RawParams,
) -> Result<Json<Value>, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"), &["all"])?;
    let all = filters
        .values("all")
        .iter()
        .any(|value| matches!(value.as_str(), "1" | "true"));
    let pruned = async move {
        let (mut deleted, mut bytes) = (Vec::new(), 0);
        let meant = |volume: &Volume| all || volume.labels.contains_key(UNNAMED);
        for volume in machines.volumes().await?.into_iter().filter(meant) {
            let size = machines.volume_bytes(vec![volume.name.clone()]).await;
            match machines.remove_volume(&shared, &volume.name).await {
                Ok(()) => {
                    bytes += size.map_or(0, |sizes| sizes.values().sum::<u64>());
                    deleted.push(volume.name);
                }
                Err(MachineError::VolumeUsed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((deleted, bytes))
    };
    let (deleted, bytes) = to_the_end(pruned).await?;
    Ok(Json(
        json!({ "VolumesDeleted": deleted, "SpaceReclaimed": bytes }),
    ))
}
