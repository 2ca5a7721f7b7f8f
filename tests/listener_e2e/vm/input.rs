//! Input of every size, through real processes of a real machine.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::bytes::assert_same;
use crate::guest::{ID, generated};

/// What an added process makes of this input.
fn exec(appliance: &Appliance, words: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = appliance
        .command("exec")
        .args(["-i", ID])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("vch exec");
    let mut stdin = child.stdin.take().expect("piped");
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output");
    writing.join().expect("no panic").expect("all is taken");
    assert!(output.status.success(), "{words:?}: {}", output.status);
    output.stdout
}

#[test]
fn input_of_every_size_goes_through_cat() {
    let appliance = Appliance::start();
    let mut machine = Machine::new(appliance.port, &["/bin/sleep", "100000"]);
    machine.boot();
    machine.until_running(&appliance);
    for size in [0, 1, 65_535, 65_536, 65_537, 4 << 20] {
        let sent = generated(size as u64, size);
        assert_same(&exec(&appliance, &["cat"], sent.clone()), &sent);
    }
    // One that does not read yet, and then all at once.
    for size in [65_535, 65_536, 65_537, 1 << 20] {
        let sent = generated(!size as u64, size);
        let late = exec(&appliance, &["sh", "-c", "sleep 1; cat"], sent.clone());
        assert_same(&late, &sent);
    }
    // Its sum alone: as `sha256sum` here has it.
    let sent = generated(20, 20 << 20);
    let mut here = std::process::Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut stdin = here.stdin.take().expect("piped");
    stdin.write_all(&sent).expect("all is taken");
    drop(stdin);
    let here = here.wait_with_output().expect("a sum").stdout;
    assert_same(&exec(&appliance, &["sha256sum"], sent), &here);
    assert!(appliance.vch(&["stop", "-t", "1", ID]).status.success());
    machine.off();
}

/// Lines of text, as somebody pastes them.
fn text(length: usize) -> Vec<u8> {
    let mut text: Vec<u8> = generated(1, length)
        .iter()
        .map(|byte| b'a' + byte % 26)
        .collect();
    for line in text.chunks_mut(71) {
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
    }
    text
}

#[test]
fn a_mebibyte_pasted_into_a_terminal_arrives() {
    const SIZE: usize = 1 << 20;
    let appliance = Appliance::start();
    let script = format!(
        "stty -echo; echo lines; head -c {SIZE} | md5sum; stty raw; echo raw; head -c {SIZE} | md5sum"
    );
    let mut machine =
        Machine::new(appliance.port, &["/bin/sh", "-c", &script]).with("tty", json!(true));
    machine.boot();
    machine.until_running(&appliance);
    let mut client = appliance.attach("logs=1&stream=1&stdin=1&stdout=1");
    let mut seen = Vec::new();
    let mut until = |client: &mut UnixStream, text: &str| {
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains(text) {
            client.read_exact(&mut byte).expect("output");
            seen.push(byte[0]);
        }
    };
    let sum = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("a file");
        let output = std::process::Command::new("md5sum")
            .arg(file.path())
            .output();
        let output = output.expect("md5sum").stdout;
        String::from_utf8_lossy(&output[..32]).into_owned()
    };
    until(&mut client, "lines");
    let lines = text(SIZE);
    client.write_all(&lines).expect("all is taken");
    until(&mut client, &sum(&lines));
    until(&mut client, "raw");
    // Control characters and all: a raw terminal changes nothing. (No ctrl-p ctrl-q, which detaches.)
    let raw: Vec<u8> = generated(2, SIZE)
        .iter()
        .map(|byte| if *byte == 0x10 { 0 } else { *byte })
        .collect();
    client.write_all(&raw).expect("all is taken");
    until(&mut client, &sum(&raw));
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}
