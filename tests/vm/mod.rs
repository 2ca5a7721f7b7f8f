//! A virtual machine for a test: a boot image with a program of our own for PID 1, a .vmx file for
//! it, and `vmx run` at work.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The kernel that `make iso` leaves, or any other bzImage.
const KERNEL_VARIABLE: &str = "VM_TEST_KERNEL";
const KERNEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/build/vmlinuz");

/// What is waited for comes in seconds; this is for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(240);

/// `vmx run` gives up after as many seconds, so that no test leaves a machine behind.
const TIMEOUT: &str = "300";

/// The boot image, made once for all tests of a program.
fn boot_image() -> &'static Path {
    static IMAGE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = make_image(folder.path());
        (folder, path)
    });
    path
}

fn make_image(folder: &Path) -> PathBuf {
    let kernel = std::env::var(KERNEL_VARIABLE).unwrap_or_else(|_| KERNEL.to_owned());
    assert!(
        Path::new(&kernel).exists(),
        "no kernel at {kernel}: run `make iso`, or name one in {KERNEL_VARIABLE}"
    );
    let script = r#"
        set -e
        mkdir -p root/dev kernel
        gcc -O1 -static -nostdlib -no-pie -ffreestanding -fno-stack-protector -fno-builtin \
            -Wall -Werror -o root/init "$SOURCE"
        # /dev is the kernel's own to fill.
        (cd root && find . | cpio --quiet -o -H newc) | gzip -1 > initrd.img
        echo a test >kernel/version
        echo CONFIG_UNKNOWN=y >kernel/config
        "$ISO_BUILD/iso.sh" kernel root/init "$KERNEL" initrd.img boot.iso
    "#;
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .env("KERNEL", kernel)
        .env(
            "ISO_BUILD",
            concat!(env!("CARGO_MANIFEST_DIR"), "/iso-build"),
        )
        .env(
            "SOURCE",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/guest.c"),
        )
        .output()
        .expect("sh runs");
    assert!(
        output.status.success(),
        "making the boot image: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join("boot.iso")
}

/// A folder with a .vmx file whose guest does `mode` (see `guest.c`).
pub struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    pub fn new(mode: &str, lines: &str) -> Machine {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!(
            "memsize = \"128\"\nide0:0.deviceType = \"cdrom-image\"\nide0:0.fileName = \"{}\"\n\
             guestinfo.test.mode = \"{mode}\"\n{lines}",
            boot_image().display()
        );
        std::fs::write(folder.path().join("test.vmx"), text).expect("a .vmx file is written");
        Machine { folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("test.vmx")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("vmware.log")).unwrap_or_default()
    }

    /// A value of the file as it is now; empty when there is none.
    pub fn value(&self, key: &str) -> Vec<u8> {
        let (file, _) = tether::vmm::on_disk::load(&self.path()).expect("the .vmx file is read");
        file.get(key).unwrap_or_default().to_vec()
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let child = Command::new(env!("CARGO_BIN_EXE_vmx"))
            .arg("run")
            .arg(self.path())
            .arg("--console")
            .arg(self.folder.path().join("console"))
            .args(["--timeout", TIMEOUT])
            .args(arguments)
            // A host that is killed leaves its sockets.
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("vmx starts");
        Running { child }
    }

    /// Runs it to its end, which must be that the guest powered off.
    pub fn run(&self, arguments: &[&str]) -> String {
        let (status, stderr) = self.start(arguments).wait();
        let console = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        assert_eq!(
            status,
            Some(0),
            "{stderr}\nconsole:\n{}\nlog:\n{}",
            String::from_utf8_lossy(&console),
            self.log()
        );
        stderr
    }
}

/// `vmx run` at work.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid fits")
    }

    /// QEMU's pid, once it runs.
    pub fn qemu(&self) -> i32 {
        let pid = self.pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        wait_for("QEMU to start", || {
            let text = std::fs::read_to_string(&children).ok()?;
            text.split_whitespace().next()?.parse().ok()
        })
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a pid is not 0");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// The exit status, if not ended by a signal, and what was said on stderr.
    pub fn wait(self) -> (Option<i32>, String) {
        let output = self.child.wait_with_output().expect("vmx ends");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

/// Looks until there is something.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a process is gone (a zombie is).
pub fn is_gone(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => text
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}
