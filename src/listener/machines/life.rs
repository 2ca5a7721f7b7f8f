//! A machine's life: on, watched, off; and what follows from its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::{MachineError, Machines, RECORD, Restart, STOPPED, files, health, volumes};
use crate::listener::clock::now_ns;
use crate::listener::container::{Began, ClientError, Container, Made};
use crate::listener::vm::Shared;
use crate::provider::Off;

/// A machine whose container has ended is off by then, or its plug is pulled.
pub(super) const OFF_MOST: Duration = Duration::from_secs(20);
/// A machine whose process has not started by then will not.
pub(super) const START_MOST: Duration = Duration::from_secs(300);
/// What a machine's end has left on its connection is read by then.
const READ_MOST: Duration = Duration::from_secs(5);
/// Between attempts to reach a machine that boots.
const PAUSE: Duration = Duration::from_millis(50);
/// Before a container is started again: the first time, and at most; as docker.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// Whoever has run for so long begins anew with that.
const RAN_WELL: Duration = Duration::from_secs(10);

/// The two that a container made here has.
pub(super) fn parts<'a>(
    shared: &'a Shared,
    container: &'a Container,
) -> Result<(&'a Machines, &'a Made), MachineError> {
    let machines = shared.machines.as_deref();
    machines
        .zip(container.made())
        .ok_or_else(|| MachineError::Elsewhere(container.id().to_owned()))
}

