//! One containerVM and the appliance it calls, in a folder of their own.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where a machine's link key stands.
pub const LINK_KEY: &str = "guestinfo./tether/linkkey";
/// The container's ID in the example .vmx.
pub const ID: &str = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58";

/// A machine that has not ended by then never will: emulated, on a machine busy with others.
const PATIENCE: Duration = Duration::from_secs(400);
/// What UEFI firmware writes when it turns to its menu, and when it has started anything else.
const MENU: &[u8] = b"starting Boot0000 \"UiApp\"";
const BOOT: &[u8] = b"starting Boot0001";
/// Starts after that.
const MENUS_MOST: u32 = 2;
/// Between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(50);

/// A containerVM that is configured, and perhaps running.
pub struct Machine {
    folder: TempDir,
    port: u16,
    listener: Option<Child>,
    /// More options of its listener.
    options: Vec<&'static str>,
    vmx: Option<Child>,
    /// More arguments for `vmx run`.
    arguments: Vec<String>,
    /// How often the firmware came no further than its menu.
    menus: u32,
}

/// Everything started for a test ends with it, however it ends.
impl Drop for Machine {
    fn drop(&mut self) {
        for child in [self.vmx.take(), self.listener.take()]
            .into_iter()
            .flatten()
        {
            end(child);
        }
    }
}

fn end(mut child: Child) {
    // vmx run ends its QEMU on SIGTERM; SIGKILL would leave it behind.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}

/// The folder with what `make build iso` made.
pub fn build() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("build")
}

/// The tests' disk as a raw image.
pub fn test_disk() -> PathBuf {
    build().join("test.ext4")
}

fn program(name: &str) -> Command {
    let path = build().join(name);
    assert!(
        path.exists(),
        "{} is not there: make build iso build/test.vmdk",
        path.display()
    );
    Command::new(path)
}

/// A port of this machine on which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

impl Machine {
    /// The example's machine with the tests' disk; it runs `words`.
    pub fn new(words: &[&str]) -> Self {
        let machine = Self {
            folder: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            listener: None,
            options: Vec::new(),
            vmx: None,
            arguments: Vec::new(),
            menus: 0,
        };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blog.vmx");
        fs::copy(fixture, machine.vmx_file()).expect("the example's .vmx");
        symlink(build().join("bootstrap.iso"), machine.path("bootstrap.iso")).expect("a link");
        fs::copy(build().join("test.vmdk"), machine.path("container.vmdk")).expect("the disk");
        machine.set(
            "serial0.fileName",
            &format!("tcp://127.0.0.1:{}", machine.port),
        );
        if let [path, ..] = words {
            let session = format!("guestinfo./sessions|{ID}/cmd");
            machine.set(&format!("{session}/Path"), path);
            machine.set(&format!("{session}/Args"), &(words.len() - 1).to_string());
            machine.set(&format!("{session}/Args~"), &words.join("|"));
            if words.iter().any(|word| word.contains('|')) {
                let json = serde_json::to_string(words).expect("plain data");
                machine.set(&format!("{session}/Args~json"), &json);
            }
        }
        let line = machine.vch(&["key", "new", ID]);
        assert!(line.status.success(), "{line:?}");
        let line = String::from_utf8(line.stdout).expect("a line");
        let key = line.split('"').nth(1).expect("a key in quotes");
        machine.set(LINK_KEY, key);
        machine
    }

    /// The same without a link key, neither in the machine nor at the listener, which allows it.
    pub fn plain(words: &[&str]) -> Self {
        let mut machine = Self::new(words);
        machine.set(LINK_KEY, "");
        assert!(machine.vch(&["key", "rm", ID]).status.success());
        machine.allow_plain();
        machine
    }

    /// Its listener lets machines in that have no key, where none is known of them.
    pub fn allow_plain(&mut self) {
        self.options.push("--allow-plain");
    }

