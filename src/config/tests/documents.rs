//! JSON documents, and telling them from maps of keys.

use serde_json::{Value, json};

use super::{ID, fixture, fixture_bytes, names};
use crate::config::guestinfo::decode_whole;
use crate::config::model::{ContainerVm, Generation, Session, TrustLevel};
use crate::config::{Errors, from_document};

fn read(document: Value) -> Result<ContainerVm, Errors> {
    from_document(document.to_string().as_bytes())
}

fn hello() -> Value {
    json!({ "id": "a1", "sessions": { "a1": { "path": "/hello" } } })
}

#[test]
fn a_short_document_has_docker_s_defaults() {
    let vm = read(hello()).unwrap();
    assert_eq!(vm.generation, Generation::Json);
    let expected = Session {
        id: "a1".into(),
        path: "/hello".into(),
        attach: true,
        ..Session::default()
    };
    assert_eq!(vm.sessions["a1"], expected);
}

#[test]
fn a_lone_session_is_the_container_s_own() {
    let vm = read(json!({ "sessions": { "a1": { "path": "/hello", "name": "jolly" } } })).unwrap();
    assert_eq!((vm.id.as_str(), vm.name.as_str()), ("a1", "jolly"));
}

#[test]
fn wrong_types_are_named_by_their_path_all_at_once() {
    let errors = read(json!({
        "id": "abc", "debug": -1, "key": "not base64!",
        "sessions": { "abc": {
            "path": "/bin/sh", "args": ["a", 1, null], "env": ["A=1", "hunter2"], "tty": "true",
        }, "x": 5 },
        "mounts": [],
        "networks": { "n": { "address": "172.16.0.2", "nameservers": ["8.8.8.8", "dns"],
                             "trust": "everybody" } },
        "link": { "buffer": "1M", "full": "maybe" },
        "isolation": { "privileged": "yes", "capAdd": ["KILL", "CHMOD"] },
    }))
    .unwrap_err();
    let mut found = names(&errors);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "debug",
            "isolation.capAdd[1]",
            "isolation.privileged",
            "key",
            "link.buffer",
            "link.full",
            "mounts",
            "networks.n.address",
            "networks.n.nameservers[1]",
            "networks.n.trust",
            "sessions.abc.args[1]",
            "sessions.abc.args[2]",
            "sessions.abc.env[1]",
            "sessions.abc.tty",
            "sessions.x",
        ]
    );
    let text = errors.to_string();
    assert!(
        text.contains("sessions.abc.args[1] = \"1\": expected a string"),
        "{text}"
    );
    assert!(
        !text.contains("hunter2") && !text.contains("base64!"),
        "{text}"
    );
}

#[test]
fn the_rules_are_named_by_their_path() {
    let errors = read(json!({
        "id": "a1",
        "sessions": { "a1": { "id": "other", "path": "", "stopSignal": "SIGNOPE" } },
        "mounts": { "m": { "source": "label://", "dest": "data", "mode": "rw,whatever" } },
        "networks": {
            "a": { "default": true, "slot": "eth0" },
            "b": { "default": true, "address": "10.0.0.2/8", "gateway": "fe80::1/64" },
        },
    }))
    .unwrap_err();
    let mut found = names(&errors);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "mounts.m.dest",
            "mounts.m.mode",
            "mounts.m.source",
            "networks.a.slot",
            "networks.b.default",
            "networks.b.gateway",
            "sessions.a1.id",
            "sessions.a1.path",
            "sessions.a1.stopSignal",
        ]
    );
}

#[test]
fn unknown_fields_and_nulls_count_for_nothing() {
    let mut document = hello();
    document["colour"] = json!({ "of": "the sky" });
    document["sessions"]["a1"]["cpus"] = json!(4);
    document["sessions"]["a1"]["env"] = Value::Null;
    document["networks"] = Value::Null;
    assert_eq!(read(document).unwrap(), read(hello()).unwrap());
}

#[test]
fn what_is_no_object_says_so() {
    for (document, cause) in [
        ("", "EOF"),
        ("{ \"id\": ", "EOF"),
        ("[]", "it is an array"),
        ("\"guestinfo.\"", "it is a string"),
        ("\u{0}", "line 1"),
    ] {
        let text = from_document(document.as_bytes()).unwrap_err().to_string();
        assert!(text.contains(cause), "{document}: {text}");
    }
    assert_eq!(names(&read(json!({})).unwrap_err()), ["id"]);
}

