//! What QEMU hands over in fw_cfg is for process 1: the link key is in it.

use std::process::Stdio;

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

#[test]
fn the_container_does_not_find_the_link_key() {
    let appliance = Appliance::start();
    let mut adding = appliance
        .command("key")
        .args(["add", ID])
        .stdin(Stdio::piped())
        .spawn()
        .expect("vch key add");
    let mut stdin = adding.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, KEY.as_bytes()).expect("a key");
    drop(stdin);
    assert!(adding.wait().expect("its end").success());

    // Everything that it can read, wherever it is.
    let script = "find / -xdev -type f -size -2000k -exec grep -l MDEyMzQ1Njc4 {} + ; \
        find /proc /sys /dev -path '*by_name*' ; \
        for d in /proc/[0-9]*; do cat $d/environ $d/cmdline; done | grep -c MDEyMzQ1Njc4 ; \
        ls /sys/firmware; echo looked";
    let mut machine =
        Machine::new(appliance.port, &["/bin/sh", "-c", script]).with_top("linkkey", json!(KEY));
    machine.boot();
    machine.off();
    let told = appliance.ok(&["logs", ID]);
    // The script's own words are in its command line; the key as it was given is nowhere.
    assert!(told.ends_with("looked\n"), "{told}\n{}", machine.console());
    let found: Vec<&str> = told.lines().filter(|l| l.starts_with('/')).collect();
    assert!(found.is_empty(), "{told}");
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}
