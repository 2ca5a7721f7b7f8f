//! `POST /containers/create`, and what an appliance that makes its VMs does with them besides.

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use super::{Api, RawParams, control, done, find};
use crate::image::platform;
use crate::listener::machines::{self, MachineError, Machines};
use crate::listener::vm::Shared;

/// Why an appliance without machines of its own does none of it.
pub(super) const MADE_ELSEWHERE: &str = "not possible: VMs are made elsewhere and call this appliance's port: vmx run FILE.vmx starts one on a \
     developer's machine, the README says how on ESXi; vch listen --iso makes VMs itself";

/// The machines, where the appliance makes them.
pub(super) fn machines(shared: &Shared) -> Result<&Arc<Machines>, ApiError> {
    let machines = shared.machines.as_ref();
    machines.ok_or_else(|| ApiError::not_implemented(MADE_ELSEWHERE))
}

/// A request's body: an object in JSON.
pub(super) fn json_body(bytes: &[u8]) -> Result<Value, ApiError> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad_request(format!("the body is no JSON: {e}")))?;
    if body.is_object() {
        Ok(body)
    } else {
        Err(ApiError::bad_request("the body is no object"))
    }
}

/// Does all of it, whether its client waits for the answer or has gone: a machine is never half made, half started or
/// half removed.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, MachineError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(work).await {
        Ok(done) => Ok(done?),
        Err(gone) => Err(ApiError::server(gone.to_string())),
    }
}

pub(super) async fn create(
    State(shared): Api,
    Query(query): RawParams,
    body: Bytes,
) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let params = Params(query);
    platform(&params)?;
    let body = json_body(&body)?;
    let made = async move {
        let name = params.text("name");
        let container = machines.create(&shared, name, &body).await?;
        let record = container.snapshot().record;
        shared.registry.events().created(&record);
        Ok(container)
    };
    let container = to_the_end(made).await?;
    let answer = json!({ "Id": container.id(), "Warnings": [] });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Another platform than this machine's is not emulated.
pub(super) fn platform(params: &Params) -> Result<(), ApiError> {
    let own = platform::own();
    match params.text("platform") {
        None => Ok(()),
        Some(asked) if asked == own || asked == platform::OS => Ok(()),
        Some(asked) => Err(ApiError::bad_request(format!(
            "platform {asked}: VMs of this appliance are {own}"
        ))),
    }
}

pub(super) async fn restart(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    let grace_s = control::grace(&Params(query), &container)?;
    to_the_end(async move {
        machines::stop(&shared, &container, grace_s).await?;
        machines::start(&shared, &container).await
    })
    .await?;
    Ok(done())
}

/// `POST /containers/{id}/rename?name=`
pub(super) async fn rename(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    let params = Params(query);
    let Some(name) = params.text("name").map(str::to_owned) else {
        return Err(ApiError::bad_request(
            "Neither old nor new names may be empty",
        ));
    };
    to_the_end(async move { machines::rename(&shared, &container, &name).await }).await?;
    Ok(done())
}

/// `POST /containers/{id}/update`
pub(super) async fn update(
    State(shared): Api,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let container = find(&shared.registry, &id)?;
    let body = json_body(&body)?;
    to_the_end(async move { machines::update(&shared, &container, &body).await }).await?;
    Ok(Json(json!({ "Warnings": [] })))
}

/// Removes all that do not run and were made here.
pub(super) async fn prune(State(shared): Api) -> Result<Json<Value>, ApiError> {
    let known = Arc::clone(machines(&shared)?);
    let pruned = async move {
        let (mut deleted, mut bytes) = (Vec::new(), 0);
        let all = shared.registry.all().into_iter();
        for container in all.filter(|one| one.made().is_some() && !one.is_on()) {
            let id = container.id().to_owned();
            let size = known.disk_bytes(vec![id.clone()]).await;
            match machines::remove(&shared, &container, false, false).await {
                Ok(()) => {
                    // Of one that somebody else has removed meanwhile nothing is known.
                    bytes += size.map_or(0, |sizes| sizes.values().sum::<u64>());
                    deleted.push(id);
                }
                // Somebody has just started it.
                Err(MachineError::Client(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((deleted, bytes))
    };
    let (deleted, bytes) = to_the_end(pruned).await?;
    Ok(Json(
        json!({ "ContainersDeleted": deleted, "SpaceReclaimed": bytes }),
    ))
}
