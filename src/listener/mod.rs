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
mod events;
mod execs;
pub mod keys;
mod last_words;
mod lines;
mod log_stream;
pub mod machines;
mod metrics;
pub mod own_log;
mod registry;
pub mod signals;
pub mod size;
pub mod state_dir;
pub mod store;
pub mod strangers;
pub mod systemd;
pub mod tls;
mod vm;
pub mod vspc;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::accept::PortError;
use self::clock::Monotonic;
use self::execs::Execs;
use self::keys::Keys;
use self::machines::{MachineError, Machines};
use self::metrics::Counters;
use self::registry::{Registry, RegistryError};
use self::state_dir::{StateDir, StateDirError};
use self::store::Rotation;
use self::strangers::Strangers;
use self::systemd::{Handed, HandedError};
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
    /// It makes VMs itself.
    pub machines: Option<machines::Config>,
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
    /// What the service manager has handed over.
    #[error(transparent)]
    Handed(#[from] HandedError),
    /// The port.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The VMs that it makes.
    #[error(transparent)]
    Machines(#[from] MachineError),
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
    let signals = Signals::catch()?;
    state_dir::raise_descriptor_limit();
    state_dir::owner_only();
    let handed = Handed::take()?;
    let state = StateDir::lock(&config.state)?;
    let sockets = Sockets::open(&config, &state, handed).await?;
    let machines = match config.machines {
        Some(own) => Some(Arc::new(Machines::open(
            &config.state,
            own,
            sockets.vms_at,
        )?)),
        None => None,
    };
    let shared = Arc::new(Shared {
        registry: Registry::open(&state.containers(), config.rotation)?,
        execs: Execs::default(),
        clock: Monotonic::start(),
        lost_after: config.lost_after,
        keys: Keys::of(&config.state),
        allow_plain: config.allow_plain,
        moves: Moves::default(),
        strangers: Strangers::new(config.strangers_most),
        tls: Tls::open(config.tls)?,
        counters: Counters::default(),
        machines,
    });
    Machines::take_up(&shared).await?;
    for container in shared.registry.all() {
        shared.expect_back(&container, container.absence());
    }
    serve(sockets, &shared, signals).await
}

/// What it is reached by.
struct Sockets {
    vms: TcpListener,
    clients: UnixListener,
    api: Option<TcpListener>,
    /// Words for where they are.
    vms_at: SocketAddr,
    clients_at: String,
}

impl Sockets {
    async fn open(config: &Config, state: &StateDir, handed: Handed) -> Result<Self, ListenError> {
        let place = |port: &TcpListener| {
            port.local_addr().map_err(|source| ListenError::Process {
                action: "ask for a port's address",
                source,
            })
        };
        let vms = accept::open(config.port, handed.vms).await?;
        let vms_at = place(&vms)?;
        let mut clients_at = state.socket().display().to_string();
        let api = match (config.api, handed.api) {
            (None, None) => None,
            (address, handed) => {
                let port = accept::open(address.unwrap_or(config.port), handed).await?;
                clients_at = format!("{clients_at} and {}", place(&port)?);
                Some(port)
            }
        };
        Ok(Self {
            vms,
            clients: state.open_socket(handed.clients)?,
            api,
            vms_at,
            clients_at,
        })
    }
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    /// A limit on the size of files is then an error of the write, told and got over like a full
    /// disk, and not the end of the process.
    _file_limit: Signal,
}

impl Signals {
    fn catch() -> Result<Self, ListenError> {
        let catch =
            |kind, action| signal(kind).map_err(|source| ListenError::Process { action, source });
        Ok(Self {
            terminate: catch(SignalKind::terminate(), "catch SIGTERM")?,
            interrupt: catch(SignalKind::interrupt(), "catch SIGINT")?,
            reload: catch(SignalKind::hangup(), "catch SIGHUP")?,
            _file_limit: catch(SignalKind::from_raw(nix::libc::SIGXFSZ), "catch SIGXFSZ")?,
        })
    }
}

async fn serve(
    sockets: Sockets,
    shared: &Arc<Shared>,
    mut signals: Signals,
) -> Result<(), ListenError> {
    let (vms_at, clients_at) = (sockets.vms_at, sockets.clients_at);
    let mut out = io::stdout();
    writeln!(
        out,
        "listening on {vms_at} for VMs, on {clients_at} for clients"
    )
    .and_then(|()| out.flush())
    .map_err(|source| ListenError::Process {
        action: "write to stdout",
        source,
    })?;
    systemd::ready(&vms_at.to_string());
    let mut tasks = vec![
        tokio::spawn(systemd::watchdog()),
        tokio::spawn(accept::accept(sockets.vms, Arc::clone(shared))),
        tokio::spawn(api::serve(sockets.clients, Arc::clone(shared))),
    ];
    if let Some(port) = sockets.api {
        tasks.push(tokio::spawn(api::serve_tls(port, Arc::clone(shared))));
    }
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break tracing::info!("SIGTERM: ending"),
            _ = signals.interrupt.recv() => break tracing::info!("SIGINT: ending"),
            _ = signals.reload.recv() => {
                systemd::reloading();
                match shared.tls.reload() {
                    Ok(()) => tracing::info!("SIGHUP: the certificates are read again"),
                    Err(error) => {
                        tracing::error!(%error, "SIGHUP: the certificates stay as they were");
                    }
                }
                systemd::ready(&vms_at.to_string());
            }
        }
    }
    systemd::stopping();
    // Everything acknowledged is in the log; tasks hold nothing that must be saved.
    for task in tasks {
        task.abort();
    }
    Ok(())
}
