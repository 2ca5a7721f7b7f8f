//! A `vch listen` of its own state folder and port, and the commands that ask it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::guest::{Guest, ID};

/// Below the range from which the kernel takes ports for outgoing connections, so that nobody gets
/// a port while its listener is being restarted.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Longest that anything may take before a test fails instead of hanging.
pub const LIMIT: Duration = Duration::from_secs(120);

pub struct Appliance {
    dir: tempfile::TempDir,
    pub port: SocketAddr,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    daemon: Option<Child>,
}

impl Appliance {
    /// A running listener.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A running listener with further options.
    pub fn with(options: &[&str]) -> Self {
        let mut appliance = Self::not_yet(options);
        appliance.run();
        appliance
    }

    /// Attached to the container as its API does it, with such a query: its streams from here on.
    pub fn attach(&self, query: &str) -> UnixStream {
        let mut socket = UnixStream::connect(self.socket()).expect("connect");
        let head = format!(
            "POST /containers/{ID}/attach?{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
             Upgrade: tcp\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("head");
            head.push(byte[0]);
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        socket
    }

    /// A port and a folder; the listener comes later.
    pub fn not_yet(options: &[&str]) -> Self {
        Self {
            dir: tempfile::tempdir().expect("state folder"),
            port: free_port(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            environment: Vec::new(),
            daemon: None,
        }
    }

    /// Starts the listener and waits until it is ready.
    pub fn run(&mut self) {
        let mut daemon = self
            .command("listen")
            .args(["--allow-plain", "--port", &self.port.to_string()])
            .args(&self.options)
            .env("VCH_LOG", "warn")
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("vch listen");
        let mut line = String::new();
        let stdout = daemon.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line when ready");
        let ready = format!("listening on {} for VMs", self.port);
        assert!(line.starts_with(&ready), "{line:?}");
        self.daemon = Some(daemon);
    }

    /// A variable for the listener.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A listener that the test has started.
    pub fn adopt(&mut self, daemon: Child) {
        self.daemon = Some(daemon);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it runs");
        daemon.kill().expect("kill");
        daemon.wait().expect("wait");
    }

    /// SIGTERM: its status.
    pub fn terminate(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take().expect("it runs");
        let id = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("SIGTERM");
        daemon.wait().expect("wait").code()
    }

    /// Files of it and of its children may grow to this (prlimit's `SOFT:HARD`): a disk that is full, for it alone.
    pub fn limit_files(&self, bytes: &str) {
        let set = Command::new("prlimit")
            .args([
                "--pid",
                &self.pid().to_string(),
                &format!("--fsize={bytes}"),
            ])
            .status();
        assert!(set.expect("prlimit").success());
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it runs").id()
    }

    pub fn state(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("vch.sock")
    }

    /// A command, to be run by the test.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vch"));
        command
            .arg(name)
            .env("VCH_STATE", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn vch(&self, arguments: &[&str]) -> Output {
        let (name, rest) = arguments.split_first().expect("a command");
        self.command(name).args(rest).output().expect("vch")
    }

    /// Runs a command that must succeed: its output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.vch(arguments);
        assert!(output.status.success(), "vch {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must fail: what it says.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.vch(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "vch {arguments:?}: {output:?}"
        );
        String::from_utf8(output.stderr).expect("text")
    }

    /// Starts a command whose input and output the test holds.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let (name, rest) = arguments.split_first().expect("a command");
        self.command(name)
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("vch")
    }

    /// A field of `vch inspect`, as JSON text.
    pub fn field(&self, container: &str, pointer: &str) -> String {
        let json: serde_json::Value =
            serde_json::from_str(&self.ok(&["inspect", container])).expect("JSON");
        json[0]
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} in {json}"))
            .to_string()
    }

    /// Waits until a field has this value.
    pub fn until(&self, container: &str, pointer: &str, value: &str) {
        let begin = Instant::now();
        loop {
            let found = self.field(container, pointer);
            if found == value {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "{pointer} is {found}, not {value}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the guest's link is up.
    pub fn until_link(&self, guest: &mut Guest) {
        guest.until("link", |_| self.field(ID, "/Vch/Link") == "\"up\"");
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.kill();
        }
    }
}

fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let first = (std::process::id() % u32::from(span)) as u16;
    for _ in 0..span {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (first.wrapping_add(offset.wrapping_mul(7))) % span;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port");
}
