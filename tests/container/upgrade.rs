//! `vch upgrade` on a VMware machine: its host is found again by the program that takes over, whose backdoor
//! instructions stand where they stood.

use crate::machine::ID;
use crate::program::of_version;
use crate::tools::{machine, until_served};

/// A host has eight channels: should two be left behind each time, they are not enough.
const UPGRADES: usize = 4;

#[test]
fn the_host_serves_and_is_served_as_before() {
    let mut machine = machine();
    until_served(&mut machine, 1);
    let file = machine.path("tether.new");
    for number in 1..=UPGRADES {
        let version = format!("9.{number}.0");
        std::fs::write(&file, of_version(&version)).expect("a file");
        let output = machine.vch(&["upgrade", ID, file.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "{output:?}\n{}", machine.told());
    }
    let last = format!("tether 9.{UPGRADES}.0 on Linux ");
    machine.until("the host knows who runs now", |machine| {
        let tools = machine.tools();
        let name = tools.and_then(|tools| tools["osFullName"].as_str().map(str::to_owned));
        name.is_some_and(|name| name.starts_with(&last))
    });
    // The lease was handed over with the rest.
    let known = machine.vch(&["debug", ID]);
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    assert!(
        known.contains("\nnetwork: bridge: 10.0.2.15/24 on eth0 by DHCP\n"),
        "{known}"
    );
    let output = machine.power("shutdown");
    assert!(output.status.success(), "{output:?}\n{}", machine.told());
    machine.off();
    assert_eq!(machine.status(), "5", "{}", machine.told());
    assert_eq!(machine.written("status").as_deref(), Some("5"));
    let out = String::from_utf8_lossy(&machine.output().0).into_owned();
    assert!(
        out.starts_with("up\ntick\n") && out.ends_with("asked\n"),
        "{out}"
    );
}
