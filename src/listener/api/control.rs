//! Calls that act on a container: wait, start, kill, stop, resize, remove.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::time::timeout;

use super::body::piecewise;
use super::create::to_the_end;
use super::error::ApiError;
use super::params::Params;
use super::shape::Waited;
use super::{Api, RawParams, done, find, pause, unchanged};
use crate::listener::container::{Condition, Container};
use crate::listener::machines;
use crate::listener::signals;
use crate::listener::store::Whose;

/// The signal that nobody survives, and the one that a container ends by unless it says another.
const KILL: &str = "SIGKILL";
const USUAL_STOP_SIGNAL: &str = "SIGTERM";
/// Seconds between the stop signal and SIGKILL, when nobody says another number.
const STOP_GRACE_S: i64 = 10;
/// What a VM may take beyond the grace until its exit is known, before `stop` says that it failed.
const STOP_SLACK: Duration = Duration::from_secs(30);
/// What a forced removal gives the VM to die in.
const KILL_WAIT: Duration = Duration::from_secs(10);

pub(super) async fn wait(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let container = find(&shared.registry, &id)?;
    let condition = match params.text("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "condition={other}: expected not-running, next-exit or removed"
            )));
        }
    };
    let never = container.made().is_some() && container.snapshot().record.boots == 0;
    if never && condition == Condition::NotRunning && container.not_begun() && !container.is_on() {
        // Docker's answer for one that was never started.
        return Ok(Json(Waited::default()).into_response());
    }
    // The head goes at once: clients wait for it before they go on; the body comes with the exit.
    let (pieces, body) = piecewise();
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = container.wait(condition) => outcome,
            () = pieces.closed() => return,
        };
        let json = serde_json::to_vec(&Waited::from(outcome));
        let piece = json.map(Bytes::from).map_err(std::io::Error::other);
        // Nobody is left to tell when this fails: the client has gone.
        drop(pieces.send(piece).await);
    });
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn start(
    State(shared): Api,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    if container.made().is_some() && container.between_runs() {
        let started = async move { machines::start(&shared, &container).await };
        let started = to_the_end(started).await?;
        return Ok(if started { done() } else { unchanged() });
    }
    if container.has_ended() {
        return Err(ApiError::conflict(format!(
            "container {id} has ended, and its VM with it: power the VM on"
        )));
    }
    Ok(if container.start()? {
        done()
    } else {
        unchanged()
    })
}

pub(super) async fn kill(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let container = find(&shared.registry, &id)?;
    let text = params.text("signal").unwrap_or("KILL");
    let signal = signals::canonical(text)
        .ok_or_else(|| ApiError::bad_request(format!("Invalid signal: {text}")))?;
    container.signal(&signal)?;
    if signal == KILL {
        // It ends who stands still, too: the machine may be on its way off by now.
        let _ = pause::thaw(&container).await;
        // As with docker: whoever has killed it may remove it. One that cannot die is told so by its state.
        let _ = timeout(KILL_WAIT, container.wait(Condition::NotRunning)).await;
    } else if signal == stop_signal(&container) {
        pause::thaw(&container).await?;
    }
    Ok(done())
}

/// The signal that ends it.
fn stop_signal(container: &Container) -> String {
    let own = container.made().and_then(|made| made.spec().stop_signal());
    own.and_then(|own| signals::canonical(&own))
        .unwrap_or_else(|| USUAL_STOP_SIGNAL.to_owned())
}

pub(super) async fn stop(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let container = find(&shared.registry, &id)?;
    let grace_s = grace(&params, &container)?;
    if container.made().is_some() {
        let stopped = async move { machines::stop(&shared, &container, grace_s).await };
        let stopped = to_the_end(stopped).await?;
        return Ok(if stopped { done() } else { unchanged() });
    }
    if container.has_ended() {
        return Ok(unchanged());
    }
    container.stop(grace_s)?;
    let limit = Duration::from_secs(u64::from(grace_s)) + STOP_SLACK;
    match timeout(limit, container.wait(Condition::NotRunning)).await {
        Ok(_) => Ok(done()),
        Err(_) => Err(ApiError::server(format!(
            "container {id} was asked to stop and has not in {} seconds",
            limit.as_secs()
        ))),
    }
}

/// Seconds that a stop leaves: as asked for, else as the container was made, else docker's.
pub(super) fn grace(params: &Params, container: &Container) -> Result<u32, ApiError> {
    let own = container.made().and_then(|made| made.spec().stop_timeout());
    let seconds = params.number::<i64>("t")?.or(own);
    // Negative: as long as it takes.
    Ok(u32::try_from(seconds.unwrap_or(STOP_GRACE_S)).unwrap_or(u32::MAX))
}

pub(super) async fn resize(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    let (rows, columns) = size(&Params(query))?;
    container.resize(&Whose::Primary, rows, columns)?;
    Ok(done())
}

/// Lines and columns of a terminal.
pub(super) fn size(params: &Params) -> Result<(u16, u16), ApiError> {
    let need = |name| ApiError::bad_request(format!("{name}: expected a number of characters"));
    let rows = params.number("h")?.ok_or_else(|| need("h"))?;
    let columns = params.number("w")?.ok_or_else(|| need("w"))?;
    Ok((rows, columns))
}

pub(super) async fn remove(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let container = find(&shared.registry, &id)?;
    let force = params.flag("force");
    if container.made().is_some() {
        let volumes = params.flag("v");
        to_the_end(async move { machines::remove(&shared, &container, force, volumes).await })
            .await?;
        return Ok(done());
    }
    if force {
        put_down(&container).await;
    }
    container.remove(force, || shared.registry.forget(&container))?;
    Ok(done())
}

/// Ends the VM if it can be reached; the removal goes on anyway.
async fn put_down(container: &Arc<Container>) {
    let asked = container.stop(0).or_else(|_| container.signal("SIGKILL"));
    if asked.is_ok()
        && timeout(KILL_WAIT, container.wait(Condition::NotRunning))
            .await
            .is_err()
    {
        tracing::warn!(id = container.id(), "VM still runs and is removed by force");
    }
}
