//! The machine at work: one turn after another, each wakes up, takes what has come, and lets
//! everybody get on.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use super::carrier::Carrier;
use super::clock::Clock;
use super::container;
use super::event_loop::{EventLoop, Interest, Ready, Token, now, wall_ms};
use super::host::Host;
use super::network::Network;
use super::session::{Desk, Place, Role, Session};
use super::tools::Tools;
use super::upgrade::Upgrade;
use crate::config::model::{ContainerVm, LinkConfig, WhenFull};
use crate::link::{Channel, Control, ExitRecord, Identity, Key, Link, Options, Unacknowledged};
use crate::plan::stop;
use crate::sys::power::Ending;
use crate::sys::power_button::PowerButton;
use crate::sys::reap;
use crate::sys::signals::Signals;

/// Signals that PID 1 listens to: its children's ends, and those that ask it to stop: `kill 1`,
/// Ctrl-Alt-Del, the power supply's warning.
const SIGNALS: [i32; 4] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR];
/// Bytes read from a session's output at a time.
const SCRATCH: usize = 128 << 10;

/// The machine's parts, and what stands between them.
#[derive(Debug)]
pub struct Machine {
    pub(super) events: EventLoop,
    pub(super) signals: Signals,
    /// Told of the machine's state beside the link.
    pub host: Host,
    pub(super) link: Link,
    pub(super) network: Network,
    pub(super) clock: Clock,
    pub(super) carrier: Option<Carrier>,
    pub(super) button: Option<PowerButton>,
    /// Serves the VMware host, where there is one.
    pub(super) tools: Option<Tools>,
    /// The boot's steps and how long they took.
    pub(super) boot_steps: String,
    /// What the end of the machine is to be.
    pub(super) ending: Ending,
    sessions: Vec<Session>,
    /// Channel of the session that came last.
    pub(super) last_channel: Channel,
    /// The configuration, without the sessions, which have their own.
    pub(super) vm: ContainerVm,
    /// The container could not be started: nothing of it starts any more.
    pub(super) emergency: bool,
    /// Another program that is to take this one's place.
    pub(super) upgrade: Option<Upgrade>,
    /// Where sessions run; none before the disk is mounted, and after it is left.
    pub(super) place: Option<Place>,
    /// Steps of a stop that are still to be taken; none asked for: `None`.
    pub(super) stopping: Option<Stopping>,
    /// Kernel device events may be waiting.
    pub(super) uevents: bool,
    /// No child is left.
    pub(super) childless: bool,
    /// Processes that the kernel had killed for want of memory when we looked last.
    pub(super) oom_kills: u64,
    /// Children that are no sessions and whose end somebody waits for.
    pub(super) helpers: Vec<(i32, Option<reap::End>)>,
    /// When the next exit record may be due.
    pub(super) settles: Option<Duration>,
    /// When the link last got on.
    pub(super) progress: Duration,
    /// When bytes last came that are no frame, before a listener was found behind them.
    pub(super) noise: Duration,
    pub(super) noise_bytes: u64,
    pub(super) unacknowledged: Unacknowledged,
    pub(super) ready: Vec<Ready>,
    scratch: Box<[u8]>,
}

/// A stop under way.
#[derive(Debug)]
pub(super) struct Stopping {
    /// Who asked, for the operator.
    pub(super) reason: String,
    pub(super) actions: VecDeque<stop::Action>,
    pub(super) until: Option<Duration>,
}

impl Machine {
    /// A machine that serves no link and has no sessions yet. Signals are blocked already.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(host: Host) -> io::Result<Self> {
        let events = EventLoop::new()?;
        let signals = Signals::open(&SIGNALS)?;
        events.watch(&signals, Token::Signals, Interest::Readable)?;
        Ok(Self {
            events,
            signals,
            host,
            link: Link::guest(Identity::default(), 0, Options::default()),
            network: Network::default(),
            clock: Clock::default(),
            carrier: None,
            button: None,
            tools: None,
            boot_steps: String::new(),
            ending: Ending::Off,
            sessions: Vec::new(),
            last_channel: Channel::LINK,
            vm: ContainerVm::default(),
            emergency: false,
            upgrade: None,
            place: None,
            stopping: None,
            uevents: false,
            childless: false,
            oom_kills: 0,
            helpers: Vec::new(),
            settles: None,
            progress: Duration::ZERO,
            noise: Duration::ZERO,
            noise_bytes: 0,
            unacknowledged: Unacknowledged::default(),
            ready: Vec::new(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
        })
    }

