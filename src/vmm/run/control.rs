//! The socket beside the .vmx file, by which `vmx power` and `vmx tools` reach the machine.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::vmm::power::{self, Operation, Order, Pending};

/// How long the guest may take to say how it went.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bound socket, gone with its owner.
#[derive(Debug)]
pub(super) struct Control {
    listener: StdListener,
    path: PathBuf,
}

impl Control {
    /// Binds the socket of a .vmx file.
    ///
    /// # Errors
    /// Another `vmx run` has it, or it cannot be made.
    pub(super) fn bind(vmx: &std::path::Path) -> io::Result<Self> {
        let path = power::socket(vmx);
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // Of one that was killed.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Serves whoever comes until the handle is dropped.
    pub(super) fn spawn(
        self,
        orders: mpsc::UnboundedSender<Pending>,
        monitor: mpsc::UnboundedSender<&'static str>,
    ) -> Serving {
        Serving(tokio::spawn(self.serve(orders, monitor)))
    }

    /// Serves whoever comes, until the machine ends. What QEMU is to do goes to its monitor.
    async fn serve(
        self,
        orders: mpsc::UnboundedSender<Pending>,
        monitor: mpsc::UnboundedSender<&'static str>,
    ) -> io::Result<()> {
        let listener = UnixListener::from_std(self.listener.try_clone()?)?;
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(serve_one(socket, orders.clone(), monitor.clone()));
        }
    }
}

/// A socket that is served.
#[derive(Debug)]
pub(super) struct Serving(tokio::task::JoinHandle<io::Result<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Gone already is as well.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve_one(
    socket: UnixStream,
    orders: mpsc::UnboundedSender<Pending>,
    monitor: mpsc::UnboundedSender<&'static str>,
) {
    let (read, mut write) = socket.into_split();
    let mut line = String::new();
    if BufReader::new(read).read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match Order::from_line(&line) {
        Some(order) => follow(order, orders, monitor).await,
        None => Err(format!("{:?} is no order", line.trim_end())),
    };
    let answer = match answer {
        Ok(text) => text,
        Err(reason) => format!("error: {reason}"),
    };
    // Whoever has asked may be gone.
    let _ = write.write_all(format!("{answer}\n").as_bytes()).await;
}

async fn follow(
    order: Order,
    orders: mpsc::UnboundedSender<Pending>,
    monitor: mpsc::UnboundedSender<&'static str>,
) -> Result<String, String> {
    let command = match order {
        Order::Power(Operation::Reset) => Some("system_reset"),
        Order::Power(Operation::Off) => Some("quit"),
        Order::Power(_) | Order::Tools => None,
    };
    let ended = || String::from("the machine has ended, or its backdoor is not answered");
    if let Some(command) = command {
        monitor.send(command).map_err(|_| ended())?;
        return Ok(String::from("ok"));
    }
    let (answer, answered) = oneshot::channel();
    orders
        .send(Pending { order, answer })
        .map_err(|_| ended())?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(ended()),
        Err(_) => Err(format!(
            "the guest has not answered for {} s: its tools do not poll",
            PATIENCE.as_secs()
        )),
    }
}
