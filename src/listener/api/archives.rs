//! Archives of images: `docker save` and `docker load`.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::mpsc;

use super::blocking::{Reader, Writer};
use super::body::piecewise;
use super::create::machines;
use super::error::ApiError;
use super::images::line;
use super::params::Params;
use super::{Api, RawParams};
use crate::image::{ImageError, Progress, Told};
use crate::listener::machines::Machines;

/// `GET /images/get?names=A&names=B`.
pub(super) async fn save(
    State(shared): Api,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let names = query.into_iter().filter(|(key, _)| key == "names");
    let names: Vec<String> = names.map(|(_, name)| name).collect();
    if names.is_empty() {
        return Err(ApiError::bad_request(
            "names: which images are to be saved?",
        ));
    }
    saved(machines(&shared)?, &names)
}

/// An archive of these images. What is wrong with one of them is told before its first byte.
pub(super) fn saved(machines: &Arc<Machines>, names: &[String]) -> Result<Response, ApiError> {
    let selection = machines.images.select(names)?;
    let machines = Arc::clone(machines);
    let (pieces, body) = piecewise();
    tokio::task::spawn_blocking(move || {
        let mut out = Writer::new(pieces);
        if let Err(error) = machines.images.save(&selection, &mut out) {
            tracing::warn!(%error, "images not saved");
            out.fail(io::Error::other(error));
        }
    });
    Ok(([(CONTENT_TYPE, "application/x-tar")], body).into_response())
}

/// `POST /images/load`. What is wrong stands in the stream.
pub(super) async fn load(
    State(shared): Api,
    Query(query): RawParams,
    body: Body,
) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let quiet = Params(query).flag("quiet");
    let archive = Reader::new(body);
    let reading = Arc::clone(&machines);
    let members = tokio::task::spawn_blocking(move || reading.images.members(archive));
    let members = match members.await {
        Ok(Ok(members)) => members,
        Ok(Err(error)) => return Ok(told_of(&error)),
        Err(gone) => return Err(ApiError::server(gone.to_string())),
    };
    let (sender, mut words) = mpsc::unbounded_channel::<Progress>();
    let told: Told = Arc::new(move |word| {
        if word.bytes.is_some() && !quiet {
            let status = "Loading layer".to_owned();
            // A client that has gone is seen by its stream.
            let _ = sender.send(Progress { status, ..word });
        }
    });
    // Goes on to its end, whoever listens.
    let task = tokio::spawn(async move { machines.images.load(members, &told).await });
    let (pieces, body) = piecewise();
    tokio::spawn(async move {
        let mut listens = true;
        while let Some(word) = words.recv().await {
            listens = listens && pieces.send(Ok(line(&word))).await.is_ok();
        }
        let answer = match task.await {
            Ok(Ok(words)) => words
                .iter()
                .map(|word| json!({ "stream": format!("{word}\n") }))
                .collect(),
            Ok(Err(error)) => vec![failed(&error.to_string())],
            Err(gone) => vec![failed(&gone.to_string())],
        };
        for word in answer {
            let _ = pieces.send(Ok(format!("{word}\r\n").into())).await;
        }
    });
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn failed(message: &str) -> serde_json::Value {
    json!({ "errorDetail": { "message": message }, "error": message })
}

/// As docker: what is wrong with an archive stands in the stream.
fn told_of(error: &ImageError) -> Response {
    let word = format!("{}\r\n", failed(&error.to_string()));
    ([(CONTENT_TYPE, "application/json")], word).into_response()
}
