//! `GET /containers/{id}/logs`.

use std::io;

use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::body::{Pieces, piecewise};
use super::error::ApiError;
use super::params::Params;
use super::{Api, RawParams, find};
use crate::listener::container::Container;
use crate::listener::lines::Selection;
use crate::listener::log_stream::{Begin, LogStream};

/// Docker's name for bytes as a terminal shows them.
pub(super) const RAW: &str = "application/vnd.docker.raw-stream";
/// Docker's name for bytes with a header before each piece.
pub(super) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

pub(super) async fn logs(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let container = find(&shared.registry, &id)?;
    let framed = !has_tty(&container);
    let selection = Selection {
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
        timestamps: params.flag("timestamps"),
        since_ns: params.time_ns("since")?.unwrap_or(0),
        until_ns: params
            .time_ns("until")?
            .filter(|ns| *ns > 0)
            .unwrap_or(u64::MAX),
        framed,
    };
    if !selection.stdout && !selection.stderr {
        return Err(ApiError::bad_request(
            "choose at least one of stdout=1 and stderr=1",
        ));
    }
    let begin = match params.text("tail") {
        None | Some("all") => Begin::Start,
        // Docker takes a negative number for all.
        Some(text) if text.starts_with('-') => Begin::Start,
        Some(_) => Begin::Tail(params.number("tail")?.unwrap_or(0)),
    };
    let stream = LogStream::open(container, selection, begin, params.flag("follow")).await?;
    let (pieces, body) = piecewise();
    tokio::spawn(send(stream, pieces));
    let content_type = if framed { MULTIPLEXED } else { RAW };
    Ok(([(CONTENT_TYPE, content_type)], body).into_response())
}

/// True when the primary session has a terminal: its output is one raw stream.
pub(super) fn has_tty(container: &Container) -> bool {
    let record = container.snapshot().record;
    record.primary().is_some_and(|(_, session)| session.tty)
}

async fn send(mut stream: LogStream, pieces: Pieces) {
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = pieces.closed() => return,
        };
        let piece = match next {
            Ok(Some(bytes)) => Ok(Bytes::from(bytes)),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "log not read");
                Err(io::Error::other(error))
            }
        };
        let failed = piece.is_err();
        if pieces.send(piece).await.is_err() || failed {
            return;
        }
    }
}
