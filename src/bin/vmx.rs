//! `vmx`: plays the VMware host on a developer's machine.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tether::vmm::exec;

/// Plays the VMware host: guestinfo, the backdoor, .vmx files.
#[derive(Parser)]
#[command(name = "vmx", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a Linux program with the VMware backdoor answered (under ptrace)
    Exec(exec::Options),
}

/// Every command's end: the status to exit with, or an error and the status that goes with it.
type Outcome = Result<u8, (Box<dyn Error>, u8)>;

fn main() -> ExitCode {
    let outcome: Outcome = match Arguments::parse().command {
        Command::Exec(options) => exec::run(&options).map_err(|error| {
            let status = error.exit_status();
            (error.into(), status)
        }),
    };
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err((error, status)) => {
            eprintln!("vmx: {}", chain(error.as_ref()));
            ExitCode::from(status)
        }
    }
}

/// An error and all its causes on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
