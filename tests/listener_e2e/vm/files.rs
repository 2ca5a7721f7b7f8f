//! Docker's command line and the files, the figures, the health of real machines.

use std::path::Path;
use std::process::Command;

use super::engine::{Engine, text};
use crate::docker::clients;

const MAKE: &str = "mkdir -p /d/sub; echo one > /d/one; chown 1000:7 /d/one; chmod 4750 /d/one; ln /d/one /d/hard; \
    ln -s one /d/link; mkfifo /d/fifo; echo deep > /d/sub/deep; touch -d '2001-02-03 04:05:06' /d/sub/deep; \
    ln -s /../../../../etc /evil; ln -s /../../../../tmp/out /out; mkdir /tmp/out; head -c 300000 /dev/zero > /d/zero; \
    echo made; while :; do sleep 1; done";

/// A line for each member of an archive, as GNU tar tells it, without the day.
fn listed(archive: &Path) -> Vec<String> {
    let output = Command::new("tar")
        .arg("tvf")
        .arg(archive)
        .env("TZ", "UTC")
        .output()
        .expect("tar");
    assert!(output.status.success(), "{output:?}");
    let text = text(&output.stdout);
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [mode, owner, size, _day, _time, name @ ..] = &words[..] else {
                panic!("{line}");
            };
            let size = if mode.starts_with('-') { size } else { "" };
            format!("{mode} {owner} {size} {}", name.join(" "))
        })
        .collect();
    lines.sort();
    lines
}

/// What is checked of a container that runs, and of one that does not.
fn copies(engine: &Engine, name: &str, folder: &Path) {
    let docker = &engine.docker;
    let file = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let from = |path: &str| format!("{name}:{path}");
    // Out.
    let archive = docker.run(&["cp", &from("/d"), "-"]);
    assert!(archive.status.success(), "{archive:?}");
    std::fs::write(file("d.tar"), &archive.stdout).expect("written");
    assert_eq!(
        listed(&folder.join("d.tar")),
        [
            "-rw-r--r-- 0/0 300000 d/zero",
            "-rw-r--r-- 0/0 5 d/sub/deep",
            "-rwsr-x--- 1000/7 4 d/hard",
            "drwxr-xr-x 0/0  d/",
            "drwxr-xr-x 0/0  d/sub/",
            "hrwsr-x--- 1000/7  d/one link to d/hard",
            "lrwxrwxrwx 0/0  d/link -> one",
            "prw-r--r-- 0/0  d/fifo",
        ]
    );
    docker.ok(&["cp", &from("/d/sub"), &file("sub")]);
    assert_eq!(
        std::fs::read(folder.join("sub/deep")).expect("a copy"),
        b"deep\n"
    );
    docker.ok(&["cp", "-L", &from("/d/link"), &file("followed")]);
    assert_eq!(
        std::fs::read(folder.join("followed")).expect("a copy"),
        b"one\n"
    );
    // The container's own, wherever its links lead.
    docker.ok(&["cp", &from("/evil/passwd"), &file("passwd")]);
    let passwd = std::fs::read_to_string(folder.join("passwd")).expect("a copy");
    assert!(passwd.contains("user:x:1000"), "{passwd}");
    let told = docker.fails(&["cp", &from("/nothing"), "-"], 1);
    assert!(told.contains("/nothing"), "{told}");
    let told = docker.fails(&["cp", &from("/d/one/x"), "-"], 1);
    assert!(told.contains("/d/one/x"), "{told}");
    // In.
    let tree = folder.join("tree");
    if !tree.exists() {
        std::fs::create_dir_all(tree.join("a/b")).expect("folders");
        std::fs::write(tree.join("a/b/file"), "contents").expect("written");
        std::os::unix::fs::symlink("b/file", tree.join("a/link")).expect("linked");
    }
    let tree = tree.to_str().expect("UTF-8");
    docker.ok(&["cp", tree, &from("/d/new")]);
    docker.ok(&["cp", tree, &from("/d/sub")]);
    docker.ok(&["cp", &file("followed"), &from("/out/here")]);
    let told = docker.fails(&["cp", tree, &from("/d/zero")], 1);
    assert!(
        told.contains("directory") || told.contains("not a dir"),
        "{told}"
    );
    let told = docker.fails(&["cp", tree, &from("/no/such/place")], 1);
    assert!(told.contains("/no/such"), "{told}");
    assert!(
        !Path::new("/tmp/out/here").exists(),
        "nothing comes to this host"
    );
}

