//! `POST /containers/{id}/exec` and `/exec/{id}/…`: another process in a running container.

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attach::{Attached, detach_keys, must_upgrade};
use super::control::size;
use super::error::ApiError;
use super::params::Params;
use super::{Api, BODY_MOST, RawParams, done, find};
use crate::link::{Control, Digest, Exec, MESSAGE_MOST, sign};
use crate::listener::container::Outcome;
use crate::listener::execs::Phase;
use crate::listener::keys;
use crate::listener::lines::Selection;
use crate::listener::log_stream::LogStream;
use crate::listener::store::Whose;
use crate::listener::vm::Shared;

/// Body of `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Create {
    /// Program and arguments.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`, beside the container's own.
    pub env: Option<Vec<String>>,
    /// `name`, `number`, `user:group`.
    pub user: String,
    /// Working directory.
    pub working_dir: String,
    /// A terminal.
    pub tty: bool,
    /// The client will send stdin.
    pub attach_stdin: bool,
    /// The client wants stdout.
    pub attach_stdout: bool,
    /// The client wants stderr.
    pub attach_stderr: bool,
    /// All of the machine's privileges.
    pub privileged: bool,
    /// Ours: no program, but what the machine has to say of itself.
    pub report: bool,
    /// Ours: no program of the container's, but a tether that is to take over as process 1 comes by stdin; its
    /// BLAKE2s-256 in hexadecimal digits.
    pub upgrade: String,
    /// Keys that leave a terminal, where `start` does not say.
    #[serde(alias = "detachKeys")]
    pub detach_keys: Option<String>,
    /// Lines and columns that the terminal begins with.
    pub console_size: Option<[u16; 2]>,
}

/// Answer of `POST /containers/{id}/exec`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Created {
    /// ID of the exec.
    pub id: String,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: bool,
    /// Its client takes a terminal's bytes as they are; else they come in frames, a terminal's, too.
    tty: bool,
    #[serde(alias = "detachKeys")]
    detach_keys: Option<String>,
    console_size: Option<[u16; 2]>,
}

pub(super) async fn create(
    State(shared): Api,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    let (_, body) = request.into_parts();
    let asked: Create = read(body).await?;
    container.takes_execs(asked.report)?;
    if asked.privileged {
        return Err(ApiError::bad_request(
            "privileged execs are not possible: the container's own privileges are the most that \
             its machine gives",
        ));
    }
    let args = asked.cmd.unwrap_or_default();
    let needs_none = asked.report || !asked.upgrade.is_empty();
    if !needs_none && args.first().is_none_or(String::is_empty) {
        return Err(ApiError::bad_request("No exec command specified"));
    }
    let upgrade = match asked.upgrade.as_str() {
        "" => String::new(),
        digest => signature(&shared, container.id(), digest)?,
    };
    let [rows, columns] = asked.console_size.unwrap_or_default();
    let order = Exec {
        id: new_id()?,
        args,
        env: asked.env.unwrap_or_default(),
        dir: asked.working_dir,
        user: asked.user,
        tty: asked.tty,
        openstdin: asked.attach_stdin,
        rows,
        columns,
        report: asked.report,
        upgrade,
        service: String::new(),
    };
    fits(&order)?;
    let id = order.id.clone();
    let attach = [asked.attach_stdin, asked.attach_stdout, asked.attach_stderr];
    shared
        .execs
        .add(container, order, attach, asked.detach_keys)?;
    Ok((StatusCode::CREATED, Json(Created { id })).into_response())
}

/// An order for what the machine has to say of itself.
pub(super) fn report_order() -> Result<Exec, ApiError> {
    Ok(Exec {
        id: new_id()?,
        report: true,
        ..Exec::default()
    })
}

pub(super) fn new_id() -> Result<String, ApiError> {
    let random = keys::random().map_err(|e| ApiError::server(format!("no random ID: {e}")))?;
    Ok(keys::hex(&random))
}

/// What [`Create::upgrade`] says of a program.
pub fn digest(program: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.add(program);
    keys::hex(&digest.done())
}

/// What the VM knows the program by: only who has its link key can say that.
fn signature(shared: &Shared, id: &str, digest: &str) -> Result<String, ApiError> {
    let digest = keys::from_hex(digest).ok_or_else(|| {
        ApiError::bad_request("Upgrade: expected the program's BLAKE2s-256, 64 hexadecimal digits")
    })?;
    let key = shared.keys.get(id);
    let key = key.map_err(|error| ApiError::server(error.to_string()))?;
    Ok(keys::hex(&sign(key.as_ref(), &digest)))
}

