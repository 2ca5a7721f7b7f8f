//! Docker's own command line against the listener's socket: Debian's, and the machine's where it has one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tether::link::{Control, NetworkEndpoint, Stream};

use crate::appliance::Appliance;
use crate::guest::{Guest, ID, NAME, ONE};

/// The clients that there are; none fails the tests where tools are required.
pub fn clients() -> Vec<PathBuf> {
    let debian = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/docker-cli/docker");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).map(|folder| folder.join("docker"));
    let found: Vec<PathBuf> = [debian]
        .into_iter()
        .chain(own)
        .filter(|p| p.exists())
        .collect();
    assert!(
        !found.is_empty() || std::env::var_os("TETHER_REQUIRE_TOOLS").is_none(),
        "no docker: tests/docker-cli.sh fetches Debian's"
    );
    found
}

/// No command of a test takes as long, in a VM on a busy machine either.
const HANGS: Duration = Duration::from_secs(600);

pub struct Docker {
    program: PathBuf,
    socket: String,
    config: tempfile::TempDir,
}

impl Docker {
    pub fn new(program: PathBuf, appliance: &Appliance) -> Self {
        Self {
            program,
            socket: format!("unix://{}", appliance.socket().display()),
            config: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(self.config.path())
            .args(["-H", &self.socket])
            .args(words)
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_TLS_VERIFY")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = self.command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        ended(command.spawn().expect("docker"), words)
    }

    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "docker {words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn fails(&self, words: &[&str], status: i32) -> String {
        let output = self.run(words);
        assert_eq!(
            output.status.code(),
            Some(status),
            "docker {words:?}: {output:?}"
        );
        String::from_utf8(output.stderr).expect("text")
    }

    pub fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("docker")
    }
}

/// What a client comes to; one that hangs is ended, and fails its test.
pub fn ended(child: Child, words: &[&str]) -> Output {
    ended_within(HANGS, child, words)
}

/// The same, with another limit.
pub fn ended_within(limit: Duration, child: Child, words: &[&str]) -> Output {
    let pid = rustix::process::Pid::from_child(&child);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Nobody is left to tell when the limit has passed.
        let _ = sender.send(child.wait_with_output());
    });
    match receiver.recv_timeout(limit) {
        Ok(output) => output.expect("docker"),
        Err(_) => {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("docker {words:?} does not end");
        }
    }
}

fn each(test: impl Fn(&Docker, &Appliance)) {
    for program in clients() {
        let appliance = Appliance::start();
        test(&Docker::new(program, &appliance), &appliance);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn docker_lists_what_there_is_and_chooses_by_its_filters() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let table = docker.ok(&["ps"]);
        assert!(
            table.contains(&ID[..12]) && table.contains("hello-world"),
            "{table}"
        );
        assert!(table.contains("Up ") && table.contains(NAME), "{table}");
        guest.exit(3);
        guest.settle();
        assert_eq!(docker.ok(&["ps", "-q"]), "");
        assert!(docker.ok(&["ps", "-a"]).contains("Exited (3) "));
        for (filter, there) in [
            ("name=jolly", true),
            ("name=^/jolly_panini$", true),
            ("name=other", false),
            ("status=exited", true),
            ("status=running", false),
            ("exited=3", true),
            ("exited=0", false),
            ("ancestor=hello-world:latest", true),
            ("ancestor=busybox", false),
            ("id=2cf7", true),
        ] {
            let found = docker.ok(&["ps", "-aq", "--no-trunc", "--filter", filter]);
            assert_eq!(found == format!("{ID}\n"), there, "{filter}: {found}");
        }
        assert_eq!(docker.ok(&["ps", "-q", "--filter", "exited=3"]).len(), 13);
        assert_eq!(docker.ok(&["ps", "-aq", "--filter", "label=x"]), "");
        assert_eq!(docker.ok(&["ps", "-aq", "--filter", "network=x"]), "");
        let said = docker.fails(&["ps", "--filter", "publish=80"], 1);
        assert!(said.contains("\"publish\" is not known"), "{said}");
        assert_eq!(
            docker.ok(&["ps", "-n", "1", "--format", "{{.Names}}"]),
            format!("{NAME}\n")
        );
    });
}

