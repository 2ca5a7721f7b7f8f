//! Malformed keys: each error names the key, its value and what was expected.

use std::collections::BTreeMap;

use super::{ID, fixture, names};
use crate::config::guestinfo::{EncodeError, Keys, KeysError, decode, decode_whole, encode};
use crate::config::model::{ContainerVm, Generation, LinkConfig, Session};
use crate::config::validate;

type Map = BTreeMap<String, String>;

fn hello() -> Map {
    fixture("0.4", "hello-world")
}

fn session_key(field: &str) -> String {
    format!("guestinfo./sessions|{ID}/{field}")
}

fn set(map: &mut Map, key: &str, value: &str) {
    map.insert(key.to_owned(), value.to_owned());
}

/// The message when `key` holds `value`; it has to be the only one.
fn refusal(mut map: Map, key: &str, value: &str) -> String {
    set(&mut map, key, value);
    let errors = decode_whole(&mut map).unwrap_err();
    assert_eq!(names(&errors), [key], "{errors}");
    errors.to_string()
}

#[test]
fn no_guestinfo_at_all_names_the_roots_looked_under() {
    for mut map in [Map::new(), Map::from([("common/notes".into(), "x".into())])] {
        let errors = decode(&mut map).unwrap_err();
        assert_eq!(errors.iter().count(), 1);
        let text = errors.to_string();
        assert!(text.contains("no guestinfo at all"), "{text}");
        assert!(text.contains("guestinfo./ or guestinfo.vice./"), "{text}");
    }
}

#[test]
fn values_that_cannot_be_meant_are_named() {
    let message = refusal(hello(), &session_key("tty"), "perhaps");
    assert!(
        message.contains("\"perhaps\": expected true or false"),
        "{message}"
    );
    let message = refusal(hello(), &session_key("cmd/Args"), "many");
    assert!(
        message.contains("\"many\": expected the last index"),
        "{message}"
    );
    let message = refusal(hello(), "guestinfo./diagnostics/debug", "-1");
    assert!(
        message.contains("\"-1\": expected a whole number"),
        "{message}"
    );
    let message = refusal(hello(), &session_key("cmd/Dir"), "tmp");
    assert!(
        message.contains("\"tmp\": expected an absolute path"),
        "{message}"
    );
    let message = refusal(hello(), "guestinfo./tether/link", "buffer=lots");
    assert!(
        message.contains("\"buffer=lots\": expected NAME=VALUE"),
        "{message}"
    );
    let stop = format!("guestinfo.vice./sessions|{ID}/stopSignal");
    let message = refusal(fixture("1.x", "hello-world"), &stop, "SIGSTOPPED");
    assert!(message.contains("SIGRTMIN+3"), "{message}");
}

#[test]
fn what_may_be_a_secret_is_not_told() {
    let message = refusal(hello(), "guestinfo./key", "hunter2!");
    assert!(!message.contains("hunter2"), "{message}");
    for (index, value) in [("0", "A=1|B=hunter2"), ("1", "A=1|hunter2")] {
        let mut map = hello();
        set(&mut map, &session_key("cmd/Env"), index);
        set(&mut map, &session_key("cmd/Env~"), value);
        let errors = decode(&mut map).unwrap_err();
        assert!(
            names(&errors)[0].starts_with(&session_key("cmd/Env")),
            "{errors}"
        );
        assert!(
            !format!("{errors} {errors:?}").contains("hunter2"),
            "{errors}"
        );
    }
    let mut map = hello();
    set(&mut map, &session_key("cmd/Env~"), "TOKEN=hunter2");
    set(&mut map, "guestinfo./key", "aHVudGVyMg==");
    let vm = decode_whole(&mut map).unwrap();
    assert_eq!(vm.key.0, b"hunter2");
    assert!(!format!("{vm:?}").contains("hunter2"));
    let json = serde_json::to_string(&vm).unwrap();
    assert!(!json.contains("aHVudGVyMg"), "{json}");
}

