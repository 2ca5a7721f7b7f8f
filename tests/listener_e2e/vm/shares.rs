//! Volumes of an NFS server: nfs-ganesha, whose files are in memory.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Machine, PATIENCE};
use crate::appliance::Appliance;
use crate::guest::ID;

struct Server {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// A server that exports `/export` on this machine's loopback, which QEMU's router leads to.
    fn start() -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1;
                Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }}
            NFSv4 {{ Graceless = true; RecoveryRoot = {}; }}
            MEM {{ Inode_Size = 2097152; }}
            EXPORT {{ Export_Id = 1; Path = /export; Pseudo = /export; Access_Type = RW;
                Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = MEM; }} }}",
            folder.path().display()
        );
        std::fs::write(path("conf"), config).expect("a configuration");
        let process = Command::new("ganesha.nfsd")
            .args([
                "-F",
                "-f",
                &path("conf"),
                "-L",
                &path("log"),
                "-p",
                &path("pid"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ganesha.nfsd (Debian package nfs-ganesha)");
        let server = Self {
            process,
            port,
            folder,
        };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < PATIENCE, "{}", server.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(Path::new(self.folder.path()).join("log")).unwrap_or_default()
    }

    fn mount(&self, path: &str, mode: &str) -> Value {
        let source = format!("nfs://10.0.2.2:{}{path}", self.port);
        json!({
            "inside": { "source": "tmpfs://", "dest": "/srv/share/inside" },
            "share": { "source": source, "dest": "/srv/share", "mode": mode },
        })
    }
}

/// Runs a script with these volumes: its status, and what it has said.
fn run(script: &str, mounts: Value) -> (String, String, String) {
    let appliance = Appliance::start();
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script])
        .with_top("mounts", mounts)
        .with_top("networks", json!({ "bridge": {} }));
    machine.boot();
    machine.off();
    let status = appliance.ok(&["wait", ID]);
    (
        status,
        appliance.ok(&["logs", ID]),
        appliance.ok(&["inspect", ID]),
    )
}

#[test]
fn what_one_container_writes_into_a_share_another_reads() {
    let server = Server::start();
    let script = "seq 1 200000 >/srv/share/numbers; mkdir /srv/share/folder; echo x >/srv/share/inside/mine; \
        grep -c ' /srv/share' /proc/mounts";
    let (status, said, told) = run(script, server.mount("/export", "rw"));
    assert_eq!(
        (status.as_str(), said.as_str()),
        ("0\n", "2\n"),
        "{told}\n{}",
        server.log()
    );
    let script = "ls -A /srv/share; ls -A /srv/share/inside; seq 1 200000 | cmp - /srv/share/numbers && echo same; \
        touch /srv/share/y || echo read-only";
    let (status, said, told) = run(script, server.mount("/export", "ro,vers=4.1"));
    let expected = "folder\ninside\nnumbers\nsame\nread-only\n";
    assert_eq!(
        (status.as_str(), said.as_str()),
        ("0\n", expected),
        "{told}\n{}",
        server.log()
    );
}

#[test]
fn a_share_that_is_not_exported_keeps_the_container_from_starting_and_is_named() {
    let server = Server::start();
    let (status, said, told) = run("echo never", server.mount("/other", "rw"));
    assert_eq!((status.as_str(), said.as_str()), ("125\n", ""), "{told}");
    let named = format!(
        "volume \\\"share\\\" for /srv/share: cannot mount 10.0.2.2:/other (vers=4.2,addr=10.0.2.2,port={})",
        server.port
    );
    assert!(told.contains(&named), "{named} in {told}");
    assert!(told.contains("the server exports no such folder"), "{told}");
}
