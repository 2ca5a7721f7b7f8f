//! `vmx switch`: a network that machines share. Each connection with the socket in its folder is a machine's cable:
//! frames behind their length (four bytes, big-endian), as QEMU's `-netdev stream` has them. A length of 0 means that
//! the names have changed; it comes back when they are in use.
//!
//! It ends by itself when nobody has been plugged in for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UdpSocket, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::lan::{FRAME_MOST, Lan, Names, Out, Port, Question};

/// The socket in a network's folder.
pub const SOCKET: &str = "switch";
/// Who is on it, as [`Names`].
pub const NAMES: &str = "names.json";
/// Nobody has been plugged in for so long: it ends.
const IDLE_MOST: Duration = Duration::from_secs(60);
/// Frames that wait for a machine that does not take them; the next ones are lost, as on any switch.
const FRAMES_MOST: usize = 512;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 << 10;
/// A server outside has answered by then, or the next one is asked.
const ANSWER_MOST: Duration = Duration::from_secs(2);
/// Where the host's servers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Bytes of a DNS message in a datagram, with the extension of RFC 6891.
const MESSAGE_MOST: usize = 4096;

/// The command line of `vmx switch`.
#[derive(Clone, Debug, clap::Args)]
pub struct SwitchOptions {
    /// The network's folder: its socket is made there
    pub folder: PathBuf,
    /// The network's name: machines have names below it
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Own address on the network, which answers DNS, and bits of the network's prefix: 172.18.0.1/16
    #[arg(long, value_name = "ADDRESS/BITS", value_parser = address)]
    pub address: (Ipv4Addr, u8),
    /// Names of elsewhere are not asked for
    #[arg(long)]
    pub internal: bool,
}

fn address(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let expected = || String::from("expected an address and bits, as 172.18.0.1/16");
    let (address, bits) = text.split_once('/').ok_or_else(expected)?;
    let address = address.parse().map_err(|_| expected())?;
    let bits: u8 = bits.parse().map_err(|_| expected())?;
    if bits > 32 {
        Err(expected())
    } else {
        Ok((address, bits))
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The socket.
    #[error("socket {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel gives no event loop.
    #[error("start: {0}")]
    Runtime(io::Error),
}

/// Serves a network until nobody is on it.
///
/// # Errors
/// Another one serves it, or the socket cannot be made.
pub fn switch(options: &SwitchOptions) -> Result<(), SwitchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SwitchError::Runtime)?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, serve(options))
}

async fn serve(options: &SwitchOptions) -> Result<(), SwitchError> {
    let path = options.folder.join(SOCKET);
    let failed = |source| SwitchError::Socket {
        path: path.clone(),
        source,
    };
    let listener = bind(&path).map_err(failed)?;
    let (own, bits) = options.address;
    let mut lan = Lan::new(&options.name, own, bits, !options.internal);
    let names = options.folder.join(NAMES);
    lan.set_names(read_names(&names));
    let switch = Rc::new(Switch {
        began: Instant::now(),
        names,
        state: RefCell::new(State {
            lan,
            cables: HashMap::new(),
            ticks: false,
        }),
    });
    let mut number = 0;
    loop {
        match timeout(IDLE_MOST, listener.accept()).await {
            Ok(Ok((cable, _))) => {
                number += 1;
                spawn_local(Rc::clone(&switch).plugged_in(Port(number), cable));
            }
            // Without descriptors for another cable: those that are there go on.
            Ok(Err(error)) => {
                eprintln!("vmx: {}: {error}", path.display());
                sleep(ANSWER_MOST).await;
            }
            Err(_) if switch.state.borrow().cables.is_empty() => break,
            Err(_) => {}
        }
    }
    // Gone already is as well.
    let _ = std::fs::remove_file(&path);
    Ok(())
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // Of one that was killed.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Nobody has a name until that is said.
fn read_names(path: &Path) -> Names {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            eprintln!("vmx: {}: {error}: no machine has a name", path.display());
            Names::default()
        }),
        Err(_) => Names::default(),
    }
}

struct Switch {
    began: Instant,
    names: PathBuf,
    state: RefCell<State>,
}

struct State {
    lan: Lan,
    cables: HashMap<Port, mpsc::Sender<Arc<[u8]>>>,
    /// A tick is on its way.
    ticks: bool,
}

impl Switch {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn plugged_in(self: Rc<Self>, port: Port, cable: UnixStream) {
        let (read, write) = cable.into_split();
        let (frames, waiting) = mpsc::channel(FRAMES_MOST);
        {
            let mut state = self.state.borrow_mut();
            state.lan.joined(port);
            state.cables.insert(port, frames.clone());
        }
        let writes = spawn_local(write_frames(write, waiting));
        // However it ends, the cable is out.
        let _ = self.read_frames(port, read, &frames).await;
        writes.abort();
        let mut state = self.state.borrow_mut();
        state.lan.left(port);
        state.cables.remove(&port);
    }

