//! `vmx run`: a .vmx file's virtual machine in QEMU, with the backdoor answered.
//!
//! This reads top to bottom as what happens: the file → the plan of the machine → the agent's
//! instructions → QEMU, held before its first instruction → answers until it ends → the file saved.

mod control;
mod host;
mod streams;
mod supervise;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agent::{Agent, AgentError};
use super::on_disk::{self, DiskError};
use super::qemu::{self, Console, Environment, LineError, Plan, Wiring};
use super::store::{StoreError, VmxStore};
use super::trace::{Trace, TraceError};
use super::trap::TrapError;
use host::MediumError;
use supervise::{End, Machine};

/// What is exited with when the time given has passed, as `timeout` does.
const TIMED_OUT: u8 = 124;
/// Added to the number of the signal that ended us, as a shell does.
const BY_SIGNAL: u8 = 128;
/// Hardware breakpoints of an x86 processor: under KVM there are no more.
const HARDWARE_BREAKPOINTS: usize = 4;

/// The command line of `vmx run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The .vmx file
    pub file: PathBuf,
    /// The guest's program, whose ELF note says where its backdoor instructions are; otherwise it is looked for in the initramfs on the boot medium
    #[arg(long, value_name = "ELF", conflicts_with = "no_backdoor")]
    pub agent: Option<PathBuf>,
    /// Do not answer the backdoor
    #[arg(long)]
    pub no_backdoor: bool,
    /// Low bandwidth only: the host does not offer the string instructions
    #[arg(long)]
    pub no_hb: bool,
    /// End the virtual machine after so long, and exit with 124
    #[arg(long, value_name = "SECONDS", overrides_with = "timeout")]
    pub timeout: Option<f64>,
    /// Where the console (serial1) goes instead: a file, or - for standard output
    #[arg(long, value_name = "FILE|-")]
    pub console: Option<PathBuf>,
    /// Write each request over the backdoor and its answer to FILE, one a line (- for standard error), secrets among them
    #[arg(long, value_name = "FILE|-")]
    pub trace: Option<PathBuf>,
    /// Say on stderr how many backdoor instructions were answered
    #[arg(long)]
    pub count: bool,
    /// Print QEMU's command line, without our own sockets, and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// An argument more for QEMU (repeat it for each)
    #[arg(long = "qemu-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub qemu_arguments: Vec<OsString>,
    /// The QEMU to start
    #[arg(long, value_name = "PROGRAM", default_value = qemu::PROGRAM)]
    pub qemu: OsString,
}

/// Why the virtual machine did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The .vmx file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The .vmx file as the guest's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Another one runs it.
    #[error("{} runs already: end it with vmx power, or run a copy", path.display())]
    Running {
        /// The .vmx file.
        path: PathBuf,
    },
    /// A line of it.
    #[error("{}", path.display())]
    Line {
        /// The .vmx file.
        path: PathBuf,
        /// Which, and why.
        source: LineError,
    },
    /// A disk or an image.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// Its program.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Nowhere to look for the program.
    #[error(
        "{} boots from no CD-ROM image, so there is nothing to look for the guest's program in: name it with --agent, or boot without the backdoor with --no-backdoor",
        path.display()
    )]
    NoBootImage {
        /// The .vmx file.
        path: PathBuf,
    },
    /// The time is none.
    #[error("--timeout {0} is no number of seconds")]
    Timeout(f64),
    /// A step of our own on the host.
    #[error("{step}")]
    Host {
        /// What was attempted.
        step: String,
        /// Why not.
        source: io::Error,
    },
    /// QEMU could not be started.
    #[error("starting {} (Debian package qemu-system-x86)", program.to_string_lossy())]
    Start {
        /// Its name.
        program: OsString,
        /// Why not.
        source: io::Error,
    },
    /// QEMU ended by itself, but not because the guest powered off.
    #[error("QEMU has failed ({status})")]
    Qemu {
        /// How. Why, it has said on stderr.
        status: std::process::ExitStatus,
    },
    /// The backdoor.
    #[error("answering the backdoor")]
    Trap(#[source] TrapError),
}

