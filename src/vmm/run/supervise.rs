//! QEMU from its start to its end: one task that waits for whatever comes first (its end, a signal,
//! the time given), and one thread that answers the backdoor. The thread needs no runtime: it asks
//! the stub and waits for the answer, while the guest stands still.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use super::control::Control;
use super::{RunError, streams};
use crate::backdoor::host;
use crate::sys::child::die_with_parent;
use crate::vmm::agent::elf_note::Backdoor;
use crate::vmm::on_disk::DiskError;
use crate::vmm::qemu::{Console, Wiring};
use crate::vmm::store::VmxStore;
use crate::vmm::stub::StubError;
use crate::vmm::trace::Trace;
use crate::vmm::trap::{Desk, Statistics, TrapError, Traps};

/// QEMU gets so long to close its disks after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// A machine to run.
pub(super) struct Machine {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) wiring: Wiring,
    /// Where to answer; `None`: nowhere, and there is no stub.
    pub(super) backdoor: Option<Backdoor>,
    pub(super) host: host::Options,
    pub(super) timeout: Option<Duration>,
    /// Where it takes orders.
    pub(super) control: Option<Control>,
    /// Where all that is said over the backdoor is written.
    pub(super) trace: Option<Trace>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// The guest powered off.
    PoweredOff,
    /// The time given has passed.
    TimedOut(Duration),
    /// We were told to end, by this signal.
    Signal(u8),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("by the guest"),
            Self::TimedOut(time) => write!(f, "after {} s (--timeout)", time.as_secs_f64()),
            Self::Signal(number) => write!(f, "by signal {number} to vmx"),
        }
    }
}

/// What the answering thread leaves.
struct Answered {
    store: VmxStore,
    statistics: Statistics,
    outcome: Result<(), TrapError>,
}

/// Runs it; the store is saved when this returns.
///
/// # Errors
/// When QEMU or the backdoor fails, or the store cannot be saved.
pub(super) fn run(machine: Machine, store: VmxStore) -> Result<(End, Statistics), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(host_error("starting the event loop"))?;
    runtime.block_on(supervise(machine, store))
}

fn host_error(step: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    let step = step.into();
    move |source| RunError::Host { step, source }
}

fn listen(path: &Path) -> Result<UnixListener, RunError> {
    UnixListener::bind(path).map_err(host_error(format!("listening at {}", path.display())))
}

/// The signals that end us.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or_default()
    }
}

/// What came first.
enum Ending {
    Itself(ExitStatus),
    Ours(End),
    Backdoor,
}

async fn supervise(mut machine: Machine, store: VmxStore) -> Result<(End, Statistics), RunError> {
    let gdb = machine.wiring.gdb.as_deref().map(listen).transpose()?;
    let console = match &machine.wiring.console {
        Some(Console::Socket(path)) => Some(listen(path)?),
        _ => None,
    };
    let mut signals = Signals::new().map_err(host_error("catching signals"))?;
    let log = store.log().clone();
    let monitor = machine.wiring.monitor.as_deref().map(listen).transpose()?;
    let mut child = start(&machine)?;
    let (alive, gone) = watch::channel(());
    let resets = Arc::new(AtomicU32::new(0));
    let (orders, taken) = mpsc::unbounded_channel();
    let (commands, commanded) = mpsc::unbounded_channel();
    let control = machine.control.take();
    let control = control.map(|control| control.spawn(orders, commands));
    let monitor = monitor.map(|listener| {
        tokio::spawn(streams::follow(
            listener,
            commanded,
            Arc::clone(&resets),
            log.clone(),
            gone.clone(),
        ))
    });
    let stderr = child
        .stderr
        .take()
        .map(|stderr| tokio::spawn(streams::relay(stderr, log)));
    let console = console.map(|listener| tokio::spawn(streams::to_stdout(listener, gone.clone())));
    let mut answering = tokio::spawn(answer(
        gdb,
        machine.backdoor,
        machine.host,
        store,
        Desk {
            resets,
            orders: taken,
            trace: machine.trace,
        },
        gone,
    ));
    let deadline = after(machine.timeout);
    tokio::pin!(deadline);

    let mut answered = None;
    let ending = loop {
        tokio::select! {
            status = child.wait() => {
                break Ending::Itself(status.map_err(host_error("waiting for QEMU"))?);
            }
            number = signals.next() => break Ending::Ours(End::Signal(number)),
            time = &mut deadline => break Ending::Ours(End::TimedOut(time)),
            done = &mut answering, if answered.is_none() => {
                let done = done.map_err(panicked)?;
                let failed = done.outcome.is_err();
                answered = Some(done);
                if failed {
                    break Ending::Backdoor;
                }
            }
        }
    };
    if !matches!(ending, Ending::Itself(_)) {
        stop(&mut child).await.map_err(host_error("ending QEMU"))?;
    }
    drop(alive);
    drop(control);
    let answered = match answered {
        Some(answered) => answered,
        None => answering.await.map_err(panicked)?,
    };
    join(monitor).await?;
    join(stderr).await?;
    join(console)
        .await?
        .transpose()
        .map_err(host_error("copying the console to standard output"))?;
    finish(ending, answered)
}

