//! What a VMware host asks of its guest's tools: `vmx run` plays the host.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::machine::{ID, Machine};

/// Prints now and then, and ends when it is asked to.
const SCRIPT: &str =
    "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.2; echo tick; done";

pub fn machine() -> Machine {
    let mut machine = Machine::new(&["/bin/sh", "-c", SCRIPT]);
    machine.set("guestinfo./networks", "bridge");
    machine.set("guestinfo./networks|bridge/Common/id", "192");
    machine.set("guestinfo./networks|bridge/Common/name", "bridge");
    machine.with_arguments(&["--trace", "backdoor.trace"]);
    machine.listen();
    machine.boot();
    machine
}

/// Waits until the container has said `up` so many times, and the host knows its tools.
pub fn until_served(machine: &mut Machine, ups: usize) -> Value {
    machine.until("the container is up", |machine| {
        let out = String::from_utf8_lossy(&machine.output_so_far()).into_owned();
        out.matches("up\n").count() == ups
    });
    machine.until("the tools are known", |machine| {
        machine
            .tools()
            .is_some_and(|tools| tools["nicInfo"].is_string())
    });
    machine.tools().expect("known")
}

#[test]
fn a_host_knows_its_guest_and_shuts_it_down() {
    let mut machine = machine();
    let tools = until_served(&mut machine, 1);
    assert_eq!(tools["running"], true);
    assert_eq!(tools["version"], 2_147_483_647_u32);
    assert_eq!(tools["hostname"], ID[..12]);
    assert!(
        tools["os"]
            .as_str()
            .is_some_and(|os| os.starts_with("other6xlinux"))
    );
    let full = tools["osFullName"].as_str().expect("a name");
    assert!(
        full.starts_with("tether ") && full.contains(" on Linux "),
        "{full}"
    );
    let nics = tools["nicInfo"].as_str().expect("hexadecimal");
    // Its version, one interface, and the address that QEMU gives.
    assert!(nics.starts_with("000000030000000100000001"), "{nics}");
    assert!(nics.contains("0a00020f00000018"), "{nics}");
    machine.until("its address is in the .vmx", |machine| {
        machine.get("guestinfo.ip").as_deref() == Some("10.0.2.15")
    });
    let output = machine.power("shutdown");
    assert!(output.status.success(), "{output:?}\n{}", machine.told());
    machine.off();
    assert_eq!(machine.status(), "5", "{}", machine.told());
    let out = String::from_utf8_lossy(&machine.output().0).into_owned();
    assert!(out.ends_with("asked\n"), "{out}");
    // Nobody is there any more.
    assert!(!machine.power("shutdown").status.success());
}

#[test]
fn a_host_starts_its_guest_again_three_times() {
    let mut machine = machine();
    for boot in 1..=3 {
        until_served(&mut machine, boot);
        let output = machine.power("reboot");
        assert!(output.status.success(), "{output:?}\n{}", machine.told());
    }
    let tools = until_served(&mut machine, 4);
    assert_eq!(tools["resets"], 3);
    assert!(machine.power("shutdown").status.success());
    machine.off();
    assert_eq!(machine.status(), "5", "{}", machine.told());
}

#[test]
fn a_suspended_machine_knows_the_time_when_it_goes_on() {
    let mut machine = machine();
    until_served(&mut machine, 1);
    let output = machine.power("suspend");
    assert!(output.status.success(), "{output:?}\n{}", machine.told());
    // What was on its way arrives, and then nothing more.
    sleep(Duration::from_secs(2));
    let before = machine.output_so_far();
    sleep(Duration::from_secs(4));
    assert_eq!(
        machine.output_so_far().len(),
        before.len(),
        "it stands still"
    );
    let output = machine.power("resume");
    assert!(output.status.success(), "{output:?}\n{}", machine.told());
    let output = machine.vch(&["exec", ID, "date", "+%s"]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let there: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a time");
    let here = now.expect("past 1970").as_secs();
    assert!(
        here.abs_diff(there) <= 1,
        "{here} here, {there} there\n{}",
        machine.told()
    );
    assert!(
        machine.console().contains("the clock is set"),
        "{}",
        machine.told()
    );
    // Both channels were lost: what is written now goes over new ones.
    assert!(machine.power("shutdown").status.success());
    machine.off();
    assert_eq!(machine.status(), "5", "{}", machine.told());
    assert_eq!(machine.written("status").as_deref(), Some("5"));
}

#[test]
fn a_machine_takes_orders_from_one_vmx_run_alone() {
    let mut machine = machine();
    until_served(&mut machine, 1);
    let second = machine.run_again();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("runs already"), "{said}");
    assert!(machine.power("off").status.success());
    machine.off();
}
