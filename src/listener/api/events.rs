//! `GET /events`: what has happened since a time, and what happens until one, a JSON object a line.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::body::{Pieces, piecewise};
use super::error::ApiError;
use super::filters::Filters;
use super::params::Params;
use super::{Api, RawParams};
use crate::listener::clock::now_ns;
use crate::listener::events::Event;

/// Long enough for "for ever".
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The filters that are heeded.
const FILTERS: [&str; 4] = ["container", "event", "image", "type"];

fn passes(filters: &Filters, event: &Event) -> bool {
    filters.pass(|name, value| match name {
        "container" => event.name == value || event.id.starts_with(value),
        "event" => event.action == value,
        "image" => event.image == value,
        _ => value == "container",
    })
}

pub(super) async fn events(
    State(shared): Api,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"), &FILTERS)?;
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
    let wanted = |e: &Event| passes(&filters, e) && until.is_none_or(|until| e.time_ns <= until);
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
        let pass = |text: &str| {
            let filters = Filters::parse(Some(text), &FILTERS);
            filters.map(|f| passes(&f, &event())).ok()
        };
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