/// Writes the last lines of the log and saves the store, however it has ended.
fn finish(ending: Ending, answered: Answered) -> Result<(End, Statistics), RunError> {
    let Answered {
        mut store,
        statistics,
        outcome,
    } = answered;
    store.log().note(&statistics.to_string());
    let end = match ending {
        Ending::Itself(status) if status.success() => {
            outcome.map(|()| End::PoweredOff).map_err(RunError::Trap)
        }
        Ending::Itself(status) => Err(RunError::Qemu { status }),
        Ending::Ours(end) => Ok(end),
        Ending::Backdoor => outcome.map(|()| End::PoweredOff).map_err(RunError::Trap),
    };
    store.log().note(&match &end {
        Ok(end) => format!("power off: {end}"),
        Err(error) => format!("power off: {}", crate::vmm::chain(error)),
    });
    let saved = store.save();
    let end = end?;
    saved?;
    Ok((end, statistics))
}

fn panicked(error: JoinError) -> RunError {
    host_error("answering in a thread")(io::Error::other(error))
}

async fn join<T>(task: Option<JoinHandle<T>>) -> Result<Option<T>, RunError> {
    match task {
        Some(task) => task.await.map(Some).map_err(panicked),
        None => Ok(None),
    }
}

async fn after(time: Option<Duration>) -> Duration {
    match time {
        Some(time) => {
            tokio::time::sleep(time).await;
            time
        }
        None => std::future::pending().await,
    }
}

/// QEMU, in a process group of its own so that Ctrl-C reaches us alone; it dies with us.
fn start(machine: &Machine) -> Result<Child, RunError> {
    let mut command = std::process::Command::new(&machine.program);
    command
        .args(&machine.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    die_with_parent(&mut command);
    tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| RunError::Start {
            program: machine.program.clone(),
            source,
        })
}

/// Ends QEMU: politely, then not.
async fn stop(child: &mut Child) -> io::Result<()> {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status.map(|_| ()),
        Err(_) => child.kill().await,
    }
}

/// Answers the backdoor from QEMU's connection on until that ends; without a listener there is
/// nothing to answer.
async fn answer(
    listener: Option<UnixListener>,
    backdoor: Option<Backdoor>,
    options: host::Options,
    store: VmxStore,
    desk: Desk,
    mut gone: watch::Receiver<()>,
) -> Answered {
    let nothing = |store, outcome| Answered {
        store,
        statistics: Statistics::default(),
        outcome,
    };
    let Some(listener) = listener else {
        return nothing(store, Ok(()));
    };
    let accepted = tokio::select! {
        biased;
        accepted = listener.accept() => accepted,
        // QEMU has ended before it got so far.
        _ = gone.changed() => return nothing(store, Ok(())),
    };
    let socket = accepted.and_then(|(socket, _)| {
        let socket = socket.into_std()?;
        socket.set_nonblocking(false)?;
        Ok(socket)
    });
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => return nothing(store, Err(StubError::Socket(error).into())),
    };
    let backdoor = backdoor.unwrap_or_default();
    let thread = tokio::task::spawn_blocking(move || traps(socket, backdoor, options, store, desk));
    match thread.await {
        Ok(answered) => answered,
        // There is no store to go on with.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn traps(
    socket: UnixStream,
    backdoor: Backdoor,
    options: host::Options,
    mut store: VmxStore,
    desk: Desk,
) -> Answered {
    let unsaved = |error: DiskError| eprintln!("vmx: {}", crate::vmm::chain(&error));
    let mut statistics = Statistics::default();
    let outcome = Traps::set(socket, backdoor, options, desk).and_then(|mut traps| {
        let outcome = traps.run(&mut store, unsaved);
        statistics = traps.statistics();
        outcome
    });
    Answered {
        store,
        statistics,
        outcome: match outcome {
            // Why, QEMU's own end tells.
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        },
    }
}
