//! Who else may ask a machine to stop.

use std::time::SystemTime;

use serde_json::json;

use super::Machine;
use super::monitor::Monitor;
use crate::appliance::Appliance;
use crate::guest::ID;

/// A machine that was paused or resumed does not know the time, and one without a VMware host has only its
/// listener to tell it. Here it is put wrong in both ways.
#[test]
fn a_machine_whose_clock_is_wrong_is_told_the_time() {
    let appliance = Appliance::start();
    let words = ["/bin/sh", "-c", "while :; do sleep 1; done"];
    let mut machine =
        Machine::new(appliance.port, &words).with_top("isolation", json!({ "privileged": true }));
    machine.boot();
    machine.until_running(&appliance);
    let off_by = || {
        let there = appliance.ok(&["exec", ID, "date", "+%s"]);
        let there: i64 = there.trim().parse().expect("a time");
        let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        here.expect("past 1970").as_secs().cast_signed() - there
    };
    for wrong in ["2001-02-03 04:05:06", "2038-02-03 04:05:06"] {
        appliance.ok(&["exec", ID, "date", "-s", wrong]);
        assert!(off_by().abs() > 1000);
        machine.until("the right time", || off_by().abs() <= 1);
    }
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
