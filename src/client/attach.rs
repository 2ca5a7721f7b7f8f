//! `vch attach`.

use std::pin::pin;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::args::Attach;
use super::http::{Api, encode, is_gone};
use super::logs::{Output, has_tty};
use super::terminal::{self, RawTerminal};
use super::{ClientError, path, told_in_full};
use crate::listener::api::shape::Waited;
use crate::listener::detach::DetachKeys;

/// Bytes of output taken at a time.
const READ_BYTES: usize = 64 * 1024;
/// What shells add to the number of the signal that ended a program.
const SIGNAL_STATUS: i32 = 128;

/// What ended the client.
pub(super) enum End {
    /// The container's output.
    Output,
    /// The detach keys.
    Detached,
    /// This signal.
    Signal(i32),
}

pub(super) async fn attach(api: &Api, options: &Attach) -> Result<u8, ClientError> {
    let name = &options.container;
    let base = path(name);
    let details: Value = api.json("GET", &format!("{base}/json")).await?;
    let status = text(&details, "/State/Status");
    if matches!(status, "exited" | "dead") && !options.replay {
        return Err(ClientError::Refused(format!(
            "container {name} does not run ({status}); `vch logs {name}` shows its output"
        )));
    }
    // Asked first: the status is known even if the container is removed at once.
    let waiting = tokio::spawn({
        let (api, path) = (api.clone(), format!("{base}/wait"));
        async move { api.json::<Waited>("POST", &path).await }
    });
    let access = if options.no_stdin {
        "read-only"
    } else {
        &options.access
    };
    let query = format!(
        "stream=1&stdout=1&stderr=1&access={access}&logs={}&detachKeys={}",
        u8::from(options.replay),
        encode(&options.detach_keys)
    );
    let taken = api
        .take_over(&format!("{base}/attach?{query}"), None)
        .await?;
    if taken.read_only && access == "read-only-ok" {
        eprintln!("vch: another client types to {name} alone: this one watches");
    }
    // The listener answers once it knows the session.
    let details: Value = api.json("GET", &format!("{base}/json")).await?;
    let open = details
        .pointer("/Config/OpenStdin")
        .and_then(Value::as_bool)
        == Some(true);
    let session = Session {
        api,
        base: &base,
        tty: has_tty(&details),
        stdin: Stdin::typed_if(!taken.read_only && terminal::may_read_stdin() && open),
        keys: options.detach_keys.parse().unwrap_or_default(),
    };
    let end = session.run(taken.socket, &taken.early).await?;
    match end {
        End::Output => {
            let waited = waiting
                .await
                .map_err(|e| ClientError::Setup(e.to_string()))??;
            told_in_full(name, &waited);
            // As a process's own status: the low eight bits.
            Ok((waited.status_code & 0xff) as u8)
        }
        End::Detached => {
            eprintln!("vch: detached from {name}, which goes on");
            Ok(0)
        }
        End::Signal(number) => Ok(signal_status(number)),
    }
}

/// The status of a client that a signal has ended.
pub(super) fn signal_status(number: i32) -> u8 {
    u8::try_from(SIGNAL_STATUS + number).unwrap_or(u8::MAX)
}

fn text<'a>(details: &'a Value, pointer: &str) -> &'a str {
    details
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What a client sends to a session's stdin.
pub(super) enum Stdin {
    /// Nothing: another one may.
    Closed,
    /// What is typed, or piped into this client.
    Typed,
    /// These bytes, and their end.
    Bytes(Arc<[u8]>),
}

impl Stdin {
    /// What is typed, if this client may send anything.
    pub(super) fn typed_if(open: bool) -> Self {
        if open { Self::Typed } else { Self::Closed }
    }
}

/// This client's end of a session's streams.
pub(super) struct Session<'a> {
    pub(super) api: &'a Api,
    /// Path of what has the terminal: `/containers/ID`, `/exec/ID`.
    pub(super) base: &'a str,
    pub(super) tty: bool,
    /// What goes to the container.
    pub(super) stdin: Stdin,
    pub(super) keys: DetachKeys,
}

