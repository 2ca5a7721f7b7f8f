//! The port that VMs connect their serial ports to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::vm::{Shared, serve};

/// Pause after a failed accept (no descriptors left): others may close some meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Somebody else has it.
    #[error(
        "port {0} is in use by another program: end that one (`ss -ltnp 'sport = :{port}'` names \
         it), or choose another port with --port",
        port = .0.port()
    )]
    InUse(SocketAddr),
    /// Anything else.
    #[error("listen on {address}: {source}")]
    Io {
        /// The port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The port that was handed over, or else opens it. One that this program's predecessor has just left is no obstacle.
///
/// # Errors
/// It is in use, or not ours to open.
pub async fn open(
    address: SocketAddr,
    handed: Option<std::net::TcpListener>,
) -> Result<TcpListener, PortError> {
    if let Some(port) = handed {
        return port
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(port))
            .map_err(|source| PortError::Io { address, source });
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => PortError::InUse(address),
            _ => PortError::Io { address, source },
        })
}

/// Accepts VMs for ever.
pub async fn accept(port: TcpListener, shared: Arc<Shared>) {
    loop {
        match port.accept().await {
            Ok((socket, peer)) => {
                if let Some(stranger) = shared.strangers.enter(peer.ip()) {
                    shared.counters.accepted.add(1);
                    tokio::spawn(serve(socket, peer, stranger, Arc::clone(&shared)));
                } else {
                    shared.counters.turned_away.add(1);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
