//! Other ways for a configuration: the OCI runtime's document, packed, and the kernel's command line.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Machine, repository};
use crate::appliance::Appliance;
use crate::guest::{ID, NAME};

/// A document as `gzip | base64` leaves it.
fn packed(document: &str) -> String {
    let mut shell = Command::new("sh")
        .args(["-c", "gzip -9 | base64 -w0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip");
    let mut stdin = shell.stdin.take().expect("piped");
    stdin.write_all(document.as_bytes()).expect("taken");
    drop(stdin);
    let output = shell.wait_with_output().expect("its end");
    String::from_utf8(output.stdout).expect("text")
}

fn kernel_line(more: &str) -> String {
    let line = Command::new(repository("iso-build/cmdline.sh")).output();
    let line = String::from_utf8(line.expect("the command line").stdout).expect("text");
    format!("{line} console=hvc0 {more}")
}

#[test]
fn an_oci_document_is_a_containers_configuration() {
    let appliance = Appliance::start();
    let script = "id; umask; ulimit -n; cat /proc/sys/net/core/somaxconn; hostname; pwd; df /cache | tail -1; \
        grep -E 'NoNewPrivs|CapBnd' /proc/self/status; touch /x; exit 6";
    let document = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 33, "gid": 44, "umask": 23, "additionalGids": [5, 7] },
            "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "cwd": "/srv/made",
            "capabilities": { "bounding": ["CAP_KILL"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 64, "soft": 64 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "ocean",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/cache", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"] },
        ],
        "annotations": { "tether.id": ID, "tether.name": NAME, "tether.image": "busybox" },
        "linux": {
            "sysctl": { "net.core.somaxconn": "99" },
            "namespaces": [{ "type": "pid" }, { "type": "mount" }],
        },
    });
    let mut machine =
        Machine::new(appliance.port, &["sh"]).document(&packed(&document.to_string()));
    machine.boot();
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "6\n", "{}", machine.console());
    let output = appliance.vch(&["logs", ID]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "uid=33 gid=44 groups=5(tty),7\n0027\n64\n99\nocean\n/srv/made\n",
        "/cache\n",
        "CapBnd:\t0000000000000020\n",
        "NoNewPrivs:\t1\n",
    ] {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/x"), "{said}");
}

#[test]
fn a_virtio_port_of_its_own_brings_a_configuration() {
    let appliance = Appliance::start();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let document = json!({ "id": ID, "name": NAME, "sessions": { ID: {
        "path": "/bin/sh", "args": ["sh", "-c", "echo by port; exit 8"] } } });
    // A host that writes it before anybody listens, and stays.
    let host = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let host = std::thread::spawn(move || {
        let (mut port, _) = host.accept().expect("QEMU");
        write!(port, "{document:#}\0").expect("taken");
        let mut rest = Vec::new();
        // To the end of the machine, however that closes it.
        drop(std::io::Read::read_to_end(&mut port, &mut rest));
    });
    let input = format!("socket,id=document,path={}", path.display());
    let mut machine = Machine::new(appliance.port, &["sh"]).no_document().qemu(&[
        "-chardev",
        &input,
        "-device",
        "virtserialport,chardev=document,name=tether.config",
    ]);
    machine.boot();
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "8\n", "{}", machine.console());
    assert_eq!(appliance.ok(&["logs", ID]), "by port\n");
    host.join().expect("no panic");
}

#[test]
fn a_kernel_s_command_line_holds_a_whole_configuration_or_fields_of_one() {
    let appliance = Appliance::start();
    let document = json!({ "id": ID, "name": NAME, "sessions": { ID: {
        "path": "/bin/sh", "args": ["sh", "-c", "hostname; pwd; exit 4"] } } });
    let line = kernel_line(&format!(
        "tether.config={} tether.hostname=line tether.sessions.{ID}.dir=/tmp",
        packed(&document.to_string())
    ));
    let mut machine = Machine::new(appliance.port, &["sh"])
        .no_document()
        .qemu(&["-append", &line]);
    machine.boot();
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "4\n", "{}", machine.console());
    assert_eq!(appliance.ok(&["logs", ID]), "line\n/tmp\n");
}

#[test]
fn a_seccomp_profile_bounds_what_a_container_and_its_execs_may_call() {
    let script = "mkdir /tmp/x; chmod 4755 /etc/passwd; chmod 600 /etc/passwd && echo plain modes; \
        grep Seccomp: /proc/self/status; read line; sync; echo sync gave $?";
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
            { "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": [
                { "index": 1, "value": 0o4000, "valueTwo": 0o4000, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["sync"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    });
    for no_new_privileges in [false, true] {
        let appliance = Appliance::start();
        let isolation = json!({ "seccomp": profile, "noNewPrivileges": no_new_privileges });
        let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script])
            .with_top("isolation", isolation);
        machine.boot();
        machine.until_running(&appliance);
        let refused = appliance.vch(&["exec", ID, "mkdir", "/tmp/y"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("Permission denied"), "{said}");
        let mut client = appliance.spawn(&["attach", ID]);
        let mut stdin = client.stdin.take().expect("piped");
        stdin.write_all(b"go\n").expect("a line");
        machine.off();
        drop(client.wait());
        let output = appliance.vch(&["logs", ID]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            told, "plain modes\nSeccomp:\t2\nsync gave 159\n",
            "{no_new_privileges}"
        );
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for refused in [
            "'/tmp/x': Permission denied",
            "/etc/passwd: Operation not permitted",
        ] {
            assert!(said.contains(refused), "{refused} in {said}");
        }
    }
}
