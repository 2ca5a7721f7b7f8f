//! What holds for every model and every map.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::fixture;
use crate::config::guestinfo::{decode, decode_whole, encode};
use crate::config::isolation::Isolation;
use crate::config::model::{
    ContainerVm, CopyMode, Generation, IpNet, LinkConfig, Mount, Network, Secret, Session,
    TrustLevel, WhenFull,
};
use crate::config::{MountSource, from_document};

/// Any text that a program can be given: no zero byte, everything else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z|\\n \"]{0,6}",
        1 => "\\PC{0,8}",
        1 => any::<String>().prop_map(|s| s.replace('\0', "")),
    ]
}

fn key() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_.@~-]{1,12}"
}

fn absolute() -> impl Strategy<Value = String> {
    "/[a-z |%?#~é]{1,8}"
}

fn variable() -> impl Strategy<Value = String> {
    ("[A-Z|_]{1,4}", text()).prop_map(|(name, value)| format!("{name}={value}"))
}

prop_compose! {
    fn session(new: bool)(
        name in text(),
        path in text().prop_filter("a program", |path| !path.is_empty()),
        args in vec(text(), 0..5),
        env in vec(variable(), 0..5),
        dir in prop_oneof![Just(String::new()), absolute()],
        flags in any::<[bool; 6]>(),
        user in text(),
        group in text(),
        stop_signal in prop_oneof![Just(""), Just("SIGTERM"), Just("RTMIN+3"), Just("9")],
    ) -> Session {
        let [attach, openstdin, tty, restart, active, runblock] = flags;
        let old = Session {
            name, path, args, env, dir, attach, openstdin: attach, tty, restart,
            ..Session::default()
        };
        if !new {
            return old;
        }
        Session { openstdin, active, runblock, user, group, stop_signal: stop_signal.into(), ..old }
    }
}

fn source() -> impl Strategy<Value = String> {
    prop_oneof![
        text()
            .prop_filter("a label", |label| {
                !label.is_empty() && !label.starts_with('/') && !label.starts_with("@/")
            })
            .prop_map(MountSource::Label),
        ("[a-z0-9.:]{1,10}", absolute(), "[a-z=&?%]{0,8}")
            .prop_map(|(host, path, query)| MountSource::Nfs { host, path, query }),
        Just(MountSource::Tmpfs),
    ]
    .prop_map(|source| source.to_string())
}

prop_compose! {
    fn mount(new: bool)(
        source in source(),
        dest in absolute(),
        mode in prop_oneof![Just(""), Just("rw"), Just("ro,nosuid"), Just("size=64m,mode=1777")],
        copymode in 0usize..3,
    ) -> Mount {
        let copymode = CopyMode::from_number(copymode).filter(|_| new).unwrap_or_default();
        // A host by its name has its address there.
        let address = if source.starts_with("nfs://") { ",addr=10.0.0.5" } else { "" };
        let mode = format!("{mode}{address}").trim_start_matches(',').to_owned();
        Mount { source, dest, mode, copymode }
    }
}

fn net() -> impl Strategy<Value = IpNet> {
    let address = prop_oneof![
        (1u8..=223, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d])),
        any::<[u16; 7]>()
            .prop_map(|[b, c, d, e, f, g, h]| { IpAddr::from([0x2001, b, c, d, e, f, g, h]) }),
    ];
    (address, 1u8..=128).prop_map(|(address, prefix)| IpNet {
        address,
        prefix: if address.is_ipv4() {
            prefix.min(32)
        } else {
            prefix
        },
    })
}

prop_compose! {
    fn network(new: bool)(
        slot in prop_oneof![Just("".to_owned()), Just("192".into()), Just("52:54:00:12:34:5f".into())],
        name in text(),
        network in text(),
        address in option::of(net()),
        gateway in option::of(net()),
        nameservers in vec(net().prop_map(|net| net.address), 0..4),
        destinations in vec(net(), 0..4),
        ports in vec("[1-9][0-9]{0,3}(/tcp|/udp)?", 0..3),
        internal in any::<bool>(),
        trust in 0usize..6,
    ) -> Network {
        let same_family = |gateway: &IpNet| {
            address.is_none_or(|net: IpNet| net.address.is_ipv4() == gateway.address.is_ipv4())
        };
        let old = Network {
            slot, name, network, address, gateway: gateway.filter(same_family), nameservers,
            ..Network::default()
        };
        if !new {
            return old;
        }
        let trust = TrustLevel::from_number(trust).unwrap_or_default();
        Network { destinations, ports, internal, trust, ..old }
    }
}

