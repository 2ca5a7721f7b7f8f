//! Stops at any time from power-on, and process 1 beside a container that takes all there is.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

/// Stops in `make test`; `TETHER_STOPS` says another number.
const STOPS: u64 = 12;
/// Between two times of the stop, from the first hello of the machine on.
const STEP: Duration = Duration::from_millis(10);

/// Whatever the machine was about, it ends, says how, and its disk is clean: not even a journal to replay.
#[test]
fn a_stop_at_any_time_ends_the_machine_with_a_clean_disk() {
    let stops = std::env::var("TETHER_STOPS").ok();
    let stops: u64 = stops.map_or(STOPS, |text| text.parse().expect("a number"));
    for number in 0..stops {
        let appliance = Appliance::start();
        let script = "trap 'exit 7' TERM; while :; do echo x >>/grows; done";
        let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script]);
        machine.boot();
        // It is known as soon as it has a link, long before its disk is looked for.
        machine.until("hello", || appliance.vch(&["inspect", ID]).status.success());
        std::thread::sleep(STEP * u32::try_from(number).expect("few"));
        let stopped = appliance.vch(&["stop", "-t", "5", ID]);
        assert!(
            stopped.status.success(),
            "{number}: {stopped:?}\n{}",
            machine.console()
        );
        machine.off();
        let status = appliance.ok(&["wait", ID]);
        // Not started at all; killed between its start and its trap; asked.
        assert!(
            ["125\n", "143\n", "7\n"].contains(&status.as_str()),
            "{number}: {status}"
        );
        let disk = machine.path("disk.ext4");
        let checked = Command::new("/sbin/e2fsck")
            .arg("-fn")
            .arg(&disk)
            .output()
            .expect("e2fsck");
        assert!(checked.status.success(), "{number}: {checked:?}");
        let header = Command::new("/sbin/dumpe2fs")
            .arg("-h")
            .arg(&disk)
            .output()
            .expect("dumpe2fs");
        let header = String::from_utf8_lossy(&header.stdout).into_owned();
        assert!(!header.contains("needs_recovery"), "{number}: {header}");
    }
}

#[test]
fn a_container_that_takes_all_there_is_can_still_be_asked_and_stopped() {
    let appliance = Appliance::start();
    // A fork bomb, one that fills the page cache, and one that prints.
    let script = "bomb() { bomb | bomb & }; echo up; bomb; \
        while :; do dd if=/dev/zero of=/fill bs=1M count=48 conv=notrunc; done & \
        while :; do seq 1 100000; done";
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script])
        .with_top("isolation", json!({ "pids": 120 }));
    machine.boot();
    machine.until_running(&appliance);
    machine.until("as many processes as it may have", || {
        let told = appliance.ok(&["debug", ID]);
        told.contains("== pids.current\n120\n")
    });
    let asked = std::time::Instant::now();
    assert!(appliance.ok(&["debug", ID]).contains("== kernel's log\n"));
    eprintln!("beside a fork bomb a report takes {:?}", asked.elapsed());
    assert!(appliance.vch(&["stop", "-t", "1", ID]).status.success());
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "143\n");
}
