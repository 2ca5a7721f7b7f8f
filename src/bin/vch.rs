//! `vch`: the appliance's daemon and its command line.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tether::client::args::{Cli, Command};
use tether::{client, listener};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("VCH_LOG");
    let quiet = if matches!(cli.command, Command::Listen(_)) {
        "info"
    } else {
        "off"
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(quiet)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let state = match client::state_dir(cli.state) {
        Ok(state) => state,
        Err(error) => return failed(&error),
    };
    let options = match cli.command {
        Command::Listen(options) => options,
        other => return ExitCode::from(client::run(&state, other)),
    };
    let config = listener::Config {
        port: options.port,
        state,
        lost_after: std::time::Duration::from_secs(options.lost_after),
        allow_plain: options.allow_plain,
        rotation: options.rotation(),
        strangers_most: options.strangers,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(listener::run(config));
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("vch: {error}");
    ExitCode::FAILURE
}
