//! Options of `vch listen`.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::image::Registries;
use crate::listener::store::Rotation;
use crate::listener::tls::Files;
use crate::listener::{Config, machines, size};

/// Smallest `--log-size`, in bytes: two reads of a VM's port.
const LOG_SIZE_LEAST: u64 = 256 * 1024;

/// VMware's step of memory, in MiB.
const MEMORY_STEP_MIB: u64 = 4;
/// Disks are whole blocks of this, in bytes.
const DISK_STEP: u64 = 1 << 20;

/// Options of `vch listen`.
#[derive(Debug, Args)]
#[command(
    after_help = "The port takes a VM's serial port as a plain TCP connection, and as VMware's virtual serial port
concentrator does, in telnet with the extension that vMotion needs; each connection is told apart by
its first bytes.

On ESXi, in the .vmx:
  serial0.fileType = \"network\"
  serial0.network.endPoint = \"client\"
  serial0.fileName = \"tcp://appliance:8080\"         plain; or, over vMotion:
  serial0.vspc = \"telnet://appliance:8080\"

Example, with a VM of QEMU:
  vch listen --port 127.0.0.1:8080 --state /tmp/vch &
  qemu-system-x86_64 … -chardev socket,id=s0,host=127.0.0.1,port=8080,reconnect-ms=1000 \\
      -device isa-serial,chardev=s0"
)]
pub struct Listen {
    /// Port that the VMs' serial ports connect to, plainly or through a proxy: ADDRESS:PORT, or PORT on
    /// 127.0.0.1.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = port)]
    pub port: SocketAddr,
    /// Seconds without link after which a VM is given up: its exit is shown as far as it is known,
    /// else it counts as lost. One that comes back is taken up again.
    #[arg(long, value_name = "SECONDS", default_value_t = crate::listener::LOST_AFTER.as_secs())]
    pub lost_after: u64,
    /// Let VMs in that have no link key, where none is known of them: their output is neither secret nor
    /// proven to be theirs. A VM whose key is known is never let in without it.
    #[arg(long)]
    pub allow_plain: bool,
    /// A container's output is kept in files of this size: bytes, or a number with k, m or g.
    #[arg(long, value_name = "SIZE", default_value = "64m", value_parser = log_size)]
    pub log_size: u64,
    /// So many of these files are kept for each container, the newest; 0: all. A client that is behind
    /// is told how much was deleted before it came to it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub log_files: usize,
    /// Connections of one address on which no VM has proved itself yet, at most; 0: no limit. More are
    /// closed at once.
    #[arg(long, value_name = "N", default_value_t = crate::listener::strangers::MOST)]
    pub strangers: usize,
    /// Certificate of the listener, PEM, with those that lead to its root: a connection that begins with
    /// TLS gets it, whatever it speaks inside. SIGHUP reads it again.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Ask for certificates on the port for VMs: what comes in TLS without one that these have signed is
    /// refused, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub vm_ca: Option<PathBuf>,
    /// Port for clients of the API in TLS, docker's command line for one, besides the socket in the state
    /// folder. For those with a certificate: see --client-ca, and --api-anyone.
    #[arg(long, value_name = "ADDRESS", value_parser = port, requires = "api_clients")]
    pub api: Option<SocketAddr>,
    /// Those who may sign the certificates of the API's clients, PEM: whoever has one may do everything.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        group = "api_clients"
    )]
    pub client_ca: Option<PathBuf>,
    /// Serve the API on TCP to clients without a certificate, too: in TLS, and whoever reaches its port may do
    /// everything. For networks in which that is so on purpose.
    #[arg(long, requires = "tls_cert", requires = "api", group = "api_clients")]
    pub api_anyone: bool,
    /// Make VMs as well, which boot from this medium (bootstrap.iso): docker's create, run and pull work then. Needs
    /// vmx beside this program, and QEMU, qemu-img and mke2fs.
    #[arg(long, value_name = "FILE")]
    pub iso: Option<PathBuf>,
    /// MiB of memory of a VM for which nobody says another number (docker run --memory).
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "iso", value_parser = clap::value_parser!(u64).range(64..))]
    pub memory: u64,
    /// Size of containers' disks; of it, only what is written takes room.
    #[arg(long, value_name = "SIZE", default_value = "8g", requires = "iso", value_parser = size::bytes)]
    pub disk_size: u64,
    /// VMs that may be on at once; 0: as many as this machine takes.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "iso")]
    pub machines_most: usize,
    /// A registry that speaks plain HTTP, HOST:PORT (repeat it for each). Those on this machine may, too.
    #[arg(long, value_name = "REGISTRY", requires = "iso")]
    pub plain_registry: Vec<String>,
    /// Asked before Docker Hub: HOST:PORT (repeat it for each, in their order).
    #[arg(long, value_name = "REGISTRY", requires = "iso")]
    pub registry_mirror: Vec<String>,
    /// How the daemon writes its own log on stderr; VCH_LOG sets what (error, warn, info, debug).
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How the daemon writes its own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Listen {
    /// What the daemon is to do, with its state in this folder.
    #[must_use]
    pub fn config(self, state: PathBuf) -> Config {
        let certificate = self.tls_cert.zip(self.tls_key);
        let machines = self.iso.map(|medium| machines::Config {
            medium,
            memory_mib: self.memory.next_multiple_of(MEMORY_STEP_MIB),
            disk_bytes: self.disk_size.next_multiple_of(DISK_STEP),
            most: self.machines_most,
            registries: Registries {
                plain: self.plain_registry,
                mirrors: self.registry_mirror,
            },
        });
        Config {
            port: self.port,
            state,
            lost_after: Duration::from_secs(self.lost_after),
            allow_plain: self.allow_plain,
            rotation: Rotation {
                segment_bytes: self.log_size,
                segments_most: NonZeroUsize::new(self.log_files),
            },
            strangers_most: self.strangers,
            api: self.api,
            tls: certificate.map(|(certificate, key)| Files {
                certificate,
                key,
                vm_ca: self.vm_ca,
                client_ca: self.client_ca,
                api_anyone: self.api_anyone,
            }),
            machines,
        }
    }
}

fn log_size(text: &str) -> Result<u64, String> {
    let bytes = size::bytes(text)?;
    if bytes < LOG_SIZE_LEAST {
        return Err("expected at least 256k".to_owned());
    }
    Ok(bytes)
}

fn port(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    let whole = if text.bytes().all(|b| b.is_ascii_digit()) {
        format!("127.0.0.1:{text}")
    } else {
        text.to_owned()
    };
    let expected = "expected ADDRESS:PORT as in 127.0.0.1:8080, or a PORT";
    let mut found = whole
        .to_socket_addrs()
        .map_err(|e| format!("{expected} ({e})"))?;
    found.next().ok_or_else(|| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_written_as_the_vmx_writes_it() {
        let local = |port| Ok(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(port("8080"), local(8080));
        assert_eq!(port("127.0.0.1:8080"), local(8080));
        assert_eq!(port("tcp://127.0.0.1:8080"), local(8080));
        for bad in ["", "127.0.0.1", "x:y", "99999"] {
            assert!(port(bad).is_err(), "{bad:?}");
        }
    }
}
