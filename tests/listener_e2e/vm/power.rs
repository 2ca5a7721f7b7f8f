//! Who else may ask a machine to stop.

use std::time::{Duration, SystemTime};

use super::Machine;
use super::monitor::Monitor;
use crate::appliance::Appliance;
use crate::guest::ID;

/// A machine that was paused does not know how long; its listener does.
#[test]
fn a_machine_that_was_paused_is_told_the_time() {
    let appliance = Appliance::start();
    let script = "echo up; while :; do sleep 0.2; done";
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script]);
    let socket = format!("unix:{},server=on,wait=off", machine.path("qmp").display());
    machine = machine.qemu(&["-qmp", &socket]);
    machine.boot();
    machine.until_running(&appliance);
    let off_by = || {
        let there: i64 = appliance
            .ok(&["exec", ID, "date", "+%s"])
            .trim()
            .parse()
            .expect("a time");
        let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        here.expect("past 1970").as_secs().cast_signed() - there
    };
    machine.until("the right time", || off_by().abs() <= 1);
    let set = || {
        let told = appliance.ok(&["exec", ID, "dmesg"]);
        told.matches("the clock is set").count()
    };
    let before = set();
    let mut monitor = Monitor::of(&machine);
    monitor.does("stop", "{}");
    std::thread::sleep(Duration::from_secs(7));
    monitor.does("cont", "{}");
    machine.until("the right time again", || off_by().abs() <= 1);
    assert_eq!(set(), before + 1);
    assert!(appliance.vch(&["stop", "-t", "0", ID]).status.success());
    machine.off();
}

#[test]
fn the_power_button_stops_the_container_in_order() {
    let appliance = Appliance::start();
    let script = "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script]);
    let socket = format!("unix:{},server=on,wait=off", machine.path("qmp").display());
    machine = machine.qemu(&["-qmp", &socket]);
    machine.boot();
    machine.until_running(&appliance);
    machine.until("its first word", || appliance.ok(&["logs", ID]) == "up\n");
    let mut monitor = Monitor::of(&machine);
    monitor.does("system_powerdown", "{}");
    machine.off();
    assert_eq!(appliance.ok(&["logs", ID]), "up\nasked\n");
    assert_eq!(appliance.ok(&["wait", ID]), "5\n");
}
