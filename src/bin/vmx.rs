//! `vmx`: plays the VMware host on a developer's machine.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use tether::vmm::{chain, edit, exec, power, run, switch};

/// Plays the VMware host: virtual machines, guestinfo, the backdoor, .vmx files.
#[derive(Parser)]
#[command(name = "vmx", version)]
enum Command {
    /// Boots a .vmx file's virtual machine under QEMU, with the VMware backdoor answered
    Run(run::Options),
    /// Runs a Linux program with the VMware backdoor answered (under ptrace)
    Exec(exec::Options),
    /// Changes the power of a virtual machine that runs, softly (its tools are asked) or not
    Power(power::PowerOptions),
    /// Shows what the tools of a virtual machine that runs have told the host, as JSON
    Tools(power::ToolsOptions),
    /// Serves a network that virtual machines share: a switch, and their names by DNS
    Switch(switch::SwitchOptions),
    /// Shows what a .vmx file says
    Show(edit::ShowOptions),
    /// Shows one value of a .vmx file
    Get(edit::GetOptions),
    /// Changes values of a .vmx file
    Set(edit::SetOptions),
}

/// Every command's end: the status to exit with, or an error and the status that goes with it.
type Outcome = Result<u8, (Box<dyn Error>, u8)>;

fn main() -> ExitCode {
    let outcome: Outcome = match Command::parse() {
        Command::Run(options) => run::run(&options).map_err(|error| (error.into(), 1)),
        Command::Exec(options) => exec::run(&options).map_err(exec::Error::with_status),
        Command::Power(options) => plain(power::power(&options)),
        Command::Tools(options) => plain(power::tools(&options)),
        Command::Switch(options) => plain(switch::switch(&options)),
        Command::Show(options) => plain(edit::show(&options)),
        Command::Get(options) => plain(edit::get(&options)),
        Command::Set(options) => plain(edit::set(&options)),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err((error, status)) => {
            eprintln!("vmx: {}", chain(error.as_ref()));
            ExitCode::from(status)
        }
    }
}

fn plain(outcome: Result<(), impl Error + 'static>) -> Outcome {
    outcome.map(|()| 0).map_err(|error| (error.into(), 1))
}
