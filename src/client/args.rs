//! The command line of `vch`.

mod listen;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::listen::{Listen, LogFormat};
use crate::listener::container::Access;
use crate::listener::detach::{DEFAULT_KEYS, DetachKeys};

/// The appliance of containerVMs: takes their links, keeps their output, and talks to them.
///
/// `vch listen` is the daemon; every other command is its client and finds it by the state folder.
/// A container is named by its ID, the first digits of it, or its name.
#[derive(Debug, Parser)]
#[command(name = "vch", version, max_term_width = 100)]
#[command(after_help = "Examples:
  vch listen --port 127.0.0.1:8080      take VMs' serial ports on this port
  vch ps -a                             all containers, as `docker ps -a` shows them
  vch logs -f jolly_panini              output so far, and what comes
  vch attach jolly_panini               the same with stdin; ctrl-p ctrl-q leaves a terminal
  vch exec -it jolly_panini sh          another process in the running container
  vch wait 2cf7f4                       print the exit status when there is one")]
pub struct Cli {
    /// State folder of the listener [default: $VCH_STATE; /var/lib/vch for root,
    /// $XDG_STATE_HOME/vch for others].
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take the links of VMs, keep their output, and serve the other commands.
    Listen(Listen),
    /// List containers.
    Ps(Ps),
    /// Show a container's output.
    Logs(Logs),
    /// Connect stdin, stdout and stderr to a container, and end with its exit status.
    Attach(Attach),
    /// Run another process in a running container, and end with its exit status.
    Exec(Exec),
    /// Print what a container's machine knows of itself: boot, processes, mounts, network, kernel's log.
    Debug(Containers),
    /// Have another tether take over as process 1 of a running container's machine.
    Upgrade(Upgrade),
    /// Print what happens to containers, as it happens.
    Events(Events),
    /// Wait for containers to end, and print their exit statuses.
    Wait(Containers),
    /// Print everything known of containers, as JSON.
    Inspect(Containers),
    /// Start the process of containers that wait for it (`runblock`).
    Start(Containers),
    /// Send a signal to a container's process.
    Kill(Kill),
    /// Stop containers: their stop signal, then SIGKILL after a grace.
    Stop(Stop),
    /// Forget containers and delete what is kept of them.
    Rm(Rm),
    /// Write systemd's unit files for this listener: it is started by its sockets, which stay open when it is
    /// replaced. Then: systemctl daemon-reload && systemctl enable --now vch.socket vch-clients.socket
    Units {
        /// Folder to write them to.
        #[arg(default_value = "/etc/systemd/system")]
        dir: PathBuf,
    },
    /// Make, take, forget or list link keys: only a VM with its key is let in, and what it says is secret.
    #[command(subcommand)]
    Key(KeyCommand),
}

/// Options of `vch upgrade`.
#[derive(Debug, Args)]
#[command(
    after_help = "The file goes to the machine over its link, signed with the link's key. It is tried first, beside the
running one; then the container's processes, their streams and their exit statuses go on under it."
)]
pub struct Upgrade {
    /// Container.
    pub container: String,
    /// The program, as `make build` leaves it in build/tether.
    pub file: PathBuf,
}

/// What to do with link keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key for a VM and print its line for the .vmx file.
    New {
        /// Container ID, in full.
        id: String,
    },
    /// Take a key from stdin: base64, or the line of the .vmx file.
    Add {
        /// Container ID, in full.
        id: String,
    },
    /// Forget a VM's key.
    Rm {
        /// Container ID, in full.
        id: String,
    },
    /// List the IDs whose keys are known.
    Ls,
}

/// Options of `vch ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Those that do not run, too.
    #[arg(short, long)]
    pub all: bool,
    /// A table, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Only the IDs.
    #[arg(short, long)]
    pub quiet: bool,
    /// Whole IDs and commands.
    #[arg(long)]
    pub no_trunc: bool,
}

/// Shapes of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Options of `vch logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on with what comes, until the container ends.
    #[arg(short, long)]
    pub follow: bool,
    /// The time before each line.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only the last N lines.
    #[arg(short = 'n', long, value_name = "N", value_parser = tail, default_value = "all")]
    pub tail: String,
    /// Only lines since then: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Container.
    pub container: String,
}

/// Options of `vch events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Events: create, start, oom, die, lost (the VM is gone without a word), panic (so is
its kernel, with its last lines), restart, link_up, link_down, takeover (another VM has its ID), destroy.

