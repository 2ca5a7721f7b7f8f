//! `docker pause` and `unpause`: the container's processes stand still, its machine does not.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;

use super::answer::{ask, done};
use super::error::ApiError;
use super::{Api, find};
use crate::link::control::service::{FREEZE, THAW};
use crate::listener::container::{ClientError, Container};

pub(super) async fn pause(
    State(shared): Api,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    if container.is_paused() {
        let name = container.name();
        return Err(ApiError::conflict(format!(
            "Container {name} is already paused"
        )));
    }
    set(&container, FREEZE).await
}

pub(super) async fn unpause(
    State(shared): Api,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    if !container.is_paused() {
        let name = container.name();
        return Err(ApiError::conflict(format!(
            "Container {name} is not paused"
        )));
    }
    set(&container, THAW).await
}

/// Whoever is to end has to hear of it.
pub(super) async fn thaw(container: &Arc<Container>) -> Result<(), ApiError> {
    if container.is_paused() {
        set(container, THAW).await?;
    }
    Ok(())
}

async fn set(container: &Arc<Container>, service: &str) -> Result<Response, ApiError> {
    if container.has_ended() || container.not_begun() {
        return Err(ClientError::NotRunning(container.name()).into());
    }
    container.takes_execs(true)?;
    done(ask(container, service, Vec::new())?).await?;
    container.set_paused(service == FREEZE);
    Ok(super::done())
}
