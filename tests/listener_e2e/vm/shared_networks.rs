//! Networks that real machines share: docker's command line makes them, and containers find one another by name.

use std::net::UdpSocket;

use super::engine::Engine;

/// An address that only this test's server of names has.
const ELSEWHERE: &str = "203.0.113.9";
/// A loopback address of the test's own.
const SERVER: &str = "127.77.0.1";

/// Answers each question with [`ELSEWHERE`]; none: this process may not have the port.
fn name_server() -> Option<()> {
    let socket = match UdpSocket::bind((SERVER, 53)) {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("left out: names of elsewhere ({SERVER}:53: {error})");
            return None;
        }
    };
    std::thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut message) {
            let mut answer = message[..length].to_vec();
            // A response, with an answer if it is a question for an address.
            answer[2] |= 0x80;
            answer[3] = 0x80;
            if answer[length - 4..length - 2] == [0, 1] {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0, 113, 9]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    Some(())
}

/// What a container of this network prints.
fn run(engine: &Engine, options: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    engine.docker.ok(&words)
}

#[test]
fn containers_find_one_another_by_name() {
    let mut engine = Engine::start(&[]);
    let docker = &engine.docker;
    docker.ok(&["pull", "-q", "busybox"]);
    docker.ok(&["network", "create", "back"]);
    docker.ok(&[
        "network",
        "create",
        "--internal",
        "--subnet",
        "10.77.0.0/24",
        "--label",
        "a=b",
        "dark",
    ]);
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "back",
        "--network-alias",
        "www",
        "busybox",
        "sh",
        "-c",
        "mkdir /w; head -c 3000000 /dev/zero >/w/zeroes; echo served >/w/page; exec httpd -f -h /w",
    ]);
    let asks = "until wget -qO- http://www/page; do sleep 1; done; wget -qO- http://web.back/zeroes | wc -c; \
        ping -c 1 -q web >/dev/null && echo echoed; nslookup nobody >/dev/null || echo nobody; \
        hostname -i; grep -c default /proc/net/route; ip route | grep -c ^default";
    let said = run(&engine, &["--network", "back", "--ip", "172.18.0.77"], asks);
    assert!(
        said.starts_with("served\n3000000\nechoed\nnobody\n172.18.0.77"),
        "{said}"
    );
    assert!(said.ends_with("\n1\n"), "one default route: {said}");
    // Both ways, and with what was asked for besides.
    let said = run(
        &engine,
        &[
            "--network",
            "back",
            "--name",
            "cli",
            "--add-host",
            "db:10.0.0.7",
            "--dns-search",
            "a.test",
            "--dns-option",
            "ndots:1",
        ],
        "grep db /etc/hosts; cat /etc/resolv.conf",
    );
    assert_eq!(
        said,
        "10.0.0.7\tdb\nsearch a.test\nnameserver 172.18.0.1\noptions ndots:1\n"
    );
    // A network without a way out.
    let said = run(
        &engine,
        &["--network", "dark"],
        "ip route; ping -c 1 -W 1 10.0.2.2 2>/dev/null >&2 || echo alone; ls /sys/class/net",
    );
    assert_eq!(
        said,
        "10.77.0.0/24 dev eth0 scope link  src 10.77.0.2 \nalone\neth0\nlo\n"
    );
    if name_server().is_some() {
        let said = run(
            &engine,
            &["--network", "back", "--dns", SERVER],
            "nslookup far.test | grep -v '^$'",
        );
        assert!(said.contains(ELSEWHERE), "{said}");
    }
    // Another name; another appliance: it is found all the same.
    docker.ok(&["rename", "web", "site"]);
    engine.appliance.kill();
    engine.appliance.run();
    let docker = &engine.docker;
    let said = run(
        &engine,
        &["--network", "back"],
        "nslookup web >/dev/null || echo gone; wget -qO- http://site/page",
    );
    assert_eq!(said, "gone\nserved\n");
    assert_eq!(
        engine.shown("site", "{{.NetworkSettings.Networks.back.IPAddress}}"),
        "172.18.0.2"
    );
    let told = docker.ok(&[
        "network",
        "inspect",
        "-f",
        "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}",
        "back",
    ]);
    assert_eq!(told, "site 172.18.0.2/16\n");
    let told = docker.fails(&["network", "rm", "back"], 1);
    assert!(told.contains("has active endpoints"), "{told}");
    docker.ok(&["rm", "-f", "site"]);
    let folder = std::fs::read_dir(engine.appliance.state().join("networks"));
    assert_eq!(folder.expect("networks").count(), 2);
    docker.ok(&["network", "rm", "back", "dark"]);
    let folder = std::fs::read_dir(engine.appliance.state().join("networks"));
    assert_eq!(folder.expect("networks").count(), 0);
}

#[test]
fn a_container_may_be_on_several_networks_and_change_them_while_it_is_off() {
    let engine = Engine::start(&[]);
    let docker = &engine.docker;
    docker.ok(&["pull", "-q", "busybox"]);
    docker.ok(&["network", "create", "front"]);
    docker.ok(&["network", "create", "--internal", "dark"]);
    docker.ok(&[
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        "dark",
        "busybox",
        "sleep",
        "1000",
    ]);
    let script = "nslookup db.dark >/dev/null && nslookup db >/dev/null && ping -c 1 -q db >/dev/null && echo found";
    docker.ok(&[
        "create",
        "--name",
        "both",
        "--network",
        "front",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let printed = docker.run(&["start", "-a", "both"]);
    assert!(!printed.status.success(), "{printed:?}");
    docker.ok(&["network", "connect", "--alias", "x", "dark", "both"]);
    let told = docker.fails(&["network", "connect", "dark", "both"], 1);
    assert!(told.contains("already exists in network dark"), "{told}");
    assert_eq!(docker.ok(&["start", "-a", "both"]), "found\n");
    docker.ok(&["network", "disconnect", "front", "both"]);
    assert_eq!(
        docker.ok(&["start", "-a", "both"]),
        "found\n",
        "by its other network's server"
    );
    docker.ok(&["network", "disconnect", "dark", "both"]);
    let told = docker.fails(&["network", "disconnect", "dark", "both"], 1);
    assert!(told.contains("is not connected to network dark"), "{told}");
    let told = docker.fails(&["network", "connect", "front", "db"], 1);
    assert!(told.contains("until it is stopped"), "{told}");
    // One that has lost its network says so.
    docker.ok(&["network", "connect", "front", "both"]);
    docker.ok(&["network", "rm", "front"]);
    let told = docker.fails(&["start", "both"], 1);
    assert!(told.contains("network front not found"), "{told}");
    docker.ok(&["rm", "-f", "both", "db"]);
}