    /// Takes the configuration and a carrier, if there is one, and announces the sessions.
    ///
    /// # Errors
    /// The carrier cannot be watched.
    pub fn connect(
        &mut self,
        vm: &ContainerVm,
        random: [u64; 2],
        proof: Option<(Key, [u8; 32])>,
        carrier: Option<Carrier>,
    ) -> io::Result<()> {
        self.make_link(vm, random, proof, carrier.as_ref());
        self.sessions = sessions(vm);
        self.last_channel = self.sessions.last().map_or(Channel::LINK, Session::channel);
        for session in &self.sessions {
            keep_as_configured(&mut self.link, session, &vm.link);
        }
        self.announce();
        self.carry(carrier)
    }

    /// A link that nothing has gone over yet.
    pub(super) fn make_link(
        &mut self,
        vm: &ContainerVm,
        random: [u64; 2],
        proof: Option<(Key, [u8; 32])>,
        carrier: Option<&Carrier>,
    ) {
        let [epoch, nonce] = random;
        let identity = Identity {
            id: vm.id.clone(),
            name: vm.name.clone(),
            repo: vm.repo.clone(),
            epoch,
            software: concat!("tether ", env!("CARGO_PKG_VERSION")).into(),
        };
        let mut options = Options {
            buffer: vm.link.buffer,
            ..Options::default()
        };
        if let Some(carrier) = carrier {
            options.chunk = carrier.chunk();
        }
        self.link = Link::guest(identity, nonce, options);
        if let Some((key, seed)) = proof {
            self.link.require(key, seed);
        }
        self.vm = ContainerVm {
            sessions: BTreeMap::new(),
            execs: BTreeMap::new(),
            ..vm.clone()
        };
    }

    /// The link goes over this from now on.
    pub(super) fn carry(&mut self, carrier: Option<Carrier>) -> io::Result<()> {
        if let Some(carrier) = &carrier {
            self.events
                .watch(carrier, Token::Carrier, Interest::Changes)?;
        }
        self.carrier = carrier;
        Ok(())
    }

    /// Tells the listener of all sessions: first of all, and again when it has forgotten.
    pub(super) fn announce(&mut self) {
        for session in &self.sessions {
            session.announce(&mut self.link);
        }
        self.tell_network();
    }

    /// Tells the listener, and whoever asks it, how far the machine has got.
    pub(super) fn tell_stage(&mut self, name: &str, text: String) {
        let stage = Control::Stage {
            name: name.into(),
            text,
            time_ms: wall_ms(),
        };
        if !self.link.send(&stage) {
            log::warn!("the link does not take the stage {name:?}");
        }
    }

    /// Tells the listener of the container's network, where there is one.
    pub(super) fn tell_network(&mut self) {
        let endpoints = self.network.endpoints();
        if !endpoints.is_empty() && !self.link.send(&Control::Network { endpoints }) {
            log::warn!("the link does not take the network's addresses");
        }
    }

