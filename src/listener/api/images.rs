//! Images: pulled, listed, named, removed.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::archives;
use super::body::piecewise;
use super::create::{machines, platform};
use super::error::ApiError;
use super::filters::Filters;
use super::params::Params;
use super::{Api, RawParams};
use crate::image::{Image, Login, Name, Progress, Told};
use crate::listener::machines::{MachineError, Machines};
use crate::listener::vm::Shared;

/// Whose header names a client's login.
const AUTH: &str = "X-Registry-Auth";
/// Filters of lists.
const FILTERS: [&str; 2] = ["dangling", "reference"];

/// `POST /images/create`: a pull. What is wrong before the first word has a status of its own, as with docker; after
/// it, it stands in the stream.
pub(super) async fn pull(
    State(shared): Api,
    Query(query): RawParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let params = Params(query);
    platform(&params)?;
    let Some(image) = params.text("fromImage") else {
        return Err(ApiError::not_implemented(
            "not possible: an image is made elsewhere and pulled from a registry (fromImage)",
        ));
    };
    let name = asked(image, params.text("tag"))?;
    let login = login(&headers)?;
    let (sender, mut words) = mpsc::unbounded_channel::<Progress>();
    let told: Told = Arc::new(move |word| {
        // A client that has gone is seen by its stream.
        let _ = sender.send(word);
    });
    let task = tokio::spawn(async move {
        let registries = machines.registries().clone();
        machines
            .images
            .pull(&name, &registries, &login, &told)
            .await
    });
    let Some(first) = words.recv().await else {
        return match task.await {
            Ok(Ok(_)) => Ok(().into_response()),
            Ok(Err(error)) => Err(error.into()),
            Err(gone) => Err(ApiError::server(gone.to_string())),
        };
    };
    let (pieces, body) = piecewise();
    tokio::spawn(async move {
        let abort = task.abort_handle();
        let mut word = Some(first);
        while let Some(told) = word {
            if pieces.send(Ok(line(&told))).await.is_err() {
                // Nobody waits for the image any more. What has come of it is kept.
                abort.abort();
                return;
            }
            word = tokio::select! {
                word = words.recv() => word,
                () = pieces.closed() => {
                    abort.abort();
                    return;
                }
            };
        }
        let failed = match task.await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(gone) => gone.to_string(),
        };
        let error = json!({ "errorDetail": { "message": failed }, "error": failed });
        let _ = pieces.send(Ok(Bytes::from(format!("{error}\r\n")))).await;
    });
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The image that is to be pulled; its tag or digest may stand in its name.
fn asked(image: &str, tag: Option<&str>) -> Result<Name, ApiError> {
    let last = image.rsplit('/').next().unwrap_or(image);
    if tag.is_none() && !last.contains([':', '@']) {
        return Err(ApiError::not_implemented(
            "not done: all tags at once; pull each by its name",
        ));
    }
    Name::of(image, tag).map_err(|error| ApiError::bad_request(error.to_string()))
}

pub(super) fn line(word: &Progress) -> Bytes {
    let mut line = json!({ "status": word.status });
    if !word.id.is_empty() {
        line["id"] = json!(word.id);
        line["progressDetail"] = match word.bytes {
            Some((current, total)) => json!({ "current": current, "total": total }),
            None => json!({}),
        };
    }
    if let Some((current, total)) = word.bytes {
        line["progress"] = json!(bar(current, total));
    }
    Bytes::from(format!("{line}\r\n"))
}

/// For clients that draw none themselves.
fn bar(current: u64, total: u64) -> String {
    const WIDTH: u64 = 50;
    let done = usize::try_from(current * WIDTH / total.max(1))
        .unwrap_or_default()
        .min(WIDTH as usize);
    let rest = " ".repeat(WIDTH as usize - done);
    let mb = |bytes: u64| format!("{:.2}MB", bytes as f64 / 1e6);
    format!(
        "[{}>{rest}] {}/{}",
        "=".repeat(done),
        mb(current),
        mb(total)
    )
}

