//! Who else may ask a machine to stop.

use super::Machine;
use super::monitor::Monitor;
use crate::appliance::Appliance;
use crate::guest::ID;

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
