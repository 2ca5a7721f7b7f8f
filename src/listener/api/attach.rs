//! `POST /containers/{id}/attach`: the connection becomes the client's stdin one way and the
//! session's output the other.
//!
//! What ends what:
//! - the client half-closes: the end of *its* stdin. Without a terminal the process's stdin ends
//!   too, and output goes on; on a terminal the client detaches and the process knows nothing.
//! - the client goes away: nothing ends, the next client may write on.
//! - the detach keys, on a terminal: this client's output ends.
//! - the run ends: all output, then our half-close, then whatever the client still sends is read
//!   and dropped. (Closing with unread bytes would reset the connection and cut the output.)

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{sleep, timeout};

use super::error::ApiError;
use super::logs::{MULTIPLEXED, RAW, has_tty};
use super::params::Params;
use super::stream::{ClientStream, Line};
use super::{Api, RawParams, find};
use crate::listener::container::{Access, Container, NoAccess, Seat};
use crate::listener::detach::{DetachKeys, DetachKeysError};
use crate::listener::lines::Selection;
use crate::listener::log_stream::{Begin, LogStream};
use crate::listener::store::Whose;

/// Says what a client has become.
pub const ACCESS: HeaderName = HeaderName::from_static("vch-access");
/// Bytes of stdin taken from a client at a time.
const READ_BYTES: usize = 16 * 1024;
/// What follows the answer's head at once is lost in docker's client for Python, whose reader of heads has taken it.
const HEAD_ALONE: Duration = Duration::from_millis(10);
/// How long a client may take to close its end after the output has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn attach(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
    request: Request,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let container = find(&shared.registry, &id)?;
    must_upgrade(request.headers())?;
    let keys = detach_keys(params.text("detachKeys"))?;
    known_session(&container).await;
    let tty = has_tty(&container);
    let access = access(&params)?;
    let seat = container.sit(access)?;
    let selection = Selection {
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
        ..Selection::all(!tty)
    };
    let begin = if params.flag("logs") {
        Begin::Start
    } else {
        Begin::Now
    };
    // Before the answer: what is logged from here on is this client's.
    let output = LogStream::open(
        Arc::clone(&container),
        selection,
        begin,
        params.flag("stream"),
    )
    .await?
    .through_next_run();
    // A process that waits for its first client has one now. One whose VM is away gets it when that is back.
    if let Err(error) = container.start() {
        tracing::debug!(id, %error, "not started for a client");
    }
    let made = container.made();
    let ends_stdin = made.is_none_or(|made| made.spec().stdin_once());
    let client = Attached {
        container,
        whose: Whose::Primary,
        stdin: seat.types(),
        keys: tty.then_some(keys),
        raw: tty,
        ends_stdin,
        _seat: Some(seat),
    };
    Ok(client.take_over(request, output))
}

/// What the client wants to be: as docker's say it, with stdin or without; or by its name.
fn access(params: &Params) -> Result<Access, ApiError> {
    match params.text("access") {
        None if params.flag("stdin") => Ok(Access::Shared),
        None => Ok(Access::ReadOnly),
        Some(name) => name
            .parse()
            .map_err(|e: NoAccess| ApiError::bad_request(e.to_string())),
    }
}

/// Keys as a request names them.
pub(super) fn detach_keys(text: Option<&str>) -> Result<DetachKeys, ApiError> {
    let parsed = text.map(str::parse).transpose();
    let keys = parsed.map_err(|e: DetachKeysError| ApiError::bad_request(e.to_string()))?;
    Ok(keys.unwrap_or_default())
}

/// The connection is to become the client's; it must say so.
pub(super) fn must_upgrade(headers: &HeaderMap) -> Result<(), ApiError> {
    if wants_upgrade(headers) {
        return Ok(());
    }
    let needed = "this takes the connection over: send Connection: Upgrade, Upgrade: tcp";
    Err(ApiError::bad_request(needed))
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers
        .get(CONNECTION)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let mut options = connection.split(',').map(str::trim);
    options.any(|o| o.eq_ignore_ascii_case("upgrade")) && headers.contains_key(UPGRADE)
}

/// A VM that has just said hello will say within moments whether its session has a terminal; the
/// answer depends on it.
async fn known_session(container: &Container) {
    let mut progress = container.watch();
    let mut run = container.run(Whose::Primary);
    loop {
        progress.borrow_and_update();
        let known = container.snapshot().record.primary().is_some();
        if known || run.outcome(container).is_some() || progress.changed().await.is_err() {
            return;
        }
    }
}

