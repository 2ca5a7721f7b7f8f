//! What QEMU tells while it runs, and is told: its monitor's events and commands, its stderr, the guest's console.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::ChildStderr;
use tokio::sync::{mpsc, watch};

use crate::vmm::log::Log;
use crate::vmm::qmp::{self, Event};

/// Follows QEMU's monitor: counts resets, shows what fails, and writes all of it down; gives it commands.
pub(super) async fn follow(
    listener: UnixListener,
    mut commands: mpsc::UnboundedReceiver<&'static str>,
    resets: Arc<AtomicU32>,
    log: Log,
    mut gone: watch::Receiver<()>,
) {
    let accepted = tokio::select! {
        biased;
        accepted = listener.accept() => accepted,
        _ = gone.changed() => return,
    };
    let result = async {
        let (monitor, _) = accepted?;
        let (read, mut write) = monitor.into_split();
        write.write_all(qmp::NEGOTIATION).await?;
        let mut lines = BufReader::new(read).split(b'\n');
        loop {
            let line = tokio::select! {
                line = lines.next_segment() => line?,
                Some(command) = commands.recv() => {
                    write.write_all(qmp::command(command).as_bytes()).await?;
                    continue;
                }
            };
            let Some(line) = line else {
                break;
            };
            let Some(event) = qmp::event(&line) else {
                continue;
            };
            match event {
                Event::Reset(_) => {
                    resets.fetch_add(1, Ordering::Relaxed);
                }
                Event::DiskFailed { .. } | Event::Panicked => eprintln!("vmx: {event}"),
                Event::Shutdown(_) => {}
            }
            log.note(&event.to_string());
        }
        Ok::<_, io::Error>(())
    };
    match result.await {
        // QEMU closes it as it ends, read or not.
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            log.note(&format!("reading QEMU's monitor: {error}"));
        }
        _ => {}
    }
}

/// Shows and writes down what QEMU says, as it says it.
pub(super) async fn relay(stderr: ChildStderr, log: Log) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        log.note(&format!("QEMU: {line}"));
    }
}

/// Copies the console until QEMU closes it.
pub(super) async fn to_stdout(
    listener: UnixListener,
    mut gone: watch::Receiver<()>,
) -> io::Result<()> {
    let (mut console, _) = tokio::select! {
        biased;
        accepted = listener.accept() => accepted?,
        _ = gone.changed() => return Ok(()),
    };
    let mut stdout = tokio::io::stdout();
    tokio::io::copy(&mut console, &mut stdout).await?;
    stdout.flush().await
}
