//! `vch`: the appliance's daemon and its command line.

use std::process::ExitCode;

use clap::Parser as _;
use tether::client::args::{Cli, Command, LogFormat};
use tether::listener::own_log;
use tether::{client, listener};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let state = match client::state_dir(cli.state) {
        Ok(state) => state,
        Err(error) => return failed(&error),
    };
    let options = match cli.command {
        Command::Listen(options) => options,
        other => {
            own_log::begin("off", false);
            return ExitCode::from(client::run(&state, other));
        }
    };
    own_log::begin("info", options.log_format == LogFormat::Json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(listener::run(options.config(state)));
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