/// A message is one frame of the link.
pub(super) fn fits(order: &Exec) -> Result<(), ApiError> {
    let message = serde_json::to_vec(&Control::Exec(Box::new(order.clone())));
    let bytes = message.map_or(0, |message| message.len());
    if bytes > MESSAGE_MOST {
        return Err(ApiError::bad_request(format!(
            "command and environment take {bytes} bytes, at most {MESSAGE_MOST} go to a VM: put the \
             rest into a file of the container, or send it by stdin"
        )));
    }
    Ok(())
}

pub(super) async fn start(
    State(shared): Api,
    Path(id): Path<String>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let asked: Start = read(std::mem::take(request.body_mut())).await?;
    if !asked.detach {
        must_upgrade(request.headers())?;
    }
    let own = shared.execs.get(&id)?.detach_keys;
    let keys = [asked.detach_keys.as_deref(), own.as_deref()];
    let keys = keys.into_iter().flatten().find(|keys| !keys.is_empty());
    let keys = detach_keys(keys)?;
    let mut entry = shared.execs.start(&id)?;
    if let Some([rows, columns]) = asked.console_size {
        (entry.order.rows, entry.order.columns) = (rows, columns);
    }
    if asked.detach {
        // Nobody will ever type.
        entry.order.openstdin = false;
    }
    let ordered = entry.container.exec(&entry.order).inspect_err(|_| {
        shared.execs.not_started(&id);
    })?;
    let whose = Whose::Session(id);
    tokio::spawn({
        let (shared, entry, run) = (Arc::clone(&shared), entry.clone(), ordered.run.clone());
        async move { shared.execs.follow(&entry, run).await }
    });
    if asked.detach {
        return Ok(StatusCode::OK.into_response());
    }
    let [stdin, stdout, stderr] = entry.attach;
    let selection = Selection {
        stdout,
        stderr,
        ..Selection::all(!asked.tty)
    };
    let client = Attached {
        ends_stdin: true,
        raw: asked.tty,
        _seat: None,
        whose,
        stdin,
        keys: entry.order.tty.then_some(keys),
        container: Arc::clone(&entry.container),
    };
    Ok(client.take_over(request, LogStream::of(entry.container, ordered, selection)))
}

pub(super) async fn resize(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let entry = shared.execs.get(&id)?;
    let (rows, columns) = size(&Params(query))?;
    let whose = Whose::Session(id);
    entry.container.resize(&whose, rows, columns)?;
    Ok(done())
}

pub(super) async fn inspect(
    State(shared): Api,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let entry = shared.execs.get(&id)?;
    let (running, exit) = match &entry.phase {
        Phase::Created => (false, None),
        Phase::Starting | Phase::Started(_) => (true, None),
        Phase::Ended(outcome) => (false, Some(status(outcome))),
    };
    let [stdin, stdout, stderr] = entry.attach;
    let order = &entry.order;
    let known = entry.container.added(&id);
    let trouble = match &entry.phase {
        Phase::Ended(Outcome::Exited(exit)) if !exit.record.reason.is_empty() => {
            Some(exit.record.reason.clone())
        }
        Phase::Ended(Outcome::Lost(reason)) => Some(reason.clone()),
        _ => None,
    };
    Ok(Json(json!({
        "ID": id,
        "Running": running,
        "ExitCode": exit,
        "ProcessConfig": {
            "tty": order.tty,
            "entrypoint": order.args.first(),
            "arguments": order.args.get(1..),
            "privileged": false,
            "user": order.user,
        },
        "OpenStdin": stdin,
        "OpenStdout": stdout,
        "OpenStderr": stderr,
        "CanRemove": !running,
        "ContainerID": entry.container.id(),
        "DetachKeys": "",
        "Pid": known.and_then(|session| session.pid).filter(|_| running).unwrap_or(0),
        "Vch": { "Error": trouble },
    })))
}

/// Its status as docker has it.
fn status(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Exited(exit) | Outcome::Removed(Some(exit)) => exit.record.status,
        // It went with its machine.
        Outcome::Lost(_) | Outcome::Removed(None) => 137,
    }
}

/// A request's JSON; an empty body is an empty object.
async fn read<T: DeserializeOwned + Default>(body: axum::body::Body) -> Result<T, ApiError> {
    let bytes = to_bytes(body, BODY_MOST)
        .await
        .map_err(|e| ApiError::bad_request(format!("body not read: {e}")))?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::bad_request(format!("the body is not the JSON expected: {e}")))
}
