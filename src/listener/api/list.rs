//! `GET /containers/json`.

use axum::Json;
use axum::extract::{Query, State};

use super::error::ApiError;
use super::filters::{Filters, labelled};
use super::params::Params;
use super::shape::{self, Summary};
use super::usage;
use super::{Api, RawParams, find};
use crate::listener::clock::now_ns;
use crate::listener::container::Snapshot;
use crate::listener::store::state::State as Life;

/// The filters that are heeded, of docker's.
const FILTERS: [&str; 11] = [
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
    "volume",
];
/// Those that ask for containers that do not run, too, as with docker.
const OF_ALL: [&str; 4] = ["before", "exited", "since", "status"];

pub(super) async fn list(
    State(shared): Api,
    Query(query): RawParams,
) -> Result<Json<Vec<Summary>>, ApiError> {
    let params = Params(query);
    let limit: Option<i64> = params.number("limit")?;
    let limit = limit
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0);
    let filters = Filters::parse(params.text("filters"), &FILTERS)?;
    let of_all = OF_ALL.iter().any(|name| !filters.values(name).is_empty());
    let all = params.flag("all") || limit.is_some() || of_all;
    let created = |name: &str| -> Result<Option<u64>, ApiError> {
        let other = filters.values(name).first();
        let other = other.map(|id| find(&shared.registry, id)).transpose()?;
        Ok(other.map(|other| other.snapshot().record.created_ns))
    };
    let (before, since) = (created("before")?, created("since")?);
    let now = now_ns();
    let containers = shared.registry.all();
    let snapshots = containers.iter().map(|container| container.snapshot());
    let mut rows: Vec<(u64, Summary)> = snapshots
        .filter(|snapshot| all || snapshot.record.state == Life::Running)
        .filter(|snapshot| {
            let created = snapshot.record.created_ns;
            before.is_none_or(|other| created < other) && since.is_none_or(|other| created > other)
        })
        .filter(|snapshot| filters.pass(|name, value| fits(snapshot, name, value)))
        .map(|snapshot| (snapshot.record.created_ns, shape::summary(&snapshot, now)))
        .collect();
    // Newest first, as docker has it.
    rows.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    rows.truncate(limit.unwrap_or(usize::MAX));
    let mut rows: Vec<Summary> = rows.into_iter().map(|(_, row)| row).collect();
    if params.flag("size") {
        let sizes = usage::sizes(&shared, &containers).await?;
        for row in &mut rows {
            if let Some(size) = sizes.get(&row.id) {
                size.tell(row);
            }
        }
    }
    Ok(Json(rows))
}

fn fits(snapshot: &Snapshot, name: &str, value: &str) -> bool {
    let record = &snapshot.record;
    match name {
        "ancestor" => {
            let spec = snapshot.spec.as_deref();
            let id = spec.map_or("", |spec| crate::image::store::hex(&spec.image_id));
            let digits = crate::image::store::hex(value);
            is_image(&record.image, value) || (digits.len() >= 12 && id.starts_with(digits))
        }
        "volume" => snapshot.spec.as_deref().is_some_and(|spec| {
            let mut volumes = spec.volumes.iter();
            volumes.any(|place| place.name == value || place.dest == value)
        }),
        "label" => snapshot
            .spec
            .as_deref()
            .is_some_and(|spec| labelled(&spec.labels(), value)),
        "exited" => {
            let exit = record.exit().filter(|_| record.state == Life::Exited);
            exit.is_some_and(|exit| exit.record.status.to_string() == value)
        }
        "health" => snapshot.health.as_ref().map_or("none", |h| h.status.word()) == value,
        "id" => record.id.starts_with(value),
        "name" => is_named(&record.name, value),
        "network" => match snapshot.spec.as_deref() {
            Some(spec) => {
                let mut joined = spec.networks.iter();
                let is_one = joined.any(|one| one.name == value || one.id.starts_with(value));
                is_one || (value == "bridge" && spec.has_bridge())
            }
            None => record.run.network.iter().any(|one| one.name == value),
        },
        "status" => shape::state_word(snapshot) == value,
        // Looked at before.
        _ => true,
    }
}

/// Part of the name; `^` and `$` are its ends, with or without the slash that docker puts before it.
fn is_named(name: &str, pattern: &str) -> bool {
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest.strip_prefix('/').unwrap_or(rest)),
        None => (false, pattern.strip_prefix('/').unwrap_or(pattern)),
    };
    match (start, pattern.strip_suffix('$')) {
        (true, Some(whole)) => name == whole,
        (true, None) => name.starts_with(pattern),
        (false, Some(end)) => name.ends_with(end),
        (false, None) => name.contains(pattern),
    }
}

fn is_image(image: &str, asked: &str) -> bool {
    let tagged = |text: &str| match text.rsplit_once('/').map_or(text, |(_, last)| last) {
        last if last.contains(':') => text.to_owned(),
        _ => format!("{text}:latest"),
    };
    tagged(image) == tagged(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_part_of_it_and_by_its_ends() {
        for pattern in [
            "jolly",
            "ly_pa",
            "^jolly",
            "^/jolly",
            "panini$",
            "^/jolly_panini$",
            "",
        ] {
            assert!(is_named("jolly_panini", pattern), "{pattern}");
        }
        for pattern in ["^panini", "jolly$", "^jolly$", "other"] {
            assert!(!is_named("jolly_panini", pattern), "{pattern}");
        }
    }

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        assert!(is_image("hello-world", "hello-world:latest"));
        assert!(is_image("host:5000/a/b", "host:5000/a/b:latest"));
        assert!(!is_image("hello-world:1", "hello-world"));
    }
}