#[test]
fn a_map_of_keys_is_told_from_a_document() {
    let vm = from_document(&fixture_bytes("1.x", "net-static", "guestinfo")).unwrap();
    assert_eq!(vm.generation, Generation::V1x);
    assert_eq!(vm, decode_whole(&mut fixture("1.x", "net-static")).unwrap());
    let errors = read(json!({ "guestinfo./common/id": 5, "common/notes": 7 })).unwrap_err();
    assert_eq!(names(&errors), ["guestinfo./common/id"]);
}

#[test]
fn the_printed_form_has_the_names_that_scripts_rely_on() {
    let vm = from_document(&fixture_bytes("1.x", "mounts", "guestinfo")).unwrap();
    let mut printed = serde_json::to_value(&vm).unwrap();
    assert_eq!(
        printed["sessions"][ID],
        json!({
            "id": ID, "name": "vols", "path": "/bin/df", "args": ["/bin/df"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "dir": "/", "attach": true, "openstdin": true, "tty": false, "restart": false,
            "active": true, "runblock": false, "user": "", "group": "", "stopSignal": "SIGTERM",
        })
    );
    assert_eq!(
        printed["mounts"],
        json!({
            "data": { "source": "label://data-1", "dest": "/var/lib/data", "mode": "rw",
                      "copymode": "new" },
            "logs": { "source": "nfs://10.0.0.5:2049/export/logs?uid=1000&gid=1000",
                      "dest": "/var/log", "mode": "ro", "copymode": "never" },
        })
    );
    printed["sessions"].take();
    printed["mounts"].take();
    assert_eq!(
        printed,
        json!({
            "generation": "1.x", "id": ID, "name": "vols", "repo": "hello-world",
            "hostname": "vols", "domainname": "example.test", "layerid": "a3ed95caeb02",
            "imageid": "sha256:c54a2cc56cbb", "debug": 0, "sessions": null, "execs": {},
            "mounts": null, "networks": {},
            "link": { "buffer": 1 << 20, "full": "block", "exitWait": 10, "stdioGrace": 2 },
            "isolation": { "privileged": false, "init": true, "readOnly": false, "noNewPrivileges": false,
                           "capAdd": [], "capDrop": [], "umask": "", "ulimits": [], "oomScoreAdj": 0,
                           "memory": 0, "pids": 0, "sysctls": [] },
        })
    );
    let vm = from_document(&fixture_bytes("1.x", "net-static", "guestinfo")).unwrap();
    assert_eq!(
        serde_json::to_value(&vm.networks).unwrap(),
        json!({ "bridge": {
            "slot": "192", "name": "bridge", "network": "bridge", "address": "172.16.0.2/16",
            "gateway": "172.16.0.1/16", "default": true, "nameservers": ["172.16.0.1", "8.8.8.8"],
            "destinations": [], "ports": ["80/tcp", "443/tcp"], "internal": false,
            "trust": "unspecified",
        } })
    );
}

#[test]
fn the_printed_form_is_itself_a_document() {
    for case in ["mounts", "net-static", "execs", "key-debug-syslog"] {
        let mut vm = from_document(&fixture_bytes("1.x", case, "guestinfo")).unwrap();
        let printed = serde_json::to_value(&vm).unwrap();
        vm.generation = Generation::Json;
        vm.key = Default::default();
        assert_eq!(read(printed).unwrap(), vm, "{case}");
    }
}

#[test]
fn an_ipv4_address_in_ipv6_s_clothes_is_ipv4() {
    let mut document = hello();
    document["networks"] = json!({ "n": {
        "address": "::ffff:10.0.0.2/104", "nameservers": ["::ffff:8.8.8.8"], "trust": "peers",
    } });
    let vm = read(document).unwrap();
    let network = &vm.networks["n"];
    assert_eq!(network.address, Some("10.0.0.2/8".parse().unwrap()));
    assert_eq!(network.nameservers[0].to_string(), "8.8.8.8");
    assert_eq!(network.trust, TrustLevel::Peers);
}
