//! What the link tells of a VM, into the container's store, and its acknowledgement back.

use std::sync::Arc;

use super::Task;
use crate::link::{Channel, Control, Event, Fresh, Hello, Stream};
use crate::listener::clock::now_ns;
use crate::listener::container::{VmError, Welcomed};
use crate::listener::keys::{self, Admission, KeyError, NotAdmitted};
use crate::listener::store::{Batch, LogError, SessionMark};

/// What a read brought, on its way into the store.
#[derive(Default)]
pub(super) struct Brought {
    batch: Batch,
    messages: Vec<(u64, Control)>,
    /// Something has come that goes past the store: an exit may be shown.
    direct: bool,
    /// Offsets to acknowledge once it is stored.
    stored: Vec<(Channel, Stream, u64)>,
}

impl Task {
    /// Takes all events of the link; what is to be stored is collected in `batch` and stored.
    pub(super) fn take_events(&mut self, batch: &mut Batch) {
        let mut next = self.link.poll_event();
        if next.is_none() {
            return;
        }
        let mut brought = Brought {
            batch: std::mem::take(batch),
            ..Brought::default()
        };
        brought.batch.restart(now_ns());
        while let Some(event) = next {
            if !self.direct.is_empty() && self.take_direct(&event) {
                brought.direct = true;
                next = self.link.poll_event();
                continue;
            }
            match event {
                Event::Hello(hello) => {
                    // What came before belongs to the boot before.
                    self.store(&mut brought);
                    self.hello(hello);
                }
                Event::Established { .. } => {
                    if let Some(container) = &self.container {
                        container.link_up(&self.connection);
                    }
                }
                Event::Lost => {
                    if let Some(container) = &self.container
                        && let Some(absence) = container.link_down(&self.connection)
                    {
                        tracing::warn!(id = container.id(), "VM does not answer");
                        self.shared.expect_back(container, absence);
                    }
                }
                // Only a guest's link tells these.
                Event::Refused { .. } | Event::Copy { .. } | Event::Time(_) => {}
                Event::Message { sequence, message } => {
                    self.message(&mut brought, sequence, message);
                }
                Event::Data {
                    channel,
                    stream,
                    offset,
                    bytes,
                } => {
                    brought.batch.data(channel, stream, offset, &bytes);
                    brought.acknowledge(channel, stream, offset + bytes.len() as u64);
                }
                Event::Gap {
                    channel,
                    stream,
                    from,
                    to,
                } => {
                    brought.batch.gap(channel, stream, from, to);
                    brought.acknowledge(channel, stream, to);
                }
                Event::End {
                    channel,
                    stream,
                    offset,
                } => {
                    brought.batch.end(channel, stream, offset);
                    brought.acknowledge(channel, stream, offset + 1);
                }
            }
            next = self.link.poll_event();
        }
        self.store(&mut brought);
        *batch = brought.batch;
    }

    fn hello(&mut self, hello: Hello) {
        // Never acknowledged: the guest sends it again.
        self.unstored = None;
        let hello = match self.admit(hello) {
            Ok(hello) => hello,
            Err(error) => {
                tracing::warn!(peer = %self.carrier.peer, %error, "VM refused");
                return self.refuse(&error.to_string());
            }
        };
        let identity = &hello.identity;
        let (peer, registry) = (self.carrier.peer, &self.shared.registry);
        let container = match registry.take_in(&identity.id) {
            Ok(container) => container,
            Err(error) => {
                tracing::warn!(%peer, %error, "VM refused");
                return self.refuse(&error.to_string());
            }
        };
        if let Some(other) = self.container.take_if(|c| !Arc::ptr_eq(c, &container)) {
            other.disconnected(&self.connection, &[], now_ns());
        }
        match container.hello(&hello, &self.connection, now_ns()) {
            Ok(Welcomed::NotYet) => self.link.not_yet(),
            Ok(Welcomed::AsAnother) => {
                tracing::warn!(
                    id = identity.id, %peer,
                    "VM goes on from the memory of one that was here since (a snapshot, or a clone): told \
                     to go on as a boot of its own"
                );
                match keys::random() {
                    Ok(random) => self.link.accept_as_another(words(random)),
                    Err(error) => self.refuse(&format!("no random numbers: {error}")),
                }
            }
            Ok(Welcomed::Back(resume)) => {
                let (id, name, epoch) = (&identity.id, &identity.name, identity.epoch);
                let resumed = !resume.is_empty();
                tracing::info!(id, name, epoch, %peer, resumed, "VM connected");
                self.introduce();
                self.link.accept(resume);
                self.container = Some(container);
                self.find_direct();
                self.stranger = None;
                self.shared.counters.admitted.add(1);
            }
            Err(error) => {
                tracing::warn!(id = identity.id, %peer, %error, "VM refused");
                self.refuse(&error.to_string());
            }
        }
    }

