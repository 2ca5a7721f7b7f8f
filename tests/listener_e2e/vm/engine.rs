//! Docker's command line against an appliance that makes its machines: real ones, by `vmx run`, from images that a
//! registry of the test's own gives.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{PATIENCE, repository};
use crate::appliance::Appliance;
use crate::docker::{Docker, clients, ended};
use crate::images::{engine, machines};
use crate::registry::Registry;

/// An appliance, its images, a client; and no machine that outlives them.
pub struct Engine {
    pub docker: Docker,
    pub appliance: Appliance,
    pub registry: Registry,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let machines = std::fs::read_dir(self.appliance.state().join("machines"));
        for machine in machines.into_iter().flatten().flatten() {
            for file in ["container.vmx", "lent.vmx"] {
                let _ = Command::new(env!("CARGO_BIN_EXE_vmx"))
                    .arg("power")
                    .arg(machine.path().join(file))
                    .arg("off")
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
}

impl Engine {
    pub fn start(more: &[&str]) -> Self {
        Self::of(clients().pop().expect("a client"), more)
    }

    pub fn of(client: std::path::PathBuf, more: &[&str]) -> Self {
        let medium = repository("build/bootstrap.iso").display().to_string();
        let (appliance, registry) = engine(&medium, more);
        registry.put_busybox();
        Self {
            docker: Docker::new(client, &appliance),
            appliance,
            registry,
        }
    }

    /// What a command that is given this to read comes to.
    fn fed(&self, words: &[&str], input: &[u8]) -> Output {
        let mut child = self.docker.spawn(words);
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // One that reads no more is no failure of the test's.
            let _ = stdin.write_all(&input);
        });
        let output = ended(child, words);
        writer.join().expect("written");
        output
    }

