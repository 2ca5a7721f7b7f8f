//! Who answers for a container's files: its own machine while that runs its process, else another one that has the same
//! disks and runs nothing. That one stays on for a moment, for the next question; whoever wants the container itself on, or
//! gone, ends it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::life::{START_MOST, parts};
use super::{MachineError, forget_key, volumes};
use crate::config::model::Secret;
use crate::link::control::{BOOTED, EMERGENCY};
use crate::listener::clock::now_ns;
use crate::listener::container::{ClientError, Container};
use crate::listener::keys;
use crate::listener::registry::LENT;
use crate::listener::store::state::State;
use crate::listener::vm::Shared;

/// One that nobody asks any more stays on for so long.
const IDLE: Duration = Duration::from_secs(3);
/// Whoever wants the container itself waits for what is being copied, for so long.
const COPIES_MOST: Duration = Duration::from_secs(10);
/// A machine that is told to end is off by then, or its plug is pulled.
const OFF_MOST: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// A machine that has a container's disks for a while.
#[derive(Debug)]
pub struct Lent {
    machine: Arc<Container>,
    users: AtomicUsize,
    used_last: Mutex<Instant>,
}

/// Whom to ask, until it is dropped.
#[derive(Debug)]
pub struct Answering {
    machine: Arc<Container>,
    lent: Option<Arc<Lent>>,
}

impl Answering {
    /// The machine.
    pub fn machine(&self) -> &Arc<Container> {
        &self.machine
    }