prop_compose! {
    /// A model that keeps the rules and that the generation has keys for.
    fn container(new: bool)(
        id in key(),
        texts in any::<[String; 4]>(),
        hosts in ["[a-z0-9._-]{0,12}", "[a-z0-9._-]{0,12}"],
        debug in any::<u32>(),
        secret in vec(any::<u8>(), 0..20),
        primary in session(new),
        mut sessions in btree_map(key(), session(new), 0..3),
        execs in btree_map(key(), session(new), 0..3),
        mounts in btree_map(key(), mount(new), 0..3),
        mut networks in btree_map(key(), network(new), 0..3),
        isolation in option::of((any::<[bool; 4]>(), 0usize..3)),
        link in option::of((4096usize..1 << 30, any::<bool>(), any::<u32>(), any::<u32>())),
        default in any::<bool>(),
    ) -> ContainerVm {
        let [name, repo, layerid, imageid] = texts;
        sessions.insert(id.clone(), Session { name: name.clone(), ..primary });
        if let Some(network) = networks.values_mut().next() {
            network.default = default;
        }
        let link = link.map_or_else(LinkConfig::default, |(buffer, drops, exit_wait, stdio_grace)| {
            let full = if drops { WhenFull::DropOldest } else { WhenFull::Block };
            let emergency_wait = stdio_grace / 2;
            LinkConfig { buffer, full, exit_wait, stdio_grace, emergency_wait }
        });
        let isolation = isolation.map_or_else(Isolation::default, |([privileged, init, read_only, no_new_privileges], n)| {
            let names = ["NET_ADMIN", "all", "cap_sys_time"].map(str::to_owned);
            let (cap_add, cap_drop) = (names[..n].to_vec(), names[n..].to_vec());
            let limits = ["nofile=1024:2048", "core=0"].map(str::to_owned);
            Isolation {
                privileged, init, read_only, no_new_privileges, cap_add, cap_drop,
                umask: ["", "0027", "77"][n].into(), ulimits: limits[..n].to_vec(), oom_score_adj: n as i32 - 1,
                memory: if privileged { 0 } else { (n as u64) << 20 }, pids: if privileged { 0 } else { n as u64 }, sysctls: vec!["a.b=1".to_owned(); n],
                ..Isolation::default()
            }
        });
        let mut vm = ContainerVm {
            id, name, repo, layerid, debug, key: Secret(secret), sessions, mounts, networks, link, isolation,
            ..ContainerVm::default()
        };
        if new {
            let mut execs = execs;
            execs.retain(|id, _| !vm.sessions.contains_key(id));
            let [hostname, domainname] = hosts;
            vm = ContainerVm { hostname, domainname, imageid, execs, ..vm };
        }
        for session in vm.sessions.values_mut() {
            session.full = [None, Some(WhenFull::Block), Some(WhenFull::DropOldest)][debug as usize % 3];
        }
        for (key, session) in vm.sessions.iter_mut().chain(&mut vm.execs) {
            session.id = key.clone();
        }
        vm
    }
}

/// Maps that look like those of a containerVM and hold anything.
fn any_map() -> impl Strategy<Value = BTreeMap<String, String>> {
    let keys: Vec<String> = ["0.4", "1.x"]
        .iter()
        .flat_map(|generation| {
            ["net-static", "mounts", "args-pipe"]
                .iter()
                .flat_map(|case| fixture(generation, case).into_keys())
        })
        .chain(fixture("1.x", "execs").into_keys())
        .flat_map(|key| [format!("{key}~"), format!("{key}~json"), key])
        .collect();
    let value = prop_oneof![
        any::<String>(),
        "[0-9]{1,20}",
        "[a-z0-9|]{0,9}",
        "[A-Za-z0-9+/]{22}==",
        Just("[\"a\"]".to_owned()),
    ];
    let changes = vec((proptest::sample::select(keys), option::of(value)), 0..12);
    let base = proptest::sample::select(vec![
        BTreeMap::new(),
        fixture("0.4", "net-static"),
        fixture("0.4", "mounts"),
        fixture("1.x", "net-static"),
        fixture("1.x", "execs"),
    ]);
    (base, changes).prop_map(|(mut map, changes)| {
        for (key, value) in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        map
    })
}

proptest! {
    #[test]
    fn what_was_encoded_for_0_4_decodes_to_the_same(vm in container(false)) {
        let mut map = encode(&vm, Generation::V04).unwrap();
        let expected = ContainerVm { generation: Generation::V04, ..vm };
        prop_assert_eq!(decode_whole(&mut map).unwrap(), expected);
    }

    #[test]
    fn what_was_encoded_for_1_x_decodes_to_the_same(vm in container(true)) {
        let mut map = encode(&vm, Generation::V1x).unwrap();
        let expected = ContainerVm { generation: Generation::V1x, ..vm };
        prop_assert_eq!(decode_whole(&mut map).unwrap(), expected);
    }

    #[test]
    fn what_was_printed_reads_as_the_same(vm in container(true)) {
        let printed = serde_json::to_vec(&vm).unwrap();
        let expected = ContainerVm { key: Secret::default(), ..vm };
        prop_assert_eq!(&from_document(&printed).unwrap(), &expected);
        // The walk by hand and serde's derive are two readers of one form.
        prop_assert_eq!(serde_json::from_slice::<ContainerVm>(&printed).unwrap(), expected);
    }

    #[test]
    fn any_map_is_read_or_refused(mut map in any_map()) {
        if let Err(errors) = decode(&mut map) {
            prop_assert!(errors.iter().count() > 0);
            prop_assert!(!errors.to_string().is_empty());
        }
        // What is read can be written, and reads as the same again.
        if let Ok(vm) = decode_whole(&mut map) {
            let mut again = encode(&vm, vm.generation).unwrap();
            prop_assert_eq!(decode_whole(&mut again).unwrap(), vm);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(document in vec(any::<u8>(), 0..200)) {
        if let Err(errors) = from_document(&document) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