#[test]
fn docker_shows_logs_waits_and_inspects() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        guest.say(&Control::Network {
            endpoints: vec![NetworkEndpoint {
                name: "bridge".into(),
                address: "172.16.0.2/16".into(),
                ..NetworkEndpoint::default()
            }],
        });
        guest.print(Stream::Stdout, b"one\ntwo\n");
        guest.print(Stream::Stderr, b"oh\n");
        guest.settle();
        let waiting = docker.spawn(&["wait", NAME]);
        let following = docker.spawn(&["logs", "-f", NAME]);
        guest.print(Stream::Stdout, b"three\n");
        guest.exit(7);
        let followed = guest.until_ended(following);
        assert_eq!(text(&followed.stdout), "one\ntwo\nthree\n");
        assert_eq!(text(&followed.stderr), "oh\n");
        assert_eq!(text(&guest.until_ended(waiting).stdout), "7\n");
        assert_eq!(docker.ok(&["logs", "--tail", "1", ID]), "three\n");
        let stamped = docker.ok(&["logs", "-t", &ID[..6]]);
        assert!(
            stamped.lines().all(|line| line.starts_with("20")),
            "{stamped}"
        );
        for (format, value) in [
            (
                "{{.State.ExitCode}} {{.State.Status}} {{.State.OOMKilled}}",
                "7 exited false",
            ),
            (
                "{{.Name}} {{.Config.Tty}} {{.Config.OpenStdin}}",
                "/jolly_panini false true",
            ),
            ("{{.HostConfig.LogConfig.Type}}", "json-file"),
            (
                "{{.NetworkSettings.IPAddress}} {{len .NetworkSettings.Networks}}",
                "172.16.0.2 1",
            ),
        ] {
            let shown = docker.ok(&["inspect", "--format", format, NAME]);
            assert_eq!(shown.trim_end(), value, "{format}");
        }
        // Docker says it in whole seconds: the one that runs is over.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let until = (now.expect("after 1970").as_secs() + 1).to_string();
        let since = ["events", "--since", "1", "--until", &until];
        let events = docker.ok(&[&since[..], &["--filter", "event=die"]].concat());
        assert!(
            events.contains("container die ") && events.contains("exitCode=7"),
            "{events}"
        );
        let said = docker.fails(&["logs", "nobody"], 1);
        assert!(said.contains("No such container: nobody"), "{said}");
        assert_eq!(docker.ok(&["rm", NAME]), format!("{NAME}\n"));
        assert_eq!(docker.ok(&["ps", "-aq"]), "");
    });
}

#[test]
fn docker_attaches_signals_and_stops() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let mut client = docker.spawn(&["attach", NAME]);
        let mut typed = client.stdin.take().expect("piped");
        typed.write_all(b"typed\n").expect("a pipe");
        drop(typed);
        guest.until("stdin", |guest| guest.stdin == b"typed\n");
        guest.print(Stream::Stdout, b"seen\n");
        docker_beside(docker, &mut guest, &["kill", "-s", "USR1", NAME]);
        guest.until("a signal", |guest| !guest.commands.is_empty());
        let signal = guest.commands.remove(0);
        assert_eq!(
            signal,
            Control::Signal {
                channel: ONE,
                signal: "SIGUSR1".into()
            }
        );
        let stopping = docker.spawn(&["stop", "-t", "5", NAME]);
        guest.until("a stop", |guest| {
            guest.commands.contains(&Control::Stop { grace_s: 5 })
        });
        guest.exit(4);
        let stopped = guest.until_ended(stopping);
        assert!(stopped.status.success(), "{stopped:?}");
        let output = guest.until_ended(client);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(4), "seen\n".into())
        );
        let said = docker.fails(&["kill", NAME], 1);
        assert!(said.contains("is not running"), "{said}");
    });
}

