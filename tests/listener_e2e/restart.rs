//! The listener ends, one way or another, and comes back.

use std::fs;

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Guest, ID, generated};

#[test]
fn killed_in_mid_stream_the_log_is_exact_and_the_exit_comes_once() {
    let mut appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let data = generated(7, 20 << 20);
    for (n, part) in data.chunks(1 << 20).enumerate() {
        guest.print(Stream::Stdout, part);
        if n % 4 == 2 {
            // With a megabyte under way.
            appliance.kill();
            appliance.run();
        }
    }
    guest.exit(5);
    guest.settle();
    assert!(
        appliance.vch(&["logs", ID]).stdout == data,
        "the log differs"
    );
    assert_eq!(appliance.ok(&["wait", ID]), "5\n");
    assert_eq!(appliance.ok(&["ps", "-aq"]).lines().count(), 1);
    assert!(guest.connections > 5);
}

#[test]
fn killed_after_the_exit_everything_is_known_again() {
    let mut appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, b"kept\n");
    guest.exit(9);
    guest.settle();
    drop(guest);
    let before = appliance.ok(&["inspect", ID]);
    appliance.kill();
    appliance.run();
    let after = appliance.ok(&["inspect", ID]);
    let record = |text: &str| {
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        json[0].pointer("/Vch/Record").cloned()
    };
    assert_eq!(record(&before), record(&after));
    assert_eq!(appliance.ok(&["logs", ID]), "kept\n");
    assert_eq!(appliance.ok(&["wait", ID]), "9\n");
}

#[test]
fn a_vm_that_never_calls_again_is_lost_after_a_restart() {
    let mut appliance = Appliance::with(&["--lost-after", "1"]);
    let guest = Guest::run(appliance.port);
    appliance.kill();
    drop(guest);
    appliance.run();
    let said = appliance.fails(&["wait", ID]);
    assert!(said.contains("did not tell an exit status"), "{said}");
}

#[test]
fn a_broken_connection_loses_nothing() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let data = generated(11, 6 << 20);
    for part in data.chunks(300_000) {
        guest.print(Stream::Stdout, part);
        guest.break_connection();
    }
    guest.exit(0);
    guest.settle();
    assert!(
        appliance.vch(&["logs", ID]).stdout == data,
        "the log differs"
    );
}

#[test]
fn sigterm_is_a_clean_end() {
    let mut appliance = Appliance::start();
    let _guest = Guest::run(appliance.port);
    assert_eq!(appliance.terminate(), Some(0));
}

#[test]
fn a_store_that_fails_makes_the_vm_wait_and_recovers() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, b"first\n");
    guest.settle();
    appliance.limit_files("200000:unlimited");
    let data = generated(3, 600_000);
    guest.until("output taken in", |guest| {
        let at = guest.link.written(crate::guest::ONE, Stream::Stdout) as usize - 6;
        guest
            .link
            .write(crate::guest::ONE, Stream::Stdout, &data[at..]);
        guest.link.written(crate::guest::ONE, Stream::Stdout) as usize - 6 == data.len()
    });
    guest.until("trouble", |_| appliance.field(ID, "/Vch/Trouble") != "null");
    assert!(appliance.ok(&["ps"]).contains("(not being stored)"));
    assert!(!guest.link.unacknowledged().is_zero());
    appliance.limit_files("unlimited:unlimited");
    guest.settle();
    assert_eq!(appliance.field(ID, "/Vch/Trouble"), "null");
    guest.exit(0);
    guest.settle();
    let logs = appliance.vch(&["logs", ID]).stdout;
    assert!(
        logs[..6] == *b"first\n" && logs[6..] == data,
        "the log differs"
    );
}

#[test]
fn a_container_whose_record_is_broken_does_not_stop_the_others() {
    let mut appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.exit(0);
    guest.settle();
    appliance.kill();
    let broken = appliance.state().join("containers/broken");
    fs::create_dir(&broken).expect("folder");
    fs::write(broken.join("record.json"), b"{").expect("file");
    appliance.run();
    assert_eq!(appliance.ok(&["ps", "-aq"]).trim(), &ID[..12]);
}