#[test]
fn files_are_copied_out_and_in_whether_the_container_runs_or_not() {
    for client in clients() {
        let mut engine = Engine::of(client, &[]);
        let name = "files";
        engine.docker.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--stop-timeout",
            "0",
            "busybox",
            "sh",
            "-c",
            MAKE,
        ]);
        engine.logged(name, "made");
        let folder = tempfile::tempdir().expect("a folder");
        copies(&engine, name, folder.path());
        let inside = engine.docker.ok(&[
            "exec", name, "sh", "-c",
            "cat /d/new/a/link /d/sub/tree/a/b/file /tmp/out/here; busybox stat -c '%a %u:%g' /d/new/a/b/file; cat /d/sub/deep",
        ]);
        assert_eq!(inside, "contentscontentsone\n644 0:0\ndeep\n");
        engine.docker.ok(&[
            "exec",
            name,
            "busybox",
            "rm",
            "-rf",
            "/d/new",
            "/d/sub/tree",
            "/tmp/out/here",
        ]);
        engine.docker.ok(&["stop", name]);
        copies(&engine, name, folder.path());
        // Nothing of the machine that has answered is to be seen.
        assert_eq!(engine.docker.ok(&["ps", "-aq"]).lines().count(), 1);
        let exported = engine.docker.run(&["export", name]).stdout;
        std::fs::write(folder.path().join("all.tar"), &exported).expect("written");
        let all = listed(&folder.path().join("all.tar"));
        let has = |wanted: &str| all.iter().any(|line| line.ends_with(&format!(" {wanted}")));
        assert!(
            has("d/new/a/b/file") && has("proc/") && has("bin/busybox"),
            "{all:?}"
        );
        assert!(!all.iter().any(|line| line.contains("proc/1")), "{all:?}");
        // Two at once, and a start that ends what is idle.
        let both = ["x", "y"].map(|to| {
            let to = folder.path().join(to).to_str().expect("UTF-8").to_owned();
            engine
                .docker
                .spawn(&["cp", &format!("{name}:/d/zero"), &to])
        });
        for child in both {
            let output = crate::docker::ended(child, &["cp"]);
            assert!(output.status.success(), "{output:?}");
        }
        engine.docker.ok(&["start", name]);
        let inside = engine
            .docker
            .ok(&["exec", name, "cat", "/d/new/a/link", "/tmp/out/here"]);
        assert_eq!(inside, "contentsone\n");
        engine.docker.ok(&["stop", name]);
        // The appliance goes while another machine has the disk: the next one ends that.
        engine.docker.ok(&["cp", &format!("{name}:/d/one"), "-"]);
        engine.appliance.kill();
        engine.appliance.run();
        engine.docker.ok(&["start", name]);
        // Not what the command itself writes again at each start.
        let kept = engine.docker.ok(&["exec", name, "cat", "/d/new/a/link"]);
        assert_eq!(kept, "contents");
        assert_eq!(engine.docker.ok(&["ps", "-aq"]).lines().count(), 1);
        engine.docker.ok(&["rm", "-f", name]);
        assert!(engine.is_empty());
    }
}

#[test]
fn what_is_copied_in_before_the_start_is_there_and_a_read_only_root_takes_nothing() {
    let engine = Engine::start(&[]);
    engine.docker.ok(&["pull", "-q", "busybox"]);
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh\necho from outside; id -u\n").expect("written");
    std::os::unix::fs::PermissionsExt::set_mode(
        &mut std::fs::metadata(&script).expect("it").permissions(),
        0o755,
    );
    let script = script.to_str().expect("UTF-8");
    engine.docker.ok(&[
        "create",
        "--name",
        "before",
        "-v",
        "kept:/kept",
        "busybox",
        "sh",
        "/kept/script",
    ]);
    engine.docker.ok(&["cp", script, "before:/kept/script"]);
    assert_eq!(
        engine.docker.ok(&["start", "-a", "before"]),
        "from outside\n0\n"
    );
    engine.docker.ok(&[
        "create",
        "--name",
        "ro",
        "--read-only",
        "-u",
        "user",
        "busybox",
        "true",
    ]);
    let told = engine.docker.fails(&["cp", script, "ro:/script"], 1);
    assert!(told.contains("read-only"), "{told}");
    // To the user that the container runs as.
    engine.docker.ok(&[
        "create", "--name", "owned", "-u", "user", "busybox", "busybox", "stat", "-c", "%u",
        "/script",
    ]);
    engine.docker.ok(&["cp", "-a", script, "owned:/script"]);
    assert_eq!(engine.docker.ok(&["start", "-a", "owned"]), "1000\n");
    engine.docker.ok(&["rm", "before", "ro", "owned"]);
    engine.docker.ok(&["volume", "rm", "kept"]);
}