    fn refuse(&mut self, reason: &str) {
        self.shared.counters.refused.add(1);
        self.link.refuse(reason);
    }

    /// Who has not the right key leaves no trace but a line in the log.
    fn admit(&mut self, hello: Hello) -> Result<Hello, NotAdmitted> {
        match self
            .shared
            .keys
            .admission(&hello, self.shared.allow_plain)?
        {
            Admission::Plain => Ok(hello),
            Admission::Proven(key) => {
                let random = keys::random().map_err(|source| KeyError::Io {
                    path: "getrandom".into(),
                    source,
                })?;
                let told = self.link.unseal(&key, random);
                told.ok_or(NotAdmitted::OtherKey(hello.identity.id))
            }
        }
    }

    fn message(&mut self, brought: &mut Brought, sequence: u64, message: Control) {
        match &message {
            Control::Session {
                channel,
                id,
                primary,
                direct,
                ..
            } => {
                if *direct {
                    self.begin_direct(*channel, id);
                    brought.messages.push((sequence, message));
                    return;
                }
                let mark = SessionMark {
                    channel: *channel,
                    id: id.clone(),
                    primary: *primary,
                    closed: false,
                };
                if let Err(error) = brought.batch.session(mark) {
                    tracing::warn!(peer = %self.carrier.peer, %error, "session not marked");
                }
            }
            Control::Closed { channel } if self.end_direct(*channel) => {}
            Control::Closed { channel } => {
                let mark = SessionMark {
                    channel: *channel,
                    id: String::new(),
                    primary: false,
                    closed: true,
                };
                if let Err(error) = brought.batch.session(mark) {
                    tracing::warn!(peer = %self.carrier.peer, %error, "session not closed");
                }
            }
            Control::Refused { what, message } => {
                let id = self.container.as_ref().map(|c| c.id());
                tracing::warn!(id, what, message, "VM refused a request");
            }
            _ => {}
        }
        brought.messages.push((sequence, message));
    }

    /// Stores and acknowledges; what the store does not take now is kept, and nothing read.
    fn store(&mut self, brought: &mut Brought) {
        let direct = std::mem::take(&mut brought.direct);
        if brought.batch.is_empty() && brought.messages.is_empty() && !direct {
            return;
        }
        let Some(container) = &self.container else {
            // The link lets nothing through before a guest was accepted.
            return;
        };
        let (batch, messages) = (&mut brought.batch, &brought.messages);
        match container.store(&self.connection, batch, messages, now_ns()) {
            Ok(()) => {
                self.stored_at = Some(self.shared.clock.now());
                for (channel, stream, offset) in brought.stored.drain(..) {
                    self.link.stored(channel, stream, offset);
                }
                if let Some((sequence, _)) = brought.messages.last() {
                    self.link.message_stored(*sequence);
                }
                brought.messages.clear();
            }
            // The next step of the task closes the connection; nothing is acknowledged.
            Err(VmError::Replaced | VmError::TakenOver(_)) => {}
            // Trying again would not help; a new handshake starts from what is stored.
            Err(VmError::Log(error @ LogError::OutOfPlace { .. })) => {
                tracing::error!(id = container.id(), %error, "VM's connection closed");
                self.connection.close();
            }
            Err(error @ (VmError::Log(_) | VmError::State(_))) => {
                // Told once: the container's state says it as long as it lasts.
                if !std::mem::replace(&mut self.in_trouble, true) {
                    tracing::error!(id = container.id(), %error, "output not stored; the VM waits");
                }
                self.unstored = Some(Box::new(std::mem::take(brought)));
            }
        }
    }

    /// The store gets another chance.
    pub(super) fn retry(&mut self) {
        if let Some(mut brought) = self.unstored.take() {
            self.store(&mut brought);
            if self.unstored.is_none() {
                self.in_trouble = false;
                let id = self.container.as_ref().map(|c| c.id());
                tracing::info!(id, "output is being stored again");
            }
        }
    }
}

fn words(bytes: [u8; 32]) -> Fresh {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|n| words.get(n).map_or(0, |word| u64::from_le_bytes(*word)))
}

impl Brought {
    fn acknowledge(&mut self, channel: Channel, stream: Stream, offset: u64) {
        let known = self
            .stored
            .iter_mut()
            .find(|(c, s, _)| *c == channel && *s == stream);
        match known {
            Some((_, _, stored)) => *stored = offset,
            None => self.stored.push((channel, stream, offset)),
        }
    }
}
