//! `vch exec` and `vch debug`.

use serde_json::{Value, json};

use super::args::Exec;
use super::attach::{End, Session, Stdin, signal_status};
use super::http::{Api, encode};
use super::{ClientError, path, print_line, terminal};
use crate::listener::api::exec::{Create, Created};

/// `vch debug`: a report of the machine's own process 1.
pub(super) async fn debug(api: &Api, container: &str) -> Result<u8, ClientError> {
    let create = Create {
        report: true,
        attach_stdout: true,
        ..Create::default()
    };
    with_process_1(api, container, &create, Stdin::Closed).await
}

/// A session of which the machine's own process 1 is the other end: its status.
pub(super) async fn with_process_1(
    api: &Api,
    container: &str,
    create: &Create,
    stdin: Stdin,
) -> Result<u8, ClientError> {
    let created: Created = api
        .post(&format!("{}/exec", path(container)), create)
        .await?;
    let base = format!("/exec/{}", encode(&created.id));
    let body = json!({});
    let taken = api.take_over(&format!("{base}/start"), Some(&body)).await?;
    let session = Session {
        api,
        base: &base,
        tty: false,
        stdin,
        keys: Default::default(),
    };
    match session.run(taken.socket, &taken.early).await? {
        End::Signal(number) => Ok(signal_status(number)),
        End::Output | End::Detached => status(api, &base).await,
    }
}

pub(super) async fn exec(api: &Api, options: &Exec) -> Result<u8, ClientError> {
    let size = terminal::size().filter(|_| options.tty);
    let attached = !options.detach;
    let create = Create {
        cmd: Some(options.command.clone()),
        env: Some(environment(&options.env)),
        user: options.user.clone(),
        working_dir: options.workdir.clone(),
        tty: options.tty,
        attach_stdin: options.interactive && attached,
        attach_stdout: attached,
        attach_stderr: attached,
        console_size: size.map(|(rows, columns)| [rows, columns]),
        ..Create::default()
    };
    let base = path(&options.container);
    let created: Created = api.post(&format!("{base}/exec"), &create).await?;
    let base = format!("/exec/{}", encode(&created.id));
    let start = format!("{base}/start");
    if options.detach {
        api.post_alone(&start, &json!({ "Detach": true })).await?;
        print_line(&created.id)?;
        return Ok(0);
    }
    let body = json!({ "Tty": options.tty, "DetachKeys": options.detach_keys });
    let taken = api.take_over(&start, Some(&body)).await?;
    let session = Session {
        api,
        base: &base,
        tty: options.tty,
        stdin: Stdin::typed_if(options.interactive && terminal::may_read_stdin()),
        keys: options.detach_keys.parse().unwrap_or_default(),
    };
    match session.run(taken.socket, &taken.early).await? {
        End::Output => status(api, &base).await,
        End::Detached => {
            eprintln!("vch: detached; the process goes on");
            Ok(0)
        }
        End::Signal(number) => Ok(signal_status(number)),
    }
}

/// The process's own status. Why it has none stands at the end of its output.
async fn status(api: &Api, base: &str) -> Result<u8, ClientError> {
    let details: Value = api.json("GET", &format!("{base}/json")).await?;
    let code = details.get("ExitCode").and_then(Value::as_i64);
    let code = code.ok_or_else(|| ClientError::Answer("an exec without a status".to_owned()))?;
    Ok((code & 0xff) as u8)
}

/// As docker: a bare name passes this program's own value on.
fn environment(entries: &[String]) -> Vec<String> {
    entries
        .iter()
        .filter_map(|entry| {
            if entry.contains('=') {
                return Some(entry.clone());
            }
            std::env::var(entry).ok().map(|v| format!("{entry}={v}"))
        })
        .collect()
}