/// A command that the VM has no part in, while it lives on.
fn docker_beside(docker: &Docker, guest: &mut Guest, words: &[&str]) {
    let output = guest.until_ended(docker.spawn(words));
    assert!(output.status.success(), "docker {words:?}: {output:?}");
}

#[test]
fn docker_runs_another_process_and_has_its_status() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let client = docker.spawn(&["exec", "-e", "A=b", "-w", "/srv", NAME, "ls", "-l"]);
        guest.until("an order", |guest| !guest.commands.is_empty());
        let Control::Exec(order) = guest.commands.remove(0) else {
            panic!("no exec")
        };
        assert_eq!(
            (order.args.clone(), order.env.clone()),
            (vec!["ls".into(), "-l".into()], vec!["A=b".into()])
        );
        assert_eq!(order.dir, "/srv");
        guest.add_session(&order, b"files\n", b"none\n", 9);
        let output = guest.until_ended(client);
        assert_eq!(output.status.code(), Some(9), "{output:?}");
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("files\n".into(), "none\n".into())
        );
        let said = docker.fails(&["exec", "nobody", "ls"], 1);
        assert!(said.contains("No such container: nobody"), "{said}");
    });
}

#[test]
fn docker_shows_the_processes_of_the_machine_s_report() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let client = docker.spawn(&["top", NAME]);
        guest.until("an order", |guest| !guest.commands.is_empty());
        let Control::Exec(order) = guest.commands.remove(0) else {
            panic!("no exec")
        };
        assert!(order.report && order.args.is_empty());
        let report = b"== machine\n== processes\nPID COMMAND\n2 [kthreadd]\n61 a b c\n\n== disks\n";
        guest.add_session(&order, report, b"", 0);
        let output = guest.until_ended(client);
        let shown = text(&output.stdout);
        let rows: Vec<Vec<&str>> = shown
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows,
            [vec!["PID", "COMMAND"], vec!["61", "a", "b", "c"]],
            "{output:?}"
        );
        let said = docker.fails(&["top", NAME, "-ef"], 1);
        assert!(said.contains("no ps runs"), "{said}");
    });
}

#[test]
fn docker_is_told_what_there_is_and_what_is_done_elsewhere() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        guest.settle();
        let version = docker.ok(&["version", "--format", "{{.Server.Version}}"]);
        assert_eq!(version.trim_end(), env!("CARGO_PKG_VERSION"));
        assert!(docker.ok(&["version"]).contains("vch"));
        let info = docker.ok(&["info"]);
        for part in [
            "Running: 1",
            "Storage Driver: vm",
            "Logging Driver: json-file",
        ] {
            assert!(info.contains(part), "no {part:?} in\n{info}");
        }
        assert!(
            !info.contains("Swarm: active") && !info.contains("WARNING"),
            "{info}"
        );
        for words in [
            &["images", "-q"][..],
            &["network", "ls", "-q"],
            &["volume", "ls", "-q"],
            &["plugin", "ls", "-q"],
        ] {
            assert_eq!(docker.ok(words), "", "{words:?}");
        }
        docker.ok(&["system", "df"]);
        for (words, status, said) in [
            (&["run", "hello-world"][..], 125, "VMs are made elsewhere"),
            (&["create", "hello-world"], 1, "VMs are made elsewhere"),
            (&["restart", NAME], 1, "power it on again"),
            (&["rename", NAME, "other"], 1, "made elsewhere"),
            (&["pull", "busybox"], 1, "VMs are made elsewhere"),
            (&["diff", NAME], 1, "not possible"),
            (&["swarm", "init"], 1, "not a swarm manager"),
            (&["node", "ls"], 1, "not a swarm manager"),
        ] {
            let told = docker.fails(words, status);
            assert!(told.contains(said), "{words:?}: {told}");
        }
    });
}
