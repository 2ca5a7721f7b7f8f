//! `vmx`: plays the VMware host on a developer's machine.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tether::vmm::{chain, edit, exec, run};

/// Plays the VMware host: virtual machines, guestinfo, the backdoor, .vmx files.
#[derive(Parser)]
#[command(name = "vmx", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots a .vmx file's virtual machine under QEMU, with the VMware backdoor answered
    Run(run::Options),
    /// Runs a Linux program with the VMware backdoor answered (under ptrace)
    Exec(exec::Options),
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
    let outcome: Outcome = match Arguments::parse().command {
        Command::Run(options) => run::run(&options).map_err(|error| (error.into(), 1)),
        Command::Exec(options) => exec::run(&options).map_err(|error| {
            let status = error.exit_status();
            (error.into(), status)
        }),
        Command::Show(options) => edited(edit::show(&options)),
        Command::Get(options) => edited(edit::get(&options)),
        Command::Set(options) => edited(edit::set(&options)),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err((error, status)) => {
            eprintln!("vmx: {}", chain(error.as_ref()));
            ExitCode::from(status)
        }
    }
}

fn edited(outcome: Result<(), edit::EditError>) -> Outcome {
    outcome.map(|()| 0).map_err(|error| (error.into(), 1))
}
