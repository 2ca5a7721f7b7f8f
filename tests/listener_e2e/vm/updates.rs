//! What docker's command line changes of a container that is there, what disks take, and volumes that go from one
//! machine to the next.

use super::engine::Engine;

#[test]
fn a_container_is_updated_and_its_disk_is_counted() {
    let engine = Engine::start(&[]);
    let docker = &engine.docker;
    docker.ok(&["pull", "-q", "busybox"]);
    let script = "nproc; grep MemTotal /proc/meminfo; head -c 20000000 /dev/urandom >/filled; sync; exec sleep 1000";
    docker.ok(&[
        "run", "-d", "--name", "one", "--memory", "80m", "busybox", "sh", "-c", script,
    ]);
    let told = docker.fails(&["update", "--memory", "96m", "one"], 1);
    assert!(told.contains("until it is stopped"), "{told}");
    docker.ok(&["update", "--restart", "on-failure:3", "one"]);
    assert_eq!(
        engine.shown("one", "{{json .HostConfig.RestartPolicy}}"),
        r#"{"Name":"on-failure","MaximumRetryCount":3}"#
    );
    let told = docker.fails(&["update", "--cpu-shares", "512", "one"], 1);
    assert!(told.contains("CpuShares"), "{told}");
    engine.logged("one", "MemTotal");
    docker.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "until [ \"$(wc -c </filled)\" = 20000000 ]; do sleep 1; done; sync",
    ]);
    docker.ok(&["stop", "-t", "1", "one"]);
    let known = engine.shown("one", "{{.State.ExitCode}} {{.State.Running}}");
    assert_eq!(known, "143 false", "stopped, and so not started again");
    docker.ok(&["update", "--memory", "128m", "--cpus", "2", "one"]);
    let before = docker.ok(&["logs", "one"]);
    docker.ok(&["start", "one"]);
    let limit = std::time::Instant::now() + super::PATIENCE;
    let after = loop {
        let all = docker.ok(&["logs", "one"]);
        if let Some(more) = all
            .strip_prefix(&before)
            .filter(|more| more.contains("MemTotal"))
        {
            break more.to_owned();
        }
        assert!(std::time::Instant::now() < limit, "{all}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    assert!(after.starts_with("2\n"), "{after}");
    let kib = |text: &str| -> u64 {
        let words = text.split_whitespace();
        words
            .filter_map(|word| word.parse().ok())
            .max()
            .expect("a number")
    };
    assert!(kib(&after) > kib(&before) + 40_000, "{before} {after}");

    let size: u64 = docker
        .ok(&["inspect", "-s", "-f", "{{.SizeRw}}", "one"])
        .trim()
        .parse()
        .expect("bytes");
    assert!(size > 20_000_000, "{size}");
    let row = docker.ok(&["ps", "-as", "--format", "{{.Size}}"]);
    assert!(
        row.contains("MB (virtual ") && !row.starts_with('0'),
        "{row}"
    );
    docker.ok(&["rm", "-f", "one"]);
    docker.ok(&["create", "busybox"]);
    let usage = docker.ok(&[
        "system",
        "df",
        "--format",
        "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}",
    ]);
    let usage = usage
        .lines()
        .find_map(|line| line.strip_prefix("Containers 1 0 "));
    let usage = usage.expect("a container that is not on");
    assert_ne!(usage, "0B");
    let pruned = docker.ok(&["container", "prune", "-f"]);
    assert!(
        pruned.contains(&format!("Total reclaimed space: {usage}")),
        "{pruned}"
    );
}

#[test]
fn a_volume_goes_from_one_machine_to_the_next_at_once() {
    let engine = Engine::start(&[]);
    let docker = &engine.docker;
    docker.ok(&["pull", "-q", "busybox"]);
    for turn in 0..3 {
        let script = format!("cat /d/all 2>/dev/null; echo {turn} >>/d/all");
        let said = docker.ok(&[
            "run",
            "-v",
            "data:/d",
            "--name",
            &format!("of{turn}"),
            "busybox",
            "sh",
            "-c",
            &script,
        ]);
        let before: String = (0..turn).map(|n| format!("{n}\n")).collect();
        assert_eq!(said, before);
    }
    // Lent to whoever copies, and wanted at once by another.
    let copied = docker.ok(&["cp", "of2:/d/all", "-"]);
    assert!(copied.contains("0\n1\n2\n"), "{copied}");
    assert_eq!(
        docker.ok(&["run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/all"]),
        "0\n1\n2\n"
    );
    let rows = docker.ok(&["system", "df", "-v"]);
    let row = rows
        .lines()
        .find(|line| line.starts_with("data"))
        .expect("a row")
        .to_owned();
    assert!(row.contains(" 3 ") && row.ends_with("MB"), "{row}");
}

#[test]
fn a_diff_is_what_the_container_has_changed() {
    let engine = Engine::start(&[]);
    let docker = &engine.docker;
    docker.ok(&["pull", "-q", "busybox"]);
    let script = "touch /new; mkdir -p /d/e; echo x >>/etc/passwd; rm /bin/cat; chmod 700 /root; ln -s x /link; \
        echo >/data/x; echo made; exec sleep 1000";
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "data:/data",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    engine.logged("one", "made");
    let all = "C /bin\nD /bin/cat\nA /d\nA /d/e\nC /etc\nC /etc/passwd\nA /link\nA /new\n";
    let told = docker.ok(&["diff", "one"]);
    assert_eq!(told.replace("C /root\n", ""), all);
    docker.ok(&["stop", "-t", "1", "one"]);
    assert_eq!(
        docker.ok(&["diff", "one"]),
        told,
        "by another machine with its disk"
    );
    docker.ok(&["create", "--name", "none", "-w", "/made", "busybox"]);
    assert_eq!(docker.ok(&["diff", "none"]), "");
}

#[test]
fn as_much_output_is_kept_as_was_asked_for() {
    let engine = Engine::start(&[]);
    let docker = &engine.docker;
    docker.ok(&["pull", "-q", "busybox"]);
    let line = "x".repeat(100);
    let script = format!("i=0; while [ $i -lt 3000 ]; do echo \"$i {line}\"; i=$((i+1)); done");
    let words = [
        "run",
        "-d",
        "--name",
        "one",
        "--log-opt",
        "max-size=64k",
        "--log-opt",
        "max-file=2",
    ];
    docker.ok(&[&words[..], &["busybox", "sh", "-c", &script]].concat());
    assert_eq!(docker.ok(&["wait", "one"]), "0\n");
    let whole: String = (0..3000).map(|n| format!("{n} {line}\n")).collect();
    let kept = docker.ok(&["logs", "one"]);
    assert!(whole.ends_with(&kept), "the end of it");
    assert!(
        (30_000..140_000).contains(&kept.len()),
        "{} bytes",
        kept.len()
    );
}
