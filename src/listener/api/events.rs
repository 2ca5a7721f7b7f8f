//! `GET /events`: what has happened since a time, and what happens until one, a JSON object a line.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::body::{Pieces, piecewise};
use super::error::ApiError;
use super::params::Params;
use super::{Api, RawParams};
use crate::listener::clock::now_ns;
use crate::listener::events::Event;

/// Long enough for "for ever".
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Values by name, in either of the two forms that docker's clients send.
#[derive(Debug, Default)]
struct Filters(BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Map(BTreeMap<String, bool>),
}

impl Filters {
    fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let bad = |why: String| ApiError::bad_request(format!("filters={text}: {why}"));
        let read: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        let mut filters = BTreeMap::new();
        for (name, values) in read {
            if !matches!(&*name, "container" | "event" | "image" | "type") {
                return Err(bad(format!(
                    "{name:?} is not known: expected container, event, image or type"
                )));
            }
            let values = match values {
                Values::List(list) => list,
                Values::Map(map) => map
                    .into_iter()
                    .filter(|(_, on)| *on)
                    .map(|(v, _)| v)
                    .collect(),
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    fn pass(&self, event: &Event) -> bool {
        self.0.iter().all(|(name, values)| {
            let is = |value: &String| match &**name {
                "container" => event.name == *value || event.id.starts_with(&**value),
                "event" => event.action == value,
                "image" => event.image == *value,
                _ => value == "container",
            };
            values.is_empty() || values.iter().any(is)
        })
    }
}

pub(super) async fn events(
    State(shared): Api,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"))?;
    let (since, until) = (params.time_ns("since")?, params.time_ns("until")?);
    let (past, next) = shared.registry.events().since(since.unwrap_or_else(now_ns));
    let (pieces, body) = piecewise();
    tokio::spawn(send(past, next, filters, until, pieces));
    let kind = [(CONTENT_TYPE, "application/json")];
    Ok((kind, body).into_response())
}

async fn send(
    past: Vec<Event>,
    mut next: broadcast::Receiver<Event>,
    filters: Filters,
    until: Option<u64>,
    pieces: Pieces,
) {
    let wanted = |e: &Event| filters.pass(e) && until.is_none_or(|until| e.time_ns <= until);
    for event in past.iter().filter(|e| wanted(e)) {
        if pieces.send(Ok(line(event))).await.is_err() {
            return;
        }
    }
    let left = until.map_or(FOREVER, |until| {
        Duration::from_nanos(until.saturating_sub(now_ns()))
    });
    let end = Instant::now() + left;
    loop {
        let event = tokio::select! {
            event = next.recv() => event,
            () = sleep_until(end) => return,
            () = pieces.closed() => return,
        };
        match event {
            Ok(event) if wanted(&event) => {
                if pieces.send(Ok(line(&event))).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(missing)) => {
                tracing::warn!(missing, "an events client does not keep up");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn line(event: &Event) -> Bytes {
    format!("{}\n", event.to_json()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            time_ns: 1,
            action: "start",
            id: "2cf7f4".into(),
            name: "jolly".into(),
            image: "hello-world".into(),
            more: Vec::new(),
        }
    }

    #[test]
    fn filters_in_either_form_pass_what_they_name() {
        let pass = |text: &str| Filters::parse(Some(text)).map(|f| f.pass(&event())).ok();
        assert_eq!(pass(r#"{"container":["jolly"]}"#), Some(true));
        assert_eq!(pass(r#"{"container":{"2cf":true}}"#), Some(true));
        assert_eq!(pass(r#"{"container":["other","jolly"]}"#), Some(true));
        assert_eq!(pass(r#"{"event":["die"]}"#), Some(false));
        assert_eq!(pass(r#"{"event":["start"],"type":["image"]}"#), Some(false));
        assert_eq!(pass("{}"), Some(true));
        assert_eq!(pass(r#"{"label":["x"]}"#), None);
        assert_eq!(pass("what"), None);
    }
}