    /// Its sessions, the primary one first.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    pub(super) fn sessions_mut(&mut self) -> &mut Vec<Session> {
        &mut self.sessions
    }

    /// The primary session's exit record, once it has been sent.
    pub fn record(&self) -> Option<&ExitRecord> {
        let primary = self.sessions.iter().find(|session| session.is_primary())?;
        primary.record().filter(|_| primary.is_reported())
    }

    /// When the primary session's process ended.
    pub fn ended(&self) -> Option<Duration> {
        self.sessions
            .iter()
            .find(|session| session.is_primary())?
            .ended()
    }

    /// No process but our own is left, as of the last look.
    pub fn is_childless(&self) -> bool {
        self.childless
    }

    /// Asks whoever is left in the container's namespaces to end, and its stand-in for an init after them.
    /// `false`: it has none.
    pub fn dismiss_container(&self) -> bool {
        let place = self.place.as_ref();
        let namespaces = place.and_then(|place| place.namespaces.as_ref());
        if let Some(namespaces) = namespaces {
            container::dismiss(namespaces);
        }
        namespaces.is_some()
    }

    /// Gives up the container's tree: nothing of ours stands on it any more.
    pub fn leave(&mut self) {
        self.place = None;
    }

    /// When the link last got on, or had nothing to get on with.
    pub fn progress(&self) -> Duration {
        self.progress
    }

    /// When the port last brought what is no frame, while no listener had been found.
    pub fn noise(&self) -> Duration {
        self.noise
    }

    /// What the listener has not acknowledged.
    pub fn unacknowledged(&self) -> Unacknowledged {
        self.link.unacknowledged()
    }

    /// There is a port that the link goes over.
    pub fn has_carrier(&self) -> bool {
        self.carrier.is_some()
    }

    /// Settings of the link.
    pub fn timing(&self) -> &LinkConfig {
        &self.vm.link
    }

    /// Goes on with sessions that run already.
    pub(super) fn resume(&mut self, sessions: Vec<Session>) {
        for session in &sessions {
            keep_as_configured(&mut self.link, session, &self.vm.link);
        }
        self.sessions = sessions;
        self.progress = now();
        self.each_session(Session::resume);
        self.look_for_children();
    }

    /// Heeds the power button from now on, where there is one.
    pub fn watch_button(&mut self) {
        let opened = PowerButton::open().and_then(|button| {
            self.events
                .watch(&button, Token::PowerButton, Interest::Readable)?;
            Ok(button)
        });
        match opened {
            Ok(button) => self.button = Some(button),
            Err(error) => log::info!("no power button: {error}"),
        }
    }

    /// True once after each time that the kernel has announced a device.
    pub fn take_uevents(&mut self) -> bool {
        std::mem::take(&mut self.uevents)
    }

    pub(super) fn desk(&mut self, now: Duration) -> (&mut Vec<Session>, Desk<'_>) {
        let Self {
            events,
            link,
            host,
            scratch,
            sessions,
            ..
        } = self;
        (
            sessions,
            Desk {
                events,
                link,
                host,
                scratch,
                now,
            },
        )
    }

    pub(super) fn each_session(&mut self, mut visit: impl FnMut(&mut Session, &mut Desk<'_>)) {
        let (sessions, mut desk) = self.desk(now());
        for session in sessions {
            visit(session, &mut desk);
        }
    }

    pub(super) fn session(
        &mut self,
        now: Duration,
        channel: Channel,
        visit: impl FnOnce(&mut Session, &mut Desk<'_>),
    ) {
        let (sessions, mut desk) = self.desk(now);
        match sessions
            .iter_mut()
            .find(|session| session.channel() == channel)
        {
            Some(session) => visit(session, &mut desk),
            None => log::warn!("there is no session on channel {}", channel.0),
        }
    }
}

/// What the link does when it has no room for more of a session's output.
pub(super) fn keep_as_configured(link: &mut Link, session: &Session, config: &LinkConfig) {
    if session.config().full.unwrap_or(config.full) == WhenFull::DropOldest {
        link.drop_oldest(session.channel());
    }
}

/// The primary session first, on channel 1; the others by their IDs.
fn sessions(vm: &ContainerVm) -> Vec<Session> {
    let primary = vm
        .sessions
        .get(&vm.id)
        .map(|session| (session, Role::Primary));
    let others = vm.sessions.iter().filter(|(id, _)| **id != vm.id);
    let others = others.map(|(_, session)| (session, Role::Other));
    let added = vm.execs.values().map(|session| (session, Role::Added));
    let all = primary.into_iter().chain(others).chain(added);
    all.zip(1u16..)
        .map(|((config, role), channel)| Session::new(Channel(channel), config.clone(), role))
        .collect()
}
