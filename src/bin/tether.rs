//! PID 1 of a containerVM; for anybody else a reader of its configuration.

use std::process::ExitCode;

use tether::guest;

const HELP: &str = "\
tether: the init and agent of a container that is its own virtual machine

As PID 1 it boots the machine; there is nothing to say to it.
As any other process:
  tether config [--from FILE]  print the configuration as PID 1 would resolve it, as JSON: from the
                               VMware host's guestinfo, from QEMU's fw_cfg (opt/tether/config), or
                               from FILE (a JSON map of guestinfo keys, or a JSON document)
  tether --version
  tether --help
";

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::pid_1();
    }
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["config"] => config(None),
        ["config", "--from", file] => config(Some(file)),
        ["config", option] if option.starts_with("--from=") => {
            config(option.strip_prefix("--from="))
        }
        ["--version" | "-V"] => print(concat!("tether ", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => print(HELP.trim_end()),
        [] => refuse("this process is not PID 1, and no command was given: nothing is done"),
        other => refuse(&format!("cannot make sense of {:?}", other.join(" "))),
    }
}

fn config(file: Option<&str>) -> ExitCode {
    match guest::resolved(file) {
        Ok(model) => print(&model),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("tether: {why}\n\n{HELP}");
    ExitCode::from(2)
}
