//! The service manager: sockets that it hands over, and what it is told. Nothing of it is needed.

use std::env;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Names of the sockets (`FileDescriptorName=`), in the order that counts where there are no names.
const NAMES: [&str; 3] = ["vms", "clients", "api"];
/// The unit files, by name.
const UNITS: [(&str, &str); 3] = [
    ("vch.service", include_str!("vch.service")),
    ("vch.socket", include_str!("vch.socket")),
    ("vch-clients.socket", include_str!("vch-clients.socket")),
];

/// Sockets that were handed over: open before this process was, and after it.
#[derive(Debug, Default)]
pub struct Handed {
    /// The port for VMs.
    pub vms: Option<TcpListener>,
    /// The socket for clients on this machine.
    pub clients: Option<UnixListener>,
    /// The port for the API's clients.
    pub api: Option<TcpListener>,
}

/// Why what was handed over is no good.
#[derive(Debug, thiserror::Error)]
pub enum HandedError {
    /// A name that is not known.
    #[error("a socket called {0:?} was handed over: FileDescriptorName is vms, clients or api")]
    Name(String),
    /// It is of another kind.
    #[error("the socket called {name:?} that was handed over: {source}")]
    Kind {
        /// Its name.
        name: String,
        /// What is wrong.
        source: io::Error,
    },
}

impl Handed {
    /// Takes what the service manager has opened (`LISTEN_FDS`, sd_listen_fds(3)).
    ///
    /// # Errors
    /// A socket of another name or kind.
    pub fn take() -> Result<Self, HandedError> {
        // Read first: taking them clears the variables, so that no child takes them for its own.
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut handed = Self::default();
        for index in 0..sockets.len() {
            let name = names
                .split(':')
                .nth(index)
                .filter(|name| !matches!(*name, "" | "unknown" | "connection"))
                .or_else(|| NAMES.get(index).copied())
                .unwrap_or_default();
            let kind = |source| HandedError::Kind {
                name: name.to_owned(),
                source,
            };
            match name {
                "vms" => handed.vms = sockets.take_tcp_listener(index).map_err(kind)?,
                "clients" => handed.clients = sockets.take_unix_listener(index).map_err(kind)?,
                "api" => handed.api = sockets.take_tcp_listener(index).map_err(kind)?,
                other => return Err(HandedError::Name(other.to_owned())),
            }
        }
        Ok(handed)
    }
}

/// Tells the service manager how it goes (sd_notify(3)); without one, nobody.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager is not told");
    }
}

/// All sockets are open.
pub fn ready(address: &str) {
    tell(&[
        NotifyState::Ready,
        NotifyState::Status(&format!("takes VMs on {address}")),
    ]);
}

/// The certificates are being read again.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager is not told"),
    }
}

/// It ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that it is alive as often as the service manager wants (`WatchdogSec=`), for ever.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
}

/// Writes the unit files into a folder, for the program as it is now: their paths.
///
/// # Errors
/// They cannot be written; files that are there already are not replaced.
pub fn write_units(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let program = env::current_exe()?;
    let mut written = Vec::new();
    for (name, text) in UNITS {
        let path = dir.join(name);
        let text = text.replace("@VCH@", &program.to_string_lossy());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}
