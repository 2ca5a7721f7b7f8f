use super::*;

use std::os::fd::AsFd;

struct Run {
    result: Result<bool, StartError>,
    code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
}

fn texts(list: &[&str]) -> Vec<CString> {
    list.iter()
        .map(|text| CString::new(*text).expect("no NUL"))
        .collect()
}

/// Starts a program on this machine, waits for its end (of this one child alone) and reads what it
/// printed.
fn run(candidates: &[&str], arguments: &[&str], directory: &str) -> Run {
    let (stdin, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let (output, stdout) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let stderr = stdout.try_clone().expect("a descriptor");
    run_with(
        candidates,
        arguments,
        directory,
        Stdio::Apart {
            stdin,
            stdout,
            stderr,
        },
        &output,
    )
}

fn run_with(
    candidates: &[&str],
    arguments: &[&str],
    directory: &str,
    stdio: Stdio,
    output: &OwnedFd,
) -> Run {
    let parents: Vec<String> = directory
        .match_indices('/')
        .skip(1)
        .filter_map(|(at, _)| directory.get(..at))
        .map(str::to_owned)
        .chain([directory.to_owned()])
        .collect();
    let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
    let started = start(
        &Program {
            first: None,
            namespaces: None,
            root: None,
            console: None,
            candidates: &texts(candidates),
            arguments: &texts(arguments),
            environment: &texts(&["PATH=/usr/bin:/bin", "GREETING=hello"]),
            directories: &texts(&parents),
            directory: &CString::new(directory).expect("no NUL"),
            identity: None,
            limits: &[],
            umask: 0o022,
            oom_score: None,
            no_new_privileges: false,
            filter: &[],
        },
        stdio,
    )
    .expect("a process");
    rustix::io::ioctl_fionbio(&started.outcome, false).expect("blocking");
    let result = outcome(started.outcome.as_fd());
    let mut stdout = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = rustix::io::read(output, &mut piece) {
        stdout.extend_from_slice(piece.get(..length).expect("as long"));
    }
    let id = rustix::process::WaitId::PidFd(started.pidfd.as_fd());
    let end = rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED)
        .expect("our child")
        .expect("waited for");
    Run {
        result,
        code: end.exit_status(),
        signal: end.terminating_signal(),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
    }
}

fn failure(candidates: &[&str]) -> StartError {
    run(candidates, &["x"], "/")
        .result
        .expect_err("must not run")
}

#[test]
fn a_program_runs_with_its_arguments_and_environment() {
    let run = run(
        &["/bin/sh"],
        &["sh", "-c", "echo $GREETING $0 $1; exit 3", "a", "b"],
        "/",
    );
    assert_eq!(run.result, Ok(true));
    assert_eq!(run.stdout, "hello a b\n");
    assert_eq!(run.code, Some(3));
}

#[test]
fn the_first_candidate_that_is_there_is_taken() {
    let run = run(
        &["/nowhere/sh", "/etc/passwd/sh", "/bin/sh"],
        &["sh", "-c", "echo yes"],
        "/",
    );
    assert_eq!(run.result, Ok(true));
    assert_eq!(run.stdout, "yes\n");
}

#[test]
fn what_is_missing_is_told_apart_from_what_cannot_be_executed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(path(name), text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path(name), mode).expect("ours");
    };
    write("plain", "data", 0o644);
    write("odd", "\x01\x02\x03\x04", 0o755);
    write("orphan", "#!/nowhere/interpreter\n", 0o755);

    assert_eq!(failure(&["/nowhere"]).errno, libc::ENOENT);
    let error = failure(&["/nowhere", &path("plain")]);
    assert_eq!(
        (error.errno, error.candidate, error.note),
        (libc::EACCES, 1, Note::None)
    );
    let error = failure(&[&path("")]);
    assert_eq!((error.errno, error.note), (libc::EACCES, Note::Directory));
    let error = failure(&[&path(""), &path("plain")]);
    assert_eq!((error.candidate, error.note), (1, Note::None));
    assert_eq!(failure(&[&path("odd")]).errno, libc::ENOEXEC);
    let error = failure(&[&path("orphan")]);
    assert_eq!((error.errno, error.note), (libc::ENOENT, Note::Interpreter));
    assert_eq!(error.step, Step::Execute);
}

#[test]
fn the_working_directory_is_made_when_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("a/b");
    let run = run(&["/bin/pwd"], &["pwd"], directory.to_str().expect("UTF-8"));
    assert_eq!(run.stdout.trim_end(), directory.to_str().expect("UTF-8"));
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let error = run(&["/bin/pwd"], &["pwd"], "/etc/passwd/x")
        .result
        .expect_err("no directory");
    assert_eq!((error.step, error.errno), (Step::Directory, libc::ENOTDIR));
}

#[test]
fn no_descriptor_of_ours_leaks() {
    let _open = std::fs::File::open("/dev/null").expect("it is there");
    let ours = rustix::io::fcntl_dupfd_cloexec(&_open, 200).expect("a descriptor");
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).expect("ours");
    let run = run(&["/bin/ls"], &["ls", "/proc/self/fd"], "/");
    // 3 is the directory that ls itself reads.
    assert_eq!(run.stdout, "0\n1\n2\n3\n");
}

#[test]
fn ignored_and_blocked_signals_are_not_inherited() {
    // Rust's own start has set SIGPIPE to be ignored; more is blocked here.
    crate::sys::signals::block_all().expect("allowed");
    let run = run(
        &["/bin/sh"],
        &["sh", "-c", "kill -PIPE $$; echo survived"],
        "/",
    );
    assert_eq!((run.signal, run.stdout.as_str()), (Some(libc::SIGPIPE), ""));
}

#[test]
fn a_terminal_becomes_the_controlling_one() {
    let devpts = std::fs::File::open("/dev/pts").expect("devpts is mounted");
    let pty = crate::sys::pty::Pty::open(devpts.as_fd()).expect("a terminal");
    rustix::io::ioctl_fionbio(&pty.master, false).expect("blocking");
    let script = "tty; echo here > /dev/tty; ps -o tty= -p $$";
    let run = run_with(
        &["/bin/sh"],
        &["sh", "-c", script],
        "/",
        Stdio::Terminal(pty.terminal),
        &pty.master,
    );
    assert_eq!(run.result, Ok(true));
    let path = pty.path.to_str().expect("ASCII");
    let name = path.trim_start_matches("/dev/");
    assert!(
        run.stdout.starts_with(&format!("{path}\r\nhere\r\n{name}")),
        "{}",
        run.stdout
    );
}
