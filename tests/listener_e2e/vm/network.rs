//! Several vNICs of a plain QEMU machine, told apart by their addresses.

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
    let out = appliance.ok(&["logs", ID]);
    for line in [
        "inet 127.0.0.1/8",
        "eth0    inet 10.0.2.15/24",
        "eth1    inet 10.9.0.7/24",
        "eth1    inet6 fd00:9::7/64",
        "default via 10.0.2.2 dev eth0",
        "172.20.0.0/16 via 10.9.0.2 dev eth1",
        "search example.test\nnameserver 10.9.0.3\nnameserver 10.0.2.3\n",
        "10.9.0.7\tweb.example.test web\n10.0.2.15\tweb.example.test web\n",
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