#[test]
fn all_problems_are_told_at_once() {
    let mut map = hello();
    set(&mut map, &session_key("tty"), "maybe");
    set(&mut map, &session_key("attach"), "yes");
    set(&mut map, &session_key("cmd/Env~"), "PATH");
    map.remove(&session_key("cmd/Path"));
    let errors = decode(&mut map).unwrap_err();
    let mut found = names(&errors);
    found.sort_unstable();
    let expected = ["attach", "cmd/Env", "cmd/Path", "tty"].map(session_key);
    assert_eq!(found, expected);
}

#[test]
fn a_malformed_path_is_not_missing_too() {
    let mut map = fixture("0.4", "mounts");
    let key = "guestinfo./mounts|data/source/Scheme";
    set(&mut map, key, "gopher");
    let errors = decode(&mut map).unwrap_err();
    assert_eq!(names(&errors), ["guestinfo./mounts|data/source/Path"]);
    assert!(errors.to_string().contains("gopher:///data-1"), "{errors}");
}

#[test]
fn the_container_s_own_session_has_to_be_listed() {
    let mut map = hello();
    set(&mut map, "guestinfo./sessions", "other");
    set(&mut map, "guestinfo./sessions|other/cmd/Path", "/bin/true");
    let errors = decode(&mut map).unwrap_err();
    assert_eq!(names(&errors), ["guestinfo./sessions"]);
    let text = errors.to_string();
    assert!(text.contains("\"other\"") && text.contains(ID), "{text}");
}

#[test]
fn a_session_without_a_program_is_named() {
    let mut map = hello();
    map.remove(&session_key("cmd/Path"));
    let errors = decode(&mut map).unwrap_err();
    assert_eq!(names(&errors), [session_key("cmd/Path")]);
    assert!(errors.to_string().contains("is missing"), "{errors}");
}

#[test]
fn either_of_id_and_a_lone_session_stands_for_the_other() {
    let expected = decode(&mut hello()).unwrap();
    for key in ["guestinfo./common/id", "guestinfo./sessions"] {
        let mut map = hello();
        map.remove(key);
        assert_eq!(decode(&mut map).unwrap(), expected, "without {key}");
    }
    let mut map = fixture("0.4", "two-sessions");
    map.remove("guestinfo./common/id");
    let errors = decode(&mut map).unwrap_err();
    assert_eq!(names(&errors), ["guestinfo./common/id"], "{errors}");
}

#[test]
fn ids_that_would_break_keys_are_refused() {
    for id in ["a/b", "a b", "a=b"] {
        let mut map = Map::new();
        set(&mut map, "guestinfo./common/id", id);
        set(
            &mut map,
            &format!("guestinfo./sessions|{id}/cmd/Path"),
            "/x",
        );
        let errors = decode(&mut map).unwrap_err();
        assert_eq!(names(&errors), ["guestinfo./sessions"], "{errors}");
    }
    let message = refusal(hello(), "guestinfo./sessions", &format!("{ID}||x"));
    assert!(message.contains("none of them empty"), "{message}");
}

#[test]
fn an_exec_may_not_take_a_session_s_id() {
    let mut vm = model();
    let exec = vm.execs["e1d2c3"].clone();
    vm.execs.insert(
        ID.into(),
        Session {
            id: ID.into(),
            ..exec
        },
    );
    let errors = validate(&vm).unwrap_err();
    assert_eq!(names(&errors), ["guestinfo.vice./execs@non-persistent"]);
}

#[test]
fn a_volume_is_mounted_below_the_root() {
    for dest in ["/", "//", "data", "/a/../b", "/.."] {
        let message = refusal(
            fixture("0.4", "mounts"),
            "guestinfo./mounts|data/dest",
            dest,
        );
        assert!(message.contains("an absolute path below /"), "{message}");
    }
}