fn login(headers: &HeaderMap) -> Result<Login, ApiError> {
    let Some(header) = headers.get(AUTH) else {
        return Ok(Login::default());
    };
    let bad = || ApiError::bad_request(format!("{AUTH}: expected JSON in base64url"));
    let bytes = URL_SAFE
        .decode(header)
        .or_else(|_| URL_SAFE_NO_PAD.decode(header))
        .map_err(|_| bad())?;
    let told: HashMap<String, Value> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let text = |name: &str| {
        let text = told.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Ok(Login {
        basic: text("username").zip(text("password")),
        token: text("registrytoken"),
    })
}

pub(super) async fn list(
    State(shared): Api,
    Query(query): RawParams,
) -> Result<Json<Value>, ApiError> {
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"), &FILTERS)?;
    let Some(machines) = shared.machines.as_deref() else {
        return Ok(Json(json!([])));
    };
    let fits = |image: &Image| {
        filters.pass(|name, value| match name {
            "reference" => image.names.iter().any(|own| {
                let (repository, _) = own.rsplit_once(':').unwrap_or((own, ""));
                own == value || repository == value
            }),
            "dangling" => image.names.is_empty() == matches!(value, "1" | "true"),
            _ => true,
        })
    };
    let mut all: Vec<Image> = machines.images.all().into_iter().filter(fits).collect();
    all.sort_by_key(|image| std::cmp::Reverse(created(image)));
    Ok(Json(all.iter().map(|image| row(&shared, image)).collect()))
}

/// Seconds since 1970.
fn created(image: &Image) -> i64 {
    let text = image.config.get("created").and_then(Value::as_str);
    let time = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map_or(0, |time| time.as_second())
}

/// An image in a list.
pub(super) fn row(shared: &Shared, image: &Image) -> Value {
    let all = shared.registry.all();
    let of_it = all.iter().filter(|container| {
        let made = container.made();
        made.is_some_and(|made| made.spec().image_id == image.id)
    });
    json!({
        "Id": image.id,
        "ParentId": "",
        "RepoTags": image.names,
        "RepoDigests": image.digests,
        "Created": created(image),
        "Size": image.size,
        "VirtualSize": image.size,
        "SharedSize": -1,
        "Labels": image.setting("Labels"),
        "Containers": of_it.count(),
    })
}

fn known(machines: &Machines, name: &str) -> Result<Image, ApiError> {
    let image = machines.images.find(name);
    image.ok_or_else(|| ApiError::not_found(format!("No such image: {name}")))
}

/// `GET /images/NAME/json`, `/history` and `/get`; a name may have slashes.
pub(super) async fn about(
    State(shared): Api,
    Path(rest): Path<String>,
) -> Result<Response, ApiError> {
    let machines = machines(&shared)?;
    match rest.rsplit_once('/') {
        Some((name, "json")) => Ok(Json(details(&known(machines, name)?)).into_response()),
        Some((name, "history")) => Ok(Json(history(&known(machines, name)?)).into_response()),
        Some((name, "get")) => archives::saved(machines, &[name.to_owned()]),
        _ => Err(ApiError::not_found("page not found")),
    }
}

fn details(image: &Image) -> Value {
    let layers = image
        .config
        .get("rootfs")
        .and_then(|rootfs| rootfs.get("diff_ids"));
    let text = |name: &str| image.config.get(name).cloned().unwrap_or_else(|| json!(""));
    json!({
        "Id": image.id,
        "RepoTags": image.names,
        "RepoDigests": image.digests,
        "Parent": "",
        "Comment": "",
        "Created": text("created"),
        "DockerVersion": text("docker_version"),
        "Author": text("author"),
        "Config": image.setting_of_all(),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": { "Name": "ext4", "Data": null },
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
    })
}

/// The newest step first. A size is that of a layer as it came.
fn history(image: &Image) -> Value {
    let steps = image.config.get("history").and_then(Value::as_array);
    let mut sizes = image.layers.iter().map(|(_, size)| *size);
    let mut rows: Vec<Value> = Vec::new();
    for step in steps.into_iter().flatten() {
        let empty = step.get("empty_layer").and_then(Value::as_bool) == Some(true);
        let size = if empty { None } else { sizes.next() };
        let created = step.get("created").and_then(Value::as_str);
        let created = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let text = |name: &str| step.get(name).cloned().unwrap_or_else(|| json!(""));
        rows.push(json!({
            "Id": "<missing>",
            "Created": created.map_or(0, |time| time.as_second()),
            "CreatedBy": text("created_by"),
            "Tags": null,
            "Size": size.unwrap_or_default(),
            "Comment": text("comment"),
        }));
    }
    if let Some(newest) = rows.last_mut() {
        newest["Id"] = json!(image.id);
        newest["Tags"] = json!(image.names);
    }
    rows.reverse();
    Value::Array(rows)
}

/// `POST /images/NAME/tag`.
pub(super) async fn name(
    State(shared): Api,
    Path(rest): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let machines = machines(&shared)?;
    match rest.rsplit_once('/') {
        Some((image, "tag")) => {
            let image = known(machines, image)?;
            let params = Params(query);
            let name = Name::of(params.text("repo").unwrap_or_default(), params.text("tag"));
            let name = name.map_err(|error| ApiError::bad_request(error.to_string()))?;
            if name.is_digest() {
                return Err(ApiError::bad_request(
                    "refusing to create a tag with a digest reference",
                ));
            }
            machines.images.tag(&image.id, &name)?;
            Ok(axum::http::StatusCode::CREATED.into_response())
        }
        Some((_, "push")) => Err(ApiError::not_implemented(
            "not done: nothing is built here, so there is nothing to push",
        )),
        _ => Err(ApiError::not_found("page not found")),
    }
}

/// `DELETE /images/NAME`.
pub(super) async fn remove(
    State(shared): Api,
    Path(text): Path<String>,
    Query(query): RawParams,
) -> Result<Json<Value>, ApiError> {
    let machines = machines(&shared)?;
    let image = known(machines, &text)?;
    let force = Params(query).flag("force");
    let name = Name::parse(&text).ok().map(|name| name.tagged());
    let name = name.filter(|name| image.names.contains(name));
    if name.is_none() && image.names.len() > 1 && !force {
        return Err(ApiError::conflict(format!(
            "conflict: unable to delete {text} (must be forced) - image is referenced in multiple repositories"
        )));
    }
    let removed = machines.remove_image(&shared, &image, name.as_deref());
    Ok(Json(removed.await?.into()))
}

/// `POST /images/prune`: those without a name that no container is made of.
pub(super) async fn prune(State(shared): Api) -> Result<Json<Value>, ApiError> {
    let machines = machines(&shared)?;
    let (mut deleted, mut bytes) = (Vec::new(), 0);
    for image in machines.images.all() {
        if !image.names.is_empty() {
            continue;
        }
        match machines.remove_image(&shared, &image, None).await {
            Ok(told) => {
                deleted.extend(told);
                bytes += image.size;
            }
            Err(MachineError::ImageUsed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(
        json!({ "ImagesDeleted": deleted, "SpaceReclaimed": bytes }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_may_stand_in_the_name() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (image, tag, name) in [
            ("busybox:1.36", None, Some("busybox:1.36")),
            ("localhost:5000/busybox", None, None),
            (
                "localhost:5000/busybox:2",
                None,
                Some("localhost:5000/busybox:2"),
            ),
            // A name that ends as its tag does.
            ("docker.io/library/python3", Some("3"), Some("python3:3")),
            (
                "busybox",
                Some(&*digest),
                Some(&*format!("busybox@{digest}")),
            ),
        ] {
            let asked = asked(image, tag).ok().map(|name| name.tagged());
            assert_eq!(asked.as_deref(), name, "{image}");
        }
    }

    #[test]
    fn a_login_is_what_docker_s_clients_send() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTH, text.parse().expect("a header"));
            login(&headers)
        };
        assert!(of("e30=").expect("none").basic.is_none());
        let told = URL_SAFE.encode(r#"{"username":"u","password":"p"}"#);
        assert_eq!(
            of(&told).expect("a login").basic,
            Some(("u".into(), "p".into()))
        );
        assert!(of("!").is_err());
    }

    #[test]
    fn a_line_is_docker_s() {
        let word = Progress {
            id: "abc".into(),
            status: "Downloading".into(),
            bytes: Some((1, 2)),
        };
        let line: Value = serde_json::from_slice(&line(&word)).expect("JSON");
        assert_eq!(line["progressDetail"], json!({ "current": 1, "total": 2 }));
        assert!(
            line["progress"]
                .as_str()
                .is_some_and(|bar| bar.contains("=>"))
        );
    }
}
