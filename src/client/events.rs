//! `vch events`.

use serde_json::{Value, json};

use super::args::{Events, Format};
use super::http::{Api, encode, next_piece};
use super::{ClientError, print_line};

pub(super) async fn events(api: &Api, options: &Events) -> Result<u8, ClientError> {
    let mut filters = serde_json::Map::new();
    for filter in &options.filter {
        let (name, value) = filter.split_once('=').ok_or_else(|| {
            ClientError::Setup(format!(
                "filter {filter:?}: expected NAME=VALUE, such as event=die"
            ))
        })?;
        let values = filters.entry(name).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(value.into());
        }
    }
    let mut query = format!("filters={}", encode(&Value::Object(filters).to_string()));
    for (name, time) in [("since", &options.since), ("until", &options.until)] {
        if let Some(time) = time {
            query += &format!("&{name}={}", encode(time));
        }
    }
    let answer = api.call("GET", &format!("/events?{query}")).await?;
    let (mut body, mut rest) = (answer.into_body(), Vec::new());
    while let Some(piece) = next_piece(&mut body).await? {
        rest.extend_from_slice(&piece);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            match options.format {
                Format::Json => print_line(text.trim_end())?,
                Format::Table => {
                    let event = serde_json::from_str(&text)
                        .map_err(|e| ClientError::Answer(format!("event {text:?}: {e}")))?;
                    print_line(&sentence(&event))?;
                }
            }
        }
    }
    Ok(0)
}

/// As docker prints it: `TIME container ACTION ID (image=…, name=…)`.
fn sentence(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let nanos = event.pointer("/timeNano").and_then(Value::as_i64);
    let time = nanos
        .and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok())
        .map_or_else(String::new, |time| format!("{time:.9}"));
    let attributes = event
        .pointer("/Actor/Attributes")
        .and_then(Value::as_object);
    let attributes: Vec<String> = attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("")))
        .collect();
    format!(
        "{time} {} {} {} ({})",
        text("/Type"),
        text("/Action"),
        text("/Actor/ID"),
        attributes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_as_docker_has_it() {
        let event = json!({
            "Type": "container", "Action": "die", "timeNano": 1_500_000_000_123_456_789_i64,
            "Actor": { "ID": "2cf7", "Attributes": { "exitCode": "3", "name": "jolly" } },
        });
        assert_eq!(
            sentence(&event),
            "2017-07-14T02:40:00.123456789Z container die 2cf7 (exitCode=3, name=jolly)"
        );
    }
}