    async fn read_frames(
        self: &Rc<Self>,
        port: Port,
        read: OwnedReadHalf,
        own: &mpsc::Sender<Arc<[u8]>>,
    ) -> io::Result<()> {
        let mut read = BufReader::with_capacity(WRITE_BYTES, read);
        let mut frame = vec![0; FRAME_MOST];
        loop {
            let length = usize::try_from(read.read_u32().await?).unwrap_or(usize::MAX);
            if length == 0 {
                self.state
                    .borrow_mut()
                    .lan
                    .set_names(read_names(&self.names));
                // One that has asked so often that there is no room hears it of those before.
                let _ = own.try_send(Arc::new([]));
                continue;
            }
            let Some(frame) = frame.get_mut(..length) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            read.read_exact(frame).await?;
            let now_ms = self.now_ms();
            self.state.borrow_mut().lan.frame(port, frame, now_ms);
            self.carry_out();
        }
    }

    fn carry_out(self: &Rc<Self>) {
        let now_ms = self.now_ms();
        let mut state = self.state.borrow_mut();
        for out in state.lan.take() {
            match out {
                Out::Frame(port, frame) => {
                    if let Some(cable) = state.cables.get(&port) {
                        // What does not fit is lost, and whoever sent it does so again.
                        let _ = cable.try_send(frame);
                    }
                }
                Out::Ask(question) => {
                    spawn_local(Rc::clone(self).ask(question));
                }
            }
        }
        if !state.ticks
            && let Some(wait) = state.lan.due(now_ms)
        {
            state.ticks = true;
            spawn_local(Rc::clone(self).tick(Duration::from_millis(wait.max(1))));
        }
    }

    async fn tick(self: Rc<Self>, wait: Duration) {
        sleep(wait).await;
        let now_ms = self.now_ms();
        {
            let mut state = self.state.borrow_mut();
            state.ticks = false;
            state.lan.tick(now_ms);
        }
        self.carry_out();
    }

    async fn ask(self: Rc<Self>, question: Question) {
        let servers = match question.servers.as_slice() {
            [] => servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
            own => own.to_vec(),
        };
        let mut answer = None;
        for server in servers {
            if let Ok(Ok(bytes)) = timeout(ANSWER_MOST, asked(server, &question.message)).await {
                answer = Some(bytes);
                break;
            }
        }
        let now_ms = self.now_ms();
        {
            let mut state = self.state.borrow_mut();
            match answer {
                Some(bytes) => state.lan.answered(question.number, &bytes, now_ms),
                None => state.lan.unanswered(&question, now_ms),
            }
        }
        self.carry_out();
    }
}

/// What a server says.
async fn asked(server: IpAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let any = match server {
        IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect((server, 53)).await?;
    socket.send(message).await?;
    let mut answer = vec![0; MESSAGE_MOST];
    loop {
        let length = socket.recv(&mut answer).await?;
        // Of this question, by its number.
        if answer.get(..2) == message.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

/// The servers that a resolv.conf names.
fn servers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().map(|line| line.split_whitespace());
    let named = words.filter_map(|mut words| match words.next() {
        Some("nameserver") => words.next()?.parse().ok(),
        _ => None,
    });
    named.collect()
}

async fn write_frames(mut write: OwnedWriteHalf, mut waiting: mpsc::Receiver<Arc<[u8]>>) {
    let mut bytes = Vec::with_capacity(WRITE_BYTES);
    while let Some(frame) = waiting.recv().await {
        bytes.clear();
        append(&mut bytes, &frame);
        while bytes.len() < WRITE_BYTES
            && let Ok(frame) = waiting.try_recv()
        {
            append(&mut bytes, &frame);
        }
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn append(bytes: &mut Vec<u8>, frame: &[u8]) {
    let length = u32::try_from(frame.len()).unwrap_or_default();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_that_resolv_conf_names() {
        let text = "# nameserver 1.1.1.1\nsearch x\nnameserver 9.9.9.9\nnameserver\tfd00::1\nnameserver nonsense\n";
        let expected: Vec<IpAddr> = vec!["9.9.9.9".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(servers(text), expected);
    }

    #[test]
    fn an_address_has_bits() {
        assert_eq!(
            address("172.18.0.1/16"),
            Ok((Ipv4Addr::new(172, 18, 0, 1), 16))
        );
        for wrong in ["", "172.18.0.1", "172.18.0.1/33", "x/8", "::1/64"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
