//! Serial ports: where their other end is.

use super::lines::{LineError, Lines, Options};
use super::{CONSOLE_PORT, Console, Plan};

/// A PC has as many.
const PORTS: u32 = 4;
/// Seconds between two attempts to reach a listener that is not there.
const RECONNECT: &str = "1";
/// VMware's question whether to append to a file that exists, answered in advance.
const FILE_ANSWER: &str = "answer.msg.serial.file.open";

pub(super) fn add(
    plan: &mut Plan,
    lines: &Lines,
    console: Option<&Console>,
) -> Result<(), LineError> {
    let mut console = console;
    for device in lines.devices(&["serial"]) {
        let (Some(number), None) = (device.number, device.unit) else {
            continue;
        };
        let id = device.to_string();
        if number == CONSOLE_PORT && console.is_some() {
            continue;
        }
        if !lines.present(&id)? {
            continue;
        }
        if number >= PORTS {
            let key = format!("{id}.present");
            return Err(lines.unsupported(&key, "a PC has serial0 to serial3"));
        }
        if let Some(chardev) = end(plan, lines, &id)? {
            port(plan, number, &id, chardev);
        }
    }
    if let Some(console) = console.take() {
        let chardev = match console {
            Console::File(path) => Options::of("file").with("path", path),
            Console::Socket(path) => Options::of("socket").with("path", path),
        };
        port(
            plan,
            CONSOLE_PORT,
            &format!("serial{CONSOLE_PORT}"),
            chardev,
        );
    }
    Ok(())
}

fn port(plan: &mut Plan, number: u32, id: &str, chardev: Options) {
    plan.option("-chardev", chardev.with("id", id));
    let device = Options::of("isa-serial")
        .with("chardev", id)
        .with("index", number.to_string());
    plan.option("-device", device);
}

/// The chardev behind a port; `None`: the port is not there.
fn end(plan: &mut Plan, lines: &Lines, id: &str) -> Result<Option<Options>, LineError> {
    let kind_key = format!("{id}.fileType");
    let name_key = format!("{id}.fileName");
    if !lines
        .truth(&format!("{id}.startConnected"))?
        .unwrap_or(true)
    {
        return Ok(Some(Options::of("null")));
    }
    let path = |what| {
        lines
            .path(&name_key)?
            .ok_or_else(|| lines.missing(&name_key, what))
    };
    match lines.choice(&kind_key).as_deref() {
        Some("network") => network(lines, id).map(Some),
        Some("file") => {
            let append = lines
                .choice(FILE_ANSWER)
                .is_some_and(|answer| answer.starts_with("append"));
            let append = if append { "on" } else { "off" };
            let file = Options::of("file").with("path", path("a file for what the port says")?);
            Ok(Some(file.with("append", append)))
        }
        // VMware's pipe on Linux is a socket.
        Some("pipe") => {
            let socket = Options::of("socket").with("path", path("the socket's path")?);
            let key = format!("{id}.pipe.endPoint");
            Ok(Some(match is_server(lines, &key)? {
                true => socket.with("server", "on").with("wait", "off"),
                false => socket.with("server", "off").with("reconnect", RECONNECT),
            }))
        }
        Some("device") => {
            let device = Options::of("serial").with("path", path("the host's device")?);
            Ok(Some(device))
        }
        Some("thinprint") => {
            plan.warnings
                .push(format!("{kind_key} = \"thinprint\": the port is left out"));
            Ok(None)
        }
        None => Err(lines.missing(&kind_key, "network, file, pipe or device")),
        Some(_) => Err(lines.unsupported(&kind_key, "take network, file, pipe or device")),
    }
}

fn is_server(lines: &Lines, key: &str) -> Result<bool, LineError> {
    match lines.choice(key).as_deref() {
        Some("server") | None => Ok(true),
        Some("client") => Ok(false),
        Some(_) => Err(lines.bad(key, "server or client")),
    }
}

/// `tcp://HOST:PORT` and its kin.
fn network(lines: &Lines, id: &str) -> Result<Options, LineError> {
    const EXPECTED: &str = "tcp://HOST:PORT";
    let proxy = format!("{id}.vspc");
    if lines.choice(&proxy).is_some() {
        return Err(lines.unsupported(
            &proxy,
            "QEMU knows no serial port proxies; let the port dial the proxy itself by tcp://",
        ));
    }
    let key = format!("{id}.fileName");
    let uri = lines
        .text(&key)
        .ok_or_else(|| lines.missing(&key, EXPECTED))?;
    let (scheme, rest) = uri
        .split_once("://")
        .ok_or_else(|| lines.bad(&key, EXPECTED))?;
    let family = match scheme.to_ascii_lowercase().as_str() {
        "tcp" | "telnet" => None,
        "tcp4" => Some("ipv4"),
        "tcp6" => Some("ipv6"),
        _ => return Err(lines.unsupported(&key, "take tcp:// or telnet://")),
    };
    let (host, port) = rest
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .ok_or_else(|| lines.bad(&key, EXPECTED))?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let server = is_server(lines, &format!("{id}.network.endPoint"))?;
    if host.is_empty() && !server {
        return Err(lines.bad(&key, EXPECTED));
    }
    let mut socket = Options::of("socket").with("host", host).with("port", port);
    if let Some(family) = family {
        socket = socket.with(family, "on");
    }
    if scheme.eq_ignore_ascii_case("telnet") {
        socket = socket.with("telnet", "on");
    }
    Ok(match server {
        true => socket.with("server", "on").with("wait", "off"),
        // A listener that is not there yet, or not any more, must not stop the machine.
        false => socket.with("server", "off").with("reconnect", RECONNECT),
    })
}
