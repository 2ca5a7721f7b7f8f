//! QEMU's monitor, as a host's hand on its machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::Machine;

/// QEMU's monitor.
pub struct Monitor(BufReader<UnixStream>);

impl Monitor {
    pub fn of(machine: &Machine) -> Self {
        let path = machine.path("qmp");
        machine.until("monitor", || path.exists());
        let mut monitor = Self(BufReader::new(UnixStream::connect(path).expect("connect")));
        monitor.line();
        monitor.does("qmp_capabilities", "{}");
        monitor
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    pub fn does(&mut self, command: &str, arguments: &str) -> Value {
        let line = format!("{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n");
        self.0.get_mut().write_all(line.as_bytes()).expect("sent");
        loop {
            let mut line = self.line();
            assert!(line.get("error").is_none(), "{command}: {line}");
            if let Some(value) = line.get_mut("return") {
                return value.take();
            }
        }
    }
}
