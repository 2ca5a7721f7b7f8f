//! `vch logs`.

use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::args::Logs;
use super::demux::{Demux, Target};
use super::http::{Api, encode, next_piece};
use super::{ClientError, STATUS_FAILED, path};

pub(super) async fn logs(api: &Api, options: &Logs) -> Result<u8, ClientError> {
    let base = path(&options.container);
    let details: Value = api.json("GET", &format!("{base}/json")).await?;
    let mut query = format!("stdout=1&stderr=1&tail={}", options.tail);
    for (name, on) in [
        ("follow", options.follow),
        ("timestamps", options.timestamps),
    ] {
        query += &format!("&{name}={}", u8::from(on));
    }
    for (name, time) in [("since", &options.since), ("until", &options.until)] {
        if let Some(time) = time {
            query += &format!("&{name}={}", encode(time));
        }
    }
    let mut body = api
        .call("GET", &format!("{base}/logs?{query}"))
        .await?
        .into_body();
    let mut output = Output::new(has_tty(&details));
    while let Some(piece) = next_piece(&mut body).await? {
        output.show(&piece).await?;
    }
    output.finish()
}

/// True when the container's output is one raw stream.
pub(super) fn has_tty(details: &Value) -> bool {
    details
        .pointer("/Config/Tty")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// Puts a container's output where it belongs.
pub(super) struct Output {
    demux: Option<Demux>,
    stdout: tokio::io::Stdout,
    stderr: tokio::io::Stderr,
    /// The listener had something to say.
    warned: bool,
}

impl Output {
    /// `raw`: one stream without frames, of a terminal.
    pub(super) fn new(raw: bool) -> Self {
        Self {
            demux: (!raw).then(Demux::default),
            stdout: tokio::io::stdout(),
            stderr: tokio::io::stderr(),
            warned: false,
        }
    }

    /// Shows these bytes; when it returns they are out.
    pub(super) async fn show(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let Some(demux) = &mut self.demux else {
            return write(&mut self.stdout, bytes).await;
        };
        // Frames may be as short as a line each: what goes the same way goes in one call.
        let mut parts: Vec<(Target, Vec<u8>)> = Vec::new();
        demux
            .feed(bytes, |target, part| match parts.last_mut() {
                Some((last, joined)) if *last == target && target != Target::System => {
                    joined.extend_from_slice(part);
                }
                _ => parts.push((target, part.to_vec())),
            })
            .map_err(|e| ClientError::Answer(e.to_string()))?;
        for (target, part) in parts {
            match target {
                Target::Stdout => write(&mut self.stdout, &part).await?,
                Target::Stderr => write(&mut self.stderr, &part).await?,
                Target::System => {
                    self.warned = true;
                    let text = String::from_utf8_lossy(&part);
                    write(&mut self.stderr, format!("vch: {text}\n").as_bytes()).await?;
                }
            }
        }
        Ok(())
    }

    /// The stream has ended: the status of a command that only shows it.
    pub(super) fn finish(&self) -> Result<u8, ClientError> {
        if self.demux.as_ref().is_some_and(|demux| !demux.is_whole()) {
            return Err(ClientError::Answer(
                "the output was cut in the middle".to_owned(),
            ));
        }
        Ok(if self.warned { STATUS_FAILED } else { 0 })
    }
}

async fn write(out: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), ClientError> {
    out.write_all(bytes).await?;
    // The last bytes before an exit would be lost in tokio's buffer otherwise.
    out.flush().await?;
    Ok(())
}