    /// A file of the machine's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn vmx_file(&self) -> PathBuf {
        self.path("blog.vmx")
    }

    /// Where its listener listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets a line of the .vmx.
    pub fn set(&self, key: &str, value: &str) {
        let status = program("vmx")
            .arg("set")
            .arg(self.vmx_file())
            .arg(format!("{key}={value}"))
            .status()
            .expect("vmx set");
        assert!(status.success(), "vmx set {key}={value}");
    }

    /// Takes every line out of the .vmx whose name starts with `prefix`.
    pub fn unset_all(&self, prefix: &str) {
        let text = fs::read_to_string(self.vmx_file()).expect("the .vmx");
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with(prefix))
            .collect();
        fs::write(self.vmx_file(), kept.join("\n") + "\n").expect("the .vmx");
    }

    /// What the guest has written back for the session, such as `.status`.
    pub fn written(&self, name: &str) -> Option<String> {
        self.get(&format!("guestinfo..sessions|{ID}.{name}"))
    }

    /// A value of the .vmx.
    pub fn get(&self, key: &str) -> Option<String> {
        let output = program("vmx")
            .arg("get")
            .arg(self.vmx_file())
            .arg(key)
            .output()
            .expect("vmx get");
        let text = String::from_utf8(output.stdout).expect("text");
        output
            .status
            .success()
            .then(|| text.trim_end_matches('\n').to_owned())
    }

    /// Everything that the guest has written back, for a message.
    fn all_written(&self) -> String {
        let text = fs::read_to_string(self.vmx_file()).unwrap_or_default();
        text.lines()
            .filter(|line| line.starts_with("guestinfo.."))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// Starts a listener on the machine's port, with the state that an earlier one left.
    pub fn listen(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("listener.log"))
            .expect("a log");
        let child = program("vch")
            .args([
                "listen",
                "--port",
                &format!("127.0.0.1:{}", self.port),
                "--state",
            ])
            .arg(self.path("state"))
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("vch listen");
        self.listener = Some(child);
        self.until("the listener answers", |machine| {
            machine.vch(&["ps"]).status.success()
        });
    }

    /// Kills the listener as no program can prepare for.
    pub fn kill_listener(&mut self) {
        let mut listener = self.listener.take().expect("a listener that runs");
        listener.kill().expect("SIGKILL");
        listener.wait().expect("its end");
    }

    /// A command of `vch` for this listener.
    pub fn vch(&self, arguments: &[&str]) -> Output {
        self.vch_command(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("vch")
    }

    /// The same, to be started.
    pub fn vch_command(&self, arguments: &[&str]) -> Command {
        let mut command = program("vch");
        command
            .arg("--state")
            .arg(self.path("state"))
            .args(arguments);
        command
    }

    /// Arguments more for `vmx run`.
    pub fn with_arguments(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    /// Arguments more for QEMU, and the program whose backdoor is answered named, as there may be no
    /// boot medium that `vmx` can read.
    pub fn with_qemu(&mut self, arguments: &[&str]) {
        let agent = build().join("tether").display().to_string();
        self.with_arguments(&["--agent", &agent]);
        for argument in arguments {
            self.with_arguments(&[&format!("--qemu-arg={argument}")]);
        }
    }

    /// Another boot medium than `build/bootstrap.iso`.
    pub fn boot_from(&self, iso: &[u8]) {
        fs::remove_file(self.path("bootstrap.iso")).expect("the link to the ISO");
        fs::write(self.path("bootstrap.iso"), iso).expect("an ISO");
    }

    /// Starts the virtual machine.
    pub fn boot(&mut self) {
        let log = fs::File::create(self.path("vmx.log")).expect("a log");
        let child = program("vmx")
            .arg("run")
            .arg(self.vmx_file())
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("vmx run");
        self.vmx = Some(child);
    }

    /// Another `vmx run` of the same file.
    pub fn run_again(&self) -> Output {
        let mut command = program("vmx");
        command.arg("run").arg(self.vmx_file());
        command.stdin(Stdio::null()).output().expect("vmx run")
    }

    /// `vmx power` for the running machine.
    pub fn power(&self, operation: &str) -> Output {
        let mut command = program("vmx");
        command.arg("power").arg(self.vmx_file()).arg(operation);
        command.stdin(Stdio::null()).output().expect("vmx power")
    }

    /// What the host knows of the machine's tools.
    pub fn tools(&self) -> Option<serde_json::Value> {
        let mut command = program("vmx");
        let output = command.arg("tools").arg(self.vmx_file()).output();
        serde_json::from_slice(&output.expect("vmx tools").stdout).ok()
    }

    /// Waits until `found`; fails with all there is to see when it never is.
    pub fn until(&mut self, what: &str, found: impl Fn(&mut Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !found(self) {
            assert!(
                Instant::now() < limit,
                "waited in vain until {what}\n{}",
                self.told()
            );
            thread::sleep(LOOK);
        }
    }

    /// Waits for the virtual machine to power off.
    pub fn off(&mut self) {
        self.until("the machine is off", |machine| {
            machine.start_again_from_the_menu();
            let vmx = machine.vmx.as_mut().expect("a machine that was started");
            match vmx.try_wait().expect("its state") {
                None => false,
                Some(status) => {
                    assert!(status.success(), "vmx run: {status}\n{}", machine.told());
                    true
                }
            }
        });
        self.vmx = None;
    }

    /// On a busy host OVMF sometimes (once in fifteen starts, at worst) finds no CD-ROM at all and shows its
    /// menu, for ever: nothing of ours has run then. Such a machine is started again, as a user
    /// would, twice at most.
    fn start_again_from_the_menu(&mut self) {
        let console = fs::read(self.path("console.log")).unwrap_or_default();
        let in_menu = console.windows(MENU.len()).any(|bytes| bytes == MENU)
            && !console.windows(BOOT.len()).any(|bytes| bytes == BOOT);
        if in_menu {
            self.menus += 1;
            assert!(self.menus <= MENUS_MOST, "{}", self.told());
            eprintln!("the firmware did not find the CD-ROM: started again");
            if let Some(vmx) = self.vmx.take() {
                end(vmx);
            }
            fs::remove_file(self.path("console.log")).expect("the console's log");
            self.boot();
        }
    }

    /// The listener, the machine, and its end; the exit status that the appliance shows.
    pub fn run(&mut self) -> String {
        self.listen();
        self.boot();
        self.off();
        self.status()
    }

    /// The exit status that the appliance shows, once it does.
    pub fn status(&self) -> String {
        let output = self.vch(&["wait", ID]);
        assert!(
            output.status.success(),
            "vch wait: {output:?}\n{}",
            self.told()
        );
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    }

    /// The container's stdout and stderr, as the appliance has them.
    pub fn output(&self) -> (Vec<u8>, Vec<u8>) {
        let output = self.vch(&["logs", ID]);
        assert!(
            output.status.success(),
            "vch logs: {output:?}\n{}",
            self.told()
        );
        (output.stdout, output.stderr)
    }

    /// The container's stdout that the appliance has by now.
    pub fn output_so_far(&self) -> Vec<u8> {
        self.vch(&["logs", ID]).stdout
    }

    /// What the console (ttyS1) has shown.
    pub fn console(&self) -> String {
        self.text("console.log")
    }

    /// The error that both the console and the .vmx must name: what an operator has without a link.
    pub fn error(&self) -> String {
        format!("{}{}", self.console(), self.all_written())
    }

    /// What a file of the machine's folder holds.
    pub fn text(&self, name: &str) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = fs::File::open(self.path(name)) {
            file.read_to_end(&mut bytes).expect(name);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All that the parts have said, for the message of a failure.
    pub fn told(&self) -> String {
        let mut told = format!("--- written back\n{}", self.all_written());
        for name in ["vmx.log", "backdoor.trace", "console.log", "listener.log"] {
            told += &format!("--- {name}\n{}", self.text(name));
        }
        told
    }
}
