//! HTTP over the listener's unix socket: one connection a request.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::UnixStream;

use super::ClientError;
use crate::listener::api::attach::ACCESS;

/// The listener's API.
#[derive(Clone, Debug)]
pub(super) struct Api {
    socket: PathBuf,
}

/// A connection that is the client's.
pub(super) struct TakenOver {
    pub(super) socket: UnixStream,
    /// What came on it behind the answer.
    pub(super) early: Bytes,
    /// What is typed goes nowhere.
    pub(super) read_only: bool,
}

impl Api {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks, and checks that the answer is none of an error.
    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
    ) -> Result<Response<Incoming>, ClientError> {
        self.request(method, path, None, false).await
    }

    /// Posts JSON, and reads the whole answer as JSON.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = self.request("POST", path, Some(json(body)?), false).await?;
        let bytes = answer.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Answer(format!("{path}: {e}")))
    }

    /// Asks, and reads the whole answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
    ) -> Result<T, ClientError> {
        let answer = self.call(method, path).await?;
        let bytes = answer.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Answer(format!("{path}: {e}")))
    }

    /// Posts JSON; there is nothing in the answer.
    pub(super) async fn post_alone(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), ClientError> {
        self.request("POST", path, Some(json(body)?), false).await?;
        Ok(())
    }

    /// Asks for the connection itself.
    pub(super) async fn take_over(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<TakenOver, ClientError> {
        let body = body.map(json).transpose()?;
        let answer = self.request("POST", path, body, true).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::Answer(format!("{path}: {}", answer.status())));
        }
        let read_only = answer
            .headers()
            .get(ACCESS)
            .is_some_and(|access| access == "read-only");
        let upgraded = hyper::upgrade::on(answer).await?;
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .map_err(|_| ClientError::Answer(format!("{path}: not the socket that asked")))?;
        Ok(TakenOver {
            socket: parts.io.into_inner(),
            early: parts.read_buf,
            read_only,
        })
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Bytes>,
        take_over: bool,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::NoListener {
                    socket: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer; a failure shows in the answer too.
        tokio::spawn(async move { connection.with_upgrades().await });
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|e| ClientError::Answer(e.to_string()))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "vch");
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                body
            }
            None => Bytes::new(),
        };
        request = request.header(CONTENT_LENGTH, body.len());
        if take_over {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let request = request
            .body(Full::new(body))
            .map_err(|e| ClientError::Answer(format!("{path}: {e}")))?;
        let answer = sender.send_request(request).await?;
        if answer.status().is_client_error() || answer.status().is_server_error() {
            return Err(refusal(answer).await);
        }
        Ok(answer)
    }
}

fn json(body: &impl Serialize) -> Result<Bytes, ClientError> {
    let json = serde_json::to_vec(body);
    json.map(Bytes::from)
        .map_err(|e| ClientError::Answer(e.to_string()))
}

async fn refusal(answer: Response<Incoming>) -> ClientError {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let status = answer.status();
    match answer.into_body().collect().await {
        Ok(body) => match serde_json::from_slice::<Refusal>(&body.to_bytes()) {
            Ok(refusal) => ClientError::Refused(refusal.message),
            Err(_) => ClientError::Answer(status.to_string()),
        },
        Err(error) => error.into(),
    }
}

/// Bytes of a body as they come.
pub(super) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Text as a part of a path or query.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// True when the other side has simply gone: it has told why elsewhere.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_path_cannot_leave_its_place() {
        assert_eq!(encode("jolly_panini-1.x"), "jolly_panini-1.x");
        assert_eq!(encode("a/../b?c d%"), "a%2F..%2Fb%3Fc%20d%25");
    }
}
