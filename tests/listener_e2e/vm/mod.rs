//! A real containerVM on a plain QEMU machine, its link over a virtio-serial port.

mod bollard;
mod copies;
mod deaths;
mod engine;
mod files;
mod first_client;
mod input;
mod monitor;
mod moves;
mod network;
mod power;
mod python;
mod report;
mod restart;
mod secrets;
mod shared_networks;
mod shares;
mod sources;
mod stops;
mod updates;
mod upgrade;
mod userlands;
mod volumes;
mod waits;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::guest::{ID, NAME};

/// A machine that has not got on by then never will: emulated, on a busy host.
const PATIENCE: Duration = Duration::from_secs(400);

pub struct Machine {
    folder: tempfile::TempDir,
    session: Value,
    top: Vec<(String, Value)>,
    /// Another document than ours.
    document: Option<String>,
    port: SocketAddr,
    wrapper: Vec<String>,
    arguments: Vec<String>,
    qemu: Option<Child>,
}

/// What was started for a test ends with it.
impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            let _ = qemu.kill();
            let _ = qemu.wait();
        }
    }
}

fn repository(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    assert!(
        path.exists(),
        "{} is not there: make build iso build/test.vmdk",
        path.display()
    );
    path
}

impl Machine {
    /// A machine that calls this port and runs `words`.
    pub fn new(port: SocketAddr, words: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::copy(
            repository("build/test.ext4"),
            folder.path().join("disk.ext4"),
        )
        .expect("a disk");
        Self {
            folder,
            session: json!({ "path": words[0], "args": words, "openstdin": true }),
            top: Vec::new(),
            document: None,
            port,
            wrapper: Vec::new(),
            arguments: Vec::new(),
            qemu: None,
        }
    }

    /// Another field of its session.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.session[field] = value;
        self
    }

    /// Another field of its document.
    pub fn with_top(mut self, field: &str, value: Value) -> Self {
        self.top.push((field.to_owned(), value));
        self
    }

    /// Another document.
    pub fn document(mut self, text: &str) -> Self {
        self.document = Some(text.to_owned());
        self
    }

    /// Nothing in fw_cfg that is found.
    pub fn no_document(mut self) -> Self {
        self.wrapper = vec!["env".into(), "FW_CFG=opt/other".into()];
        self
    }

    /// Another disk than the tests' usual one: a copy of this file of the repository.
    pub fn with_disk(self, name: &str) -> Self {
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([repository(name), self.path("disk.ext4")])
            .status();
        assert!(copied.expect("cp").success(), "copying {name}");
        self
    }

    /// QEMU runs under this command.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Arguments more for QEMU.
    pub fn qemu(mut self, words: &[&str]) -> Self {
        self.arguments
            .extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn console(&self) -> String {
        let bytes = fs::read(self.path("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Switches it on.
    pub fn boot(&mut self) {
        let mut document = json!({ "id": ID, "name": NAME, "sessions": { ID: self.session } });
        for (field, value) in &self.top {
            document[field] = value.clone();
        }
        let document = self.document.clone().unwrap_or(document.to_string());
        fs::write(self.path("config.json"), document).expect("a document");
        let script = repository("iso-build/virtio.sh");
        let mut words = self.wrapper.iter();
        let mut command = match words.next() {
            Some(program) => Command::new(program),
            None => Command::new("env"),
        };
        let log = fs::File::create(self.path("qemu.log")).expect("a log");
        let qemu = command
            .args(words)
            .arg(script)
            .arg(self.port.port().to_string())
            .args(["config.json", "disk.ext4", "console.log"].map(|name| self.path(name)))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("QEMU");
        self.qemu = Some(qemu);
    }

    /// Waits until it has powered off.
    pub fn off(&mut self) {
        let mut qemu = self.qemu.take().expect("it was started");
        let begin = Instant::now();
        loop {
            if let Some(status) = qemu.try_wait().expect("its state") {
                let log = fs::read_to_string(self.path("qemu.log")).unwrap_or_default();
                assert!(status.success(), "{status}: {log}\n{}", self.console());
                return;
            }
            if begin.elapsed() > PATIENCE {
                self.qemu = Some(qemu);
                panic!("the machine does not power off\n{}", self.console());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until `so`.
    pub fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !so() {
            assert!(begin.elapsed() < PATIENCE, "no {what}\n{}", self.console());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until its container runs.
    pub fn until_running(&self, appliance: &Appliance) {
        self.until("running container", || {
            appliance.vch(&["ps", "-q"]).stdout.len() > 1
                && appliance.field(ID, "/State/Status") == "\"running\""
        });
    }
}
