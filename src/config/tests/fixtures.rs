//! Every map that the original's encoder wrote, both ways.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ID, fixture, fixture_bytes, fixture_folder, names};
use crate::config::guestinfo::{decode, decode_whole, encode};
use crate::config::model::{ContainerVm, Generation, Session, TrustLevel};

/// The fixture whose map cannot be meant.
const MALFORMED: &str = "args-pipe";

fn cases(generation: &str) -> Vec<String> {
    let mut cases: Vec<String> = std::fs::read_dir(fixture_folder(generation))
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".guestinfo.json").map(str::to_owned)
        })
        .filter(|case| case != MALFORMED)
        .collect();
    cases.sort();
    cases
}

/// What the original's decoder shows of a session.
fn session(generation: Generation, session: &Session) -> Value {
    let mut shown = json!({
        "Name": session.name, "ID": session.id, "Path": session.path, "Dir": session.dir,
        "Args": session.args, "Env": session.env, "Attach": session.attach, "Tty": session.tty,
        "Restart": session.restart,
    });
    if generation == Generation::V1x {
        let more = json!({
            "OpenStdin": session.openstdin, "Active": session.active,
            "RunBlock": session.runblock, "User": session.user, "Group": session.group,
            "StopSignal": session.stop_signal,
        });
        extend(&mut shown, more);
    }
    shown
}

fn extend(value: &mut Value, more: Value) {
    let (Value::Object(value), Value::Object(more)) = (value, more) else {
        panic!("two objects expected");
    };
    value.extend(more);
}