    fn lent(lent: &Arc<Lent>) -> Self {
        lent.users.fetch_add(1, Ordering::SeqCst);
        Self {
            machine: Arc::clone(&lent.machine),
            lent: Some(Arc::clone(lent)),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(lent) = &self.lent {
            *lent
                .used_last
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Instant::now();
            lent.users.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Lent {
    fn is_used(&self) -> bool {
        self.users.load(Ordering::SeqCst) > 0
    }

    fn is_idle(&self) -> bool {
        let last = *self
            .used_last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        !self.is_used() && last.elapsed() >= IDLE
    }
}

/// Whom to ask for a container's files.
///
/// # Errors
/// It was made elsewhere and does not run, or no machine can be had for it.
pub async fn answering(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
) -> Result<Answering, MachineError> {
    if container.snapshot().record.state == State::Running && !container.between_runs() {
        return Ok(Answering {
            machine: Arc::clone(container),
            lent: None,
        });
    }
    let Ok((machines, made)) = parts(shared, container) else {
        return Err(ClientError::NotRunning(container.name()).into());
    };
    let _turn = made.turn.lock().await;
    if !shared.registry.holds(container) {
        return Err(ClientError::NotRunning(container.name()).into());
    }
    if container.is_on() {
        if !container.between_runs() {
            // Somebody was quicker, and its process runs.
            return Ok(Answering {
                machine: Arc::clone(container),
                lent: None,
            });
        }
        super::life::put_off(machines, container, OFF_MOST).await?;
    }
    let mut known = made.lent.lock().await;
    if let Some(lent) = known.as_ref().filter(|lent| lent.machine.is_on()) {
        return Ok(Answering::lent(lent));
    }
    let waits = machines.boots.acquire().await;
    let _boot = waits.map_err(|closed| MachineError::Broken(closed.to_string()))?;
    let lent = Arc::new(lend(shared, container).await?);
    *known = Some(Arc::clone(&lent));
    drop(known);
    let answering = Answering::lent(&lent);
    tokio::spawn(end_when_idle(
        Arc::clone(shared),
        Arc::clone(container),
        lent,
    ));
    Ok(answering)
}

/// A machine with the container's disks, ready to be asked.
async fn lend(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<Lent, MachineError> {
    let (machines, made) = parts(shared, container)?;
    let random = keys::hex(&keys::random()?);
    let id = format!("{LENT}{}", random.get(..24).unwrap_or(&random));
    let key = keys::random()?;
    volumes::until_given_up(shared, container, &made.spec().volumes).await?;
    {
        let _counting = machines
            .counting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = volumes::taken(shared, container, &made.spec().volumes) {
            return Err(taken);
        }
        made.lends.store(true, Ordering::SeqCst);
    }
    let lent = power_on(shared, container, &id, key).await;
    if lent.is_err() {
        made.lends.store(false, Ordering::SeqCst);
    }
    let machine = lent?;
    let lent = Lent {
        machine: Arc::clone(&machine),
        users: AtomicUsize::default(),
        used_last: Mutex::new(Instant::now()),
    };
    let trouble = match timeout(START_MOST, ready(&machine)).await {
        Ok(None) => return Ok(lent),
        Ok(Some(reason)) => reason,
        Err(_) => format!("it was not ready after {} s", START_MOST.as_secs()),
    };
    end(shared, container, &lent).await?;
    let name = container.name();
    Err(MachineError::NotStarted(format!(
        "the files of {name} cannot be had: {trouble}"
    )))
}

async fn power_on(
    shared: &Arc<Shared>,
    container: &Container,
    id: &str,
    key: [u8; 32],
) -> Result<Arc<Container>, MachineError> {
    let (machines, _) = parts(shared, container)?;
    let machine = shared.registry.take_in_lent(id)?;
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(key);
    shared.keys.add(id, &text)?;
    let (owner, lent) = (container.id().to_owned(), id.to_owned());
    let key = Secret(key.to_vec());
    let off = machines
        .ask(move |provider| provider.lend(&owner, &lent, &key))
        .await;
    match off {
        Ok(off) => {
            machine.powered_on(false);
            let (shared, watched) = (Arc::clone(shared), Arc::clone(&machine));
            tokio::spawn(async move {
                let said = off.await;
                tracing::debug!(id = watched.id(), said, "a lent machine is off");
                watched.powered_off(now_ns());
                if let Err(error) = forget(&shared, &watched) {
                    tracing::error!(id = watched.id(), %error, "a lent machine is not forgotten");
                }
            });
            Ok(machine)
        }
        Err(error) => {
            forget(shared, &machine)?;
            Err(error)
        }
    }
}

/// Nothing of it is left.
fn forget(shared: &Shared, machine: &Arc<Container>) -> Result<(), MachineError> {
    forget_key(shared, machine.id())?;
    machine.remove(true, || shared.registry.forget(machine))?;
    Ok(())
}

/// Comes when the machine can be asked; or with why it cannot.
async fn ready(machine: &Container) -> Option<String> {
    let mut progress = machine.watch();
    loop {
        progress.borrow_and_update();
        let record = machine.snapshot().record;
        if let Some(stage) = &record.run.stage {
            match stage.name.as_str() {
                BOOTED => return None,
                EMERGENCY => return Some(stage.text.clone()),
                _ => {}
            }
        }
        let exit = record
            .primary()
            .and_then(|(_, session)| session.exit.as_ref());
        if let Some(exit) = exit {
            return Some(exit.record.reason.clone());
        }
        if !machine.is_on() || progress.changed().await.is_err() {
            return Some("its machine went off".to_owned());
        }
    }
}

async fn end_when_idle(shared: Arc<Shared>, container: Arc<Container>, lent: Arc<Lent>) {
    while lent.machine.is_on() {
        sleep(IDLE / 4).await;
        if !lent.is_idle() {
            continue;
        }
        let Some(made) = container.made() else {
            return;
        };
        let mut known = made.lent.lock().await;
        if !lent.is_idle() {
            continue;
        }
        known.take_if(|known| Arc::ptr_eq(known, &lent));
        if let Err(error) = end(&shared, &container, &lent).await {
            tracing::error!(id = lent.machine.id(), %error, "a lent machine does not end");
        }
        return;
    }
    if let Some(made) = container.made() {
        let mut known = made.lent.lock().await;
        if known.take_if(|known| Arc::ptr_eq(known, &lent)).is_some() {
            made.lends.store(false, Ordering::SeqCst);
        }
    }
}

/// Somebody wants the container itself: whoever copies may end, for a while.
pub(super) async fn end_lent(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    waits: bool,
) -> Result<(), MachineError> {
    let (_, made) = parts(shared, container)?;
    let mut known = made.lent.lock().await;
    let Some(lent) = known.take() else {
        return Ok(());
    };
    let until = Instant::now() + COPIES_MOST;
    while waits && lent.is_used() && lent.machine.is_on() && Instant::now() < until {
        sleep(PAUSE).await;
    }
    end(shared, container, &lent).await
}

async fn end(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    lent: &Lent,
) -> Result<(), MachineError> {
    let (machines, made) = parts(shared, container)?;
    let machine = &lent.machine;
    // One that cannot be asked has its plug pulled.
    let wait = match machine.stop(0) {
        Ok(()) => OFF_MOST,
        Err(_) => Duration::ZERO,
    };
    super::life::put_off(machines, machine, wait).await?;
    made.lends.store(false, Ordering::SeqCst);
    Ok(())
}