#[test]
fn addresses_are_held_against_their_masks() {
    let net = || fixture("1.x", "net-static");
    let key = |field: &str| format!("guestinfo.vice./networks|bridge/{field}");
    // 255.0.255.0 has a hole.
    let message = refusal(net(), &key("ip/Mask"), "/wD/AA==");
    assert!(message.contains("ones before zeroes"), "{message}");
    let message = refusal(net(), &key("ip/IP"), "172.16.0.2");
    assert!(message.contains("base64 of the 4 or 16 bytes"), "{message}");
    let message = refusal(net(), &key("network/dns|1"), "AAAA");
    assert!(message.contains("base64 of the 4 or 16 bytes"), "{message}");
    let message = refusal(net(), &key("network/dns"), "4000000000");
    assert!(message.contains("at most 64"), "{message}");
    let message = refusal(net(), &key("network/TrustLevel"), "6");
    assert!(message.contains("0 to 5"), "{message}");
    let mut map = net();
    map.remove(&key("ip/Mask"));
    let errors = decode(&mut map).unwrap_err();
    assert_eq!(names(&errors), [key("ip/Mask")]);
}

#[test]
fn two_default_routes_are_one_too_many() {
    let mut map = fixture("0.4", "net-static");
    set(&mut map, "guestinfo./networks", "bridge|public");
    set(
        &mut map,
        "guestinfo./networks|public/network/default",
        "true",
    );
    let errors = decode(&mut map).unwrap_err();
    assert_eq!(
        names(&errors),
        ["guestinfo./networks|public/network/default"]
    );
    assert!(errors.to_string().contains("\"bridge\" has it"), "{errors}");
}

#[test]
fn a_value_that_is_no_text_is_named() {
    struct Raw(Map);
    impl Keys for Raw {
        fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, KeysError> {
            if key.ends_with("cmd/Path") {
                return Ok(Some(b"/bin/\xff".to_vec()));
            }
            Keys::get(&mut self.0, key)
        }
    }
    let errors = decode(&mut Raw(hello())).unwrap_err();
    assert_eq!(names(&errors), [session_key("cmd/Path")]);
    assert!(
        errors.to_string().contains("expected UTF-8 text"),
        "{errors}"
    );
}

fn model() -> ContainerVm {
    decode_whole(&mut fixture("1.x", "execs")).unwrap()
}

#[test]
fn what_0_4_has_no_key_for_is_not_dropped_in_silence() {
    let error = encode(&model(), Generation::V04).unwrap_err();
    let EncodeError::NoKey { generation, fields } = &error else {
        panic!("{error}");
    };
    assert_eq!(*generation, "0.4");
    assert!(
        fields.contains(&"execs.e1d2c3.path".to_owned()),
        "{fields:?}"
    );
    assert!(
        fields.contains(&format!("sessions.{ID}.stopSignal")),
        "{fields:?}"
    );
    assert!(fields.contains(&"hostname".to_owned()), "{fields:?}");
}

#[test]
fn a_model_that_breaks_the_rules_is_not_written() {
    let mut vm = model();
    vm.execs.get_mut("f00ba4").unwrap().path.clear();
    vm.link.buffer = 0;
    let EncodeError::Invalid(errors) = encode(&vm, Generation::V1x).unwrap_err() else {
        panic!("expected the rules to be named");
    };
    assert_eq!(names(&errors), ["execs.f00ba4.path", "link.buffer"]);
}

#[test]
fn a_value_that_no_host_keeps_is_not_written() {
    let mut vm = model();
    let session = vm.sessions.get_mut(ID).unwrap();
    session.args.push("x".repeat(64 << 10));
    let EncodeError::TooLong { key, bytes } = encode(&vm, Generation::V1x).unwrap_err() else {
        panic!("expected the length to be refused");
    };
    assert!(
        key.ends_with("cmd/Args~") && bytes > 64 << 10,
        "{key} {bytes}"
    );
}

#[test]
fn json_is_no_generation_of_guestinfo() {
    let error = encode(&model(), Generation::Json).unwrap_err();
    assert_eq!(error, EncodeError::NotGuestinfo);
}

#[test]
fn settings_of_the_link_come_behind_one_key() {
    let mut map = hello();
    set(
        &mut map,
        "guestinfo./tether/link",
        "exitWait=3,buffer=65536",
    );
    let vm = decode(&mut map).unwrap();
    let expected = LinkConfig {
        buffer: 65536,
        exit_wait: 3,
        ..LinkConfig::default()
    };
    assert_eq!(vm.link, expected);
}
