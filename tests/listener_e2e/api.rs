//! The API as docker's clients use it, byte by byte.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Guest, ID, generated};

/// A request on a connection of its own: what came up to the end of the head, and the socket.
fn ask(appliance: &Appliance, method: &str, path: &str) -> (String, UnixStream) {
    let mut socket = UnixStream::connect(appliance.socket()).expect("connect");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).expect("request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("head");
        head.push(byte[0]);
    }
    (
        String::from_utf8(head).expect("text").to_ascii_lowercase(),
        socket,
    )
}

fn rest(mut socket: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("body");
    bytes
}

/// The pieces of a chunked body, joined.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    loop {
        let line = body.windows(2).position(|w| w == b"\r\n").expect("a size");
        let size = std::str::from_utf8(&body[..line]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return joined;
        }
        joined.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
}

#[test]
fn a_ping_tells_the_version_with_and_without_a_prefix() {
    let appliance = Appliance::start();
    for (method, path) in [
        ("HEAD", "/_ping"),
        ("GET", "/_ping"),
        ("GET", "/v1.24/_ping"),
    ] {
        let (head, _) = ask(&appliance, method, path);
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("\r\napi-version: 1.47\r\n"), "{head}");
        assert!(head.contains("\r\nostype: linux\r\n"), "{head}");
    }
    let (_, socket) = ask(&appliance, "GET", "/version");
    let version: serde_json::Value = serde_json::from_slice(&rest(socket)).expect("JSON");
    assert_eq!(version["Components"][0]["Name"], "Engine");
}

#[test]
fn an_error_is_a_message_of_exactly_json() {
    let appliance = Appliance::start();
    for (method, path, status, message) in [
        (
            "GET",
            "/v1.47/containers/nobody/json",
            "404",
            "No such container: nobody",
        ),
        ("GET", "/nothing/here", "404", "page not found"),
        ("PUT", "/version", "404", "page not found"),
    ] {
        let (head, socket) = ask(&appliance, method, path);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(
            head.contains("\r\ncontent-type: application/json\r\n"),
            "{head}"
        );
        let body: serde_json::Value = serde_json::from_slice(&rest(socket)).expect("JSON");
        assert_eq!(body, serde_json::json!({ "message": message }));
    }
}

#[test]
fn bad_parameters_are_named() {
    let appliance = Appliance::start();
    let _guest = Guest::run(appliance.port);
    for (method, path, message) in [
        (
            "GET",
            "logs",
            "choose at least one of stdout=1 and stderr=1",
        ),
        ("GET", "logs?stdout=1&tail=x", "tail=x: expected a number"),
        (
            "GET",
            "logs?stdout=1&since=x",
            "since=x: expected seconds since 1970",
        ),
        (
            "POST",
            "wait?condition=never",
            "condition=never: expected not-running",
        ),
        ("POST", "resize?h=5", "w: expected a number"),
        ("POST", "attach?stream=1", "Upgrade"),
    ] {
        let (head, socket) = ask(&appliance, method, &format!("/containers/{ID}/{path}"));
        assert!(head.starts_with("http/1.1 400"), "{path}: {head}");
        let body = String::from_utf8(rest(socket)).expect("text");
        assert!(body.contains(message), "{path}: {body}");
    }
}

#[test]
fn the_head_of_a_wait_comes_before_the_exit() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let path = |condition| format!("/containers/{ID}/wait?condition={condition}");
    let waits = ["not-running", "next-exit"].map(|c| ask(&appliance, "POST", &path(c)));
    let (_, removed) = ask(&appliance, "POST", &path("removed"));
    guest.exit(6);
    guest.settle();
    for (head, socket) in waits {
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(
            head.contains("\r\ncontent-type: application/json\r\n"),
            "{head}"
        );
        assert_eq!(unchunked(&rest(socket)), br#"{"StatusCode":6}"#);
    }
    drop(guest);
    appliance.ok(&["rm", ID]);
    assert_eq!(
        unchunked(&rest(removed)),
        br#"{"StatusCode":6}"#,
        "kept over the removal"
    );
}

#[test]
fn output_comes_in_dockers_frames() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, b"out");
    guest.settle();
    guest.print(Stream::Stderr, b"err");
    guest.exit(0);
    guest.settle();
    let (head, socket) = ask(
        &appliance,
        "GET",
        &format!("/v1.47/containers/{ID}/logs?stdout=1&stderr=True"),
    );
    let kind = "\r\ncontent-type: application/vnd.docker.multiplexed-stream\r\n";
    assert!(head.contains(kind), "{head}");
    assert_eq!(
        unchunked(&rest(socket)),
        b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err"
    );
    let (_, socket) = ask(
        &appliance,
        "GET",
        &format!("/containers/{ID}/logs?stdout=False&stderr=1"),
    );
    assert_eq!(unchunked(&rest(socket)), b"\x02\0\0\0\0\0\0\x03err");
}

#[test]
fn an_inspected_container_has_every_object_that_docker_needs() {
    let appliance = Appliance::start();
    let _guest = Guest::run(appliance.port);
    let (_, socket) = ask(&appliance, "GET", &format!("/containers/{ID}/json"));
    let json: serde_json::Value = serde_json::from_slice(&rest(socket)).expect("JSON");
    for object in ["State", "Config", "HostConfig", "NetworkSettings"] {
        assert!(json[object].is_object(), "{object}");
    }
    assert_eq!(json["HostConfig"]["LogConfig"]["Type"], "json-file");
    assert_eq!(json["State"]["Running"], true);
    assert_eq!(json["Name"], "/jolly_panini");
}

#[test]
fn unread_input_does_not_cut_the_output() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.reads_stdin = false;
    let data = generated(8, 300_000);
    let mut socket = UnixStream::connect(appliance.socket()).expect("connect");
    let path = format!("/containers/{ID}/attach?stream=1&stdin=1&stdout=1&stderr=1");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).expect("request");
    let mut reader = socket.try_clone().expect("clone");
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    let writing = std::thread::spawn(move || {
        // More than anybody takes: the end of the output must not wait for it.
        let sent = socket.write_all(&vec![b'x'; 4 << 20]);
        drop(socket);
        sent
    });
    guest.until("input", |guest| !guest.stdin.is_empty());
    guest.print(Stream::Stdout, &data);
    guest.exit(0);
    guest.until("end of the output", |_| reading.is_finished());
    let all = reading.join().expect("no panic").expect("output");
    let shown: usize = all.windows(4).position(|w| w == b"\r\n\r\n").expect("head") + 4;
    let mut frames = &all[shown..];
    let mut joined = Vec::new();
    while let Some((header, after)) = frames.split_first_chunk::<8>() {
        let size = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        joined.extend_from_slice(&after[..size]);
        frames = &after[size..];
    }
    assert!(
        joined == data,
        "the output differs: {} of {}",
        joined.len(),
        data.len()
    );
    writing
        .join()
        .expect("no panic")
        .expect("everything was taken, then dropped");
}