/// Powers a container's machine on and waits until its process runs; false: it does already.
///
/// # Errors
/// It cannot be started: the reason in docker's words. One that is removed after its end is gone then.
pub async fn start(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<bool, MachineError> {
    let started = power_on(shared, container).await;
    let removed = container
        .made()
        .is_some_and(|made| made.spec().auto_remove());
    if started.is_err()
        && removed
        && let Err(error) = remove(shared, container, true, true).await
    {
        tracing::error!(id = container.id(), %error, "not started, and not removed");
    }
    started
}

async fn power_on(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<bool, MachineError> {
    let (machines, made) = parts(shared, container)?;
    let _turn = made.turn.lock().await;
    if container.is_on() {
        if !container.has_ended() || container.not_begun() {
            return Ok(false);
        }
        put_off(machines, container, OFF_MOST).await?;
    }
    files::end_lent(shared, container, true).await?;
    if !shared.registry.holds(container) {
        let name = container.name();
        return Err(ClientError::NotRunning(name).into());
    }
    let waits = machines.boots.acquire().await;
    let _boot = waits.map_err(|closed| MachineError::Broken(closed.to_string()))?;
    if made.stopped.swap(false, Ordering::Relaxed)
        && made.spec().restart() == Restart::UnlessStopped
    {
        note(machines, container, STOPPED, "0").await?;
    }
    volumes::until_given_up(shared, container, &made.spec().volumes).await?;
    one_more(machines, shared, container)?;
    let id = container.id().to_owned();
    let started = match announce(machines, shared, made).await {
        Ok(()) => machines.ask(move |provider| provider.start(&id)).await,
        Err(error) => Err(error),
    };
    match started {
        Ok(off) => watch(shared, container, off),
        Err(error) => {
            container.powered_off(now_ns());
            return Err(error);
        }
    }
    match timeout(START_MOST, container.began()).await {
        Ok(Began::Runs) => {
            health::watch(shared, container);
            Ok(true)
        }
        Ok(Began::Failed(status, reason)) => Err(MachineError::NotStarted(told(status, &reason))),
        Ok(Began::Off) => Err(MachineError::NotStarted(format!(
            "the machine of {} went off before its process ran{}",
            container.name(),
            why(container)
        ))),
        Err(_) => Err(MachineError::NotStarted(format!(
            "the machine of {} has been on for {} s, and its process does not run",
            container.name(),
            START_MOST.as_secs()
        ))),
    }
}

/// The container's machine counts among those that are on, unless there are too many, or one has a disk of its.
fn one_more(
    machines: &Machines,
    shared: &Shared,
    container: &Container,
) -> Result<(), MachineError> {
    let most = machines.config.most;
    let _counting = machines
        .counting
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let on = shared.registry.all().iter().filter(|c| c.is_on()).count();
    if most > 0 && on >= most {
        return Err(MachineError::Full(on));
    }
    let spec = container.made().map(Made::spec);
    let places = spec.as_ref().map(|spec| spec.volumes.as_slice());
    if let Some(taken) = places.and_then(|places| volumes::taken(shared, container, places)) {
        return Err(taken);
    }
    container.powered_on(false);
    Ok(())
}

/// Docker's clients take the status of a failed start from these words.
fn told(status: i32, reason: &str) -> String {
    let words = match status {
        127 => "executable file not found in $PATH",
        126 => "permission denied",
        _ => return reason.to_owned(),
    };
    if reason.contains(words) {
        reason.to_owned()
    } else {
        format!("{reason}: {words}")
    }
}

/// What is known of a machine's end.
fn why(container: &Container) -> String {
    let said = container.made().map(Made::said).unwrap_or_default();
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

/// Without a name for its future: [`watch`] comes back to it.
fn start_boxed(
    shared: Arc<Shared>,
    container: Arc<Container>,
) -> Pin<Box<dyn Future<Output = Result<bool, MachineError>> + Send>> {
    Box::pin(async move { start(&shared, &container).await })
}

/// Waits for a machine's end and does what follows from it.
pub(super) fn watch(shared: &Arc<Shared>, container: &Arc<Container>, off: Off) {
    let (shared, container) = (Arc::clone(shared), Arc::clone(container));
    let began = Instant::now();
    tokio::spawn(async move {
        let said = off.await;
        if timeout(READ_MOST, container.until_disconnected())
            .await
            .is_err()
        {
            tracing::warn!(
                id = container.id(),
                "its machine is off and its connection is not"
            );
        }
        if !said.is_empty() {
            tracing::warn!(id = container.id(), said, "machine off");
            if let Some(made) = container.made() {
                made.heard(said);
            }
        }
        container.powered_off(now_ns());
        forget_names(&shared, &container).await;
        if let Err(error) = after(&shared, &container, began.elapsed()).await {
            tracing::error!(id = container.id(), %error, "after the machine's end");
        }
    });
}

/// Its networks are there, and know its name before it is.
async fn announce(machines: &Machines, shared: &Shared, made: &Made) -> Result<(), MachineError> {
    let spec = made.spec();
    if spec.networks.is_empty() {
        return Ok(());
    }
    let all = machines.networks().await?;
    let mut own = spec.networks.iter();
    if let Some(gone) = own.find(|joined| all.iter().all(|one| one.id != joined.id)) {
        return Err(MachineError::NoNetwork(gone.name.clone()));
    }
    machines.tell_networks(shared).await
}

/// Nobody finds a container whose machine is off.
async fn forget_names(shared: &Arc<Shared>, container: &Arc<Container>) {
    let Ok((machines, made)) = parts(shared, container) else {
        return;
    };
    if made.spec().networks.is_empty() {
        return;
    }
    if let Err(error) = machines.tell_networks(shared).await {
        tracing::error!(id = container.id(), %error, "its networks still have its name");
    }
}

/// What follows from an end: it is written down, and the container is removed or started again.
async fn after(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    ran: Duration,
) -> Result<(), MachineError> {
    let (machines, made) = parts(shared, container)?;
    let _turn = made.turn.lock().await;
    if made.spec().auto_remove() {
        return machines.take_away(shared, container, true).await;
    }
    if !shared.registry.holds(container) {
        return Ok(());
    }
    let record = container.snapshot().record;
    let text = serde_json::to_string(&record).map_err(|e| MachineError::Broken(e.to_string()))?;
    note(machines, container, RECORD, &text).await?;
    let status = record.exit().map(|exit| exit.record.status);
    let times = made.restarts.load(Ordering::Relaxed);
    let again = match made.spec().restart() {
        Restart::No => false,
        Restart::Always | Restart::UnlessStopped => true,
        Restart::OnFailure(most) => status != Some(0) && (most == 0 || times < most),
    };
    if again && !made.stopped.load(Ordering::Relaxed) {
        let times = if ran > RAN_WELL { 0 } else { times };
        let doubled =
            AGAIN_FIRST * 2_u32.saturating_pow(u32::try_from(times.min(16)).unwrap_or(16));
        made.restarts.fetch_add(1, Ordering::Relaxed);
        made.again.store(true, Ordering::Relaxed);
        start_again(shared, container, doubled.min(AGAIN_MOST));
    }
    Ok(())
}

/// Starts a container by itself, unless somebody stops or removes it meanwhile.
pub(super) fn start_again(shared: &Arc<Shared>, container: &Arc<Container>, pause: Duration) {
    let (shared, container) = (Arc::clone(shared), Arc::clone(container));
    tokio::spawn(async move {
        sleep(pause).await;
        let stopped = container
            .made()
            .is_none_or(|made| made.stopped.load(Ordering::Relaxed));
        if !stopped && let Err(error) = start_boxed(shared, Arc::clone(&container)).await {
            tracing::error!(id = container.id(), %error, "not started again");
        }
        if let Some(made) = container.made() {
            made.again.store(false, Ordering::Relaxed);
        }
    });
}

pub(super) async fn note(
    machines: &Machines,
    container: &Container,
    name: &'static str,
    value: &str,
) -> Result<(), MachineError> {
    let (id, value) = (container.id().to_owned(), value.to_owned());
    machines
        .ask(move |provider| provider.note(&id, name, &value))
        .await
}

/// Waits for a machine to be off, and pulls its plug when it is not by then.
pub(super) async fn put_off(
    machines: &Machines,
    container: &Container,
    wait: Duration,
) -> Result<(), MachineError> {
    if timeout(wait, container.until_off()).await.is_ok() {
        return Ok(());
    }
    let id = container.id().to_owned();
    machines.ask(move |provider| provider.off(&id)).await?;
    timeout(OFF_MOST, container.until_off()).await.map_err(|_| {
        MachineError::Broken(format!(
            "the machine of {} does not go off",
            container.name()
        ))
    })
}

/// Ends a container: stop signal, grace, SIGKILL, power off; and the plug, where that does not help. False: it did not
/// run.
///
/// # Errors
/// Its machine does not go off.
pub async fn stop(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    grace_s: u32,
) -> Result<bool, MachineError> {
    let (machines, made) = parts(shared, container)?;
    let first = !made.stopped.swap(true, Ordering::Relaxed);
    if first && made.spec().restart() == Restart::UnlessStopped {
        note(machines, container, STOPPED, "1").await?;
    }
    if !container.is_on() {
        return Ok(false);
    }
    let grace = Duration::from_secs(u64::from(grace_s));
    let end = Instant::now() + grace;
    // One that boots is asked as soon as it can hear.
    while container.is_on() {
        match container.stop(grace_s) {
            Ok(()) => break,
            Err(ClientError::NotRunning(_)) if !container.not_begun() => break,
            Err(_) if Instant::now() >= end => break,
            Err(_) => sleep(PAUSE).await,
        }
    }
    put_off(machines, container, grace.saturating_add(OFF_MOST)).await?;
    Ok(true)
}

/// Removes a container and its machine; with `force` one that runs, too; and the `volumes` that were made for it alone.
///
/// # Errors
/// It runs, or something of it cannot be deleted.
pub async fn remove(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    force: bool,
    volumes: bool,
) -> Result<(), MachineError> {
    let (machines, made) = parts(shared, container)?;
    if !force && made.again.load(Ordering::Relaxed) {
        // It is between two runs, by its restart policy.
        return Err(ClientError::Running(container.name()).into());
    }
    made.stopped.fetch_or(force, Ordering::Relaxed);
    if container.is_on() && (!container.has_ended() || container.not_begun()) {
        if !force {
            let name = container.name();
            return Err(ClientError::Running(name).into());
        }
        // Its process gets no grace, but its machine a moment to end as it should.
        let wait = match container.stop(0) {
            Ok(()) => OFF_MOST,
            Err(_) => Duration::ZERO,
        };
        put_off(machines, container, wait).await?;
    }
    let _turn = made.turn.lock().await;
    put_off(machines, container, OFF_MOST).await?;
    files::end_lent(shared, container, false).await?;
    let volumes = volumes || made.spec().auto_remove();
    machines.take_away(shared, container, volumes).await
}
