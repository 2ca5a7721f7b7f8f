//! Link keys in real machines: the other tests have one; here is what happens without the right one.

use crate::machine::{LINK_KEY, Machine};

const OTHER: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// Boots it to its end: the listener must not have let it in, and says why.
fn refused(machine: &mut Machine, why: &str) {
    machine.listen();
    machine.boot();
    machine.off();
    let log = machine.text("listener.log");
    assert!(log.contains(why), "{why}\n{}", machine.told());
    let all = machine.vch(&["ps", "-aq"]);
    assert!(all.stdout.is_empty(), "it left a container: {all:?}");
    let error = machine.error();
    assert!(error.contains("not acknowledged"), "{}", machine.told());
    assert!(
        error.contains(why),
        "the guest does not say why\n{}",
        machine.told()
    );
}

#[test]
fn a_plain_link_works_where_it_is_allowed() {
    let mut machine = Machine::plain(&["/bin/echo", "in the clear"]);
    assert_eq!(machine.run(), "0");
    assert_eq!(machine.output().0, b"in the clear\n");
}

#[test]
fn a_machine_with_another_key_is_sent_away() {
    let mut machine = Machine::new(&["/bin/echo", "never seen"]);
    machine.set(LINK_KEY, OTHER);
    refused(&mut machine, "is not the one that is known of");
}

#[test]
fn a_machine_whose_key_is_known_is_not_let_in_without_it() {
    let mut machine = Machine::new(&["/bin/echo", "never seen"]);
    machine.set(LINK_KEY, "");
    machine.allow_plain();
    refused(&mut machine, "this VM has none");
}

#[test]
fn a_key_that_is_none_is_told_by_its_name_and_never_shown() {
    let mut machine = Machine::new(&["/bin/echo", "never seen"]);
    machine.set(LINK_KEY, "c2hvcnQ=");
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(error.contains(LINK_KEY), "{}", machine.told());
    assert!(error.contains("32 bytes in base64"), "{}", machine.told());
    assert!(!error.contains("c2hvcnQ"), "{}", machine.told());
}

#[test]
fn the_key_is_in_the_file_after_a_run_and_lets_the_machine_in_again() {
    let mut machine = Machine::new(&["/bin/echo", "sealed"]);
    let key = machine.get(LINK_KEY);
    assert_eq!(machine.run(), "0");
    assert_eq!(machine.get(LINK_KEY), key);
    machine.boot();
    machine.off();
    assert_eq!(machine.status(), "0");
    assert_eq!(machine.get(LINK_KEY), key);
}
