//! A `vch listen` of the benchmark's own, on one processor, and what it takes of this machine.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A listener that runs.
pub struct Appliance {
    dir: tempfile::TempDir,
    child: Child,
    pub port: SocketAddr,
}

impl Appliance {
    /// With keys for these IDs, or open to all.
    pub fn start(vch: &Path, keys: &[(String, [u8; 32])], one_processor: bool) -> Self {
        use base64::Engine as _;
        let dir = tempfile::tempdir().expect("a folder");
        for (id, key) in keys {
            let mut add = Command::new(vch)
                .args(["key", "add", id, "--state"])
                .arg(dir.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("vch key add");
            let text = base64::engine::general_purpose::STANDARD.encode(key);
            let mut stdin = add.stdin.take().expect("piped");
            std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("a key");
            drop(stdin);
            assert!(add.wait().expect("its end").success());
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port");
        let mut command = if one_processor {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(vch);
            command
        } else {
            Command::new(vch)
        };
        let mut child = command
            .args(["listen", "--allow-plain", "--strangers", "0", "--port"])
            .arg(port.to_string())
            .arg("--state")
            .arg(dir.path())
            .env("VCH_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("vch listen");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        assert!(line.starts_with("listening on"), "{line}");
        Self { dir, child, port }
    }

    /// The clients' socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("vch.sock")
    }

    /// Resident memory and the part of it that no file backs, in KiB.
    pub fn memory(&self) -> (u64, u64) {
        memory(self.child.id())
    }

    /// Processor time so far, in seconds.
    pub fn processor_seconds(&self) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: u64 = [11, 12]
            .iter()
            .filter_map(|&n| fields.get(n).and_then(|f| f.parse::<u64>().ok()))
            .sum();
        ticks as f64 / 100.0
    }

    /// Bytes in all logs.
    pub fn logged(&self) -> u64 {
        let containers = fs::read_dir(self.dir.path().join("containers"));
        let logs = containers.into_iter().flatten().flatten();
        let files = logs.filter_map(|c| fs::read_dir(c.path().join("log")).ok());
        let files = files.flatten().flatten();
        files
            .filter_map(|f| f.metadata().ok())
            .map(|m| m.len())
            .sum()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of a process, in KiB: resident, anonymous.
pub fn memory(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1))
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    (value("Rss:"), value("Pss_Anon:"))
}
