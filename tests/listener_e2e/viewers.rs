//! Several clients of one container.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Child;

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Guest, ID, generated};

/// Until the listener has answered this client: its output has begun.
fn until_attached(guest: &mut Guest, appliance: &Appliance, clients: &mut [Child]) {
    guest.print(Stream::Stdout, b"!");
    for client in clients {
        let mut stdout = client.stdout.take().expect("piped");
        let first = std::thread::spawn(move || {
            let mut byte = [0];
            stdout.read_exact(&mut byte).map(|()| (byte, stdout))
        });
        guest.until("first byte", |guest| {
            if !first.is_finished() {
                // One that came late sees the next.
                guest.print(Stream::Stdout, b"!");
            }
            first.is_finished()
        });
        let (byte, stdout) = first.join().expect("no panic").expect("a byte");
        assert_eq!(byte, *b"!");
        client.stdout = Some(stdout);
    }
    assert_eq!(appliance.field(ID, "/Vch/Link"), "\"up\"");
}

#[test]
fn two_attached_clients_get_the_same_bytes_and_the_status() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let mut clients = [
        appliance.spawn(&["attach", "--no-stdin", ID]),
        appliance.spawn(&["attach", "--no-stdin", ID]),
    ];
    until_attached(&mut guest, &appliance, &mut clients);
    let data = generated(5, 3 << 20);
    guest.print(Stream::Stdout, &data);
    guest.print(Stream::Stderr, b"err");
    guest.exit(4);
    for client in clients {
        let output = guest.until_ended(client);
        assert_eq!(
            output.status.code(),
            Some(4),
            "{:?}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout.ends_with(&data), "the output differs");
        assert_eq!(output.stderr, b"err");
    }
}

#[test]
fn a_replay_begins_at_the_first_byte() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, b"before ");
    guest.settle();
    let client = appliance.spawn(&["attach", "--replay", ID]);
    guest.print(Stream::Stdout, b"after");
    guest.exit(0);
    let output = guest.until_ended(client);
    assert_eq!(
        (&output.stdout[..], output.status.code()),
        (&b"before after"[..], Some(0))
    );
    let again = appliance.vch(&["attach", "--replay", ID]);
    assert_eq!(
        (&again.stdout[..], again.status.code()),
        (&b"before after"[..], Some(0))
    );
    let said = appliance.fails(&["attach", ID]);
    assert!(said.contains("does not run (exited); `vch logs"), "{said}");
}

#[test]
fn a_viewer_that_never_reads_stops_nobody() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let request = |path: &str, method: &str| {
        let mut socket = UnixStream::connect(appliance.socket()).expect("connect");
        let head = format!(
            "{method} /v1.47/containers/{ID}{path} HTTP/1.1\r\nHost: x\r\n\
             Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("request");
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).expect("answer");
        (socket, answer)
    };
    let (_hung, answer) = request("/attach?stream=1&stdout=1&stderr=1", "POST");
    assert_eq!(&answer, b"HTTP/1.1 101");
    let (_logs, answer) = request("/logs?follow=1&stdout=1&stderr=1", "GET");
    assert_eq!(&answer, b"HTTP/1.1 200");
    let data = generated(6, 20 << 20);
    guest.print(Stream::Stdout, &data);
    guest.exit(0);
    guest.settle();
    assert!(
        appliance.vch(&["logs", ID]).stdout == data,
        "the log differs"
    );
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}

#[test]
fn the_last_lines_and_their_times() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    for n in 0..100 {
        guest.print(Stream::Stdout, format!("line {n}\n").as_bytes());
    }
    guest.settle();
    assert_eq!(
        appliance.ok(&["logs", "--tail", "2", ID]),
        "line 98\nline 99\n"
    );
    assert_eq!(appliance.ok(&["logs", "--tail", "0", ID]), "");
    assert_eq!(
        appliance
            .ok(&["logs", "--tail", "1000", ID])
            .lines()
            .count(),
        100
    );
    let timed = appliance.ok(&["logs", "-t", "-n", "1", ID]);
    let (time, line) = timed.split_once(' ').expect("a time");
    assert_eq!(line, "line 99\n");
    assert!(time.len() == 30 && time.ends_with('Z'), "{time}");
    assert_eq!(
        appliance.ok(&["logs", "--since", "2100-01-01T00:00:00Z", ID]),
        ""
    );
    let follow = appliance.spawn(&["logs", "-f", "-n", "1", ID]);
    guest.print(Stream::Stdout, b"more\n");
    guest.exit(0);
    let shown = String::from_utf8(guest.until_ended(follow).stdout).expect("text");
    assert!(
        ["line 99\nmore\n", "more\n"].contains(&shown.as_str()),
        "{shown:?}"
    );
}

