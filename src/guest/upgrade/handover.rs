//! The old program's part: what it knows, in a file of memory, and the call that ends it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;

use super::{ROLE, fields};
use crate::config::model::{self, ContainerVm};
use crate::frozen::Writer;
use crate::guest::carrier::{Carrier, Pace};
use crate::guest::event_loop::now;
use crate::guest::machine::Machine;
use crate::link::Channel;
use crate::sys::file::write_all;
use crate::sys::handover::{Kept, execute, memory_file, own_program, seal};

impl Machine {
    /// Executes the new program, which is told of what goes wrong in the session of this channel. Returns only why
    /// that was not possible; then this one goes on.
    pub(super) fn hand_over(&mut self, channel: Channel) -> io::Error {
        match self.try_hand_over(channel) {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn try_hand_over(&mut self, channel: Channel) -> io::Result<std::convert::Infallible> {
        let Some(upgrade) = &self.upgrade else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut kept = Kept::default();
        let state = memory_file(c"state")?;
        write_all(&state, &self.freeze(channel, &mut kept))?;
        seal(&state)?;
        let own = own_program()?;
        // Digits have no zero byte.
        let number = |number: u64| CString::new(number.to_string()).unwrap_or_default();
        let (state, own) = (number(kept.keep(&state)), number(kept.keep(&own)));
        log::info!("another tether takes over");
        // The host has few channels: the next program opens its own.
        self.host.close();
        self.tools = None;
        let error = execute(upgrade.program.as_fd(), &[ROLE, &state, &own], &kept);
        self.serve_host();
        Err(error)
    }

    /// All that the next program has to know, and the descriptors that it goes on with.
    pub(super) fn freeze(&self, channel: Channel, kept: &mut Kept) -> Vec<u8> {
        let mut to = Writer::default();
        to.number(fields::FORMAT, fields::FORMAT_NOW);
        to.time(fields::FROZEN_AT, now());
        to.bytes(fields::SOFTWARE, env!("CARGO_PKG_VERSION").as_bytes());
        to.number(fields::CHANNEL, channel.0);
        to.bytes(fields::CONFIG, &self.config_document());
        to.bytes(fields::LINK_KEY, &self.vm.link_key.0);
        to.record(fields::LINK, |to| self.link.freeze(to));
        for session in self.sessions() {
            to.record(fields::SESSION, |to| session.freeze(to, kept));
        }
        if let Some(carrier) = &self.carrier {
            to.record(fields::CARRIER, |to| freeze_carrier(carrier, to, kept));
        }
        to.record(fields::NETWORK, |to| self.network.freeze(to));
        to.record(fields::HOST, |to| self.host.freeze(to));
        if let Some(place) = &self.place {
            let first = place.first.as_ref().and_then(|first| first.cgroup());
            let namespaces = place.namespaces.as_ref();
            if let Some(namespaces) = namespaces {
                to.number(fields::INIT, kept.keep(namespaces.init()));
            }
            let joined = namespaces.and_then(|namespaces| namespaces.cgroup());
            if let Some(cgroup) = joined.or(first) {
                to.number(fields::CGROUP, kept.keep(cgroup));
            }
        }
        to.number(fields::LAST_CHANNEL, self.last_channel.0);
        to.bytes(fields::BOOT_STEPS, self.boot_steps.as_bytes());
        to.number(fields::OOM_KILLS, self.oom_kills);
        for number in kept.numbers() {
            to.number(fields::DESCRIPTOR, number);
        }
        to.done()
    }

    /// The configuration as it was read, with the sessions that there are now.
    fn config_document(&self) -> Vec<u8> {
        let of = |added: bool| -> BTreeMap<String, model::Session> {
            let all = self.sessions().iter();
            let those = all.filter(|session| session.is_added() == added);
            those
                .map(|session| (session.config().id.clone(), session.config().clone()))
                .collect()
        };
        let vm = ContainerVm {
            sessions: of(false),
            execs: of(true),
            ..self.vm.clone()
        };
        // Plain data has a form in JSON.
        serde_json::to_vec_pretty(&vm).unwrap_or_default()
    }
}

fn freeze_carrier(carrier: &Carrier, to: &mut Writer, kept: &mut Kept) {
    to.number(fields::carrier::FD, kept.keep(carrier));
    to.bytes(fields::carrier::NAME, carrier.name().as_bytes());
    to.number(fields::carrier::IS_VIRTIO, carrier.pace() == Pace::Virtio);
    to.bytes(fields::carrier::UNSENT, carrier.unsent());
}
