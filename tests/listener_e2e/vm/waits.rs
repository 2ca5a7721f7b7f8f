//! Listeners that are not there, and processors that are few.

use std::time::Duration;

use super::Machine;
use crate::appliance::Appliance;
use crate::bytes::{assert_same, seq};
use crate::guest::ID;

/// Without a listener for so long the process waits, with its buffer full.
const WITHOUT: Duration = Duration::from_secs(60);

#[test]
fn a_minute_without_a_listener_makes_the_process_wait_and_loses_nothing() {
    let mut appliance = Appliance::start();
    let script = "seq 1 1000; read go; seq 1001 2000000";
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script]);
    machine.boot();
    machine.until_running(&appliance);
    let mut client = appliance.spawn(&["attach", ID]);
    let mut stdin = client.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"go\n").expect("a line");
    machine.until("output", || {
        appliance.ok(&["logs", "--tail", "1", ID]).len() > 5
    });
    appliance.kill();
    std::thread::sleep(WITHOUT);
    appliance.run();
    machine.off();
    assert_same(&appliance.vch(&["logs", ID]).stdout, &seq(1, 2_000_000));
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
    drop(stdin);
    // Nobody reads what it prints.
    client.kill().expect("SIGKILL");
    client.wait().expect("its end");
}

/// Where a writer blocks in a virtio port while another waits for it, a wake-up can be lost: the more
/// likely, the fewer processors there are.
#[test]
fn a_million_lines_come_from_two_processors_on_one() {
    const LAST: u32 = 1_000_000;
    let appliance = Appliance::start();
    let words = ["/bin/seq", "1", &LAST.to_string()];
    let mut machine = Machine::new(appliance.port, &words)
        .under(&["taskset", "-c", "0"])
        .qemu(&["-smp", "2"]);
    machine.boot();
    machine.off();
    assert_same(&appliance.vch(&["logs", ID]).stdout, &seq(1, LAST));
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}
