//! The client's commands of `vch`: each asks the listener's API and prints the answer.

pub mod args;
mod attach;
mod demux;
mod events;
mod exec;
mod http;
mod key;
mod logs;
mod ps;
mod terminal;
mod upgrade;

use std::error::Error as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::args::{Command, Containers, Kill, Rm, Stop};
use self::http::Api;
use crate::listener::api::shape::Waited;
use crate::listener::state_dir::SOCKET;
use crate::listener::systemd::write_units;

/// Status of a program that was ended by SIGPIPE, as shells count it: 128 + 13.
const STATUS_PIPE: u8 = 141;
/// Status of any other failure.
const STATUS_FAILED: u8 = 1;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error(
        "no listener at {}: {source}\nstart one with `vch listen --state {}`, or say where it is \
         with --state DIR or VCH_STATE=DIR",
        .socket.display(), .socket.parent().unwrap_or(Path::new(".")).display()
    )]
    NoListener {
        /// Where it was looked for.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The listener says no.
    #[error("{0}")]
    Refused(String),
    /// The conversation with the listener broke off.
    #[error("the listener went away{}", .0.source().map(|s| format!(": {s}")).unwrap_or_default())]
    Http(#[from] hyper::Error),
    /// The listener answers something else than it should.
    #[error("unexpected answer of the listener: {0}")]
    Answer(String),
    /// Our own input or output.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// More than one thing failed, each already told.
    #[error("")]
    Told,
    /// A process could not be done with (environment, runtime).
    #[error("{0}")]
    Setup(String),
}

/// Where the listener's state is: the option, `VCH_STATE`, or the default for this user.
///
/// # Errors
/// There is no default: neither `XDG_STATE_HOME` nor `HOME` is set.
pub fn state_dir(option: Option<PathBuf>) -> Result<PathBuf, ClientError> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(dir) = option.or_else(|| variable("VCH_STATE")) {
        return Ok(dir);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/vch"));
    }
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|dir| dir.join("vch"))
        .ok_or_else(|| ClientError::Setup("no state folder: say --state DIR".to_owned()))
}

/// Runs a command against the listener of this state folder: the status to end with. All errors
/// have been told on stderr.
pub fn run(state: &Path, command: Command) -> u8 {
    // A program in the background may write to its terminal and set it up without being stopped.
    if let Err(error) = terminal::never_stop_for_output() {
        eprintln!("vch: {error}");
        return STATUS_FAILED;
    }
    if let Command::Key(command) = command {
        return key::run(state, command).unwrap_or_else(|error| {
            eprintln!("vch: {error}");
            STATUS_FAILED
        });
    }
    if let Command::Units { dir } = command {
        return match write_units(&dir) {
            Ok(paths) => {
                for path in paths {
                    println!("{}", path.display());
                }
                0
            }
            Err(error) => {
                eprintln!("vch: {error}");
                STATUS_FAILED
            }
        };
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vch: {error}");
            return STATUS_FAILED;
        }
    };
    let api = Api::new(state.join(SOCKET));
    let done = runtime.block_on(dispatch(&api, command));
    // A thread may still wait for stdin: the process does not wait for it.
    runtime.shutdown_background();
    match done {
        Ok(status) => status,
        Err(ClientError::Io(e)) if e.kind() == io::ErrorKind::BrokenPipe => STATUS_PIPE,
        Err(ClientError::Told) => STATUS_FAILED,
        Err(error) => {
            eprintln!("vch: {error}");
            STATUS_FAILED
        }
    }
}

async fn dispatch(api: &Api, command: Command) -> Result<u8, ClientError> {
    match command {
        Command::Listen(_) | Command::Key(_) | Command::Units { .. } => Err(ClientError::Setup(
            "this command asks no listener".to_owned(),
        )),
        Command::Ps(options) => ps::ps(api, &options).await.map(|()| 0),
        Command::Events(options) => events::events(api, &options).await,
        Command::Logs(options) => logs::logs(api, &options).await,
        Command::Attach(options) => attach::attach(api, &options).await,
        Command::Exec(options) => exec::exec(api, &options).await,
        Command::Debug(Containers { containers }) => {
            let mut status = 0;
            for container in &containers {
                status = exec::debug(api, container).await?.max(status);
            }
            Ok(status)
        }
        Command::Upgrade(options) => upgrade::upgrade(api, &options).await,
        Command::Wait(Containers { containers }) => wait(api, &containers).await.map(|()| 0),
        Command::Inspect(Containers { containers }) => inspect(api, &containers).await.map(|()| 0),
        Command::Start(Containers { containers }) => each(api, "POST", &containers, "/start").await,
        Command::Kill(Kill { signal, containers }) => {
            let query = format!("signal={}", http::encode(&signal));
            each(api, "POST", &containers, &format!("/kill?{query}")).await
        }
        Command::Stop(Stop { time, containers }) => {
            each(api, "POST", &containers, &format!("/stop?t={time}")).await
        }
        Command::Rm(Rm { force, containers }) => {
            each(
                api,
                "DELETE",
                &containers,
                &format!("?force={}", u8::from(force)),
            )
            .await
        }
    }
}

/// The same call for every container; its name is printed when it is done, as docker prints it.
async fn each(
    api: &Api,
    method: &str,
    containers: &[String],
    call: &str,
) -> Result<u8, ClientError> {
    let mut all = Ok(0);
    for container in containers {
        match api
            .call(method, &format!("{}{call}", path(container)))
            .await
        {
            Ok(_) => print_line(container)?,
            Err(error) => {
                eprintln!("vch: {error}");
                all = Err(ClientError::Told);
            }
        }
    }
    all
}

async fn wait(api: &Api, containers: &[String]) -> Result<(), ClientError> {
    let mut all = Ok(());
    for container in containers {
        let waited: Result<Waited, _> =
            api.json("POST", &format!("{}/wait", path(container))).await;
        match waited {
            Ok(waited) => {
                print_line(&waited.status_code.to_string())?;
                if !told_in_full(container, &waited) {
                    all = Err(ClientError::Told);
                }
            }
            Err(error) => {
                eprintln!("vch: {error}");
                all = Err(ClientError::Told);
            }
        }
    }
    all
}

/// Says what a status leaves out. True: nothing.
fn told_in_full(container: &str, waited: &Waited) -> bool {
    if waited.missing_bytes > 0 {
        let bytes = waited.missing_bytes;
        eprintln!("vch: {container}: the VM went away before {bytes} bytes of output came");
    }
    if let Some(error) = &waited.error {
        eprintln!("vch: {container}: {}", error.message);
    }
    waited.missing_bytes == 0 && waited.error.is_none()
}

async fn inspect(api: &Api, containers: &[String]) -> Result<(), ClientError> {
    let mut all = Ok(());
    let mut found: Vec<Value> = Vec::new();
    for container in containers {
        match api.json("GET", &format!("{}/json", path(container))).await {
            Ok(value) => found.push(value),
            Err(error) => {
                eprintln!("vch: {error}");
                all = Err(ClientError::Told);
            }
        }
    }
    let json = serde_json::to_string_pretty(&found);
    print_line(&json.map_err(|e| ClientError::Answer(e.to_string()))?)?;
    all
}

fn path(container: &str) -> String {
    format!("/containers/{}", http::encode(container))
}

fn print_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
