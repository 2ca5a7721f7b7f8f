//! `vch debug`: what process 1 knows of its machine.

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::docker::{Docker, clients};
use crate::guest::ID;

#[test]
fn a_machine_tells_what_it_knows_of_itself_and_no_secret() {
    let appliance = Appliance::start();
    let script = "sleep 1000 & sleep 1; echo up; while :; do sleep 1; done";
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script])
        .with("env", json!(["PASSWORD=hunter2"]))
        .with_top("isolation", json!({ "pids": 77 }));
    machine.boot();
    machine.until_running(&appliance);
    machine.until("its processes", || appliance.ok(&["logs", ID]) == "up\n");
    let told = appliance.ok(&["debug", ID]);
    for part in [
        "== machine\ntether: ",
        "\nboot: signals ",
        "\nlink over: /dev/vport",
        &format!("\nsession: 1 {ID} /bin/sh: runs as process "),
        "== processes\n",
        " sleep 1000\n",
        "[kthreadd]",
        "== mounts of process 1\n",
        " /newroot ",
        "\nPrivate_Dirty: ",
        "== interfaces\n",
        "== pids.max\n77\n",
        "== kernel's log\n",
        "tether: sessions: ",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    // The container's own are what docker shows of it.
    for program in clients() {
        let top = Docker::new(program, &appliance).ok(&["top", ID]);
        assert!(
            top.starts_with("PID ") && top.contains(" sleep 1000\n"),
            "{top}"
        );
        assert!(
            !top.contains("kthreadd") && !top.contains("container-init"),
            "{top}"
        );
    }
    // It leaves nothing, and does not disturb.
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
    assert!(appliance.vch(&["stop", "-t", "0", ID]).status.success());
    machine.off();
    assert!(!appliance.vch(&["debug", ID]).status.success());
}

#[test]
fn a_machine_whose_container_has_not_started_tells_it_too() {
    let appliance = Appliance::start();
    let mut machine = Machine::new(appliance.port, &["/bin/true"]).with("runblock", json!(true));
    machine.boot();
    machine.until("a report", || {
        let told = appliance.vch(&["debug", ID]).stdout;
        String::from_utf8_lossy(&told).contains("/bin/true: waits for its first client\n")
    });
    assert!(appliance.vch(&["stop", "-t", "0", ID]).status.success());
    machine.off();
}