#[test]
fn a_container_stands_still_goes_on_is_counted_and_called_something_else() {
    let engine = Engine::start(&[]);
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done";
    engine.docker.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--stop-timeout",
        "5",
        "busybox",
        "sh",
        "-c",
        count,
    ]);
    engine.logged("one", "3\n");
    engine.docker.ok(&["pause", "one"]);
    let still = engine.docker.ok(&["logs", "one"]);
    let figures = engine.docker.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}",
    ]);
    let words: Vec<&str> = figures.split_whitespace().collect();
    assert_eq!((words[0], words[1]), ("one", "0.00%"), "{figures}");
    assert!(
        words[4].ends_with("MiB") && words[5].parse::<u32>().is_ok_and(|n| n >= 2),
        "{figures}"
    );
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(engine.docker.ok(&["logs", "one"]), still, "nothing moves");
    let told = engine.docker.fails(&["exec", "one", "true"], 1);
    assert!(told.contains("is paused"), "{told}");
    engine.docker.ok(&["cp", "one:/etc/passwd", "-"]);
    engine.docker.ok(&["unpause", "one"]);
    let next = still
        .lines()
        .last()
        .and_then(|n| n.parse::<u32>().ok())
        .expect("a number")
        + 2;
    engine.logged("one", &format!("{next}\n"));
    engine.docker.ok(&["rename", "one", "other"]);
    let told = engine.docker.fails(&["inspect", "one"], 1);
    assert!(told.to_lowercase().contains("no such object"), "{told}");
    engine.docker.ok(&["pause", "other"]);
    engine.docker.ok(&["stop", "other"]);
    assert_eq!(
        engine.shown(
            "other",
            "{{.State.Status}} {{.State.ExitCode}} {{.State.Paused}}"
        ),
        "exited 143 false"
    );
    engine.docker.ok(&["start", "other"]);
    assert_eq!(engine.shown("other", "{{.Name}}"), "/other");
    engine.docker.ok(&["pause", "other"]);
    engine.docker.ok(&["kill", "other"]);
    engine.until("other", "{{.State.Status}}", "exited");
    engine.docker.ok(&["rm", "other"]);
    assert!(engine.is_empty());
}

#[test]
fn a_container_s_health_is_probed_and_told() {
    let engine = Engine::start(&[]);
    let seen = "{{.State.Health.Status}}";
    engine.docker.ok(&[
        "run",
        "-d",
        "--name",
        "ill",
        "--stop-timeout",
        "0",
        "--health-cmd",
        "cat /ok; test -e /ok",
        "--health-interval",
        "500ms",
        "--health-retries",
        "2",
        "--health-timeout",
        "20s",
        "busybox",
        "sh",
        "-c",
        "while :; do sleep 1; done",
    ]);
    assert!(engine.docker.ok(&["ps"]).contains("(health: starting)"));
    engine.until("ill", seen, "unhealthy");
    let log = engine.shown("ill", "{{json .State.Health.Log}}");
    assert!(
        log.contains("can't open '/ok'") && log.contains("\"ExitCode\":1"),
        "{log}"
    );
    engine
        .docker
        .ok(&["exec", "ill", "sh", "-c", "echo fine > /ok"]);
    engine.until("ill", seen, "healthy");
    assert!(
        engine
            .docker
            .ok(&["ps", "--filter", "health=healthy"])
            .contains("(healthy)")
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("now");
    let until = format!("{}", now.as_secs() + 1);
    let told = engine
        .docker
        .ok(&["events", "--since", "1h", "--until", &until]);
    for action in ["health_status: unhealthy", "health_status: healthy"] {
        assert!(told.contains(action), "{told}");
    }
    engine.docker.ok(&["stop", "ill"]);
    // One that does not end is ended.
    engine.docker.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "--stop-timeout",
        "0",
        "--health-cmd",
        "sleep 100",
        "--health-interval",
        "500ms",
        "--health-retries",
        "1",
        "--health-timeout",
        "1s",
        "busybox",
        "sh",
        "-c",
        "while :; do sleep 1; done",
    ]);
    engine.until("slow", seen, "unhealthy");
    let log = engine.shown("slow", "{{json .State.Health.Log}}");
    assert!(log.contains("exceeded timeout (1s)"), "{log}");
    let left = engine.docker.ok(&["exec", "slow", "busybox", "ps"]);
    assert!(left.matches("sleep 100").count() < 2, "{left}");
    engine.docker.ok(&["rm", "-f", "ill", "slow"]);
}