/// Runs the machine until it ends; what to exit with: 0 when the guest powered off.
///
/// # Errors
/// When it cannot be started, or ends otherwise.
pub fn run(options: &Options) -> Result<u8, RunError> {
    let timeout = options
        .timeout
        .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(|_| RunError::Timeout(seconds)))
        .transpose()?;
    let mut environment = host::environment();
    if options.dry_run {
        let wiring = wiring(options, None);
        let plan = plan(&options.file, &environment, &wiring)?;
        print_command(&options.qemu, &plan)?;
        return Ok(0);
    }
    let folder = host::TemporaryFolder::new().map_err(|source| RunError::Host {
        step: String::from("making a folder for QEMU's sockets"),
        source,
    })?;
    let wiring = wiring(options, Some(folder.path()));
    let mut planned = plan(&options.file, &environment, &wiring)?;
    for medium in &planned.media {
        host::check(medium)?;
    }
    let agent = agent(options, &planned)?;
    let instructions = agent
        .as_ref()
        .map_or(0, |agent| agent.backdoor.instructions.len());
    let bell = agent
        .as_ref()
        .is_some_and(|agent| agent.backdoor.bell.is_some());
    if environment.kvm && !bell && instructions > HARDWARE_BREAKPOINTS {
        environment.kvm = false;
        planned = plan(&options.file, &environment, &wiring)?;
    }
    let control = control(&options.file)?;
    let trace = options.trace.as_deref().map(Trace::open).transpose()?;
    let store = VmxStore::open(&options.file)?;
    store.log().note(&match &agent {
        Some(agent) => format!(
            "power on; the backdoor is answered at {instructions} instructions of {}",
            agent.source
        ),
        None => String::from("power on; the backdoor is not answered"),
    });
    let machine = Machine {
        program: options.qemu.clone(),
        arguments: planned.arguments,
        wiring,
        backdoor: agent.map(|agent| agent.backdoor),
        host: crate::backdoor::host::Options {
            high_bandwidth: !options.no_hb,
            machine_id: planned.machine_id,
            uuid: planned.uuid.unwrap_or_default(),
            trace: trace.is_some(),
            ..Default::default()
        },
        timeout,
        control,
        trace,
    };
    let (end, statistics) = supervise::run(machine, store)?;
    if options.count {
        eprintln!("vmx: {statistics}");
    }
    Ok(match end {
        End::PoweredOff => 0,
        End::TimedOut(_) => {
            eprintln!("vmx: the virtual machine was ended {end}");
            TIMED_OUT
        }
        End::Signal(number) => BY_SIGNAL.saturating_add(number),
    })
}

/// The socket for orders. A path that is too long for one is no reason not to run.
fn control(vmx: &Path) -> Result<Option<control::Control>, RunError> {
    let path = host::absolute(vmx).map_err(|source| RunError::Host {
        step: format!("finding the folder of {}", vmx.display()),
        source,
    })?;
    match control::Control::bind(&path) {
        Ok(control) => Ok(Some(control)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(RunError::Running { path }),
        Err(error) => {
            eprintln!(
                "vmx: {}: takes no orders (vmx power): {error}",
                vmx.display()
            );
            Ok(None)
        }
    }
}

fn plan(path: &Path, environment: &Environment, wiring: &Wiring) -> Result<Plan, RunError> {
    let (file, _) = on_disk::load(path)?;
    let path = host::absolute(path).map_err(|source| RunError::Host {
        step: format!("finding the folder of {}", path.display()),
        source,
    })?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let plan = qemu::plan(&file, folder, environment, wiring).map_err(|source| RunError::Line {
        path: path.clone(),
        source,
    })?;
    for warning in &plan.warnings {
        eprintln!("vmx: {}: {warning}", path.display());
    }
    Ok(plan)
}

fn wiring(options: &Options, sockets: Option<&Path>) -> Wiring {
    let console =
        options
            .console
            .as_ref()
            .map(|path| match sockets.filter(|_| path.as_os_str() == "-") {
                Some(sockets) => Console::Socket(sockets.join("console")),
                None => Console::File(path.clone()),
            });
    Wiring {
        gdb: sockets
            .filter(|_| !options.no_backdoor)
            .map(|sockets| sockets.join("gdb")),
        monitor: sockets.map(|sockets| sockets.join("monitor")),
        console,
        extra: options.qemu_arguments.clone(),
    }
}

fn agent(options: &Options, plan: &Plan) -> Result<Option<Agent>, RunError> {
    if options.no_backdoor {
        return Ok(None);
    }
    let agent = match (&options.agent, &plan.boot_image) {
        (Some(path), _) => Agent::from_elf(path)?,
        (None, Some(image)) => Agent::from_iso(image)?,
        (None, None) => {
            return Err(RunError::NoBootImage {
                path: options.file.clone(),
            });
        }
    };
    Ok(Some(agent))
}

/// The command as a shell would take it.
fn print_command(program: &OsString, plan: &Plan) -> Result<(), RunError> {
    let words = std::iter::once(program).chain(&plan.arguments);
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    let line = words.join(" ") + "\n";
    io::stdout()
        .lock()
        .write_all(line.as_bytes())
        .map_err(|source| RunError::Host {
            step: String::from("writing to standard output"),
            source,
        })
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
