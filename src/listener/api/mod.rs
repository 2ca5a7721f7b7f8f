//! The API: HTTP over a unix socket, and over TCP with TLS, shaped as the Docker Engine API wherever that has the call.

mod answer;
mod archives;
pub mod attach;
mod blocking;
mod body;
mod control;
mod create;
mod endpoints;
mod engine;
mod error;
mod events;
pub mod exec;
mod files;
mod filters;
mod images;
mod list;
mod logs;
mod networks;
mod params;
mod pause;
pub mod shape;
mod stats;
mod stream;
mod top;
mod usage;
mod volumes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use self::error::ApiError;
use self::params::Params;
use self::shape::API_VERSION;
use self::stream::ClientStream;
use super::container::Container;
use super::metrics;
use super::registry::Registry;
use super::vm::Shared;

/// Pause after a failed accept (no descriptors left): others may close some meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest head of a request, and what is kept for a client that does not read besides the piece under
/// way, in bytes.
const HEAD_BYTES_MOST: usize = 16 * 1024;
/// Longest body of a request that is read as a whole.
const BODY_MOST: usize = 1 << 20;
/// A client on TCP has shown its certificate by then.
const HANDSHAKE_MOST: Duration = Duration::from_secs(10);

/// What the handlers share.
type Api = State<Arc<Shared>>;
/// Parameters as they come; [`Params`] reads them.
type RawParams = Query<HashMap<String, String>>;

/// Serves the API for ever.
pub async fn serve(socket: UnixListener, shared: Arc<Shared>) {
    let router = router(shared);
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(ClientStream::Unix(stream), router.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "API connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves it on TCP for ever, to clients with a certificate.
pub async fn serve_tls(port: TcpListener, shared: Arc<Shared>) {
    let router = router(Arc::clone(&shared));
    loop {
        match port.accept().await {
            Ok((stream, peer)) => {
                let Some(config) = shared.tls.api() else {
                    continue;
                };
                let router = router.clone();
                tokio::spawn(async move {
                    let accepted = TlsAcceptor::from(config).accept(stream);
                    match timeout(HANDSHAKE_MOST, accepted).await {
                        Ok(Ok(stream)) => {
                            connection(ClientStream::Tls(Box::new(stream)), router).await;
                        }
                        Ok(Err(error)) => tracing::warn!(%peer, %error, "API client refused"),
                        Err(_) => tracing::debug!(%peer, "API client without TLS"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "API connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: ClientStream, router: Router) {
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        if let Some(uri) = without_version(request.uri()) {
            *request.uri_mut() = uri;
        }
        router.call(request)
    });
    let served = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MOST)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        // A client that went away in the middle; nothing of ours failed.
        tracing::debug!(%error, "API connection");
    }
}

/// `/v1.47/containers/json` → `/containers/json`; docker's clients may ask with or without.
fn without_version(uri: &Uri) -> Option<Uri> {
    let whole = uri.path_and_query()?.as_str();
    let (version, rest) = whole.strip_prefix("/v")?.split_once('/')?;
    let (major, minor) = version.split_once('.')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !number(major) || !number(minor) {
        return None;
    }
    format!("/{rest}").parse().ok()
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/_ping", get(|| async { "OK" }))
        .route("/metrics", get(figures))
        .route("/events", get(events::events))
        .route("/containers/json", get(list::list))
        .route("/containers/{id}/json", get(inspect))
        .route("/containers/{id}/logs", get(logs::logs))
        .route("/containers/{id}/top", get(top::top))
        .route(
            "/containers/{id}/archive",
            get(files::get).head(files::head).put(files::put),
        )
        .route("/containers/{id}/export", get(files::export))
        .route("/containers/{id}/attach", post(attach::attach))
        .route("/containers/{id}/wait", post(control::wait))
        .route("/containers/{id}/start", post(control::start))
        .route("/containers/{id}/kill", post(control::kill))
        .route("/containers/{id}/stop", post(control::stop))
        .route("/containers/{id}/resize", post(control::resize))
        .route("/containers/{id}/pause", post(pause::pause))
        .route("/containers/{id}/unpause", post(pause::unpause))
        .route("/containers/{id}/stats", get(stats::stats))
        .route("/containers/{id}/rename", post(create::rename))
        .route("/containers/{id}/changes", get(files::changes))
        .route("/containers/{id}/update", post(create::update))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/containers/{id}", delete(control::remove))
        .route("/containers/{id}/restart", post(create::restart))
        .route("/containers/create", post(create::create))
        .route("/containers/prune", post(create::prune))
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route(
            "/volumes/{name}",
            get(volumes::inspect).delete(volumes::remove),
        )
        .route("/images/json", get(images::list))
        .route("/images/create", post(images::pull))
        .route("/images/get", get(archives::save))
        .route("/images/load", post(archives::load))
        .route("/images/prune", post(images::prune))
        .route(
            "/images/{*rest}",
            get(images::about).post(images::name).delete(images::remove),
        )
        .merge(engine::routes())
        .merge(networks::routes())
        .fallback(|| async { ApiError::not_found("page not found") })
        .method_not_allowed_fallback(|| async { ApiError::not_found("page not found") })
        .layer(axum::middleware::from_fn(whole))
        .layer(axum::middleware::map_response(sign))
        .with_state(shared)
}

async fn figures(State(shared): Api) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(CONTENT_TYPE, kind)], metrics::page(&shared)).into_response()
}

/// Reads a request's short body before anybody decides on it: a client that is answered, and its connection closed,
/// while it still writes sees a broken pipe and not the answer.
async fn whole(request: axum::extract::Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|text| text.to_str().ok()?.parse().ok());
    if length.is_none_or(|length| length > BODY_MOST as u64) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match axum::body::to_bytes(body, BODY_MOST).await {
        Ok(bytes) => {
            let request = axum::extract::Request::from_parts(parts, bytes.into());
            next.run(request).await
        }
        Err(error) => ApiError::bad_request(format!("body not read: {error}")).into_response(),
    }
}

/// The headers by which docker's clients choose what to speak.
async fn sign(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static(API_VERSION));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    response
}

async fn inspect(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Json<Value>, ApiError> {
    let container = find(&shared.registry, &id)?;
    let mut details = shape::details(&container.snapshot());
    if Params(query).flag("size") {
        let sizes = usage::sizes(&shared, &[container]).await?;
        for size in sizes.into_values() {
            size.add(&mut details);
        }
    }
    Ok(Json(details))
}

fn find(registry: &Registry, text: &str) -> Result<Arc<Container>, ApiError> {
    Ok(registry.resolve(text)?)
}

/// An answer without a body.
fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Docker's answer to what is so already.
fn unchanged() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_version_may_stand_before_a_path() {
        let path = |text: &str| {
            let uri: Uri = text.parse().expect("URI");
            without_version(&uri).map(|u| u.to_string())
        };
        assert_eq!(path("/v1.24/_ping").as_deref(), Some("/_ping"));
        assert_eq!(
            path("/v1.50/containers/json?all=1").as_deref(),
            Some("/containers/json?all=1")
        );
        assert_eq!(path("/version"), None);
        assert_eq!(path("/vabc/_ping"), None);
        assert_eq!(path("/containers/v1.2/json"), None);
    }
}
