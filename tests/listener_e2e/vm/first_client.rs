//! A session that waits for its first client (`runblock`), and a command that is its container's process 1.

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

const WAITS: &str = "\"waits\": true";

fn waiting(appliance: &Appliance, script: &str) -> Machine {
    let words = ["/bin/sh", "-c", script];
    let mut machine = Machine::new(appliance.port, &words).with("runblock", json!(true));
    machine.boot();
    machine.until("it waits", || {
        let told = appliance.vch(&["inspect", ID]).stdout;
        String::from_utf8_lossy(&told).contains(WAITS)
    });
    machine
}

#[test]
fn the_first_client_starts_a_session_that_waits_for_it() {
    let mut appliance = Appliance::start();
    let mut machine = waiting(&appliance, "echo first; read line; echo got $line; exit 4");
    // Neither those who look nor a listener that was killed make it start.
    assert_eq!(appliance.ok(&["logs", ID]), "");
    appliance.kill();
    appliance.run();
    machine.until("it is back", || {
        appliance.field(ID, "/Vch/Link") == "\"up\""
    });
    assert_eq!(appliance.field(ID, "/State/Status"), "\"created\"");
    let mut client = appliance.spawn(&["attach", ID]);
    let mut stdin = client.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"hello\n").expect("a line");
    machine.off();
    let output = client.wait_with_output().expect("its end");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "first\ngot hello\n"
    );
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn start_starts_it_once() {
    let appliance = Appliance::start();
    let mut machine = waiting(&appliance, "echo up; exit 6");
    assert_eq!(appliance.ok(&["start", ID]), format!("{ID}\n"));
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "6\n");
    assert_eq!(appliance.ok(&["logs", ID]), "up\n");
    let too_late = appliance.vch(&["start", ID]);
    assert!(!too_late.status.success(), "{too_late:?}");
}

#[test]
fn a_stop_ends_one_that_nobody_has_come_to() {
    let appliance = Appliance::start();
    let mut machine = waiting(&appliance, "echo never");
    assert!(appliance.vch(&["stop", "-t", "5", ID]).status.success());
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "125\n");
    assert_eq!(appliance.ok(&["logs", ID]), "");
}

#[test]
fn without_an_init_the_command_is_process_1_and_others_join_it() {
    let appliance = Appliance::start();
    let script = "echo self $$ of $(cat /proc/1/comm) sees $(ls /proc | grep -c '^[0-9]'); \
        grep CapBnd /proc/self/status; cat /proc/self/cgroup; ls /sys/firmware; \
        trap 'echo asked; exit 3' TERM; while :; do sleep 0.1; done";
    let mut machine = Machine::new(appliance.port, &["/bin/sh", "-c", script])
        .with("restart", json!(true))
        .with_top("isolation", json!({ "init": false }));
    machine.boot();
    machine.until_running(&appliance);
    let first = "self 1 of sh sees 4\nCapBnd:\t00000000a00425fb\n0::/\n";
    machine.until("its words", || appliance.ok(&["logs", ID]) == first);
    let told = appliance.ok(&[
        "exec",
        ID,
        "sh",
        "-c",
        "cat /proc/1/comm; echo $$; hostname",
    ]);
    assert!(
        told.starts_with("sh\n") && told.ends_with(&format!("{}\n", &ID[..12])),
        "{told}"
    );
    // It ends, and with it its namespaces; the next one is process 1 of its own.
    assert!(appliance.vch(&["kill", "-s", "KILL", ID]).status.success());
    machine.until("it runs again", || {
        appliance.ok(&["logs", ID]) == first.repeat(2)
    });
    let told = appliance.ok(&["exec", ID, "cat", "/proc/1/comm"]);
    assert_eq!(told, "sh\n");
    assert!(appliance.vch(&["stop", "-t", "10", ID]).status.success());
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "3\n");
}
