//! Who connects and is no VM.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Container, Guest, ID};

#[test]
fn silent_connections_of_one_address_have_a_limit_and_vms_do_not_count() {
    let appliance = Appliance::with(&["--strangers", "3"]);
    let mut vms: Vec<Guest> = (0..6)
        .map(|n| {
            let id = format!("{n}{}", &ID[1..]);
            let container = Container {
                id: &id,
                ..Container::default()
            };
            let mut guest = Guest::start(appliance.port, &container);
            guest.settle();
            guest
        })
        .collect();
    let connect = || TcpStream::connect(appliance.port).expect("connect");
    let silent: Vec<TcpStream> = (0..3).map(|_| connect()).collect();
    let mut one_more = connect();
    one_more
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("limit");
    let mut seen = Vec::new();
    // Closed at once; the kernel may say so with a reset.
    let closed = match one_more.read_to_end(&mut seen) {
        Ok(_) => true,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(closed && seen.is_empty(), "{seen:?}");
    // VMs that are known go on, whatever others do.
    for vm in &mut vms {
        vm.print(Stream::Stdout, b"on\n");
        vm.settle();
    }
    drop(silent);
    let mut late = Guest::start(
        appliance.port,
        &Container {
            id: "late",
            ..Container::default()
        },
    );
    late.settle();
    assert_eq!(appliance.ok(&["ps", "-q"]).lines().count(), 7);
}

#[test]
fn old_output_is_deleted_and_who_follows_is_told() {
    let appliance = Appliance::with(&["--log-size", "256k", "--log-files", "2"]);
    let mut guest = Guest::run(appliance.port);
    // It does not read: its pipe fills, and it is left behind.
    let mut slow = appliance.spawn(&["logs", "-f", ID]);
    guest.print(Stream::Stdout, b"the first line\n");
    guest.settle();
    for n in 0..80_000 {
        guest.print(
            Stream::Stdout,
            format!("line {n} of many, long enough\n").as_bytes(),
        );
    }
    guest.exit(0);
    guest.settle();
    let folder = appliance.state().join("containers").join(ID).join("log");
    let files = std::fs::read_dir(folder).expect("the log").count();
    assert_eq!(files, 2);
    let text = appliance.ok(&["logs", ID]);
    assert!(text.len() < 700_000, "{}", text.len());
    assert!(text.ends_with("line 79999 of many, long enough\n"));
    assert_eq!(
        appliance.ok(&["logs", "--tail", "2", ID]).lines().count(),
        2
    );
    drop(slow.stdin.take());
    let output = slow.wait_with_output().expect("logs -f");
    let (stdout, stderr) = (
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8(output.stderr).expect("text"),
    );
    assert!(stdout.starts_with("the first line\nline 0 "));
    assert!(stdout.ends_with("line 79999 of many, long enough\n"));
    assert!(
        stderr.contains("bytes of the log were deleted here"),
        "{stderr}"
    );
}