Examples:
  vch events                                 from now on
  vch events --since 1h --until now -f event=die        what has died in the last hour"
)]
pub struct Events {
    /// From then on: RFC 3339, seconds since 1970, or so long ago (10s, 5m, 1h). The last 256 are kept, and
    /// none over a restart of the listener.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<String>,
    /// Up to then, and no longer; `now`: those that there are.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<String>,
    /// Only those: container=NAME, event=NAME, image=NAME; several of a name are alternatives.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub filter: Vec<String>,
    /// A line for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `5m` → the time then, in seconds and nanoseconds; others as they are.
fn time(text: &str) -> Result<String, String> {
    let ago = match text {
        "now" => Some(0),
        _ => text
            .split_at_checked(text.len().saturating_sub(1))
            .and_then(|(number, unit)| {
                let seconds = match unit {
                    "s" => 1,
                    "m" => 60,
                    "h" => 3600,
                    _ => return None,
                };
                number
                    .parse::<i64>()
                    .ok()
                    .map(|n| n.saturating_mul(seconds))
            }),
    };
    let now = jiff::Timestamp::now();
    Ok(ago.map_or_else(
        || text.to_owned(),
        |ago| {
            let seconds = now.as_second().saturating_sub(ago);
            format!("{seconds}.{:09}", now.subsec_nanosecond())
        },
    ))
}

/// Options of `vch attach`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vch attach jolly_panini               a shell's terminal: ctrl-p ctrl-q leaves it running
  echo 1+1 | vch attach calculator      stdin to its end, output, then the exit status")]
pub struct Attach {
    /// Only watch: the same as --access read-only.
    #[arg(long, conflicts_with = "access")]
    pub no_stdin: bool,
    /// Beside other clients: shared (watch and type, as they may), read-only (watch), exclusive (be the only
    /// one), exclusive-write (be the only one that types), read-only-ok (type, or watch where somebody types
    /// alone).
    #[arg(long, value_name = "MODE", default_value = "shared", value_parser = access)]
    pub access: String,
    /// Output from the first byte on, not only what comes.
    #[arg(long)]
    pub replay: bool,
    /// Keys that leave a terminal.
    #[arg(long, value_name = "KEYS", default_value = DEFAULT_KEYS, value_parser = detach_keys)]
    pub detach_keys: String,
    /// Container.
    pub container: String,
}

/// Options of `vch exec`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vch exec jolly_panini ps                    output and exit status are those of the process
  vch exec -it jolly_panini sh                a shell on a terminal
  tar c . | vch exec -i jolly_panini tar x    stdin to its end")]
pub struct Exec {
    /// Send stdin.
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Only start it, and print its ID.
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    pub detach: bool,
    /// Environment beside the container's own: NAME=VALUE, or NAME for the value here.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// NAME, NUMBER or USER:GROUP instead of the container's own user.
    #[arg(
        short,
        long,
        value_name = "USER",
        default_value = "",
        hide_default_value = true
    )]
    pub user: String,
    /// Working directory instead of the container's own.
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "",
        hide_default_value = true
    )]
    pub workdir: String,
    /// Keys that leave a terminal.
    #[arg(long, value_name = "KEYS", default_value = DEFAULT_KEYS, value_parser = detach_keys)]
    pub detach_keys: String,
    /// Container.
    pub container: String,
    /// Program and arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub command: Vec<String>,
}

/// Some containers.
#[derive(Debug, Args)]
pub struct Containers {
    /// Containers.
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Options of `vch kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// The signal, by name or number.
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,
    /// Containers.
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Options of `vch stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Seconds between the stop signal and SIGKILL.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub time: u32,
    /// Containers.
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Options of `vch rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Running ones too: they are killed.
    #[arg(short, long)]
    pub force: bool,
    /// Containers.
    #[arg(required = true, value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

fn tail(text: &str) -> Result<String, String> {
    if text != "all" && text.parse::<u64>().is_err() {
        return Err("expected a number of lines, or all".to_owned());
    }
    Ok(text.to_owned())
}

fn access(text: &str) -> Result<String, String> {
    let parsed = text.parse::<Access>();
    parsed.map(|_| text.to_owned()).map_err(|e| e.to_string())
}

fn detach_keys(text: &str) -> Result<String, String> {
    text.parse::<DetachKeys>()
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
