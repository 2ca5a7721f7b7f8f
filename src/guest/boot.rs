//! The boot, top to bottom. From the first line on this process must not end: every way out of it
//! leads through `stop` or `last_words`.

use std::os::fd::OwnedFd;

use super::carrier::Carrier;
use super::container::First;
use super::disk::mount::{MountError, ROOT};
use super::disk::{self, DiskError};
use super::host::Host;
use super::machine::Machine;
use super::network::{self, NetworkError};
use super::session::Place;
use super::source::{self, SourceError};
use super::steps::Steps;
use super::volumes::{self, VolumeError};
use super::{console, container, early_mounts, last_words, modules, port_document, stop, tree};
use crate::config::guestinfo;
use crate::config::isolation::{Isolation, sysctl};
use crate::config::model::ContainerVm;
use crate::link::Key;
use crate::link::control::BOOTED;
use crate::plan::{bounds, mounts};
use crate::sys::inside::Inside;
use crate::sys::namespaces::{Namespaces, NamespacesError};
use crate::sys::{memory, power, random, signals};

/// Characters of the ID that are the host name when there is no other, as docker does.
const HOSTNAME_FROM_ID: usize = 12;

/// Why the container could not be started.
#[derive(Debug, thiserror::Error)]
enum BootError {
    /// Its configuration.
    #[error("configuration: {0}")]
    Config(#[from] SourceError),
    /// The link key cannot be kept from the container.
    #[error(
        "the link key stays readable for the container, as the host would not take it out of {0}; \
         allow the guest to set guestinfo (isolation.tools.setInfo.disable), or use no link key"
    )]
    Key(String),
    /// There is no randomness to prove anything with.
    #[error("random numbers: {0}")]
    Random(std::io::Error),
    /// Its disk is not there.
    #[error("root disk: {0}")]
    Disk(#[from] DiskError),
    /// Its disk cannot be mounted.
    #[error("root disk: {0}")]
    Mount(#[from] MountError),
    /// A volume is not there.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// It has no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its tree cannot be entered.
    #[error("the container's tree at {ROOT}: {0}")]
    Tree(std::io::Error),
    /// A setting of the kernel.
    #[error("sysctl {setting}: {cause}")]
    Sysctl {
        /// As it is configured.
        setting: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The container cannot be kept apart.
    #[error("isolation of the container: {0}")]
    Isolation(NamespacesError),
    /// What serves everything.
    #[error("event loop: {0}")]
    Loop(std::io::Error),
}

/// PID 1.
pub fn run() -> ! {
    let mut steps = Steps::default();
    console::install();
    last_words::install();
    // What is made here gets the mode that is asked for; programs start with a mask of their own.
    rustix::process::umask(rustix::fs::Mode::empty());
    if let Err(error) = steps.take("signals", signals::block_all) {
        log::error!("blocking signals: {error}");
    }
    steps.take("early mounts", early_mounts::mount_all);
    come_first();
    steps.take("console", console::open);
    steps.take("modules", modules::load_all);
    let mut machine = match steps.take("event loop", || Machine::new(Host::default())) {
        Ok(machine) => machine,
        Err(error) => last_words::give_up(Host::default(), &BootError::Loop(error).to_string()),
    };
    if let Err(error) = start(&mut machine, &mut steps) {
        let reason = tell_reason(&mut machine, &error.to_string());
        machine.wait_for_help(&reason);
        machine.fail_primary(&reason);
        stop::run(&mut machine, &reason)
    }
    serve_to_the_end(machine)
}

/// What comes when the sessions are there.
pub(super) fn serve_to_the_end(mut machine: Machine) -> ! {
    let reason = serve(&mut machine);
    stop::run(&mut machine, &reason)
}

/// Process 1 comes first, whatever its container does: its pages are kept, and its turn comes before that of any
/// number of other processes, until they share processors as one (`container`). The kernel's out-of-memory killer spares it by itself; its score is for its
/// helpers, which inherit it. The sessions give all of that up (`sys::spawn`).
pub(super) fn come_first() {
    const FIRST: i32 = -20;
    if let Err(error) = memory::keep_all() {
        log::info!("pages of process 1 may be taken away: {error}");
    }
    if let Err(error) = rustix::process::setpriority_process(None, FIRST) {
        log::info!("priority of process 1: {error}");
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        log::warn!("oom_score_adj: {error}");
    }
}

/// From the configuration to the running sessions.
fn start(machine: &mut Machine, steps: &mut Steps) -> Result<(), BootError> {
    if let Err(error) = power::catch_ctrl_alt_del() {
        log::warn!("Ctrl-Alt-Del resets the machine: {error}");
    }
    let (host, read) = steps.take("configuration", || {
        source::read(|| port_document::read(machine))
    });
    machine.host = host;
    let vm = read?;
    machine.clock.of_container = vm.isolation.keeps_clock();
    steps.take("clock", || machine.clock.follow_host(&machine.host));
    console::set_level(vm.debug);
    steps.take("link", || connect(machine, &vm))?;
    steps
        .take("link key", || hide_key(machine, &vm))
        .map_err(BootError::Key)?;
    let hostname = steps.take("host name", || set_hostname(&vm));
    steps.take("network", || network::begin(machine, &vm, &hostname))?;
    let cgroup = steps
        .take("cgroup", || container::limits(&vm.isolation))
        .map_err(BootError::Isolation)?;
    let disk = steps.take("root disk", || {
        disk::find(machine, disk::ROOT_LABEL, disk::LIMIT)
    })?;
    steps.take("mount", || {
        disk::mount::mount_root(machine, &disk, vm.isolation.privileged)
    })?;
    let isolation = &vm.isolation;
    kernel_settings(isolation)?;
    let root = steps
        .take("tree", || furnished_tree(isolation))
        .map_err(BootError::Tree)?;
    if volumes::are_remote(&vm) {
        steps.take("addresses", || network::wait_for_addresses(machine))?;
    }
    steps.take("volumes", || volumes::mount_all(machine, &root, &vm))?;
    steps.take("network files", || network::settle(machine, &root))?;
    let (namespaces, first) = steps
        .take("isolation", || isolate(machine, isolation, cgroup))
        .map_err(BootError::Isolation)?;
    steps.take("sessions", || {
        machine.start_sessions(Place {
            root: Some(root),
            namespaces,
            first,
            bounds: bounds::bounds(isolation),
            hostname,
        })
    });
    // What takes no part in the start comes after it.
    machine.watch_button();
    machine.serve_host();
    tell_steps(machine, steps, vm.debug);
    Ok(())
}

/// The link is up before the disk: what goes wrong from here on reaches the listener.
fn connect(machine: &mut Machine, vm: &ContainerVm) -> Result<(), BootError> {
    let carrier = match Carrier::find() {
        Ok(carrier) => {
            log::info!("the link goes over {}", carrier.name());
            Some(carrier)
        }
        Err(error) => {
            log::error!("{error}");
            machine.host.stage(&error.to_string());
            None
        }
    };
    let random = [random::different_each_boot(), random::different_each_boot()];
    let proof = match Key::new(&vm.link_key.0) {
        Some(key) => Some((key, random::secret().map_err(BootError::Random)?)),
        None => None,
    };
    machine
        .connect(vm, random, proof, carrier)
        .map_err(BootError::Loop)
}

/// Before the first process of the container.
fn hide_key(machine: &mut Machine, vm: &ContainerVm) -> Result<(), String> {
    if vm.link_key.is_empty() {
        return Ok(());
    }
    machine
        .host
        .hide(guestinfo::link_keys(vm.generation), &vm.link_key)
}

fn furnished_tree(isolation: &Isolation) -> std::io::Result<Inside> {
    let root = Inside::open(ROOT)?;
    tree::furnish(&root, &mounts::kernel_file_systems(isolation.privileged));
    Ok(root)
}

/// The machine's kernel is the container's alone: any of its settings may be the container's, too.
fn kernel_settings(isolation: &Isolation) -> Result<(), BootError> {
    for setting in &isolation.sysctls {
        let (name, value) = sysctl(setting).unwrap_or_default();
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(path, value).map_err(|cause| BootError::Sysctl {
            setting: setting.clone(),
            cause,
        })?;
    }
    Ok(())
}

/// The container's namespaces; or, where its own command is to be the first process in them, what makes it
/// that.
fn isolate(
    machine: &mut Machine,
    isolation: &Isolation,
    cgroup: Option<OwnedFd>,
) -> Result<(Option<Namespaces>, Option<First>), NamespacesError> {
    if isolation.privileged {
        Ok((None, None))
    } else if isolation.init {
        container::make(machine, isolation, cgroup).map(|made| (Some(made), None))
    } else {
        First::new(isolation, cgroup).map(|first| (None, Some(first)))
    }
}

fn set_hostname(vm: &ContainerVm) -> String {
    let name = match vm.hostname.as_str() {
        "" => vm.id.chars().take(HOSTNAME_FROM_ID).collect(),
        name => name.to_owned(),
    };
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        log::warn!("host name {name:?}: {}", std::io::Error::from(error));
    }
    name
}

fn tell_steps(machine: &mut Machine, steps: &Steps, debug: u32) {
    let text = steps.to_string();
    machine.boot_steps.clone_from(&text);
    if debug > 0 {
        machine.host.stage(&text);
    }
    machine.tell_stage(BOOTED, text);
}

/// Turns until the primary session has ended.
fn serve(machine: &mut Machine) -> String {
    loop {
        if let Some(record) = machine.record() {
            return match record.reason.as_str() {
                "" => format!("the container has ended with status {}", record.status),
                reason => format!("the container did not start ({}): {reason}", record.status),
            };
        }
        machine.turn(None);
    }
}

/// A failure before the sessions: told to everybody who may listen.
fn tell_reason(machine: &mut Machine, reason: &str) -> String {
    // One problem a line is how a configuration's are told; a log and a key are one line each.
    let reason = reason.lines().collect::<Vec<_>>().join("; ");
    log::error!("{reason}");
    machine.host.log(&format!("tether: {reason}"));
    reason
}
