//! What happens to containers, as docker's `events` tells it: to whoever listens, and the last of it to who
//! comes later.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::clock::now_ns;
use super::store::state::{ContainerRecord, State};

/// Events that are kept for who asks for the past: docker keeps as many.
const KEPT: usize = 256;
/// Events that wait for a client which does not read; past it, it is told that some are missing.
const WAITING_MOST: usize = 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When: nanoseconds since 1970.
    pub time_ns: u64,
    /// `create`, `start`, `die` and so on: docker's words, and those that only a VM needs.
    pub action: &'static str,
    /// The container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Repository of its image.
    pub image: String,
    /// Whatever else there is to say, by name.
    pub more: Vec<(&'static str, String)>,
}

/// All events.
#[derive(Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    past: Mutex<VecDeque<Event>>,
}

/// What is known of a container: its changes are the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    boots: u64,
    state: State,
    link_up: bool,
    removed: bool,
    paused: bool,
    /// Its VM is made here: its starts are told as docker does.
    made: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(WAITING_MOST),
            past: Mutex::default(),
        }
    }
}

impl Events {
    fn past(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events since this time that are still known, and those to come.
    pub fn since(&self, time_ns: u64) -> (Vec<Event>, broadcast::Receiver<Event>) {
        // One lock for both: none is missed, none told twice.
        let past = self.past();
        let receiver = self.sender.subscribe();
        let known = past.iter().filter(|e| e.time_ns >= time_ns).cloned();
        (known.collect(), receiver)
    }

    /// Tells what has changed of a container.
    pub fn changed(&self, record: &ContainerRecord, before: Known, now: Known) {
        for (action, more) in changes(record, before, now) {
            self.tell(record, action, more);
        }
    }

    /// Tells that a container was made.
    pub fn created(&self, record: &ContainerRecord) {
        self.tell(record, "create", Vec::new());
    }

    /// Tells that one has another name.
    pub fn renamed(&self, record: &ContainerRecord, before: &str) {
        self.tell(record, "rename", vec![("oldName", format!("/{before}"))]);
    }

    /// Tells what has happened to a container.
    pub fn tell(
        &self,
        record: &ContainerRecord,
        action: &'static str,
        more: Vec<(&'static str, String)>,
    ) {
        let event = Event {
            time_ns: now_ns(),
            action,
            id: record.id.clone(),
            name: record.name.clone(),
            image: record.image.clone(),
            more,
        };
        let mut past = self.past();
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Nobody listens: nothing lost.
        let _ = self.sender.send(event);
    }
}

impl Known {
    /// Of a record, and what is known besides.
    pub fn of(record: &ContainerRecord, link_up: bool, removed: bool, made: bool) -> Self {
        Self {
            boots: record.boots,
            state: record.state,
            link_up,
            removed,
            paused: record.run.paused && record.state == State::Running,
            made,
        }
    }
}

type Change = (&'static str, Vec<(&'static str, String)>);

fn changes(record: &ContainerRecord, before: Known, now: Known) -> Vec<Change> {
    let mut told: Vec<Change> = Vec::new();
    if now.boots != before.boots && !now.made {
        let action = if before.boots == 0 {
            "create"
        } else {
            "restart"
        };
        told.push((action, Vec::new()));
    }
    if now.link_up != before.link_up {
        let action = if now.link_up { "link_up" } else { "link_down" };
        told.push((action, Vec::new()));
    }
    if now.state != before.state {
        match now.state {
            State::Created => {}
            State::Running => told.push(("start", Vec::new())),
            State::Exited => {
                let exit = record.exit().map(|exit| &exit.record);
                if exit.is_some_and(|exit| exit.oom) {
                    told.push(("oom", Vec::new()));
                }
                let status = exit.map(|exit| ("exitCode", exit.status.to_string()));
                told.push(("die", status.into_iter().collect()));
            }
            State::Lost => {
                let stage = record.run.stage.as_ref().map(|s| ("stage", s.name.clone()));
                told.push(("lost", stage.into_iter().collect()));
            }
        }
    }
    if now.paused != before.paused && now.state == State::Running {
        let action = if now.paused { "pause" } else { "unpause" };
        told.push((action, Vec::new()));
    }
    if now.removed && !before.removed {
        told.push(("destroy", Vec::new()));
    }
    told
}

impl Event {
    /// As docker writes it, its older fields too.
    pub fn to_json(&self) -> Value {
        let mut attributes = serde_json::Map::new();
        attributes.insert("image".into(), self.image.clone().into());
        attributes.insert("name".into(), self.name.clone().into());
        for (name, value) in &self.more {
            attributes.insert((*name).into(), value.clone().into());
        }
        json!({
            "status": self.action,
            "id": self.id,
            "from": self.image,
            "Type": "container",
            "Action": self.action,
            "Actor": { "ID": self.id, "Attributes": attributes },
            "scope": "local",
            "time": self.time_ns / 1_000_000_000,
            "timeNano": self.time_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(boots: u64, state: State, link_up: bool) -> Known {
        Known {
            boots,
            state,
            link_up,
            removed: false,
            paused: false,
            made: false,
        }
    }

    #[test]
    fn a_life_is_told_in_its_order() {
        let (events, record) = (Events::default(), ContainerRecord::default());
        let steps = [
            Known::default(),
            known(1, State::Created, true),
            known(1, State::Running, true),
            known(1, State::Running, false),
            known(1, State::Running, false),
            known(1, State::Lost, false),
            known(1, State::Running, true),
            known(1, State::Exited, true),
            known(2, State::Created, false),
        ];
        for pair in steps.windows(2) {
            events.changed(&record, pair[0], pair[1]);
        }
        let (past, mut next) = events.since(0);
        let told: Vec<&str> = past.iter().map(|e| e.action).collect();
        assert_eq!(
            told,
            [
                "create",
                "link_up",
                "start",
                "link_down",
                "lost",
                "link_up",
                "start",
                "die",
                "restart",
                "link_down"
            ]
        );
        assert!(next.try_recv().is_err(), "told already");
        let last = past.last().expect("events").time_ns;
        assert!(events.since(last + 1).0.is_empty());
    }

    #[test]
    fn the_past_is_bounded() {
        let (events, record) = (Events::default(), ContainerRecord::default());
        for n in 0..1000 {
            let (before, now) = (n % 2 == 0, n % 2 == 1);
            events.changed(
                &record,
                known(1, State::Running, before),
                known(1, State::Running, now),
            );
        }
        assert_eq!(events.since(0).0.len(), KEPT);
    }
}