/// What the original's decoder shows of the whole, in its own names.
fn shown(vm: &ContainerVm) -> Value {
    let new = vm.generation == Generation::V1x;
    let sessions = |map: &BTreeMap<String, Session>| -> Value {
        map.iter()
            .map(|(id, s)| (id.clone(), session(vm.generation, s)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let mounts: serde_json::Map<String, Value> = vm
        .mounts
        .iter()
        .map(|(key, mount)| {
            // Labels as the original printed them; ours is the label alone.
            let source = match mount.source.strip_prefix("label://") {
                Some(label) if new => format!("label:///{label}"),
                Some(label) => format!("label://@/{label}"),
                None => mount.source.clone(),
            };
            let mut shown = json!({ "dest": mount.dest, "mode": mount.mode, "source": source });
            if new {
                let number = mount.copymode.number().to_string();
                extend(&mut shown, json!({ "copymode": number }));
            }
            (key.clone(), shown)
        })
        .collect();
    let networks: serde_json::Map<String, Value> = vm
        .networks
        .iter()
        .map(|(key, network)| {
            let mut shown = json!({
                "alias": network.name, "default": network.default, "slot": network.slot,
                "network": network.network, "gateway": network.gateway,
                "nameservers": network.nameservers,
            });
            if new {
                assert_eq!(network.trust, TrustLevel::Unspecified);
                // `type` is the appliance's alone: no guest reads it.
                let more = json!({
                    "ip": network.address, "static": network.address.is_some(), "trust": "",
                    "destinations": network.destinations, "ports": network.ports,
                    "internal": network.internal, "type": "bridge",
                });
                extend(&mut shown, more);
            } else {
                extend(&mut shown, json!({ "static": network.address }));
            }
            (key.clone(), shown)
        })
        .collect();
    let mut shown = json!({
        "id": vm.id, "repo": vm.repo, "layerid": vm.layerid,
        "key": String::from_utf8_lossy(&vm.key.0),
        "sessions": sessions(&vm.sessions), "mounts": mounts, "networks": networks,
    });
    let more = if new {
        json!({
            "hostname": vm.hostname, "domainname": vm.domainname, "imageid": vm.imageid,
            "execs": sessions(&vm.execs),
        })
    } else {
        json!({ "name": vm.name })
    };
    extend(&mut shown, more);
    shown
}

fn decodes_as_the_original(generation: &str) {
    let cases = cases(generation);
    assert!(cases.len() >= 8, "{cases:?}");
    for case in cases {
        let vm = decode_whole(&mut fixture(generation, &case))
            .unwrap_or_else(|errors| panic!("{generation}/{case}: {errors}"));
        let expected: Value =
            serde_json::from_slice(&fixture_bytes(generation, &case, "expect")).unwrap();
        assert_eq!(shown(&vm), expected, "{generation}/{case}");
    }
}

#[test]
fn every_map_of_0_4_decodes_as_the_original_did() {
    decodes_as_the_original("0.4");
}

#[test]
fn every_map_of_1_x_decodes_as_the_original_did() {
    decodes_as_the_original("1.x");
}

#[test]
fn debug_levels_are_read() {
    for (generation, case) in [("0.4", "key-debug"), ("1.x", "key-debug-syslog")] {
        let vm = decode(&mut fixture(generation, case)).unwrap();
        assert_eq!(vm.debug, 2, "{generation}");
    }
}

#[test]
fn what_the_guest_does_not_use_is_all_that_it_leaves_out() {
    for generation in ["0.4", "1.x"] {
        for case in cases(generation) {
            let used = decode(&mut fixture(generation, &case)).unwrap();
            let mut whole = decode_whole(&mut fixture(generation, &case)).unwrap();
            whole.key = used.key.clone();
            whole.layerid.clear();
            whole.imageid.clear();
            assert_eq!(used, whole, "{generation}/{case}");
        }
    }
}

/// Ends of the keys that the encoder leaves out on purpose, and why.
const NOT_WRITTEN: [&str; 15] = [
    // The appliance's own notes; nobody reads them.
    "common/notes",
    "common/ExecutionEnvironment",
    "Common/ExecutionEnvironment",
    "common/created",
    "Common/created",
    "Common/notes",
    ".createtime",
    // The guest's state, which the guest writes (`StateKeys`).
    ".started",
    ".status",
    "resurrections",
    ".starttime",
    ".stoptime",
    // The kind of network, told to the appliance.
    ".network.type",
    // The ID of a network, always empty.
    "network/Common/id",
    // The original's own routing switch, which has no successor here.
    "/asymrouting",
];

/// The same, by what stands in the middle.
const NOT_WRITTEN_WITHIN: [&str; 8] = [
    // Parts of a URL that no source of a volume has.
    "source/ForceQuery",
    "source/Fragment",
    "source/OmitHost",
    "source/Opaque",
    "source/RawFragment",
    "source/RawPath",
    // State again: what a run left in the logs.
    "diagnostics.exitlogs",
    // The original's log host.
    "diagnostics/syslog/",
];

fn is_left_out(key: &str) -> bool {
    let bare = key.strip_suffix("@non-persistent").unwrap_or(key);
    // A level for every session; the VM's own is the one in use.
    let session_debug = bare.contains('|') && bare.ends_with("diagnostics/debug");
    session_debug
        || NOT_WRITTEN.iter().any(|end| bare.ends_with(end))
        || NOT_WRITTEN_WITHIN.iter().any(|part| bare.contains(part))
}

#[test]
fn every_reason_to_leave_a_key_out_is_needed() {
    let keys: Vec<String> = ["0.4", "1.x"]
        .iter()
        .flat_map(|generation| {
            let of = |case: &String| fixture(generation, case).into_keys();
            cases(generation).iter().flat_map(of).collect::<Vec<_>>()
        })
        .map(|key| key.replace("@non-persistent", ""))
        .collect();
    for end in NOT_WRITTEN {
        assert!(keys.iter().any(|key| key.ends_with(end)), "{end}");
    }
    for part in NOT_WRITTEN_WITHIN {
        assert!(keys.iter().any(|key| key.contains(part)), "{part}");
    }
}

fn encodes_as_the_original(generation: &str, kind: Generation) {
    for case in cases(generation) {
        let original = fixture(generation, &case);
        let vm = decode_whole(&mut original.clone()).unwrap();
        let ours = encode(&vm, kind).unwrap_or_else(|error| panic!("{case}: {error}"));
        let modelled: BTreeMap<String, String> = original
            .into_iter()
            .filter(|(key, _)| !is_left_out(key))
            .collect();
        assert_eq!(ours, modelled, "{generation}/{case}");
    }
}

#[test]
fn every_map_of_0_4_is_encoded_as_the_original_did() {
    encodes_as_the_original("0.4", Generation::V04);
}

#[test]
fn every_map_of_1_x_is_encoded_as_the_original_did() {
    encodes_as_the_original("1.x", Generation::V1x);
}

#[test]
fn a_lost_border_between_arguments_is_refused_by_its_key() {
    for (generation, root) in [("0.4", "guestinfo."), ("1.x", "guestinfo.vice.")] {
        let key = format!("{root}/sessions|{ID}/cmd/Args~");
        let errors = decode(&mut fixture(generation, MALFORMED)).unwrap_err();
        assert_eq!(names(&errors), [key.as_str()]);
        let text = errors.to_string();
        assert!(text.contains("/bin/sh|-c|ls | wc -l"), "{text}");
        assert!(
            text.contains("3 values") && text.contains("4 pieces"),
            "{text}"
        );
    }
}

#[test]
fn our_own_key_beside_the_original_s_keeps_the_border() {
    for (generation, kind) in [("0.4", Generation::V04), ("1.x", Generation::V1x)] {
        let original = fixture(generation, MALFORMED);
        // What the original's decoder would have cut short.
        let mut vm = decode_whole(&mut fixture(generation, "shell-quotes")).unwrap();
        let session = vm.sessions.get_mut(ID).unwrap();
        session.args = ["/bin/sh", "-c", "ls | wc -l"].map(str::to_owned).to_vec();
        let ours = encode(&vm, kind).unwrap();
        for (key, value) in &ours {
            if key.contains("cmd/Args") && !key.ends_with("~json") {
                assert_eq!(original.get(key), Some(value), "{key}");
            }
        }
        assert_eq!(decode_whole(&mut ours.clone()).unwrap(), vm);
        // A joined form that was edited since does not run what stood there before.
        let mut edited = ours;
        for (key, value) in &mut edited {
            if key.ends_with("cmd/Args~") {
                *value = "/bin/sh|-c|ls | grep x".to_owned();
            }
        }
        let errors = decode(&mut edited).unwrap_err();
        assert!(names(&errors)[0].ends_with("cmd/Args~json"), "{errors}");
    }
}
