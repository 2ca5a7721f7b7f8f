//! `docker cp` and `docker export`: files out of a container and into it, as archives. Its machine's process 1 finds them; where
//! it does not run, another machine's with its disks.

mod archive;
mod changes;
mod upload;

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use self::archive::Archive;
pub(super) use self::changes::changes;
use super::answer::{Answer, Part, ask, done};
use super::blocking::Reader;
use super::body::{Pieces, piecewise};
use super::error::ApiError;
use super::params::Params;
use super::shape::rfc3339;
use super::{Api, RawParams, find};
use crate::files::{Entry, Failure, Kind, Trouble, write_end};
use crate::link::control::service::{GET, KEEP_KINDS, OWN, PUT, STAT};
use crate::listener::container::Container;
use crate::listener::machines::{Answering, answering};
use crate::listener::vm::Shared;

/// What a path is, in base64.
const PATH_STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");
/// Pieces of an archive on their way in.
const PIECES_AHEAD: usize = 4;

/// `HEAD /containers/{id}/archive?path=`
pub(super) async fn head(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let files = Files::of(&shared, &id, &query).await?;
    let (about, _) = files.ask(STAT).await?;
    Ok(([(PATH_STAT, stat(&about)?)], StatusCode::OK).into_response())
}

/// `GET /containers/{id}/archive?path=`
pub(super) async fn get(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
) -> Result<Response, ApiError> {
    let files = Files::of(&shared, &id, &query).await?;
    let (about, answer) = files.ask(GET).await?;
    let stat = stat(&about)?;
    let body = files.body(answer, Archive::default());
    let kind = HeaderValue::from_static("application/x-tar");
    Ok(([(PATH_STAT, stat), (CONTENT_TYPE, kind)], body).into_response())
}