    /// A command at a terminal, with this typed when what comes before has been printed; what it printed, and
    /// its status.
    fn typed(&self, words: &[&str], typing: &[(&str, &str)]) -> (String, Option<i32>) {
        let command = self.docker.command(words);
        let line: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
            .collect();
        let mut child = Command::new("script")
            .args(["-qec", &line.join(" "), "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script (package bsdutils)");
        let mut stdin = child.stdin.take().expect("piped");
        let mut stdout = child.stdout.take().expect("piped");
        let (mut printed, mut from) = (String::new(), 0);
        let mut piece = [0; 4096];
        let mut typing = typing.iter();
        let mut next = typing.next();
        loop {
            while let Some((before, text)) = next
                && let Some(at) = printed[from..].find(before)
            {
                from += at + before.len();
                stdin.write_all(text.as_bytes()).expect("typed");
                next = typing.next();
            }
            match stdout.read(&mut piece).expect("a terminal") {
                0 => break,
                count => printed += &String::from_utf8_lossy(&piece[..count]),
            }
        }
        assert!(next.is_none(), "never came to {next:?}: {printed}");
        drop(stdin);
        (printed, child.wait().expect("script").code())
    }

    pub fn shown(&self, container: &str, format: &str) -> String {
        let shown = self.docker.ok(&["inspect", "-f", format, container]);
        shown.trim().to_owned()
    }

    pub fn until(&self, container: &str, format: &str, wanted: &str) {
        let limit = Instant::now() + PATIENCE;
        while self.shown(container, format) != wanted {
            assert!(
                Instant::now() < limit,
                "{container}: {format} is never {wanted}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Its output has this in it.
    pub fn logged(&self, container: &str, wanted: &str) {
        let limit = Instant::now() + PATIENCE;
        while !self.docker.ok(&["logs", container]).contains(wanted) {
            assert!(Instant::now() < limit, "{container} never says {wanted}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// A machine is on.
    fn is_on(&self) -> bool {
        let machines = std::fs::read_dir(self.appliance.state().join("machines"));
        let mut machines = machines.into_iter().flatten().flatten();
        machines.any(|machine| machine.path().join("container.vmx.control").exists())
    }

    /// Nothing of any container is left.
    pub fn is_empty(&self) -> bool {
        let state = self.appliance.state();
        let count = |name: &str| std::fs::read_dir(state.join(name)).map_or(0, Iterator::count);
        self.docker.ok(&["ps", "-aq"]).is_empty()
            && [
                machines(&self.appliance),
                count("keys"),
                count("containers"),
            ] == [0, 0, 0]
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_is_docker_s_with_pipes() {
    for client in clients() {
        let engine = Engine::of(client, &[]);
        // Pulled by the way.
        let output = engine.docker.run(&[
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo out; echo err >&2; exit 7",
        ]);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(text(&output.stdout), "out\n");
        let told = text(&output.stderr);
        assert!(
            told.contains("Unable to find image 'busybox:latest' locally"),
            "{told}"
        );
        assert!(
            told.contains("Status: Downloaded newer image for busybox:latest"),
            "{told}"
        );
        assert!(told.ends_with("err\n"), "{told}");
        assert!(engine.is_empty(), "--rm leaves nothing");
        let input: Vec<u8> = (0..700_000_u32).map(|at| b'!' + (at % 89) as u8).collect();
        let output = engine.fed(&["run", "-i", "--rm", "busybox", "cat"], &input);
        assert!(
            output.stdout == input,
            "{} bytes came back",
            output.stdout.len()
        );
        for (words, status, said) in [
            (&["nope"][..], 127, "executable file not found"),
            (&["/etc"], 126, "permission denied"),
            (&["/etc/passwd"], 126, "permission denied"),
        ] {
            let failed = engine
                .docker
                .fails(&[&["run", "--rm", "busybox"], words].concat(), status);
            assert!(failed.contains(said), "{words:?}: {failed}");
        }
        assert!(engine.is_empty(), "nor does what could not be started");
        let words = [
            "run",
            "--rm",
            "-e",
            "A=1",
            "-w",
            "/tmp",
            "-u",
            "user",
            "--group-add",
            "77",
            "--hostname",
            "hh",
            "--memory",
            "72m",
            "--cpus",
            "2",
            "--tmpfs",
            "/mem",
            "--read-only",
            "busybox",
            "sh",
            "-c",
            "echo $A; pwd; id -u; id -G; hostname; nproc; touch /x 2>&1; touch /mem/x && echo written",
        ];
        let said = engine.docker.ok(&words);
        assert_eq!(
            said,
            "1\n/tmp\n1000\n1000 77\nhh\n2\ntouch: /x: Read-only file system\nwritten\n"
        );
    }
}

#[test]
fn a_run_is_docker_s_at_a_terminal() {
    for client in clients() {
        let engine = Engine::of(client, &[]);
        let prompt = "/ # ";
        let (printed, status) = engine.typed(
            &["run", "-it", "--name", "shell", "busybox"],
            &[
                (prompt, "tty; echo $((40+2))\n"),
                ("42", ""),
                (prompt, "\u{10}\u{11}"),
            ],
        );
        assert_eq!(status, Some(0), "detached: {printed}");
        assert!(printed.contains("/dev/pts/0"), "{printed}");
        assert_eq!(engine.shown("shell", "{{.State.Running}}"), "true");
        let (printed, status) =
            engine.typed(&["attach", "shell"], &[("", "\n"), (prompt, "exit 4\n")]);
        assert_eq!(status, Some(4), "{printed}");
        let (printed, status) = engine.typed(&["start", "-ai", "shell"], &[(prompt, "exit 9\n")]);
        assert_eq!(status, Some(9), "{printed}");
        let list = engine.docker.ok(&["ps", "-a"]);
        assert!(
            list.contains("Exited (9)") && list.contains("shell"),
            "{list}"
        );
        engine.docker.ok(&["rm", "shell"]);
        assert!(engine.is_empty());
    }
}

#[test]
fn a_server_outlives_the_appliance_and_is_taken_up_again() {
    let mut engine = Engine::start(&[]);
    let serve = "mkdir -p /w; echo page > /w/index.html; echo ready; exec httpd -f -p 80 -h /w";
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let published = format!("{}:80", port.local_addr().expect("an address"));
    drop(port);
    engine.docker.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        &published,
        "--stop-timeout",
        "1",
        "busybox",
        "sh",
        "-c",
        serve,
    ]);
    let address = published.trim_end_matches(":80").to_owned();
    let page = || {
        let limit = Instant::now() + PATIENCE;
        loop {
            let mut answer = String::new();
            if let Ok(mut socket) = TcpStream::connect(&address) {
                let asked = socket.write_all(b"GET / HTTP/1.0\r\n\r\n");
                let got = asked.and_then(|()| socket.read_to_string(&mut answer));
                if got.is_ok() && answer.contains("page") {
                    return;
                }
            }
            assert!(Instant::now() < limit, "no page: {answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    page();
    assert!(
        engine
            .docker
            .ok(&["ps"])
            .contains(&format!("{address}->80/tcp"))
    );
    let inspected = |engine: &Engine| {
        let format = "{{.Id}} {{.Created}} {{.State.StartedAt}} {{.Config.Cmd}} {{.HostConfig.PortBindings}}";
        engine.shown("web", format)
    };
    let before = inspected(&engine);
    engine.appliance.kill();
    page();
    engine.appliance.run();
    engine.until("web", "{{.State.Status}} {{.Vch.Link}}", "running up");
    assert_eq!(inspected(&engine), before);
    page();
    assert_eq!(
        engine.docker.ok(&["exec", "web", "cat", "/w/index.html"]),
        "page\n"
    );
    engine.docker.ok(&["stop", "web"]);
    assert_eq!(engine.shown("web", "{{.State.Status}}"), "exited");
    // All that is known but the log stands in the machine's file, too.
    let list = |engine: &Engine| {
        engine.docker.ok(&[
            "ps",
            "-a",
            "--format",
            "{{.ID}} {{.Image}} {{.State}} {{.Names}}",
        ])
    };
    let (listed, status) = (list(&engine), engine.shown("web", "{{json .State}}"));
    engine.appliance.kill();
    let id = engine_id(&listed, &engine);
    let record = engine
        .appliance
        .state()
        .join("containers")
        .join(id)
        .join("record.json");
    std::fs::remove_file(record).expect("the index");
    engine.appliance.run();
    assert_eq!(
        (list(&engine), engine.shown("web", "{{json .State}}")),
        (listed, status)
    );
    assert_eq!(engine.docker.ok(&["logs", "web"]), "ready\n");
    engine.docker.ok(&["start", "web"]);
    page();
    engine.docker.fails(&["rm", "web"], 1);
    engine.docker.ok(&["rm", "-f", "web"]);
    assert!(engine.is_empty());
    assert!(TcpStream::connect(&address).is_err(), "its machine is gone");
}

/// The whole ID of the one container, whose beginning is listed.
fn engine_id(listed: &str, engine: &Engine) -> String {
    let short = listed.split(' ').next().expect("an ID").to_owned();
    let containers =
        std::fs::read_dir(engine.appliance.state().join("containers")).expect("a folder");
    let mut names = containers.map(|entry| entry.expect("an entry").file_name());
    let found = names.find(|name| name.to_string_lossy().starts_with(&short));
    found.expect("its folder").to_string_lossy().into_owned()
}

#[test]
fn what_ends_is_started_again_as_its_policy_says() {
    let engine = Engine::start(&["--machines-most", "1"]);
    let fails = [
        "run",
        "--name",
        "fails",
        "--restart",
        "on-failure:1",
        "busybox",
        "sh",
        "-c",
        "echo run; exit 3",
    ];
    let output = engine.docker.run(&fails);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    engine.until("fails", "{{.RestartCount}} {{.State.Status}}", "1 exited");
    assert_eq!(engine.docker.ok(&["logs", "fails"]), "run\nrun\n");
    let always = [
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "unless-stopped",
        "busybox",
        "sleep",
        "1000",
    ];
    // The other's machine may still be on its way off.
    let limit = Instant::now() + PATIENCE;
    while !engine.docker.run(&always).status.success() {
        assert!(Instant::now() < limit, "never room for a machine");
        let _ = engine.docker.run(&["rm", "-f", "always"]);
        std::thread::sleep(Duration::from_millis(200));
    }
    let full = engine.docker.fails(&["start", "fails"], 1);
    assert!(
        full.contains("1 machines are on, and no more may be"),
        "{full}"
    );
    engine.docker.ok(&["kill", "always"]);
    engine.until("always", "{{.RestartCount}} {{.State.Status}}", "1 running");
    engine.docker.ok(&["stop", "-t", "1", "always"]);
    engine.until("always", "{{.State.Status}}", "exited");
    assert_eq!(engine.shown("always", "{{.RestartCount}}"), "1");
    let _ = engine.registry;
}

#[test]
fn a_container_may_be_removed_while_it_starts() {
    let engine = Engine::start(&[]);
    engine.docker.ok(&["pull", "busybox"]);
    for pause in [0, 300, 1500] {
        engine
            .docker
            .ok(&["create", "--name", "brief", "busybox", "sleep", "1000"]);
        let start = engine.docker.spawn(&["start", "brief"]);
        std::thread::sleep(Duration::from_millis(pause));
        engine.docker.ok(&["rm", "-f", "brief"]);
        // Either is right: it was quicker, or was told why not.
        ended(start, &["start", "brief"]);
        assert!(engine.is_empty(), "after {pause} ms");
    }
}

#[test]
fn a_volume_outlives_its_containers_and_is_one_machine_s_at_a_time() {
    let engine = Engine::start(&[]);
    let run = |more: &[&str], script: &str| {
        let words = [&["run", "--rm"], more, &["busybox", "sh", "-c", script]].concat();
        engine.docker.ok(&words)
    };
    run(
        &["-v", "data:/data"],
        "echo kept > /data/file; mkdir /data/folder",
    );
    assert_eq!(
        run(
            &["-v", "data:/other:ro"],
            "cat /other/file; touch /other/x 2>&1 || echo no"
        ),
        "kept\ntouch: /other/x: Read-only file system\nno\n"
    );
    // A new one begins with what the image has there.
    let copied = run(
        &["-v", "copied:/etc", "-v", "data:/data"],
        "cat /etc/passwd; ls /data",
    );
    assert!(
        copied.starts_with("root:x:0:0") && copied.ends_with("file\nfolder\nlost+found\n"),
        "{copied}"
    );
    engine.docker.ok(&[
        "run",
        "-d",
        "--name",
        "has",
        "-v",
        "data:/data",
        "busybox",
        "sleep",
        "1000",
    ]);
    let taken = engine
        .docker
        .fails(&["run", "--rm", "-v", "data:/data", "busybox", "true"], 125);
    assert!(
        taken.contains("volume data is in use by container has"),
        "{taken}"
    );
    engine.docker.ok(&["rm", "-f", "has"]);
    assert_eq!(run(&["-v", "data:/data"], "cat /data/file"), "kept\n");
    engine.docker.ok(&["volume", "rm", "data", "copied"]);
    assert_eq!(engine.docker.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn a_client_that_vanishes_leaves_nothing_half_done() {
    let engine = Engine::start(&[]);
    engine.docker.ok(&["pull", "busybox"]);
    for pause in [0, 20, 60, 200, 1000, 3500] {
        let words = ["run", "--rm", "busybox", "sh", "-c", "echo one; sleep 2"];
        let mut client = engine.docker.spawn(&words);
        std::thread::sleep(Duration::from_millis(pause));
        client.kill().expect("kill");
        client.wait().expect("wait");
    }
    // Those whose start was asked for run to their end and are gone; the others were made, and can be removed.
    let limit = Instant::now() + PATIENCE;
    while !engine.docker.ok(&["ps", "-q"]).is_empty() || engine.is_on() {
        let list = engine.docker.ok(&["ps", "-a"]);
        assert!(Instant::now() < limit, "{list}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let list = engine.docker.ok(&["ps", "-a", "--format", "{{.State}}"]);
    assert!(list.lines().all(|state| state == "created"), "{list}");
    engine.docker.ok(&["container", "prune", "-f"]);
    assert!(engine.is_empty());
}

#[test]
fn twenty_clients_start_twenty_machines_at_once() {
    let engine = Engine::start(&[]);
    engine.docker.ok(&["pull", "busybox"]);
    let script = |number: u32| format!("echo {number}; sleep 1; exit {number}");
    let children: Vec<_> = (1..=20)
        .map(|number| {
            let script = script(number);
            let words = [
                "run", "--rm", "--memory", "64m", "busybox", "sh", "-c", &script,
            ];
            (number, engine.docker.spawn(&words))
        })
        .collect();
    for (number, child) in children {
        let output = ended(child, &["run", "--rm"]);
        let status = i32::try_from(number).expect("small");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(text(&output.stdout), format!("{number}\n"));
    }
    assert!(engine.is_empty());
}
