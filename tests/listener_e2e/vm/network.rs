//! Several vNICs of a plain QEMU machine, told apart by their addresses.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

const SECOND: &str = "52:54:00:00:00:09";

#[test]
fn several_networks_have_one_default_route_and_the_host_one_name() {
    let appliance = Appliance::start();
    let script = "ip -o addr; ip route; ip -6 route; cat /etc/resolv.conf /etc/hosts; hostname";
    let networks = json!({
        "front": { "default": true },
        "back": {
            "slot": SECOND,
            "address": "10.9.0.7/24",
            "gateway": "10.9.0.2/24",
            "destinations": ["172.20.0.0/16"],
            "nameservers": ["10.9.0.3"],
        },
        "six": { "slot": SECOND, "address": "fd00:9::7/64" },
    });
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script])
        .with_top("hostname", json!("web"))
        .with_top("domainname", json!("example.test"))
        .with_top("networks", networks)
        .qemu(&[
            "-netdev",
            "user,id=second,net=10.9.0.0/24,restrict=on",
            "-device",
            &format!("virtio-net-pci,netdev=second,mac={SECOND},romfile="),
        ]);
    machine.boot();
    machine.off();
    for (field, value) in [
        ("/IPAddress", "10.0.2.15"),
        ("/Gateway", "10.0.2.2"),
        ("/Networks/back/IPAddress", "10.9.0.7"),
        ("/Networks/back/MacAddress", SECOND),
        ("/Networks/six/GlobalIPv6Address", "fd00:9::7"),
    ] {
        let told = appliance.field(ID, &format!("/NetworkSettings{field}"));
        assert_eq!(told, format!("\"{value}\""), "{field}");
    }
    let out = appliance.ok(&["logs", ID]);
    for line in [
        "inet 127.0.0.1/8",
        "eth0    inet 10.0.2.15/24",
        "eth1    inet 10.9.0.7/24",
        "eth1    inet6 fd00:9::7/64",
        "default via 10.0.2.2 dev eth0",
        "172.20.0.0/16 via 10.9.0.2 dev eth1",
        "search example.test\nnameserver 10.9.0.3\nnameserver 10.0.2.3\n",
        "10.9.0.7\tweb.example.test web\nfd00:9::7\tweb.example.test web\n10.0.2.15\tweb.example.test web\n",
        "\nweb\n",
    ] {
        assert!(
            out.contains(line),
            "{line:?} in {out}\n{}",
            machine.console()
        );
    }
    assert_eq!(out.matches("default via").count(), 1, "{out}");
    assert!(!out.contains("scope global tentative"), "{out}");
}

/// A machine whose port 80 and 81 the host reaches, and that calls the host when it is up.
struct Reachable {
    machine: Machine,
    ports: [u16; 2],
    called: Arc<AtomicBool>,
}

impl Reachable {
    fn new(appliance: &Appliance, network: &serde_json::Value) -> Self {
        let host = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let up = host.local_addr().expect("its address").port();
        let called = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&called);
        std::thread::spawn(move || {
            // Whoever calls is hung up on.
            while host.accept().is_ok() {
                seen.store(true, Ordering::SeqCst);
            }
        });
        let ports = [(); 2].map(|()| {
            let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
            free.local_addr().expect("its address").port()
        });
        let script = format!(
            "for port in 80 81; do while :; do echo $port | nc -l -p $port; done & done; \
             ping -c 1 -W 1 10.9.0.2 >/dev/null && echo ping; \
             nc -w 5 10.9.0.2 {up} </dev/null; echo $?; read line"
        );
        let forward =
            |place: usize, port| format!("hostfwd=tcp:127.0.0.1:{}-:{port}", ports[place]);
        let netdev = format!(
            "user,id=second,net=10.9.0.0/24,dhcpstart=10.9.0.15,{},{}",
            forward(0, 80),
            forward(1, 81)
        );
        let mut network = network.clone();
        network["slot"] = json!(SECOND);
        let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", &script])
            .with_top("networks", json!({ "second": network }))
            .qemu(&[
                "-netdev",
                &netdev,
                "-device",
                &format!("virtio-net-pci,netdev=second,mac={SECOND},romfile="),
            ]);
        machine.boot();
        Self {
            machine,
            ports,
            called,
        }
    }

    /// What the machine says on these two ports, once it has tried to call the host.
    fn heard(&mut self, appliance: &Appliance, open: [bool; 2]) -> [String; 2] {
        self.machine.until_running(appliance);
        self.machine.until("it has called", || {
            let out = appliance.ok(&["logs", ID]);
            out.lines().any(|line| line.parse::<u8>().is_ok())
        });
        let mut open = open.into_iter();
        self.ports.map(|port| {
            let wanted = open.next().expect("one for each");
            let begin = std::time::Instant::now();
            loop {
                let text = said_on(port);
                // Where somebody is to answer, they may need a moment to begin.
                if !text.is_empty() || !wanted || begin.elapsed().as_secs() > 60 {
                    return text;
                }
            }
        })
    }

    /// Whether it has called the host.
    fn has_called(&self) -> bool {
        self.called.load(Ordering::SeqCst)
    }

    fn end(mut self, appliance: &Appliance) {
        assert!(appliance.vch(&["kill", ID]).status.success());
        self.machine.off();
    }
}

fn said_on(port: u16) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("QEMU");
    let limit = std::time::Duration::from_secs(3);
    socket.set_read_timeout(Some(limit)).expect("a limit");
    let mut text = String::new();
    // QEMU accepts for the guest, and gives up when that does not.
    let _ = socket.read_to_string(&mut text);
    text.trim().to_owned()
}

#[test]
fn published_ports_are_let_in_and_others_are_not() {
    let appliance = Appliance::start();
    let network = json!({ "trust": "published", "ports": ["80/tcp"] });
    let mut reachable = Reachable::new(&appliance, &network);
    assert_eq!(reachable.heard(&appliance, [true, false]), ["80", ""]);
    assert!(reachable.has_called());
    reachable.end(&appliance);
}

#[test]
fn outbound_is_outbound() {
    let appliance = Appliance::start();
    let mut reachable = Reachable::new(&appliance, &json!({ "trust": "outbound" }));
    assert_eq!(reachable.heard(&appliance, [false, false]), ["", ""]);
    assert!(reachable.has_called());
    reachable.end(&appliance);
}

/// It has its address by DHCP none the less.
#[test]
fn closed_is_closed_both_ways() {
    let appliance = Appliance::start();
    let mut reachable = Reachable::new(&appliance, &json!({ "trust": "closed" }));
    assert_eq!(reachable.heard(&appliance, [false, false]), ["", ""]);
    assert!(!reachable.has_called());
    reachable.end(&appliance);
}

/// The host stands in the network, as its router.
#[test]
fn peers_are_let_in() {
    let appliance = Appliance::start();
    let mut reachable = Reachable::new(&appliance, &json!({ "trust": "peers" }));
    assert_eq!(reachable.heard(&appliance, [true, true]), ["80", "81"]);
    assert!(reachable.has_called());
    reachable.end(&appliance);
}
