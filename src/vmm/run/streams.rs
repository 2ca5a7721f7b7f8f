//! What QEMU tells while it runs: its monitor's events, its stderr, the guest's console.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::ChildStderr;
use tokio::sync::watch;

use crate::vmm::qmp::{self, Event};

/// Bytes of QEMU's stderr that are kept for the log and the error.
const STDERR_LIMIT: usize = 16 * 1024;

/// Events of QEMU's monitor that are kept for the log.
const NOTES_LIMIT: usize = 1000;

/// Follows QEMU's monitor: counts resets, shows what fails, and keeps it all for the log.
pub(super) async fn follow(
    listener: UnixListener,
    resets: Arc<AtomicU32>,
    mut gone: watch::Receiver<()>,
) -> Vec<String> {
    let mut notes = Vec::new();
    let accepted = tokio::select! {
        biased;
        accepted = listener.accept() => accepted,
        _ = gone.changed() => return notes,
    };
    let result = async {
        let (monitor, _) = accepted?;
        let (read, mut write) = monitor.into_split();
        write.write_all(qmp::NEGOTIATION).await?;
        let mut lines = BufReader::new(read).split(b'\n');
        while let Some(line) = lines.next_segment().await? {
            let Some(event) = qmp::event(&line) else {
                continue;
            };
            match event {
                Event::Reset => {
                    resets.fetch_add(1, Ordering::Relaxed);
                }
                Event::DiskFailed { .. } | Event::Panicked => eprintln!("vmx: {event}"),
                Event::Shutdown(_) => {}
            }
            if notes.len() < NOTES_LIMIT {
                notes.push(event.to_string());
            }
        }
        Ok::<_, io::Error>(())
    };
    match result.await {
        // QEMU closes it as it ends, read or not.
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
            notes.push(format!("reading QEMU's monitor: {error}"));
        }
        _ => {}
    }
    notes
}

/// Shows what QEMU says as it says it; the last of it comes back.
pub(super) async fn relay(mut stderr: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut bytes = [0; 1024];
    loop {
        match stderr.read(&mut bytes).await {
            Ok(0) | Err(_) => return kept,
            Ok(length) => {
                let read = bytes.get(..length).unwrap_or_default();
                eprint!("{}", String::from_utf8_lossy(read));
                kept.extend_from_slice(read);
                let excess = kept.len().saturating_sub(STDERR_LIMIT);
                kept.drain(..excess);
            }
        }
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
