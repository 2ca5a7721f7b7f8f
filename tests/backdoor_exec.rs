//! `vmx exec` with real programs: open-vm-tools as Debian ships them, C programs that do what a
//! tracer easily breaks, and our own client over the processor's own instructions.

#![cfg(feature = "appliance")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tether::backdoor::rpci::Rpc;
use tether::sys::port;

/// 60 KiB: near the limit of a value.
const LARGE: usize = 60 * 1024;

fn vmx(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vmx"))
        .arg("exec")
        .args(arguments)
        .output()
        .expect("vmx is built")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status(arguments: &[&str]) -> i32 {
    let output = vmx(arguments);
    output
        .status
        .code()
        .unwrap_or_else(|| panic!("vmx itself was killed: {output:?}"))
}

/// Whether a program is there. `make test` sets the variable: there nothing may be skipped.
fn installed(tool: &str, package: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).exists()));
    assert!(
        found || std::env::var_os("TETHER_REQUIRE_TOOLS").is_none(),
        "{tool} is not installed (Debian package {package})"
    );
    if !found {
        eprintln!("skipped: {tool} is not installed (Debian package {package})");
    }
    found
}

fn rpctool() -> bool {
    installed("vmware-rpctool", "open-vm-tools")
}

/// The C program, dynamic and static.
fn programs() -> [&'static str; 2] {
    static BUILT: OnceLock<(TempDir, [String; 2])> = OnceLock::new();
    let (_, programs) = BUILT.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/backdoor_exec/program.c");
        let programs = [
            ("dynamic", ["-O1", "-pthread"]),
            ("static", ["-static", "-pthread"]),
        ]
        .map(|(name, flags)| {
            let program = folder.path().join(name);
            let built = Command::new("cc")
                .args(flags)
                .arg("-o")
                .arg(&program)
                .arg(source)
                .status()
                .expect("cc, which links Rust programs too");
            assert!(built.success());
            program.to_string_lossy().into_owned()
        });
        (folder, programs)
    });
    [&programs[0], &programs[1]]
}

