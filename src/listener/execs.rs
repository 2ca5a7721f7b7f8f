//! The execs that clients have made: from `create` to some time after their end. They live as long as
//! the listener; what they print is in their container's log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::container::{Container, Outcome, RunWatch};
use crate::link::Exec;

/// Execs that are remembered at once.
const MOST: usize = 4096;
/// How long one is remembered after its end, and one that was never started.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// All of them, by ID.
#[derive(Debug, Default)]
pub struct Execs(Mutex<BTreeMap<String, Entry>>);

/// One exec.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it runs.
    pub container: Arc<Container>,
    /// What the VM is told.
    pub order: Exec,
    /// Its client wants these: stdin, stdout, stderr.
    pub attach: [bool; 3],
    /// Keys that leave its terminal.
    pub detach_keys: Option<String>,
    /// How far it has got.
    pub phase: Phase,
    /// Since when it has been in this phase.
    since: Instant,
}

/// How far an exec has got.
#[derive(Clone, Debug)]
pub enum Phase {
    /// It may be started.
    Created,
    /// Its VM is being told.
    Starting,
    /// Its VM has been told.
    Started(RunWatch),
    /// It is over.
    Ended(Outcome),
}

/// Why an exec cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Nobody has made it, or it has been over for long.
    #[error("No such exec instance: {0}")]
    None(String),
    /// It runs at most once.
    #[error("exec {0} has been started already")]
    Started(String),
    /// Too many.
    #[error("{MOST} execs are known already: start those that were made, or wait five minutes")]
    Full,
}

impl Execs {
    /// Takes a new one in.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(
        &self,
        container: Arc<Container>,
        order: Exec,
        attach: [bool; 3],
        detach_keys: Option<String>,
    ) -> Result<(), ExecError> {
        let mut all = self.lock();
        all.retain(|_, entry| {
            matches!(entry.phase, Phase::Starting | Phase::Started(_))
                || entry.since.elapsed() < REMEMBERED
        });
        if all.len() >= MOST {
            return Err(ExecError::Full);
        }
        let entry = Entry {
            container,
            attach,
            detach_keys,
            phase: Phase::Created,
            since: Instant::now(),
            order,
        };
        all.insert(entry.order.id.clone(), entry);
        Ok(())
    }

    /// The exec of this ID.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, id: &str) -> Result<Entry, ExecError> {
        let all = self.lock();
        let mut found = all
            .get(id)
            .cloned()
            .ok_or_else(|| ExecError::None(id.to_owned()))?;
        drop(all);
        // Whoever has seen the end of the output sees the end of the process.
        if let Phase::Started(run) = &mut found.phase
            && let Some(outcome) = run.outcome(&found.container)
        {
            found.phase = Phase::Ended(outcome);
        }
        Ok(found)
    }

    /// Whoever gets it starts it, nobody after.
    ///
    /// # Errors
    /// There is none, or it was started before.
    pub fn start(&self, id: &str) -> Result<Entry, ExecError> {
        let mut all = self.lock();
        let entry = all
            .get_mut(id)
            .ok_or_else(|| ExecError::None(id.to_owned()))?;
        if !matches!(entry.phase, Phase::Created) {
            return Err(ExecError::Started(id.to_owned()));
        }
        entry.phase = Phase::Starting;
        Ok(entry.clone())
    }

    /// It could not be started after all.
    pub fn not_started(&self, id: &str) {
        self.set(id, Phase::Created);
    }

    /// It has been started: its end is remembered when it comes.
    pub async fn follow(&self, entry: &Entry, mut run: RunWatch) {
        self.set(&entry.order.id, Phase::Started(run.clone()));
        let mut progress = entry.container.watch();
        loop {
            progress.borrow_and_update();
            if let Some(outcome) = run.outcome(&entry.container) {
                return self.set(&entry.order.id, Phase::Ended(outcome));
            }
            if progress.changed().await.is_err() {
                return self.set(&entry.order.id, Phase::Ended(Outcome::Removed(None)));
            }
        }
    }

    fn set(&self, id: &str, phase: Phase) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.phase = phase;
            entry.since = Instant::now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(execs: &Execs, id: &str) -> Result<(), ExecError> {
        let dir = tempfile::tempdir().expect("folder");
        let container = Container::open(
            "c1",
            dir.path(),
            crate::listener::store::Rotation::default(),
        )
        .expect("a container");
        let order = Exec {
            id: id.into(),
            ..Exec::default()
        };
        execs.add(Arc::new(container), order, [false; 3], None)
    }

    #[test]
    fn an_exec_starts_once() {
        let execs = Execs::default();
        one(&execs, "e1").expect("room");
        assert!(matches!(execs.start("e2"), Err(ExecError::None(_))));
        execs.start("e1").expect("the first time");
        assert!(matches!(execs.start("e1"), Err(ExecError::Started(_))));
        execs.not_started("e1");
        execs.start("e1").expect("another try");
    }

    #[test]
    fn those_that_run_are_not_forgotten() {
        let execs = Execs::default();
        one(&execs, "runs").expect("room");
        execs.start("runs").expect("started");
        one(&execs, "old").expect("room");
        let long_ago = Instant::now().checked_sub(REMEMBERED);
        for entry in execs.lock().values_mut() {
            entry.since = long_ago.expect("the machine runs for longer");
        }
        one(&execs, "new").expect("room");
        assert!(execs.get("runs").is_ok() && execs.get("old").is_err());
    }
}
