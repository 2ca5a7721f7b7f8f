//! PID 1 of a containerVM; for anybody else a reader of its configuration.

use std::process::ExitCode;

use tether::guest;

const HELP: &str = "\
tether: the init and agent of a container that is its own virtual machine

As PID 1 it boots the machine; there is nothing to say to it. As any other process:
  tether config                print the configuration as PID 1 would resolve it, as JSON: from the
                               VMware host's guestinfo (the original's keys, else a document under
                               guestinfo.tether.config), from QEMU's fw_cfg (opt/tether/config), or
                               from the kernel's command line (tether.config=, tether.FIELD=)
  tether check FILE [tether.FIELD=VALUE]…
                               the same from FILE, - for standard input, or every error in it: a JSON
                               document, an OCI runtime's config.json, a JSON map of guestinfo keys
                               (vmx show --json), each plain, in base64, or in gzip and base64
  tether --version
  tether --help
";

fn main() -> ExitCode {
    if let Some(outcome) = guest::in_a_role() {
        return outcome;
    }
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["config"] => config(None, ""),
        ["check", file, fields @ ..] => config(Some(file), &fields.join(" ")),
        ["--version" | "-V"] => print(concat!("tether ", env!("CARGO_PKG_VERSION"))),
        ["--help" | "-h" | "help"] => print(HELP.trim_end()),
        [] => refuse("this process is not PID 1, and no command was given: nothing is done"),
        other => refuse(&format!("cannot make sense of {:?}", other.join(" "))),
    }
}

fn config(file: Option<&str>, fields: &str) -> ExitCode {
    match guest::resolved(file, fields) {
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
