//! `vch upgrade`.

use serde_json::json;

use super::args::Upgrade;
use super::attach::{End, Session, Stdin, signal_status};
use super::exec::status;
use super::http::{Api, encode};
use super::{ClientError, path};
use crate::listener::api::exec::{Create, Created, digest};

/// Sends the program; 0: it has taken over.
pub(super) async fn upgrade(api: &Api, options: &Upgrade) -> Result<u8, ClientError> {
    let program = tokio::fs::read(&options.file)
        .await
        .map_err(|error| ClientError::Setup(format!("{}: {error}", options.file.display())))?;
    let create = Create {
        upgrade: digest(&program),
        attach_stdin: true,
        attach_stdout: true,
        ..Create::default()
    };
    let created: Created = api
        .post(&format!("{}/exec", path(&options.container)), &create)
        .await?;
    let base = format!("/exec/{}", encode(&created.id));
    let body = json!({});
    let taken = api.take_over(&format!("{base}/start"), Some(&body)).await?;
    let session = Session {
        api,
        base: &base,
        tty: false,
        stdin: Stdin::Bytes(program.into()),
        keys: Default::default(),
    };
    match session.run(taken.socket, &taken.early).await? {
        End::Signal(number) => Ok(signal_status(number)),
        End::Output | End::Detached => status(api, &base).await,
    }
}