/// Waits until so many clients watch only, and so many type.
fn attached(appliance: &Appliance, guest: &mut Guest, watch: usize, types: usize) {
    guest.until("clients", |_| {
        appliance.field(ID, "/Vch/Attached/ReadOnly") == watch.to_string()
            && appliance.field(ID, "/Vch/Attached/ReadWrite") == types.to_string()
    });
}

#[test]
fn who_types_alone_lets_others_watch_and_who_is_alone_nobody() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let attach = |mode: &str| appliance.spawn(&["attach", "--access", mode, ID]);
    let mut alone = attach("exclusive-write");
    attached(&appliance, &mut guest, 0, 1);
    let refused = attach("shared").wait_with_output().expect("vch attach");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("types to it exclusively"),
        "{said}"
    );
    let mut content = attach("read-only-ok");
    let watching = attach("read-only");
    attached(&appliance, &mut guest, 2, 1);
    // What the watchers say goes nowhere.
    let mut stdin = content.stdin.take().expect("piped");
    stdin.write_all(b"not heard").expect("a pipe");
    drop(stdin);
    let mut stdin = alone.stdin.take().expect("piped");
    stdin.write_all(b"heard").expect("a pipe");
    guest.until("what was typed", |guest| guest.stdin == b"heard");
    drop(stdin);
    guest.until("the end of stdin", |guest| guest.stdin_ended);
    guest.print(Stream::Stdout, b"for all");
    guest.exit(0);
    guest.settle();
    for client in [alone, content, watching] {
        let output = guest.until_ended(client);
        assert_eq!(output.stdout, b"for all");
    }
    assert_eq!(guest.stdin, b"heard");
}

#[test]
fn a_seat_is_free_again_when_its_client_is_gone() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    for _ in 0..3 {
        let mut alone = appliance.spawn(&["attach", "--access", "exclusive", ID]);
        attached(&appliance, &mut guest, 0, 1);
        let said = appliance.fails(&["attach", ID]);
        assert!(said.contains("attached to it exclusively"), "{said}");
        // Without a word.
        alone.kill().expect("SIGKILL");
        alone.wait().expect("its end");
        attached(&appliance, &mut guest, 0, 0);
    }
    let said = appliance.vch(&["attach", "--access", "mine", ID]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("expected shared, read-only"), "{said}");
}

#[test]
fn what_happens_is_told_as_it_happens_and_afterwards() {
    let appliance = Appliance::start();
    let mut following = appliance.spawn(&["events", "--format", "json", "--since", "1h"]);
    let mut lines = std::io::BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut guest = Guest::run(appliance.port);
    guest.exit(3);
    guest.settle();
    let mut next = |guest: &mut Guest| {
        let line = std::thread::scope(|scope| {
            let reading = scope.spawn(|| lines.next().expect("an event").expect("text"));
            guest.until("an event", |_| reading.is_finished());
            reading.join().expect("no panic")
        });
        serde_json::from_str::<serde_json::Value>(&line).expect("JSON")
    };
    let mut told = Vec::new();
    while told
        .last()
        .is_none_or(|e: &serde_json::Value| e["Action"] != "die")
    {
        told.push(next(&mut guest));
    }
    let actions: Vec<&str> = told.iter().filter_map(|e| e["Action"].as_str()).collect();
    assert_eq!(actions, ["create", "link_up", "start", "die"]);
    let last = &told[told.len() - 1];
    assert_eq!(last["Actor"]["ID"], ID);
    assert_eq!(last["Actor"]["Attributes"]["exitCode"], "3");
    guest.break_connection();
    drop(guest);
    assert!(appliance.vch(&["rm", ID]).status.success());
    let past = appliance.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "now",
        "-f",
        "event=die",
    ]);
    assert_eq!(past.lines().count(), 1, "{past}");
    assert!(
        past.contains(&format!("container die {ID} (exitCode=3, ")),
        "{past}"
    );
    // Until now, to the second: what happens later is in another one.
    let later = (jiff::Timestamp::now().as_second() + 1).to_string();
    let past = appliance.ok(&["events", "--since", "1h", "--until", &later]);
    assert!(
        past.trim_end().ends_with(')') && past.contains(" destroy "),
        "{past}"
    );
    following.kill().expect("SIGKILL");
    following.wait().expect("its end");
    let said = appliance.fails(&["events", "-f", "label=x"]);
    assert!(
        said.contains("expected container, event, image or type"),
        "{said}"
    );
}