#[test]
fn rpctool_reads_a_value_over_both_bandwidths() {
    if !rpctool() {
        return;
    }
    for bandwidth in [&[][..], &["--no-hb"]] {
        let value = ["--set", "guestinfo.x=hello"];
        let tool = ["--", "vmware-rpctool", "info-get guestinfo.x"];
        let output = vmx(&[bandwidth, &value, &tool].concat());
        assert_eq!(stdout(&output), "hello\n", "{output:?}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn rpctool_says_that_a_key_is_missing() {
    if !rpctool() {
        return;
    }
    let output = vmx(&["vmware-rpctool", "info-get guestinfo.none"]);
    assert!(stderr(&output).contains("No value found"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_one_process_sets_another_gets_and_the_dump_shows() {
    if !rpctool() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let dump = folder.path().join("values.json");
    let log = folder.path().join("host.log");
    let script = "vmware-rpctool 'info-set guestinfo.a two  spaces' && \
                  vmware-rpctool 'info-get guestinfo.a' && vmware-rpctool 'log a line'";
    let output = vmx(&[
        "--set",
        "b=from outside",
        "--dump",
        &dump.to_string_lossy(),
        "--log",
        &log.to_string_lossy(),
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("two  spaces\n"), "{output:?}");
    let values: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dump).expect("a dump")).expect("JSON");
    let expected = serde_json::json!({
        "guestinfo.a": "two  spaces",
        "guestinfo.b": "from outside",
    });
    assert_eq!(values, expected);
    assert_eq!(std::fs::read_to_string(log).expect("a log"), "a line\n");
}

#[test]
fn rpctool_round_trips_a_large_value_over_both_bandwidths() {
    if !rpctool() {
        return;
    }
    let value: String = ('a'..='z').cycle().take(LARGE).collect();
    let set = format!("info-set guestinfo.v {value}");
    let script = "vmware-rpctool \"$1\" && vmware-rpctool 'info-get guestinfo.v'";
    for bandwidth in [&["--"][..], &["--no-hb", "--"]] {
        let output = vmx(&[bandwidth, &["sh", "-c", script, "sh", &set]].concat());
        assert!(stdout(&output).ends_with(&format!("{value}\n")));
        assert_eq!(output.status.code(), Some(0));
    }
}

/// Its CPUID instructions are in a shared library, and so are false ones (in libcrypto).
#[test]
fn vmtoolsd_reads_a_value() {
    if !installed("vmtoolsd", "open-vm-tools") {
        return;
    }
    let output = vmx(&[
        "--set",
        "x=hello",
        "--",
        "vmtoolsd",
        "--cmd",
        "info-get guestinfo.x",
    ]);
    assert_eq!(stdout(&output), "hello\n", "{output:?}");
}

#[test]
fn the_port_and_cpuid_are_vmwares_in_any_program() {
    for program in programs() {
        assert_eq!(stdout(&vmx(&[program, "version"])), "6\n");
        assert_eq!(stdout(&vmx(&[program, "hypervisor"])), "VMwareVMware\n");
        let outside = Command::new(program).arg("vendor").output().expect("runs");
        assert_eq!(vmx(&[program, "vendor"]).stdout, outside.stdout);
    }
}

#[test]
fn forks_threads_and_vforks_are_followed() {
    for program in programs() {
        assert_eq!(status(&[program, "threads"]), 0);
        let output = vmx(&[program, "vfork"]);
        assert_eq!(stdout(&output), "VMwareVMware\nVMwareVMware\n");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn all_other_signals_are_the_programs_own() {
    let [program, _] = programs();
    for (what, expected) in [
        ("segv", 128 + libc::SIGSEGV),
        ("other-port", 128 + libc::SIGSEGV),
        ("bad-buffer", 128 + libc::SIGSEGV),
        ("trap", 128 + libc::SIGTRAP),
        ("own-handler", 0),
        ("stop", 5),
    ] {
        assert_eq!(status(&[program, what]), expected, "{what}");
    }
}

#[test]
fn the_status_is_the_programs() {
    assert_eq!(status(&["--", "sh", "-c", "exit 7"]), 7);
    assert_eq!(status(&["--", "sh", "-c", "kill -TERM $$"]), 143);
    assert_eq!(status(&["--", "sh", "-c", "(sleep 0; exit 9) & exit 3"]), 3);
}

#[test]
fn a_program_that_cannot_be_run_is_said_so() {
    let output = vmx(&["no-such-program"]);
    assert_eq!(output.status.code(), Some(127));
    let expected = "vmx: running no-such-program: No such file or directory";
    assert!(stderr(&output).starts_with(expected), "{output:?}");
    assert_eq!(status(&["/etc/passwd"]), 126);
    assert_eq!(status(&["--set", "nothing", "true"]), 125);
}

#[test]
fn channels_of_processes_that_ended_are_free_again() {
    let [program, _] = programs();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do \"$0\" leak || exit 1; done";
    assert_eq!(status(&["--", "sh", "-c", script, program]), 0);
}

/// This test program itself, one of its tests that are only for the inside of `vmx exec`.
fn inside(options: &[&str], test: &str) -> Output {
    let this = std::env::current_exe().expect("a path");
    let this = this.to_string_lossy();
    let run = ["--", &this, "--exact", test, "--ignored", "--nocapture"];
    let output = vmx(&[options, &run].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("1 passed"), "{output:?}");
    output
}

#[test]
#[ignore = "runs inside of `vmx exec`, started by the next test"]
fn reads_once() {
    let mut rpc = Rpc::new(port::open().expect("a backdoor"));
    let value = rpc.info_get("guestinfo.x").expect("an answer");
    assert_eq!(value.as_deref(), Some(b"hello".as_slice()));
}

/// GETVERSION, OPEN, five for the value, CLOSE.
#[test]
fn our_client_reads_a_value_in_eight_instructions() {
    let output = inside(&["--count", "--set", "x=hello"], "reads_once");
    assert!(
        stderr(&output).contains("vmx: 8 backdoor instructions"),
        "{output:?}"
    );
}

#[test]
#[ignore = "runs inside of `vmx exec`, started by the next test"]
fn writes_and_reads() {
    let mut rpc = Rpc::new(port::open().expect("a backdoor"));
    for length in [1, 2, 3, 4, 5, 1000, LARGE, 64 * 1024] {
        let value: Vec<u8> = (0..=255).cycle().take(length).collect();
        rpc.info_set("guestinfo.v", &value).expect("set");
        assert_eq!(rpc.info_get("guestinfo.v").expect("get"), Some(value));
    }
    assert_eq!(rpc.info_get("guestinfo.none").expect("get"), None);
    rpc.close();
    rpc.log("goodbye").expect("log");
}

#[test]
fn our_client_round_trips_any_size_over_both_bandwidths() {
    inside(&[], "writes_and_reads");
    inside(&["--no-hb"], "writes_and_reads");
}

/// Where our walk finds `cpuid`, a real disassembler does too, and nowhere else.
#[test]
fn the_walk_through_code_agrees_with_objdump() {
    if !installed("objdump", "binutils") {
        return;
    }
    let own = std::env::current_exe().expect("a path");
    let mut compared = 0;
    for file in [
        "/usr/bin/vmware-rpctool",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libcrypto.so.3",
        programs()[1],
        &own.to_string_lossy(),
    ] {
        let path = Path::new(file);
        if !path.exists() {
            continue;
        }
        let expected = disassembled(path);
        let opened = std::fs::File::open(path).expect("readable");
        assert_eq!(
            tether::vmm::exec::cpuid_sites(&opened).len(),
            expected,
            "{file}"
        );
        compared += expected;
    }
    assert!(compared > 10);
}

fn disassembled(path: &Path) -> usize {
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(path)
        .output()
        .expect("objdump runs");
    stdout(&output)
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("cpuid"))
        .count()
}

/// The addresses in the note of a program, and the bytes there, as `readelf` and `objdump` see them.
#[test]
fn the_note_names_each_instruction_and_survives_strip() {
    if !installed("readelf", "binutils") || !installed("strip", "binutils") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let stripped: PathBuf = folder.path().join("stripped");
    let own = std::env::current_exe().expect("a path");
    let done = Command::new("strip")
        .arg("-o")
        .arg(&stripped)
        .arg(&own)
        .status();
    assert!(done.expect("strip runs").success());
    for program in [&own, &stripped] {
        let note = Command::new("readelf").arg("-n").arg(program).output();
        let note = stdout(&note.expect("readelf runs"));
        let (_, note) = note
            .split_once(".note.vmware-backdoor")
            .expect("the section");
        assert!(note.contains("VMwBdoor"), "{note}");
        let (_, data) = note.split_once("description data: ").expect("the data");
        let bytes: Vec<u8> = data
            .split_whitespace()
            .map_while(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        let addresses: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight")))
            .collect();
        assert_eq!(addresses.len(), 3);
        let names = ["in ", "rep outs", "rep ins"];
        for (address, name) in addresses.into_iter().zip(names) {
            assert_eq!(
                instruction_at(program, address, name),
                1,
                "{name} at {address:x}"
            );
        }
    }
}

/// How often the disassembly of the bytes from `address` on begins with `name`: 1 or 0.
fn instruction_at(program: &Path, address: u64, name: &str) -> usize {
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(format!("--start-address={address:#x}"))
        .arg(format!("--stop-address={:#x}", address + 2))
        .arg(program)
        .output()
        .expect("objdump runs");
    stdout(&output)
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .take(1)
        .filter(|(_, text)| text.starts_with(name))
        .count()
}

/// open-vm-tools' own daemon takes our host for VMware's: it answers each of its requests, and registers.
#[test]
fn the_real_tools_daemon_registers_with_our_host() {
    if !installed("vmtoolsd", "open-vm-tools") {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let trace = folder.path().join("trace");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vmx"))
        .args(["exec", "--trace"])
        .arg(&trace)
        .args(["--", "vmtoolsd"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("vmx is built");
    let expected = [
        "TCLO reset -> OK ATR toolbox\n",
        "RPCI tools.capability.statechange  -> 1 \n",
        "TCLO Capabilities_Register -> OK \n",
        "TCLO Set_Option broadcastIP 1 -> OK \n",
    ];
    let limit = Instant::now() + Duration::from_secs(120);
    let mut text = String::new();
    while Instant::now() < limit && !expected.iter().all(|line| text.contains(line)) {
        std::thread::sleep(Duration::from_millis(50));
        text = std::fs::read_to_string(&trace).unwrap_or_default();
    }
    let pid = child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for traced in children.unwrap_or_default().split_whitespace() {
        let killed = Command::new("kill").args(["-KILL", traced]).status();
        assert!(killed.expect("kill").success());
    }
    child.wait().expect("vmx ends with what it runs");
    for line in expected {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
}
