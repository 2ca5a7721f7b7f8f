//! `vmx power` and `vmx tools`: what is asked of a virtual machine that runs, over a socket beside its .vmx.
//!
//! One line there, one line back: `ok`, `error: …`, or what was asked for.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tokio::sync::oneshot;

use crate::backdoor::host::Tools;
use crate::backdoor::protocol::guest_info;
use crate::backdoor::tclo::PowerEvent;

/// The command line of `vmx power`.
#[derive(Clone, Debug, clap::Args)]
pub struct PowerOptions {
    /// The .vmx file of a machine that runs (vmx run)
    pub file: PathBuf,
    /// What is to happen
    pub operation: Operation,
}

/// The command line of `vmx tools`.
#[derive(Clone, Debug, clap::Args)]
pub struct ToolsOptions {
    /// The .vmx file of a machine that runs (vmx run)
    pub file: PathBuf,
}

/// What is to happen to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// The guest's tools power it off ("Shut Down Guest")
    Shutdown,
    /// The guest's tools start it again ("Restart Guest")
    Reboot,
    /// The guest's tools are told; then it stands still
    Suspend,
    /// It goes on, and its tools are told
    Resume,
    /// It starts again at once, whatever runs
    Reset,
    /// It is off at once, whatever runs
    Off,
}

/// What goes over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Change the machine's power.
    Power(Operation),
    /// Say what its tools have told.
    Tools,
}

impl Order {
    /// The line that says it.
    pub fn line(self) -> String {
        match self {
            Self::Tools => String::from("tools"),
            Self::Power(operation) => operation
                .to_possible_value()
                .map(|value| value.get_name().to_owned())
                .unwrap_or_default(),
        }
    }

    /// What a line says.
    pub fn from_line(line: &str) -> Option<Self> {
        match line.trim() {
            "tools" => Some(Self::Tools),
            name => Operation::from_str(name, false).ok().map(Self::Power),
        }
    }
}

/// An order on its way to the thread that answers the guest, and whoever waits for the answer.
#[derive(Debug)]
pub struct Pending {
    /// What is asked for.
    pub order: Order,
    /// What is answered: a line, or why not.
    pub answer: oneshot::Sender<Result<String, String>>,
}

impl Operation {
    /// What the guest's tools are asked for; none: they are not.
    pub fn event(self) -> Option<PowerEvent> {
        match self {
            Self::Shutdown => Some(PowerEvent::Halt),
            Self::Reboot => Some(PowerEvent::Reboot),
            Self::Suspend => Some(PowerEvent::Suspend),
            Self::Resume => Some(PowerEvent::Resume),
            Self::Reset | Self::Off => None,
        }
    }
}

/// Where a machine takes orders.
pub fn socket(vmx: &Path) -> PathBuf {
    let mut name = vmx.as_os_str().to_owned();
    name.push(".control");
    name.into()
}

/// Why an order was not followed.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// Nobody is there.
    #[error("no `vmx run` serves {}", path.display())]
    NotRunning {
        /// The .vmx file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine has ended meanwhile, or the answer could not be written.
    #[error("asking the machine")]
    Asking(#[from] io::Error),
    /// It says why not.
    #[error("{0}")]
    Refused(String),
}

/// Does what is asked for.
///
/// # Errors
/// The machine does not run, or will not.
pub fn power(options: &PowerOptions) -> Result<(), PowerError> {
    ask(&options.file, Order::Power(options.operation)).map(drop)
}

/// Shows what the guest's tools have told.
///
/// # Errors
/// The machine does not run, or nothing polls there.
pub fn tools(options: &ToolsOptions) -> Result<(), PowerError> {
    let answer = ask(&options.file, Order::Tools)?;
    Ok(writeln!(io::stdout().lock(), "{answer}")?)
}

fn ask(vmx: &Path, order: Order) -> Result<String, PowerError> {
    let not_running = |source| PowerError::NotRunning {
        path: vmx.to_owned(),
        source,
    };
    let path = vmx.canonicalize().map_err(not_running)?;
    let mut socket = UnixStream::connect(socket(&path)).map_err(not_running)?;
    writeln!(socket, "{}", order.line())?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    match answer.trim_end() {
        "" => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        answer => match answer.strip_prefix("error: ") {
            Some(reason) => Err(PowerError::Refused(reason.to_owned())),
            None => Ok(answer.to_owned()),
        },
    }
}

/// What the tools have told, as one JSON object.
pub fn told(tools: &Tools) -> serde_json::Value {
    let text = |kind: u32| {
        let value = tools.info.get(&kind)?;
        let text = String::from_utf8_lossy(value);
        Some(text.trim_end_matches('\0').to_owned())
    };
    let uptime = text(guest_info::UPTIME).and_then(|text| text.trim().parse::<u64>().ok());
    let nics = tools.info.get(&guest_info::NICS_V3);
    serde_json::json!({
        "running": tools.running,
        "version": tools.version,
        "capabilities": tools.capabilities,
        "hostname": text(guest_info::DNS_NAME),
        "os": text(guest_info::OS_NAME),
        "osFullName": text(guest_info::OS_NAME_FULL),
        "uptimeSeconds": uptime.map(|hundredths| hundredths as f64 / 100.0),
        "nicInfo": nics.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        "resets": tools.resets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_its_line() {
        let operations = Operation::value_variants().iter().copied();
        for order in operations.map(Order::Power).chain([Order::Tools]) {
            assert_eq!(
                Order::from_line(&format!("{}\n", order.line())),
                Some(order)
            );
        }
        assert_eq!(Order::from_line("halt"), None);
    }

    #[test]
    fn a_file_that_nothing_runs_from_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.vmx");
        std::fs::write(&file, "").unwrap();
        let operation = Operation::Off;
        let error = power(&PowerOptions { file, operation }).unwrap_err();
        assert!(error.to_string().contains("x.vmx"), "{error}");
    }
}