/// A client of a session's streams.
pub(super) struct Attached {
    pub(super) container: Arc<Container>,
    pub(super) whose: Whose,
    /// The client's bytes are for the process.
    pub(super) stdin: bool,
    /// Looked for on a terminal only.
    pub(super) keys: Option<DetachKeys>,
    /// Its output comes as it is, not in frames.
    pub(super) raw: bool,
    /// The end of its input is the end of the process's.
    pub(super) ends_stdin: bool,
    /// Its place among others; an added session has one client.
    pub(super) _seat: Option<Seat>,
}

/// How the client's sending ended.
enum InputEnd {
    /// Nothing more will come; its output goes on.
    Closed,
    /// It wants no more output either.
    Detached,
    /// It is not there any more.
    Gone,
}

impl Attached {
    /// Answers that the connection is the client's from here on, and serves it there.
    pub(super) fn take_over(self, request: Request, output: LogStream) -> Response {
        let content_type = if self.raw { RAW } else { MULTIPLEXED };
        let typing = if self.stdin {
            "read-write"
        } else {
            "read-only"
        };
        tokio::spawn(self.run(hyper::upgrade::on(request), output));
        let headers = [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "tcp"),
            (CONTENT_TYPE, content_type),
            (ACCESS, typing),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }

    async fn run(self, upgrade: OnUpgrade, output: LogStream) {
        let id = self.container.id().to_owned();
        let done = match upgrade.await {
            Ok(upgraded) => self.serve(upgraded, output).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = done {
            tracing::debug!(id, %error, "attached client");
        }
    }

    async fn serve(mut self, upgraded: Upgraded, mut output: LogStream) -> io::Result<()> {
        let parts = upgraded
            .downcast::<TokioIo<ClientStream>>()
            .map_err(|_| io::Error::other("not a client's connection"))?;
        let early = parts.read_buf;
        let stream = parts.io.into_inner();
        let line = stream.line()?;
        let (mut from, mut to) = tokio::io::split(stream);
        let gone = {
            let mut input = pin!(self.input(&early, &mut from, &line));
            let mut sending = pin!(send_all(&mut output, &mut to));
            let mut input_open = true;
            loop {
                tokio::select! {
                    end = &mut input, if input_open => match end {
                        InputEnd::Closed => input_open = false,
                        InputEnd::Detached => break false,
                        InputEnd::Gone => break true,
                    },
                    sent = &mut sending => {
                        sent?;
                        break false;
                    }
                }
            }
        };
        if !gone {
            to.shutdown().await?;
            drain(&mut from).await;
        }
        Ok(())
    }

    /// Hands the client's bytes to the process until they end.
    async fn input(
        &mut self,
        early: &[u8],
        from: &mut ReadHalf<ClientStream>,
        line: &Line,
    ) -> InputEnd {
        let mut typed = early.to_vec();
        loop {
            if self.stdin && !typed.is_empty() {
                let mut passed = Vec::new();
                let detached = match &mut self.keys {
                    Some(keys) => keys.filter(&typed, &mut passed),
                    None => {
                        passed = std::mem::take(&mut typed);
                        false
                    }
                };
                if let Err(error) = self.container.write_stdin(&self.whose, &passed).await {
                    // The process reads no more; the client learns of it by the end of the output.
                    tracing::debug!(id = self.container.id(), %error, "stdin dropped");
                    self.stdin = false;
                }
                if detached {
                    return InputEnd::Detached;
                }
            }
            typed.resize(READ_BYTES, 0);
            let count = match from.read(&mut typed).await {
                Ok(count) => count,
                Err(_) => return InputEnd::Gone,
            };
            typed.truncate(count);
            if count == 0 {
                return self.input_ended(line).await;
            }
        }
    }

    async fn input_ended(&self, line: &Line) -> InputEnd {
        if line.hung_up() {
            return InputEnd::Gone;
        }
        if !self.stdin {
            return InputEnd::Closed;
        }
        if self.keys.is_some() || !self.ends_stdin {
            return InputEnd::Detached;
        }
        if let Err(error) = self.container.end_stdin(&self.whose).await {
            tracing::debug!(id = self.container.id(), %error, "stdin not ended");
        }
        InputEnd::Closed
    }
}

async fn send_all(output: &mut LogStream, to: &mut WriteHalf<ClientStream>) -> io::Result<()> {
    sleep(HEAD_ALONE).await;
    while let Some(bytes) = output.next().await.map_err(io::Error::other)? {
        to.write_all(&bytes).await?;
    }
    Ok(())
}

async fn drain(from: &mut ReadHalf<ClientStream>) {
    let mut dropped = vec![0; READ_BYTES];
    let drained = timeout(DRAIN_LIMIT, async {
        while matches!(from.read(&mut dropped).await, Ok(count) if count > 0) {}
    });
    if drained.await.is_err() {
        tracing::debug!("an attached client did not close its end in time");
    }
}
