use super::*;

fn image() -> Image {
    Image {
        id: "sha256:abc".into(),
        config: json!({ "config": {
            "Entrypoint": ["/entry"], "Cmd": ["serve"], "Env": ["PATH=/bin", "A=1"],
            "User": "www", "WorkingDir": "/srv", "Labels": { "own": "image" },
            "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
        }}),
        ..Image::default()
    }
}

fn made(body: &Value) -> Result<(Machine, Spec), Wish> {
    let setting = Setting {
        seed: [7; 32],
        memory_mib: 256,
        now_ns: 5,
    };
    machine(body, &image(), setting).map(|(machine, spec, _)| (machine, spec))
}

fn session_of(body: &Value) -> Session {
    let (machine, _) = made(body).expect("a machine");
    machine.config.sessions[""].clone()
}

/// What the command line sends for `docker run -it IMAGE`, all of it.
fn run_it() -> Value {
    let mut host = json!({
            "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "", "Config": {} },
            "NetworkMode": "default", "PortBindings": {},
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 }, "AutoRemove": false,
            "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [24, 80], "CapAdd": null,
            "CapDrop": null, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [],
            "ExtraHosts": null, "GroupAdd": null, "IpcMode": "", "Cgroup": "", "Links": null
    });
    let more = json!({
        "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "", "UsernsMode": "",
        "ShmSize": 0, "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0,
        "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [], "CpuPeriod": 0,
        "Devices": [], "DeviceCgroupRules": null, "DeviceRequests": null,
        "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1,
        "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0,
        "MaskedPaths": null, "ReadonlyPaths": null,
    });
    let more = more.as_object().cloned().unwrap_or_default();
    host.as_object_mut().expect("an object").extend(more);
    json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": true, "AttachStdout": true,
        "AttachStderr": true, "Tty": true, "OpenStdin": true, "StdinOnce": true, "Env": null,
        "Cmd": null, "Image": "web", "Volumes": {}, "WorkingDir": "", "Entrypoint": null,
        "OnBuild": null, "Labels": {},
        "HostConfig": host,
        "NetworkingConfig": { "EndpointsConfig": { "default": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "",
            "DriverOpts": null, "GwPriority": 0, "IPAddress": "", "IPPrefixLen": 0,
        }}},
    })
}

#[test]
fn the_command_line_s_own_request_is_the_image_s_container() {
    let (machine, spec) = made(&run_it()).expect("a machine");
    let session = &machine.config.sessions[""];
    assert_eq!(session.args, ["/entry", "serve"]);
    assert_eq!(session.env, ["PATH=/bin", "A=1"]);
    assert_eq!(
        (session.user.as_str(), session.dir.as_str()),
        ("www", "/srv")
    );
    assert!(session.tty && session.openstdin && session.attach);
    assert_eq!((machine.memory_mib, machine.processors), (256, 1));
    let wiring = super::super::lan::wiring(&spec).expect("a wiring");
    assert!(wiring.outside && wiring.ports.is_empty());
    assert_eq!(machine.config.isolation, Isolation::default());
    assert_eq!(spec.config["Cmd"], json!(["serve"]));
    assert_eq!(spec.config["Labels"], json!({ "own": "image" }));
    assert!(spec.stdin_once() && !spec.auto_remove());
}

#[test]
fn commands_and_entry_points_are_joined_as_docker_does() {
    let args = |body: Value| session_of(&body).args;
    assert_eq!(args(json!({ "Cmd": ["x", "y"] })), ["/entry", "x", "y"]);
    assert_eq!(args(json!({ "Entrypoint": ["/e"] })), ["/e"]);
    assert_eq!(
        args(json!({ "Entrypoint": ["/e"], "Cmd": ["a"] })),
        ["/e", "a"]
    );
    assert_eq!(args(json!({ "Entrypoint": [""], "Cmd": ["a"] })), ["a"]);
    let none = made(&json!({ "Entrypoint": [""] }));
    assert_eq!(none, Err(Wish::Bad("no command specified".into())));
    let env = session_of(&json!({ "Env": ["A=2", "B=3", "PATH"] })).env;
    assert_eq!(env, ["A=2", "B=3"]);
}

#[test]
fn the_machine_is_as_large_as_it_was_asked_for() {
    let host = |host: Value| made(&json!({ "HostConfig": host }));
    let (machine, _) = host(json!({ "Memory": 101 << 20 })).expect("a machine");
    assert_eq!(machine.memory_mib, 104);
    let least = host(json!({ "Memory": 6 << 20 }));
    assert!(matches!(least, Err(Wish::Bad(text)) if text.contains("64MB")));
    let (machine, _) = host(json!({ "NanoCpus": NANO / 2 })).expect("a machine");
    assert_eq!(machine.processors, 1);
    assert!(host(json!({ "NanoCpus": NANO * 10_000 })).is_err());
}

