//! One container, one VM: what becomes of copies, of a second VM with the same ID, and of one whose
//! kernel panics.

use std::time::{Duration, Instant};

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Container, Guest, ID};

const PANIC: &[u8] = b"\r\n[    9.1] EXT4-fs error (device sda): bad block\r\n\
    [    9.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\r\n\
    [    9.2] CPU: 0 PID: 1 Comm: tether Not tainted\r\n";

/// The same memory as a guest's that was let in: same ID, epoch and randomness.
fn copy_of_the_first(appliance: &Appliance) -> Guest {
    Guest::start(appliance.port, &Container::default())
}

#[test]
fn a_copy_of_a_running_vm_goes_on_as_another_and_the_older_is_told_of() {
    let appliance = Appliance::start();
    let mut first = Guest::run(appliance.port);
    first.print(Stream::Stdout, b"first\n");
    first.settle();

    let mut copy = copy_of_the_first(&appliance);
    copy.print(Stream::Stdout, b"copy\n");
    copy.until("word that it is a copy", |copy| {
        // The first is there, and says so when it is asked.
        first.step();
        copy.copies == 1
    });
    copy.settle();
    assert_eq!((copy.copies, first.copies), (1, 0));
    assert_eq!(appliance.field(ID, "/Vch/Record/boots"), "2");

    // Its connection was closed; what it says now is refused as long as the other is there.
    first.print(Stream::Stdout, b"both?\n");
    first.until("refusal", |first| first.refused.is_some());
    let reason = first.refused.take().unwrap_or_default();
    assert!(reason.contains("only one may be at a time"), "{reason}");
    let told = appliance.ok(&["events", "--since", "1", "--until", "now"]);
    assert!(told.contains("takeover"), "{told}");

    copy.exit(4);
    copy.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "first\ncopy\n");
    assert_eq!(appliance.ok(&["wait", ID]), "4\n");

    // When that has gone, the older one goes on.
    drop(copy);
    first.until("the way back", |first| first.forgotten);
    first.announce(&Container::default(), &["/bin/hello"]);
    first.until("the way back", |first| {
        first.link.unacknowledged().is_zero()
    });
    assert_eq!(appliance.ok(&["logs", ID]), "first\ncopy\nboth?\n");
}

#[test]
fn a_vm_that_goes_back_to_a_snapshot_is_another_boot() {
    let appliance = Appliance::start();
    let mut first = Guest::run(appliance.port);
    first.print(Stream::Stdout, &[b'x'; 1000]);
    first.settle();
    drop(first);
    let mut again = copy_of_the_first(&appliance);
    again.print(Stream::Stdout, b"again");
    again.settle();
    assert_eq!(again.copies, 1);
    again.exit(0);
    again.settle();
    let logs = appliance.ok(&["logs", ID]);
    assert!(logs.ends_with("xagain") && logs.len() == 1005, "{logs}");
}

#[test]
fn breaks_and_restarts_make_no_copies() {
    let mut appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    for round in 0..20u8 {
        guest.print(Stream::Stdout, &[round; 70_000]);
        guest.break_connection();
        if round % 5 == 4 {
            appliance.kill();
            appliance.run();
        }
        // Now and then while the handshake is under way.
        for _ in 0..round {
            guest.step();
        }
    }
    guest.exit(0);
    guest.settle();
    assert_eq!((guest.copies, guest.forgotten), (0, false));
    assert_eq!(appliance.vch(&["logs", ID]).stdout.len(), 20 * 70_000);
}

#[test]
fn a_kernel_panic_ends_every_wait_with_the_last_lines() {
    let appliance = Appliance::with(&["--lost-after", "3600"]);
    let mut guest = Guest::run(appliance.port);
    let waits = [&["wait", ID][..], &["logs", "-f", ID], &["attach", ID]];
    let waits = waits.map(|arguments| appliance.spawn(arguments));
    guest.print(Stream::Stdout, b"before\n");
    guest.settle();
    guest.noise(PANIC);
    let begin = Instant::now();
    for mut client in waits {
        drop(client.stdin.take());
        let output = client.wait_with_output().expect("its end");
        assert!(begin.elapsed() < Duration::from_secs(60));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        for part in [
            "its kernel panicked: Attempted to kill init! exitcode=0x0000000b",
            "EXT4-fs error (device sda): bad block",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let told = appliance.ok(&["events", "--since", "1", "--until", "now"]);
    assert!(
        told.contains("panic") && told.contains("Attempted to kill init"),
        "{told}"
    );
}

#[test]
fn a_panic_that_a_container_prints_on_the_port_is_not_believed() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.noise(PANIC);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        guest.print(Stream::Stdout, b".");
        guest.settle();
    }
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
    guest.exit(0);
    guest.settle();
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}
