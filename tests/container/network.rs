//! The container's network, with QEMU's own DHCP server and router on the other side.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::machine::{ID, Machine};

const NETWORK: &str = "guestinfo./networks";

/// Settings of the endpoint `bridge`, on the .vmx's vNIC.
fn endpoint(machine: &Machine, settings: &[(&str, &str)]) {
    machine.set(NETWORK, "bridge");
    machine.set(&format!("{NETWORK}|bridge/Common/id"), "192");
    machine.set(&format!("{NETWORK}|bridge/Common/name"), "bridge");
    for (name, value) in settings {
        machine.set(&format!("{NETWORK}|bridge/{name}"), value);
    }
}

/// Somebody on the host who says a word to whoever calls, and the address as the guest sees it.
fn greeter() -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let thread = std::thread::spawn(move || {
        let (mut caller, _) = listener.accept().expect("a caller");
        caller.write_all(b"hello from the host\n").expect("said");
        let mut said = Vec::new();
        caller.read_to_end(&mut said).expect("to the end");
        said
    });
    // QEMU's router stands for the host.
    (format!("10.0.2.2 {port}"), thread)
}

#[test]
fn an_address_by_dhcp_its_routes_and_files() {
    let (host, called) = greeter();
    let script = format!(
        "ip -o -4 addr show dev eth0; ip route; cat /etc/resolv.conf /etc/hosts /etc/hostname; \
         ping -c 1 -W 5 127.0.0.1 >/dev/null && echo loopback; echo hello from inside | nc {host}"
    );
    let mut machine = Machine::new(&["/bin/sh", "-c", &script]);
    endpoint(&machine, &[]);
    assert_eq!(machine.run(), "0", "{}", machine.told());
    let out = String::from_utf8_lossy(&machine.output().0).into_owned();
    for line in [
        "inet 10.0.2.15/24",
        "default via 10.0.2.2 dev eth0",
        "\nnameserver 10.0.2.3\n",
        "10.0.2.15\t2cf7f483bf6e\n2cf7f483bf6e\nloopback\n",
        "hello from the host\n",
    ] {
        assert!(out.contains(line), "{line:?} in {out}\n{}", machine.told());
    }
    assert_eq!(called.join().expect("no panic"), b"hello from inside\n");
    // Written back as the original does it.
    let ip = machine.get("guestinfo..networks|bridge.ip.IP");
    assert_eq!(ip.as_deref(), Some("AAAAAAAAAAAAAP//CgACDw=="));
    let mask = machine.get("guestinfo..networks|bridge.ip.Mask");
    assert_eq!(mask.as_deref(), Some("////AA=="));
}

#[test]
fn a_fixed_address_needs_nobody_and_the_image_s_files_stay() {
    let (host, called) = greeter();
    let script = format!(
        "ip -o -4 addr show dev eth0; ip route; cat /etc/resolv.conf; \
         nc {host} </dev/null; umount /etc/resolv.conf /etc/hosts 2>/dev/null; echo >>/etc/hosts end"
    );
    let mut machine = Machine::new(&["/bin/sh", "-c", &script]);
    // 10.0.2.77/24, 10.0.2.2/24 and 10.0.2.3, as Go's encoder has them.
    endpoint(
        &machine,
        &[
            ("staticip/IP", "AAAAAAAAAAAAAP//CgACTQ=="),
            ("staticip/Mask", "////AA=="),
            ("network/default", "true"),
            ("network/gateway/IP", "AAAAAAAAAAAAAP//CgACAg=="),
            ("network/gateway/Mask", "////AA=="),
            ("network/dns", "0"),
            ("network/dns|0", "AAAAAAAAAAAAAP//CgACAw=="),
        ],
    );
    assert_eq!(machine.run(), "0", "{}", machine.told());
    let out = String::from_utf8_lossy(&machine.output().0).into_owned();
    for line in [
        "inet 10.0.2.77/24",
        "default via 10.0.2.2 dev eth0",
        "nameserver 10.0.2.3\n",
        "hello from the host\n",
    ] {
        assert!(out.contains(line), "{line:?} in {out}\n{}", machine.told());
    }
    called.join().expect("no panic");
    // The next boot, without a network: the image's own file has nothing of all that.
    machine.unset_all(NETWORK);
    machine.set(&format!("guestinfo./sessions|{ID}/cmd/Path"), "/bin/sh");
    machine.set(
        &format!("guestinfo./sessions|{ID}/cmd/Args~"),
        "/bin/sh|-c|wc -c /etc/resolv.conf",
    );
    machine.boot();
    machine.off();
    let out = String::from_utf8_lossy(&machine.output().0).into_owned();
    assert!(out.ends_with("0 /etc/resolv.conf\n"), "{out}");
}

#[test]
fn a_network_without_a_dhcp_server_is_told_and_nothing_runs() {
    let mut machine = Machine::new(&["/bin/echo", "never"]);
    machine.set("ethernet0.startConnected", "FALSE");
    endpoint(&machine, &[]);
    machine.listen();
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(error.contains("network \"bridge\""), "{}", machine.told());
    assert!(error.contains("no DHCP server"), "{}", machine.told());
    assert_eq!(machine.output_so_far(), b"");
}

#[test]
fn a_vnic_that_is_not_there_is_told_with_those_that_are() {
    let mut machine = Machine::new(&["/bin/echo", "never"]);
    endpoint(&machine, &[]);
    machine.set(&format!("{NETWORK}|bridge/Common/id"), "224");
    machine.listen();
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(
        error.contains("no vNIC at PCI 00:17.0, device 00 behind that bridge"),
        "{}",
        machine.told()
    );
    assert!(
        error.contains("eth0 (00:50:56:2c:f7:f4)"),
        "{}",
        machine.told()
    );
}