#[test]
fn published_ports_lead_into_the_machine() {
    let bindings =
        json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }, { "HostPort": "" }] });
    let body = json!({ "HostConfig": { "PortBindings": bindings } });
    let (_, spec) = made(&body).expect("a machine");
    let wiring = super::super::lan::wiring(&spec).expect("a wiring");
    assert_eq!(wiring.ports[0].to_string(), "tcp:127.0.0.1:8080:80");
    assert_ne!(wiring.ports[1].host.port(), 0);
    assert_eq!(spec.ports["80/tcp"].len(), 2);
    let body = json!({ "HostConfig": { "PortBindings": bindings, "NetworkMode": "none" } });
    assert!(made(&body).is_err());
}

#[test]
fn what_cannot_be_had_is_refused_by_its_name() {
    for (name, value) in [
        ("Binds", json!(["/host:/c"])),
        ("Mounts", json!([{ "Type": "bind" }])),
        ("PidMode", json!("host")),
        ("NetworkMode", json!("container:x")),
        ("NetworkMode", json!("host")),
        ("Devices", json!([{ "PathOnHost": "/dev/x" }])),
        ("CpuShares", json!(512)),
        ("LogConfig", json!({ "Type": "syslog" })),
        ("SecurityOpt", json!(["label=user:x"])),
        ("MemorySwap", json!(-5_i64 + (3 << 30))),
    ] {
        let refused = made(&json!({ "HostConfig": { name: value } }));
        match refused {
            Err(Wish::Refused(text)) => assert!(text.contains(name), "{text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let refused = made(&json!({ "MacAddress": "02:42:00:00:00:01" }));
    assert!(matches!(refused, Err(Wish::Refused(_))), "{refused:?}");
}

#[test]
fn bounds_and_rights_reach_the_guest() {
    let host = json!({
        "CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["ALL"], "Privileged": true, "Init": false,
        "ReadonlyRootfs": true, "Tmpfs": { "/run/x": "size=1m" }, "PidsLimit": 50,
        "Ulimits": [{ "Name": "nofile", "Soft": 100, "Hard": -1 }],
        "Sysctls": { "net.core.somaxconn": "9" }, "SecurityOpt": ["no-new-privileges"],
    });
    let (machine, _) = made(&json!({ "HostConfig": host })).expect("a machine");
    let isolation = &machine.config.isolation;
    assert!(isolation.privileged && !isolation.init && isolation.read_only);
    assert_eq!(isolation.ulimits, ["nofile=100:unlimited"]);
    assert_eq!(isolation.limits().len(), 1);
    assert_eq!(isolation.sysctls, ["net.core.somaxconn=9"]);
    assert_eq!((isolation.pids, isolation.no_new_privileges), (50, true));
    assert_eq!(machine.config.mounts["tmpfs:0"].dest, "/run/x");
}

#[test]
fn names_reach_the_guest() {
    let host = json!({
        "ExtraHosts": ["db:10.0.0.7", "me:host-gateway"], "DnsSearch": ["a.test"], "DnsOptions": ["ndots:1"],
    });
    let (machine, _) = made(&json!({ "HostConfig": host })).expect("a machine");
    let names = machine.config.names;
    assert_eq!(names.hosts, ["db:10.0.0.7", "me:10.0.2.2"]);
    assert_eq!(
        (&*names.search, &*names.options),
        (&["a.test".to_owned()][..], &["ndots:1".to_owned()][..])
    );
    for wrong in [
        json!({ "ExtraHosts": ["db"] }),
        json!({ "ExtraHosts": ["me:host-gateway"], "NetworkMode": "none" }),
        json!({ "DnsSearch": ["a b"] }),
    ] {
        assert!(
            matches!(made(&json!({ "HostConfig": wrong })), Err(Wish::Bad(_))),
            "{wrong}"
        );
    }
}

#[test]
fn networks_are_those_of_the_mode_and_of_the_endpoints() {
    let wanted = |body: Value| {
        let setting = Setting {
            seed: [7; 32],
            memory_mib: 256,
            now_ns: 5,
        };
        let (_, _, wanted) = machine(&body, &image(), setting)?;
        Ok::<_, Wish>(
            wanted
                .into_iter()
                .map(|one| one.network)
                .collect::<Vec<_>>(),
        )
    };
    let endpoints = json!({ "EndpointsConfig": { "back": { "Aliases": ["db"] }, "aside": {} } });
    let body = json!({ "HostConfig": { "NetworkMode": "back" }, "NetworkingConfig": endpoints });
    assert_eq!(
        wanted(body),
        Ok(vec!["back".to_owned(), "aside".to_owned()])
    );
    assert_eq!(
        wanted(json!({ "HostConfig": { "NetworkMode": "x" } })),
        Ok(vec!["x".to_owned()])
    );
    assert_eq!(wanted(json!({})), Ok(vec![]));
    let none = json!({ "HostConfig": { "NetworkMode": "none" }, "NetworkingConfig": endpoints });
    assert!(wanted(none).is_err());
    let own = json!({ "EndpointsConfig": { "bridge": { "Aliases": ["x"] } } });
    assert!(matches!(
        wanted(json!({ "NetworkingConfig": own })),
        Err(Wish::Refused(_))
    ));
}
