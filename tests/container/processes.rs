//! PID 1's duty to the processes of its container.

use crate::machine::{ID, Machine};

#[test]
fn ten_thousand_orphans_are_all_reaped() {
    // The program makes them, then looks through /proc until none is left as a zombie.
    let mut machine = Machine::new(&["/orphans", "10000"]);
    assert_eq!(machine.run(), "0", "{}", machine.told());
    let (stdout, _) = machine.output();
    assert_eq!(
        String::from_utf8_lossy(&stdout),
        "10000 orphans, 0 failed, 0 zombies\n"
    );
}

#[test]
fn a_signal_s_number_is_in_the_status() {
    let mut machine = Machine::new(&["/bin/sh", "-c", "kill -TERM $$"]);
    assert_eq!(machine.run(), "143");
}

/// What the kernel kills for want of memory is told as docker tells it.
#[test]
fn want_of_memory_is_in_the_record() {
    // `tail` keeps what has no line end.
    let mut machine = Machine::new(&["/bin/tail", "/dev/zero"]);
    machine.set("memsize", "128");
    assert_eq!(machine.run(), "137", "{}", machine.told());
    let told = machine.vch(&["inspect", ID]).stdout;
    let told: serde_json::Value = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told[0]["State"]["OOMKilled"], true, "{told}");
}