impl Session<'_> {
    /// Until the output has ended, or the client.
    pub(super) async fn run(
        &self,
        socket: tokio::net::UnixStream,
        early: &[u8],
    ) -> Result<End, ClientError> {
        let (mut from, mut to) = socket.into_split();
        let mut signals = Signals::catch()?;
        let terminal = if self.tty && matches!(self.stdin, Stdin::Typed) {
            RawTerminal::enter()?
        } else {
            None
        };
        if self.tty {
            // A change and back: a shell redraws its line for a client that has just come.
            if let Some((rows, columns)) = terminal::size() {
                self.resize(rows.saturating_add(1), columns.saturating_add(1))
                    .await;
                self.resize(rows, columns).await;
            }
        }
        let output = pin!(self.output(early, &mut from));
        let input = pin!(self.input(&mut to, terminal.is_some()));
        let interrupted = pin!(signals.run(self, terminal.as_ref()));
        tokio::select! {
            shown = output => shown.map(|()| End::Output),
            () = input => Ok(End::Detached),
            number = interrupted => Ok(End::Signal(number)),
        }
        // The terminal is restored here, before anything is said or the process ends.
    }

    async fn output(&self, early: &[u8], from: &mut OwnedReadHalf) -> Result<(), ClientError> {
        let mut output = Output::new(self.tty);
        output.show(early).await?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match from.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => output.show(&buffer[..count]).await?,
                // The wait tells what became of the listener or the container.
                Err(e) if is_gone(&e) => break,
                Err(e) => return Err(e.into()),
            }
        }
        output.finish().map(|_| ())
    }

    /// Sends what is typed; ends only when the detach keys were.
    async fn input(&self, to: &mut OwnedWriteHalf, raw: bool) {
        let source = match &self.stdin {
            Stdin::Closed => None,
            Stdin::Typed => Some(terminal::typed()),
            Stdin::Bytes(bytes) => Some(pieces(bytes.clone())),
        };
        if let Some(mut typed) = source {
            if self.send(&mut typed, to, raw).await {
                return;
            }
            // Without a terminal the process's stdin ends with ours. A session's terminal has no
            // end of input: a script that had something to type still sees the rest.
            if !self.tty
                && let Err(error) = to.shutdown().await
            {
                tracing::debug!(%error, "end of stdin not sent");
            }
        }
        std::future::pending().await
    }

    /// True: the detach keys were typed. False: nothing more is to be sent.
    async fn send(
        &self,
        typed: &mut mpsc::Receiver<Vec<u8>>,
        to: &mut OwnedWriteHalf,
        raw: bool,
    ) -> bool {
        let mut keys = raw.then(|| self.keys.clone());
        while let Some(piece) = typed.recv().await {
            let (passed, detached) = match &mut keys {
                Some(keys) => {
                    let mut passed = Vec::new();
                    let detached = keys.filter(&piece, &mut passed);
                    (passed, detached)
                }
                None => (piece, false),
            };
            if to.write_all(&passed).await.is_err() {
                // The listener takes no more; its output's end will say why.
                return false;
            }
            if detached {
                return true;
            }
        }
        false
    }

    async fn resize(&self, rows: u16, columns: u16) {
        let path = format!("{}/resize?h={rows}&w={columns}", self.base);
        // A VM that is away for a moment shows the old size; nothing else is lost.
        if let Err(error) = self.api.call("POST", &path).await {
            tracing::debug!(%error, "size not set");
        }
    }
}

/// The bytes, as if they were typed.
fn pieces(bytes: Arc<[u8]>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in bytes.chunks(READ_BYTES) {
            if sender.send(piece.to_vec()).await.is_err() {
                break;
            }
        }
    });
    receiver
}

/// The signals that end a client, and those that concern its terminal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    resized: Signal,
    continued: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resized: signal(SignalKind::window_change())?,
            continued: signal(SignalKind::from_raw(nix::libc::SIGCONT))?,
        })
    }

    /// Looks after the terminal until a signal is to end the client: its number.
    async fn run(&mut self, session: &Session<'_>, terminal: Option<&RawTerminal>) -> i32 {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return SignalKind::terminate().as_raw_value(),
                _ = self.interrupt.recv() => return SignalKind::interrupt().as_raw_value(),
                _ = self.hangup.recv() => return SignalKind::hangup().as_raw_value(),
                _ = self.quit.recv() => return SignalKind::quit().as_raw_value(),
                _ = self.resized.recv() => {}
                _ = self.continued.recv() => {
                    if let Some(Err(error)) = terminal.map(RawTerminal::set) {
                        tracing::debug!(%error, "raw mode not set again");
                    }
                }
            }
            if let Some((rows, columns)) = terminal::size().filter(|_| session.tty) {
                session.resize(rows, columns).await;
            }
        }
    }
}
