//! `docker stats`: what a container takes, as its machine's kernel counts it.

mod figures;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::figures::Figures;
use super::answer::{Answer, Part, ask};
use super::body::piecewise;
use super::error::ApiError;
use super::params::Params;
use super::shape::rfc3339;
use super::{Api, RawParams, find};
use crate::link::control::service::FIGURES;
use crate::listener::clock::now_ns;
use crate::listener::container::Container;

/// Between two looks at a container that does not run.
const PERIOD: Duration = Duration::from_secs(1);

pub(super) async fn stats(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    let params = Params(query);
    // Without the parameter they come for ever.
    let stream = params.text("stream").is_none() || params.flag("stream");
    let one_shot = params.flag("one-shot");
    let mut samples = Samples::of(&container);
    let mut before = Sample::default();
    if !stream && !one_shot {
        before = samples.next().await?;
    }
    let first = match &before.figures {
        None if !stream && !one_shot => Sample::default(),
        _ => samples.next().await?,
    };
    let answer = shape(&container, &before, &first);
    if !stream {
        return Ok(Json(answer).into_response());
    }
    let (pieces, body) = piecewise();
    tokio::spawn(async move {
        let (mut answer, mut last) = (answer, first);
        loop {
            let line = Bytes::from(format!("{answer}\r\n"));
            if pieces.send(Ok(line)).await.is_err() {
                return;
            }
            // A container that has gone has ended the stream.
            let next = tokio::select! {
                next = samples.next() => next,
                () = pieces.closed() => return,
            };
            let Ok(next) = next else {
                return;
            };
            answer = shape(&container, &last, &next);
            last = next;
        }
    });
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// What was told, and when.
#[derive(Default)]
struct Sample {
    read_ns: u64,
    /// None: it does not run.
    figures: Option<Figures>,
}

/// What a machine tells each second, while it is there.
struct Samples {
    container: Arc<Container>,
    answer: Option<Answer>,
}

impl Samples {
    fn of(container: &Arc<Container>) -> Self {
        Self {
            container: Arc::clone(container),
            answer: None,
        }
    }

    async fn next(&mut self) -> Result<Sample, ApiError> {
        let container = &self.container;
        if let Some(mut answer) = self.answer.take() {
            match one(&mut answer).await {
                Ok(Some(files)) => {
                    self.answer = Some(answer);
                    return Ok(files);
                }
                // It has ended.
                Ok(None) => {}
                Err(error) if container.takes_execs(true).is_ok() => return Err(error),
                Err(_) => {}
            }
        } else if container.takes_execs(true).is_ok() && !container.not_begun() {
            let mut answer = Answer::new(ask(container, FIGURES, Vec::new())?);
            let first = one(&mut answer).await?;
            self.answer = Some(answer);
            return Ok(first.unwrap_or_default());
        } else {
            sleep(PERIOD).await;
        }
        Ok(Sample {
            read_ns: now_ns(),
            figures: None,
        })
    }
}

/// `None`: no more come.
async fn one(answer: &mut Answer) -> Result<Option<Sample>, ApiError> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(part) = answer.next().await? {
        match part {
            Part::Entry(entry) if entry.about => {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let files = files.into_iter().map(|(name, bytes)| (name, text(bytes)));
                return Ok(Some(Sample {
                    read_ns: now_ns(),
                    figures: Some(Figures::of(files.collect())),
                }));
            }
            Part::Entry(entry) => {
                let name = String::from_utf8_lossy(&entry.path).into_owned();
                files.push((name, Vec::new()));
            }
            Part::Data(bytes) => {
                if let Some((_, text)) = files.last_mut() {
                    text.extend_from_slice(&bytes);
                }
            }
            Part::End(end) => end?,
        }
    }
    Ok(None)
}

fn shape(container: &Container, before: &Sample, now: &Sample) -> Value {
    let none = Figures::default();
    let of = |sample: &Sample| match &sample.figures {
        Some(figures) => figures.processors(),
        None => none.processors(),
    };
    let figures = now.figures.as_ref().unwrap_or(&none);
    json!({
        "id": container.id(),
        "name": format!("/{}", container.name()),
        "read": rfc3339(now.read_ns),
        "preread": rfc3339(before.read_ns),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": of(now),
        "precpu_stats": of(before),
        "memory_stats": figures.memory(),
        "pids_stats": figures.pids(),
        "blkio_stats": figures.disks(),
        "networks": figures.networks(),
    })
}
