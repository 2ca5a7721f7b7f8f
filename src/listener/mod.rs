//! The appliance's daemon: takes the links of containerVMs, keeps what they send, serves it.
//!
//! ```text
//!  VM ══ TCP ══▶ accept ▶ vm (one task a connection, owns a Link) ▶ container ▶ store
//!                                                                      │          │
//!  client ◀═ unix socket ═ api ◀ log_stream (one position a client) ◀──┴── lines ◀┘
//! ```
//! What comes from a VM goes into the log first and is acknowledged then; clients read the log,
//! each at its own pace. No client can hold up a VM, another client or the log.

pub mod accept;
pub mod api;
mod clock;
pub mod container;
pub mod detach;
mod execs;
pub mod keys;
mod lines;
mod log_stream;
pub mod own_log;
mod registry;
pub mod signals;
pub mod state_dir;
pub mod store;
pub mod strangers;
pub mod tls;
mod vm;
pub mod vspc;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use self::accept::PortError;
use self::clock::Monotonic;
use self::execs::Execs;
use self::keys::Keys;
use self::registry::{Registry, RegistryError};
use self::state_dir::{StateDir, StateDirError};
use self::store::Rotation;
use self::strangers::Strangers;
use self::tls::{Tls, TlsError};
use self::vm::{Moves, Shared};

/// A VM without link is given up after this, unless told otherwise.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// What `vch listen` is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port for the VMs.
    pub port: SocketAddr,
    /// State folder.
    pub state: PathBuf,
    /// A VM without link is given up after this.
    pub lost_after: Duration,
    /// VMs without a link key are let in, where none is known of them.
    pub allow_plain: bool,
    /// How much of each container's output is kept.
    pub rotation: Rotation,
    /// Connections of one address that no VM has proved itself on, at most; 0: no limit.
    pub strangers_most: usize,
    /// Port for clients of the API, besides the socket in the state folder.
    pub api: Option<SocketAddr>,
    /// The listener's certificate, if it has one.
    pub tls: Option<tls::Files>,
}

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// The containers in it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Something of the process itself.
    #[error("{action}: {source}")]
    Process {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs the listener until SIGTERM or SIGINT.
///
/// # Errors
/// It could not start.
pub async fn run(config: Config) -> Result<(), ListenError> {
    let process = |action| move |source| ListenError::Process { action, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(process("catch SIGTERM"))?;
    let mut reload = signal(SignalKind::hangup()).map_err(process("catch SIGHUP"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(process("catch SIGINT"))?;
    // A limit on the size of files is then an error of the write, told and got over like a full
    // disk, and not the end of the process.
    let _file_limit =
        signal(SignalKind::from_raw(nix::libc::SIGXFSZ)).map_err(process("catch SIGXFSZ"))?;
    state_dir::raise_descriptor_limit();
    state_dir::owner_only();

    let state = StateDir::lock(&config.state)?;
    let port = accept::bind(config.port).await?;
    let address = port
        .local_addr()
        .map_err(process("ask for the port's address"))?;
    let api_port = match config.api {
        Some(address) => Some(accept::bind(address).await?),
        None => None,
    };
    let registry = Registry::open(&state.containers(), config.rotation)?;
    let socket = state.bind_socket()?;
    let shared = Arc::new(Shared {
        registry,
        execs: Execs::default(),
        clock: Monotonic::start(),
        lost_after: config.lost_after,
        keys: Keys::of(&config.state),
        allow_plain: config.allow_plain,
        moves: Moves::default(),
        strangers: Strangers::new(config.strangers_most),
        tls: Tls::open(config.tls)?,
    });
    for container in shared.registry.all() {
        shared.expect_back(&container, container.absence());
    }

    let mut out = io::stdout();
    let also = api_port
        .as_ref()
        .and_then(|port| port.local_addr().ok())
        .map_or_else(String::new, |address| format!(" and {address}"));
    writeln!(
        out,
        "listening on {address} for VMs, on {}{also} for clients",
        state.socket().display()
    )
    .and_then(|()| out.flush())
    .map_err(process("write to stdout"))?;

    let reloading = Arc::clone(&shared);
    let vms = tokio::spawn(accept::accept(port, Arc::clone(&shared)));
    if let Some(port) = api_port {
        // Ends with the runtime, as connections do.
        tokio::spawn(api::serve_tls(port, Arc::clone(&shared)));
    }
    let clients = tokio::spawn(api::serve(socket, shared));
    loop {
        tokio::select! {
            _ = terminate.recv() => break tracing::info!("SIGTERM: ending"),
            _ = interrupt.recv() => break tracing::info!("SIGINT: ending"),
            _ = reload.recv() => match reloading.tls.reload() {
                Ok(()) => tracing::info!("SIGHUP: the certificates are read again"),
                Err(error) => tracing::error!(%error, "SIGHUP: the certificates stay as they were"),
            },
        }
    }
    // Everything acknowledged is in the log; tasks hold nothing that must be saved.
    vms.abort();
    clients.abort();
    Ok(())
}
