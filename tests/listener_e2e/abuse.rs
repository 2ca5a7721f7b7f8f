//! What docker's API is given that no client of docker's sends, and a disk that is full: an answer in docker's form,
//! nothing left behind, and the next request as if nothing had been.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::appliance::Appliance;
use crate::images::{each, machines};
use crate::registry::{Entry, gzip, layer};

/// The status and the body that answer these bytes; the other side may stop reading before they are all sent.
fn told(appliance: &Appliance, request: &[u8]) -> (u16, String) {
    let mut socket = UnixStream::connect(appliance.socket()).expect("the clients' socket");
    let mut reader = socket.try_clone().expect("a descriptor");
    let request = request.to_vec();
    let writer = std::thread::spawn(move || {
        // It is refused in the middle.
        let _ = socket.write_all(&request);
    });
    let mut answer = Vec::new();
    match reader.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    writer.join().expect("sent");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or_else(|| panic!("no answer: {answer}")),
        body.to_owned(),
    )
}

fn posted(appliance: &Appliance, path: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = told(appliance, request.as_bytes());
    (
        status,
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{body}: {e}")),
    )
}

#[test]
fn ten_megabytes_of_headers_are_refused_and_cost_nobody_else_anything() {
    let appliance = Appliance::start();
    for head in [
        format!("X-Long: {}\r\n", "a".repeat(10_000_000)),
        format!("X-Many: {}\r\n", "a".repeat(90)).repeat(100_000),
    ] {
        let request = format!("GET /_ping HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        let (status, _) = told(&appliance, request.as_bytes());
        assert_eq!(status, 431, "the head is too large");
    }
    let (status, body) = told(
        &appliance,
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((status, body.as_str()), (200, "OK"));
    let memory =
        std::fs::read_to_string(format!("/proc/{}/status", appliance.pid())).expect("its status");
    let resident = memory.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident: u64 = resident
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .expect("KiB");
    assert!(resident < 64 << 10, "{resident} KiB");
}

#[test]
fn a_body_that_is_no_json_is_told_so() {
    each(|docker, appliance, registry| {
        registry.put("img", &json!({ "Cmd": ["/x"] }), &[layer(&[])]);
        docker.ok(&["pull", "-q", "img"]);
        let id = docker.ok(&["create", "--name", "one", "img"]);
        let id = id.trim();
        let exec = format!("/containers/{id}/exec");
        let update = format!("/containers/{id}/update");
        for path in [
            "/containers/create",
            "/v1.44/containers/create?name=two",
            "/volumes/create",
            "/networks/create",
            "/networks/none/connect",
            &exec,
            &update,
        ] {
            for body in ["not json", "", "{\"Image\":", "[1,2]", "\u{0}\u{1}"] {
                let (status, told) = posted(appliance, path, body);
                let refused = (400..500).contains(&status);
                // An empty body is an object with nothing in it where nothing is needed.
                assert!(
                    refused || body.is_empty(),
                    "{path} {body:?}: {status} {told}"
                );
                if refused {
                    assert!(told["message"].is_string(), "{path} {body:?}: {told}");
                }
            }
        }
        docker.ok(&["rm", "one"]);
        assert_eq!(machines(appliance), 0);
    });
}

#[test]
fn a_full_disk_leaves_no_half_image_and_no_half_container() {
    each(|docker, appliance, registry| {
        let noise: Vec<u8> = (0..3_000_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let packed = gzip(&layer(&[Entry::File("noise", 0o644, &noise)]));
        registry.put("img", &json!({ "Cmd": ["/x"] }), &[packed]);
        let state = appliance.state();
        let left = |folder: &str| std::fs::read_dir(state.join(folder)).map_or(0, Iterator::count);
        // In the middle of a layer; and of the disk that is made of it, which is larger.
        for bytes in ["100000:unlimited", "4000000:unlimited"] {
            appliance.limit_files(bytes);
            let told = docker.fails(&["pull", "img"], 1);
            appliance.limit_files("unlimited:unlimited");
            assert!(!told.trim().is_empty());
            assert_eq!(docker.ok(&["images", "-q"]), "", "{told}");
            assert_eq!(
                (left("images/work"), left("images/disks")),
                (0, 0),
                "{told}"
            );
        }
        docker.ok(&["pull", "-q", "img"]);
        appliance.limit_files("1000:unlimited");
        let told = docker.fails(&["create", "--name", "one", "img"], 1);
        appliance.limit_files("unlimited:unlimited");
        assert!(!told.trim().is_empty());
        assert_eq!(machines(appliance), 0, "{told}");
        assert_eq!((left("containers"), left("keys")), (0, 0), "{told}");
        docker.ok(&["create", "--name", "one", "img"]);
        docker.ok(&["rm", "one"]);
    });
}
