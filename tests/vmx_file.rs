//! The `vmx` program on .vmx files, as a shell sees it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;

const BLOG: &str = include_str!("fixtures/blog.vmx");
const ID: &str = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58";

struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> File {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("x.vmx"), text).expect("the file is written");
        File { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("x.vmx")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path()).expect("the file is read")
    }

    fn vmx(&self, command: &str, arguments: &[&str]) -> Command {
        vmx(command, &self.path(), arguments)
    }
}

fn vmx(command: &str, path: &Path, arguments: &[&str]) -> Command {
    let mut vmx = Command::cargo_bin("vmx").expect("vmx is built");
    vmx.arg(command).arg(path).args(arguments);
    vmx
}

fn stdout(mut command: Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

fn stderr_of_failure(mut command: Command, status: i32) -> String {
    let output = command.assert().code(status).get_output().stderr.clone();
    String::from_utf8(output).expect("UTF-8")
}

#[test]
fn get_prints_a_value_of_the_blogs_file() {
    let file = File::new(BLOG);
    let key = format!("guestinfo./sessions|{ID}/cmd/Path");
    assert_eq!(stdout(file.vmx("get", &[&key])), "/hello\n");
    assert_eq!(
        stdout(file.vmx("get", &["DISPLAYNAME"])).trim(),
        "jolly_panini-2cf7f483bf6e"
    );
}

#[test]
fn get_of_a_missing_name_exits_with_1_and_says_which() {
    let message = stderr_of_failure(File::new(BLOG).vmx("get", &["guestinfo.x"]), 1);
    assert!(message.contains("guestinfo.x") && message.contains("x.vmx"));
}

#[test]
fn set_changes_and_adds_and_takes_out_and_leaves_the_rest() {
    let file = File::new("# mine\na = \"1\"  # one\nb = \"2\"\nc = \"3\"\n");
    file.vmx("set", &["A=x=y", "d=|\"", "b=", "--unset", "c"])
        .assert()
        .success();
    assert_eq!(
        file.text(),
        "# mine\na = \"x=y\"  # one\nb = \"\"\nd = \"|7C|22\"\n"
    );
    assert_eq!(stdout(file.vmx("get", &["d"])), "|\"\n");
}

#[test]
fn set_does_all_or_nothing() {
    let file = File::new("a = \"1\"\n");
    for arguments in [
        &["a=2", "no equals sign"][..],
        &["a=2", "a name=3"],
        &["a=2", "--unset", "missing"],
        &[],
    ] {
        let mut command = file.vmx("set", arguments);
        command.assert().failure();
        assert_eq!(file.text(), "a = \"1\"\n", "{arguments:?}");
    }
}

#[test]
fn show_prints_lines_or_json_with_the_values_decoded() {
    let file = File::new("# x\nA = \"1\"\nguestinfo./sessions|2cf7 = |41\nnonsense\n");
    assert_eq!(
        stdout(file.vmx("show", &[])),
        "A = \"1\"\nguestinfo./sessions|2cf7 = \"A\"\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&stdout(file.vmx("show", &["--json"]))).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"A": "1", "guestinfo./sessions|2cf7": "A"})
    );
    let warning = file.vmx("show", &[]).output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&warning).contains("line 4"));
}

#[test]
fn run_prints_the_machine_without_starting_it() {
    let line = stdout(File::new(BLOG).vmx(
        "run",
        &["--dry-run", "--qemu-arg=-trace", "--qemu-arg", "-x"],
    ));
    assert!(line.starts_with("qemu-system-x86_64 "), "{line}");
    assert!(line.ends_with(" -trace -x\n"), "{line}");
    assert!(line.contains("'scsi-hd,drive=scsi0-0,"), "{line}");
}

#[test]
fn run_names_what_is_missing_before_it_starts_anything() {
    let file = File::new(BLOG);
    let message = stderr_of_failure(file.vmx("run", &[]), 1);
    assert!(message.contains("ide0:0.fileName"), "{message}");
    assert!(message.contains("bootstrap.iso"), "{message}");

    let message = stderr_of_failure(File::new("memsize = \"x\"\n").vmx("run", &[]), 1);
    assert!(message.contains("memsize = \"x\""), "{message}");

    let message = stderr_of_failure(File::new("").vmx("run", &[]), 1);
    assert!(message.contains("--agent"), "{message}");

    let message = stderr_of_failure(
        File::new("").vmx("run", &["--no-backdoor", "--qemu", "no-such-qemu"]),
        1,
    );
    assert!(message.contains("starting no-such-qemu"), "{message}");

    let message = stderr_of_failure(vmx("run", Path::new("/nonexistent.vmx"), &[]), 1);
    assert!(message.contains("/nonexistent.vmx"), "{message}");
}

#[test]
fn a_qemu_that_fails_is_an_error_with_its_own_words() {
    let file = File::new("");
    // Any program that takes QEMU's arguments badly will do.
    let message = stderr_of_failure(file.vmx("run", &["--no-backdoor", "--qemu", "ls"]), 1);
    assert!(
        message.contains("ls:") && message.contains("QEMU has failed"),
        "{message}"
    );
    let log = std::fs::read_to_string(file.path().with_file_name("vmware.log")).unwrap();
    assert!(log.contains("QEMU: ls:"), "{log}");
}
