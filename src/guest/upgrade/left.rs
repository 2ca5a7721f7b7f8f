//! What the old program has left, read; and the machine that it becomes again.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::fields;
use crate::config::model::{self, ContainerVm, Secret};
use crate::config::{Errors, json};
use crate::frozen::Record;
use crate::guest::carrier::{Carrier, Pace};
use crate::guest::console;
use crate::guest::container::{First, share_processors_again};
use crate::guest::disk::mount::ROOT;
use crate::guest::host::Host;
use crate::guest::machine::Machine;
use crate::guest::network::Network;
use crate::guest::session::{Place, Session, frozen_id};
use crate::link::{Channel, Key};
use crate::plan::bounds;
use crate::sys::handover::adopt;
use crate::sys::inside::Inside;
use crate::sys::namespaces::Namespaces;
use crate::sys::port::NoBackdoor;
use crate::sys::random;

/// Why nobody can go on from it.
#[derive(Debug, thiserror::Error)]
pub enum LeftError {
    /// It is of another time.
    #[error("it is of format {0}, and this tether goes on from format {now}", now = fields::FORMAT_NOW)]
    Format(u32),
    /// The configuration cannot be read.
    #[error("configuration: {0}")]
    Config(#[from] Errors),
    /// A session is not in it.
    #[error("there is no configuration of session {0:?}")]
    Session(String),
    /// A descriptor is not there, or cannot be had again.
    #[error("{0}: {1}")]
    Descriptor(&'static str, io::Error),
    /// The host was there before.
    #[error("VMware host: {0}")]
    Host(#[from] NoBackdoor),
}

fn descriptor(of: &'static str) -> impl FnOnce(io::Error) -> LeftError {
    move |error| LeftError::Descriptor(of, error)
}

/// What was left. Reading it touches nothing: that is all that a trial does.
#[derive(Debug)]
pub struct Left<'a> {
    record: Record<'a>,
    vm: ContainerVm,
    sessions: Vec<(Record<'a>, model::Session)>,
}

impl<'a> Left<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// See [`LeftError`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, LeftError> {
        let record = Record::new(bytes);
        let format = record.number(fields::FORMAT);
        if format != fields::FORMAT_NOW {
            return Err(LeftError::Format(format));
        }
        let mut vm = json::restore(record.bytes(fields::CONFIG))?;
        vm.link_key = Secret(record.bytes(fields::LINK_KEY).to_vec());
        let mut configs = std::mem::take(&mut vm.sessions);
        configs.append(&mut std::mem::take(&mut vm.execs));
        let sessions = record.records(fields::SESSION).map(|one| {
            let id = frozen_id(one);
            match configs.remove(&id) {
                Some(config) => Ok((one, config)),
                None => Err(LeftError::Session(id)),
            }
        });
        Ok(Self {
            sessions: sessions.collect::<Result<_, _>>()?,
            record,
            vm,
        })
    }

    /// Version of the program that has left it.
    pub fn software(&self) -> String {
        self.record.text(fields::SOFTWARE)
    }

    /// When it was left.
    pub fn at(&self) -> Duration {
        self.record.time(fields::FROZEN_AT)
    }

    /// Channel of the upgrade's session.
    pub fn channel(&self) -> Channel {
        Channel(self.record.number(fields::CHANNEL))
    }

    /// Numbers of the descriptors that were left open.
    pub fn descriptors(&self) -> impl Iterator<Item = u64> {
        let all = self.record.all(fields::DESCRIPTOR);
        all.filter_map(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)))
    }

    /// The machine as it was left, on copies of the descriptors. Nothing is read or written yet.
    ///
    /// # Errors
    /// See [`LeftError`].
    pub fn machine(self) -> Result<(Machine, Vec<Session>), LeftError> {
        let Self {
            record,
            vm,
            sessions,
        } = self;
        console::set_level(vm.debug);
        let within = |field| record.record(field).unwrap_or_default();
        let host = Host::thaw(within(fields::HOST), vm.generation, &vm.link_key)?;
        let mut machine = Machine::new(host).map_err(descriptor("event loop"))?;
        machine.clock.of_container = vm.isolation.keeps_clock();
        let network = Network::thaw(within(fields::NETWORK), &vm, &machine.events);
        machine.network = network.map_err(descriptor("network"))?;
        let carrier = carrier(within(fields::CARRIER)).map_err(descriptor("port of the link"))?;
        let proof = match Key::new(&vm.link_key.0) {
            Some(key) => {
                let seed = random::secret().map_err(descriptor("random numbers"))?;
                Some((key, seed))
            }
            None => None,
        };
        // The epoch is the one that was left.
        let random = [0, random::different_each_boot()];
        machine.make_link(&vm, random, proof, carrier.as_ref());
        machine.link.thaw(within(fields::LINK));
        let carried = machine.carry(carrier);
        carried.map_err(descriptor("port of the link"))?;
        let thawed: io::Result<Vec<Session>> = sessions
            .into_iter()
            .map(|(one, config)| Session::thaw(one, config))
            .collect();
        machine.place = Some(place(record, &vm, machine.network.hostname())?);
        machine.last_channel = Channel(record.number(fields::LAST_CHANNEL));
        machine.boot_steps = record.text(fields::BOOT_STEPS);
        machine.oom_kills = record.number(fields::OOM_KILLS);
        Ok((machine, thawed.map_err(descriptor("sessions"))?))
    }
}

