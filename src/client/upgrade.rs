//! `vch upgrade`.

use super::ClientError;
use super::args::Upgrade;
use super::attach::Stdin;
use super::exec::with_process_1;
use super::http::Api;
use crate::listener::api::exec::{Create, digest};

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
    let stdin = Stdin::Bytes(program.into());
    with_process_1(api, &options.container, &create, stdin).await
}
