//! Link keys in real machines: the other tests have one; here is what happens without the right one.

use crate::machine::{ID, LINK_KEY, Machine};

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

/// A whole document under one key, the link key beside it.
#[test]
fn a_document_in_guestinfo_is_a_configuration_and_its_state_is_written_back() {
    use base64::Engine as _;
    let mut machine = Machine::new(&[]);
    let key = machine.get(LINK_KEY).expect("a key");
    machine.unset_all("guestinfo.");
    machine.set(LINK_KEY, &key);
    let document = serde_json::json!({ "id": ID, "name": "jolly_panini", "sessions": { ID: {
        "path": "/bin/sh", "args": ["sh", "-c", "echo by document; exit 3"] } } });
    let packed = base64::engine::general_purpose::STANDARD.encode(document.to_string());
    machine.set("guestinfo.tether.config", &packed);
    machine.set("guestinfo.tether.config.encoding", "base64");
    assert_eq!(machine.run(), "3", "{}", machine.told());
    assert_eq!(machine.output().0, b"by document\n");
    assert_eq!(machine.written("status").as_deref(), Some("3"));
    assert_eq!(machine.get(LINK_KEY), Some(key));
}

#[test]
fn a_link_key_in_such_a_document_is_refused_as_the_container_could_read_it() {
    let mut machine = Machine::new(&[]);
    machine.unset_all("guestinfo.");
    let document =
        serde_json::json!({ "id": ID, "linkkey": OTHER, "sessions": { ID: { "path": "/x" } } });
    machine.set("guestinfo.tether.config", &document.to_string());
    machine.boot();
    machine.off();
    let error = machine.error();
    assert!(
        error.contains("guestinfo.tether.config holds a link key"),
        "{error}"
    );
    assert!(!error.contains(OTHER), "{error}");
}
