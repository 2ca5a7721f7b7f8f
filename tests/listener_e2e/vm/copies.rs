//! A machine that was cloned while it ran: the clone is another boot, with random numbers of its own.

use std::collections::BTreeSet;
use std::fs;

use super::Machine;
use super::monitor::Monitor;
use crate::appliance::Appliance;
use crate::guest::ID;

#[test]
fn a_clone_of_a_running_machine_shares_neither_its_boot_nor_its_random_numbers() {
    let appliance = Appliance::start();
    let script = "while :; do cat /proc/sys/kernel/random/uuid; sleep 0.2; done";
    let words = ["/bin/sh", "-c", script];
    let mut first = Machine::new(appliance.port, &words);
    let socket = format!("unix:{},server=on,wait=off", first.path("qmp").display());
    first = first.qemu(&["-qmp", &socket]);
    first.boot();
    first.until_running(&appliance);
    let lines = || String::from_utf8(appliance.vch(&["logs", ID]).stdout).expect("text");
    first.until("output", || lines().lines().count() > 3);

    // Memory and disk at one moment.
    let mut clone = Machine::new(appliance.port, &words);
    let memory = clone.path("memory");
    let mut monitor = Monitor::of(&first);
    monitor.does("stop", "{}");
    let save = format!("{{\"uri\":\"exec:cat >{}\"}}", memory.display());
    monitor.does("migrate", &save);
    first.until("saved memory", || {
        let state = monitor.does("query-migrate", "{}");
        assert_ne!(state["status"], "failed", "{state}");
        state["status"] == "completed"
    });
    fs::copy(first.path("disk.ext4"), clone.path("disk.ext4")).expect("a disk");
    let socket = format!("unix:{},server=on,wait=off", clone.path("qmp").display());
    let incoming = format!("exec:cat {}", memory.display());
    clone = clone.qemu(&["-qmp", &socket, "-incoming", &incoming]);
    let before = lines().lines().count();
    monitor.does("cont", "{}");
    first.until("more output", || lines().lines().count() > before + 3);

    clone.boot();
    let mut monitor = Monitor::of(&clone);
    clone.until("its memory", || {
        monitor.does("query-status", "{}")["status"] != "inmigrate"
    });
    monitor.does("cont", "{}");
    clone.until("another boot", || {
        appliance.field(ID, "/Vch/Record/boots") == "2"
    });
    let before = lines().lines().count();
    clone.until("its output", || lines().lines().count() > before + 5);
    // The older one was told of, and its output waits: what comes is the clone's alone.
    let told = appliance.ok(&["events", "--since", "1", "--until", "now"]);
    assert!(told.contains("takeover"), "{told}");
    let all = lines();
    let different: BTreeSet<&str> = all.lines().collect();
    assert_eq!(different.len(), all.lines().count(), "{all}");

    // When the clone has gone, the older one goes on.
    assert!(appliance.vch(&["stop", "-t", "1", ID]).status.success());
    clone.off();
    first.until("the way back", || {
        appliance.field(ID, "/Vch/Record/boots") == "3"
    });
    let before = lines().lines().count();
    first.until("its output", || lines().lines().count() > before + 5);
    assert!(appliance.vch(&["stop", "-t", "1", ID]).status.success());
    first.off();
    let all = lines();
    let different: BTreeSet<&str> = all.lines().collect();
    assert_eq!(different.len(), all.lines().count(), "{all}");
}
