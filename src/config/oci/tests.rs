use serde_json::{Value, json};

use crate::config::from_document;
use crate::config::model::ContainerVm;

/// As `runc spec` writes it, with what an engine adds.
fn document() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": true,
            "user": { "uid": 33, "gid": 44, "umask": 23, "additionalGids": [5, 6] },
            "args": ["sh", "-c", "id"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/srv",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
                "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": [],
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 2048, "soft": 1024 }],
            "noNewPrivileges": true,
            "oomScoreAdj": 100,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runc",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts" },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs" },
            { "destination": "/cache", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "noexec", "size=1m"] },
            { "destination": "/data", "type": "ext4", "source": "LABEL=data-1", "options": ["ro"] },
            { "destination": "/share", "type": "nfs4", "source": "10.0.0.5:/export" },
        ],
        "annotations": { "tether.id": "a1", "tether.name": "panini", "other": "x" },
        "linux": {
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": { "limit": 67_108_864, "swap": -1 },
                "pids": { "limit": 99 },
            },
            "sysctl": { "net.core.somaxconn": "256" },
            "namespaces": [{ "type": "pid" }, { "type": "network" }],
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/bus"],
        },
    })
}

fn read(document: &Value) -> Result<ContainerVm, String> {
    from_document(document.to_string().as_bytes()).map_err(|errors| errors.to_string())
}

#[test]
fn all_that_a_machine_can_do_is_taken() {
    let vm = read(&document()).expect("good");
    assert_eq!(
        (vm.id.as_str(), vm.name.as_str(), vm.hostname.as_str()),
        ("a1", "panini", "runc")
    );
    let session = &vm.sessions["a1"];
    assert_eq!((session.path.as_str(), session.args.len()), ("sh", 3));
    assert_eq!(
        (session.user.as_str(), session.dir.as_str()),
        ("33:44", "/srv")
    );
    assert_eq!(session.groups, ["5", "6"]);
    assert!(session.tty && session.openstdin && session.attach);
    let isolation = &vm.isolation;
    assert!(isolation.read_only && isolation.no_new_privileges);
    assert_eq!((isolation.umask.as_str(), isolation.mask()), ("0027", 0o27));
    assert_eq!(isolation.ulimits, ["RLIMIT_NOFILE=1024:2048"]);
    assert_eq!(
        (isolation.memory, isolation.pids, isolation.oom_score_adj),
        (64 << 20, 99, 100)
    );
    assert_eq!(isolation.sysctls, ["net.core.somaxconn=256"]);
    assert_eq!(isolation.capabilities(), 1 << 5 | 1 << 10);
    let mounts: Vec<_> = vm.mounts.values().collect();
    let of = |at: usize| {
        (
            mounts[at].source.as_str(),
            mounts[at].dest.as_str(),
            mounts[at].mode.as_str(),
        )
    };
    assert_eq!(mounts.len(), 3);
    assert_eq!(of(0), ("tmpfs://", "/cache", "noexec,size=1m"));
    assert_eq!(of(1), ("label://data-1", "/data", "ro"));
    assert_eq!(of(2), ("nfs://10.0.0.5/export", "/share", ""));
    // What is printed reads as the same.
    let printed = serde_json::to_vec(&vm).expect("plain data");
    assert_eq!(from_document(&printed), Ok(vm));
}

#[test]
fn all_that_is_wrong_is_told_by_its_path() {
    let mut wrong = document();
    wrong["process"]["cwd"] = json!("srv");
    wrong["process"]["args"] = json!([]);
    wrong["process"]["user"]["uid"] = json!("root");
    wrong["process"]["rlimits"][0]["type"] = json!("RLIMIT_FILES");
    wrong["process"]["capabilities"]["bounding"][1] = json!("CAP_NET");
    wrong["mounts"][4]["destination"] = json!("cache");
    wrong["mounts"][5]["source"] = json!("/dev/sda1");
    wrong["mounts"][6] = json!({ "destination": "/etc/x", "type": "bind", "source": "/host/x" });
    wrong["hooks"] = json!({ "prestart": [{ "path": "/bin/x" }] });
    wrong["linux"]["resources"]["cpu"] = json!({ "shares": 10 });
    wrong["linux"]["sysctl"]["kernel.x"] = json!(3);
    let told = read(&wrong).expect_err("wrong");
    for name in [
        "process.cwd = \"srv\": expected an absolute path",
        "process.args is missing",
        "process.user.uid = (value not shown): expected a whole number",
        "process.rlimits = \"RLIMIT_FILES=1024:2048\"",
        "process.capabilities.bounding[1] = \"CAP_NET\"",
        "mounts[4].destination = \"cache\"",
        "mounts[5].source = \"/dev/sda1\": expected LABEL=NAME",
        "mounts[6].type = \"bind\": expected tmpfs, nfs",
        "hooks is not supported: ",
        "linux.resources.cpu is not supported: ",
        "linux.sysctl.kernel.x = \"3\"",
    ] {
        assert!(told.contains(name), "no {name} in\n{told}");
    }
}

#[test]
fn without_an_id_the_host_name_is_it_and_without_either_there_is_an_error() {
    let mut document = document();
    document["annotations"] = json!({});
    assert_eq!(read(&document).expect("good").id, "runc");
    document["hostname"] = json!("");
    let told = read(&document).expect_err("nothing to tell it by");
    assert!(
        told.contains("annotations.tether.id (or hostname) is missing"),
        "{told}"
    );
}

#[test]
fn the_least_document_is_enough() {
    let vm = read(&json!({
        "ociVersion": "1.0.2", "hostname": "x",
        "process": { "args": ["/hello"], "cwd": "/" },
    }));
    let vm = vm.expect("good");
    assert_eq!(vm.sessions["x"].user, "0:0");
    assert_eq!(vm.isolation, crate::config::isolation::Isolation::default());
}
