//! What people run: a Debian user land, a web server, a database, a JavaScript engine.

use std::io::{Read as _, Write as _};
use std::process::Command;

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

/// A machine whose disk is Debian's user land (`tests/userland/build.sh`).
fn debian(appliance: &Appliance, script: &str) -> Machine {
    Machine::new(appliance.port, &["/bin/bash", "-c", script]).with_disk("build/debian.ext4")
}

/// It powers off in order, and its disk is clean.
fn ends(mut machine: Machine, appliance: &Appliance, status: &str) {
    machine.off();
    assert_eq!(
        appliance.ok(&["wait", ID]),
        format!("{status}\n"),
        "{}",
        appliance.ok(&["logs", ID])
    );
    let checked = Command::new("/sbin/e2fsck")
        .arg("-fn")
        .arg(machine.path("disk.ext4"))
        .output();
    let checked = checked.expect("e2fsprogs is installed");
    assert!(checked.status.success(), "{checked:?}");
}

/// What a web server says, asked from inside by bash itself.
const FETCH: &str =
    "exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";

#[test]
fn debian_with_a_shell_on_a_terminal_and_users_by_name() {
    let appliance = Appliance::start();
    let mut machine = debian(
        &appliance,
        "id; dpkg --version | head -1; perl -e 'print 6*7, qq(\\n)'; exec bash -i",
    )
    .with("tty", json!(true))
    .with("user", json!("www-data"))
    .with("dir", json!("/var/www"));
    machine.boot();
    machine.until_running(&appliance);
    let mut client = appliance.attach("stream=1&logs=1&stdin=1&stdout=1");
    let mut seen = String::new();
    let mut until = |client: &mut std::os::unix::net::UnixStream, what: &str| {
        while !seen.contains(what) {
            let mut bytes = [0; 4096];
            let length = client.read(&mut bytes).expect("more");
            assert!(length > 0, "no {what} in {seen}");
            seen += &String::from_utf8_lossy(&bytes[..length]);
        }
    };
    until(
        &mut client,
        "uid=33(www-data) gid=33(www-data) groups=33(www-data)",
    );
    until(&mut client, "'dpkg' package");
    until(&mut client, "42\r\n");
    until(&mut client, ":~$ ");
    client
        .write_all(b"tty; echo $((40+3)); exit 9\n")
        .expect("typed");
    until(&mut client, "/dev/pts/0\r\n43\r\n");
    ends(machine, &appliance, "9");
}

#[test]
fn nginx_serves_and_ends_when_it_is_asked_to_quit() {
    let appliance = Appliance::start();
    let machine =
        debian(&appliance, "exec nginx -g 'daemon off;'").with("stopSignal", json!("SIGQUIT"));
    let mut machine = machine;
    machine.boot();
    machine.until_running(&appliance);
    machine.until("a page", || {
        let page = appliance.vch(&["exec", ID, "bash", "-c", FETCH]).stdout;
        String::from_utf8_lossy(&page).contains("Welcome to nginx!")
    });
    assert!(appliance.vch(&["stop", "-t", "60", ID]).status.success());
    ends(machine, &appliance, "0");
}

#[test]
fn postgresql_keeps_what_it_was_given_over_a_stop_and_a_start() {
    let appliance = Appliance::start();
    let script = "[ -d /var/lib/postgresql/db ] || initdb -D /var/lib/postgresql/db --no-sync >/dev/null; \
        exec postgres -D /var/lib/postgresql/db -k /tmp";
    let mut machine = debian(&appliance, script)
        .with("user", json!("postgres"))
        .with(
            "env",
            json!(["PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin"]),
        )
        .with("stopSignal", json!("SIGINT"));
    let ask = |question: &str| {
        let output = appliance.vch(&[
            "exec", ID, "psql", "-h", "/tmp", "-qAt", "postgres", "-c", question,
        ]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (question, answer) in [
        (
            "create table t as select generate_series(1, 50000) as n; select count(*), sum(n) from t",
            "50000|1250025000\n",
        ),
        ("select count(*), sum(n) from t", "50000|1250025000\n"),
    ] {
        machine.boot();
        machine.until_running(&appliance);
        machine.until("the database", || ask("select 1") == "1\n");
        assert_eq!(ask(question), answer);
        assert!(appliance.vch(&["stop", "-t", "60", ID]).status.success());
        machine.off();
        assert_eq!(appliance.ok(&["wait", ID]), "0\n");
    }
}

#[test]
fn node_serves_itself_with_threads_and_children() {
    let appliance = Appliance::start();
    let script = r#"exec node -e '
        const http = require("http"), { Worker } = require("worker_threads");
        const { execFileSync } = require("child_process");
        const server = http.createServer((_, answer) => answer.end("hello")).listen(0, "127.0.0.1", () =>
            http.get({ port: server.address().port, host: "127.0.0.1" }, (answer) => {
                let body = ""; answer.on("data", (d) => body += d).on("end", () => {
                    console.log(body, execFileSync("uname").toString().trim());
                    new Worker("require(\"worker_threads\").parentPort.postMessage(7 * 6)", { eval: true })
                        .on("message", (n) => { console.log(n); process.exit(5); });
                });
            }));'"#;
    let mut machine = debian(&appliance, script);
    machine.boot();
    machine.off();
    assert_eq!(appliance.ok(&["logs", ID]), "hello Linux\n42\n");
    assert_eq!(appliance.ok(&["wait", ID]), "5\n");
}