fn carrier(from: Record<'_>) -> io::Result<Option<Carrier>> {
    let fd = adopt(from.number(fields::carrier::FD))?;
    let pace = if from.flag(fields::carrier::IS_VIRTIO) {
        Pace::Virtio
    } else {
        Pace::Serial
    };
    let name = from.text(fields::carrier::NAME);
    let unsent = from.bytes(fields::carrier::UNSENT);
    Ok(fd.map(|fd| Carrier::new(fd, name, pace).after(unsent)))
}

/// Where the container's processes run.
fn place(from: Record<'_>, vm: &ContainerVm, hostname: &str) -> Result<Place, LeftError> {
    let of_namespaces = || descriptor("namespaces of the container");
    let isolation = &vm.isolation;
    let root = Inside::open(ROOT).map_err(descriptor("tree of the container"))?;
    let cgroup = adopt(from.number(fields::CGROUP)).map_err(of_namespaces())?;
    let init = adopt(from.number(fields::INIT)).map_err(of_namespaces())?;
    if cgroup.is_some() {
        share_processors_again();
    }
    let joined = cgroup.as_ref().map(AsFd::as_fd);
    let namespaces = init.map(|init| Namespaces::around(init.as_fd(), joined));
    Ok(Place {
        root: Some(root),
        namespaces: namespaces.transpose().map_err(of_namespaces())?,
        first: (!isolation.privileged && !isolation.init).then(|| First::of(isolation, cgroup)),
        bounds: bounds::bounds(isolation),
        hostname: hostname.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::model::Generation;
    use crate::frozen::Writer;

    fn written(format: u32, config: &str, session: &str) -> Vec<u8> {
        let mut to = Writer::default();
        to.number(fields::FORMAT, format);
        to.bytes(fields::CONFIG, config.as_bytes());
        to.bytes(fields::LINK_KEY, &[7; 32]);
        // A session's ID is its second field.
        to.record(fields::SESSION, |to| to.bytes(2, session.as_bytes()));
        to.number(fields::DESCRIPTOR, 5u64);
        to.number(fields::DESCRIPTOR, 9u64);
        to.done()
    }

    const CONFIG: &str = r#"{"generation": "1.x", "id": "a1", "sessions": {"a1": {"id": "a1", "path": "/x"}},
        "execs": {"e1": {"id": "e1"}}}"#;

    #[test]
    fn what_was_left_is_read_with_each_session_s_configuration() {
        let bytes = written(fields::FORMAT_NOW, CONFIG, "a1");
        let left = Left::read(&bytes).expect("as it was written");
        assert_eq!(left.vm.generation, Generation::V1x);
        assert_eq!(left.vm.link_key.0, [7; 32]);
        assert_eq!(left.sessions.len(), 1);
        assert_eq!(left.sessions[0].1.path, "/x");
        assert_eq!(left.descriptors().collect::<Vec<_>>(), [5, 9]);
        let bytes = written(fields::FORMAT_NOW, CONFIG, "e1");
        assert!(Left::read(&bytes).is_ok());
    }

    #[test]
    fn what_cannot_be_gone_on_from_is_named() {
        for (format, config, session, why) in [
            (2, CONFIG, "a1", "format 2"),
            (1, CONFIG, "b2", "no configuration of session \"b2\""),
            (1, "{", "a1", "configuration: "),
            (1, r#"{"id": 5}"#, "a1", "id"),
        ] {
            let bytes = written(format, config, session);
            let error = Left::read(&bytes).expect_err("it was changed");
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(Left::read(&[]).is_err());
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_another_machine_but_no_end(at: prop::sample::Index, byte: u8) {
            let mut bytes = written(fields::FORMAT_NOW, CONFIG, "a1");
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Left::read(&bytes).map(|left| left.descriptors().count());
            bytes.truncate(at);
            let _ = Left::read(&bytes).map(|left| left.descriptors().count());
        }
    }
}