/// `GET /containers/{id}/export`
pub(super) async fn export(
    State(shared): Api,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let container = find(&shared.registry, &id)?;
    let files = Files::at(&shared, container, "/").await?;
    let (_, answer) = files.ask(GET).await?;
    let body = files.body(answer, Archive::of_root());
    let kind = HeaderValue::from_static("application/x-tar");
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

/// `PUT /containers/{id}/archive?path=&noOverwriteDirNonDir=&copyUIDGID=`
pub(super) async fn put(
    State(shared): Api,
    Path(id): Path<String>,
    Query(query): RawParams,
    body: Body,
) -> Result<Response, ApiError> {
    let archive = Reader::new(body);
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let put = async {
        let files = Files::of(&shared, &id, &query).await?;
        let params = Params(query);
        let mut args = vec![files.path.clone()];
        for (name, word) in [("copyUIDGID", OWN), ("noOverwriteDirNonDir", KEEP_KINDS)] {
            if params.flag(name) {
                args.push(word.to_owned());
            }
        }
        files.put(args, pieces).await
    };
    // The client's last byte is taken before it is answered, or it would not see the answer.
    let unpacked = tokio::task::spawn_blocking(move || upload::unpack(archive, &sender));
    let (done, _) = tokio::join!(put, unpacked);
    done?;
    Ok(StatusCode::OK.into_response())
}

/// A path of a container, and who answers for it.
struct Files {
    container: Arc<Container>,
    answering: Answering,
    path: String,
}

impl Files {
    async fn of(
        shared: &Arc<Shared>,
        id: &str,
        query: &std::collections::HashMap<String, String>,
    ) -> Result<Self, ApiError> {
        let container = find(&shared.registry, id)?;
        let path = query.get("path").map(String::as_str).unwrap_or_default();
        if path.is_empty() {
            return Err(ApiError::bad_request("path: which one?"));
        }
        Self::at(shared, container, path).await
    }

    async fn at(
        shared: &Arc<Shared>,
        container: Arc<Container>,
        path: &str,
    ) -> Result<Self, ApiError> {
        let answering = answering(shared, &container).await?;
        Ok(Self {
            container,
            answering,
            path: path.to_owned(),
        })
    }

    /// What is at the path, and the rest of the answer.
    async fn ask(&self, service: &str) -> Result<(Entry, Answer), ApiError> {
        let mut answer = Answer::new(ask(
            self.answering.machine(),
            service,
            vec![self.path.clone()],
        )?);
        match answer.next().await? {
            Some(Part::Entry(about)) => Ok((about, answer)),
            Some(Part::End(Err(failure))) => Err(self.failed(failure)),
            _ => Err(ApiError::server("its machine does not say what is there")),
        }
    }

    /// An archive of what is answered.
    fn body(self, answer: Answer, archive: Archive) -> Body {
        let Self {
            container,
            answering,
            path,
        } = self;
        let (pieces, body) = piecewise();
        tokio::spawn(async move {
            if let Err(error) = send(answer, archive, &pieces).await {
                tracing::warn!(id = container.id(), path, error, "copy broken off");
                // A client that has gone needs no word.
                let _ = pieces.send(Err(io::Error::other(error))).await;
            }
            drop(answering);
        });
        body
    }

    async fn put(
        &self,
        args: Vec<String>,
        mut pieces: mpsc::Receiver<upload::Piece>,
    ) -> Result<(), ApiError> {
        let asked = ask(self.answering.machine(), PUT, args)?;
        let mut end = Ok(());
        let mut open = true;
        while let Some(piece) = pieces.recv().await {
            match piece {
                Ok(bytes) => open = asked.write(&bytes).await.is_ok(),
                Err(text) => {
                    end = Err(Failure {
                        trouble: Trouble::Bad,
                        text,
                    })
                }
            }
            if !open || end.is_err() {
                break;
            }
        }
        // Where it takes no more, it says why.
        drop(pieces);
        if open {
            let mut bytes = Vec::new();
            write_end(&end, &mut bytes);
            let _ = asked.write(&bytes).await;
        }
        done(asked).await
    }

    fn failed(&self, failure: Failure) -> ApiError {
        let (path, name) = (&self.path, self.container.name());
        match failure.trouble {
            Trouble::NotFound => ApiError::not_found(format!(
                "Could not find the file {path} in container {name}"
            )),
            _ => failure.into(),
        }
    }
}

async fn send(mut answer: Answer, mut archive: Archive, pieces: &Pieces) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    loop {
        let part = answer.next().await.map_err(|error| text(&error))?;
        let mut out = Vec::new();
        let bytes = match part {
            None => return Err("its machine has not said that this is all".to_owned()),
            Some(Part::Entry(entry)) => {
                archive.entry(&entry, &mut out);
                Bytes::from(out)
            }
            Some(Part::Data(bytes)) => {
                archive.data(&bytes, &mut out);
                Bytes::from(out)
            }
            Some(Part::End(end)) => {
                end.map_err(|failure| failure.text)?;
                archive.end(&mut out);
                let _ = pieces.send(Ok(out.into())).await;
                return Ok(());
            }
        };
        if !bytes.is_empty() && pieces.send(Ok(bytes)).await.is_err() {
            // Nobody listens any more.
            return Ok(());
        }
    }
}

/// Docker's description of a path; modes are Go's (`io/fs`).
fn stat(about: &Entry) -> Result<HeaderValue, ApiError> {
    const BITS: [(Kind, u32); 6] = [
        (Kind::Folder, 1 << 31),
        (Kind::Symlink, 1 << 27),
        (Kind::Block, 1 << 26),
        (Kind::Character, 1 << 26 | 1 << 21),
        (Kind::Fifo, 1 << 25),
        (Kind::Socket, 1 << 24),
    ];
    const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let of_kind = BITS.iter().find(|(kind, _)| *kind == about.kind);
    let mut mode = about.mode & 0o777 | of_kind.map_or(0, |(_, bit)| *bit);
    for (own, bit) in SPECIAL {
        if about.mode & own != 0 {
            mode |= bit;
        }
    }
    let seconds = u64::try_from(about.mtime.0).unwrap_or_default();
    let changed = seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(about.mtime.1.into());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let told = json!({
        "name": text(&about.path),
        "size": about.size,
        "mode": mode,
        "mtime": rfc3339(changed),
        "linkTarget": text(&about.link),
    });
    HeaderValue::try_from(STANDARD.encode(told.to_string()))
        .map_err(|error| ApiError::server(error.to_string()))
}
