//! Input, from `vch attach` to the guest's process.

use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Container, Guest, ID, ONE, generated};

/// A process like `cat`: what it reads it prints, and it ends with its input.
pub fn cat(guest: &mut Guest) {
    let mut echoed = 0;
    guest.until("end of stdin", |guest| {
        let taken = guest
            .link
            .write(ONE, Stream::Stdout, &guest.stdin[echoed..]);
        echoed += taken;
        guest.stdin_ended && echoed == guest.stdin.len()
    });
    guest.exit(0);
}

fn through_cat(appliance: &Appliance, guest: &mut Guest, data: &[u8], breaks: bool) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("file");
    file.as_file().write_all(data).expect("write");
    let input = File::open(file.path()).expect("open");
    let mut client = appliance
        .command("attach")
        .args(["--replay", ID])
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .expect("vch attach");
    let mut stdout = client.stdout.take().expect("piped");
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut all).map(|_| all)
    });
    if breaks {
        for megabyte in 1..4 {
            guest.until("input", |guest| {
                guest.stdin.len() > megabyte * data.len() / 5
            });
            guest.break_connection();
        }
    }
    cat(guest);
    let mut status = None;
    guest.until("end of the client", |_| {
        status = client.try_wait().expect("wait");
        status.is_some()
    });
    assert_eq!(status.and_then(|s| s.code()), Some(0));
    reading.join().expect("no panic").expect("output")
}

#[test]
fn everything_goes_through_and_its_end_too() {
    for size in [0, 1, 65_535, 65_536, 65_537, 3 << 20] {
        let appliance = Appliance::start();
        let mut guest = Guest::run(appliance.port);
        let data = generated(size as u64, size);
        let echoed = through_cat(&appliance, &mut guest, &data, false);
        assert!(echoed == data && guest.stdin == data, "{size} bytes differ");
    }
}

#[test]
fn a_broken_connection_loses_no_input() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let data = generated(77, 4 << 20);
    let echoed = through_cat(&appliance, &mut guest, &data, true);
    assert!(echoed == data && guest.stdin == data, "the bytes differ");
    assert!(guest.connections >= 4);
}

/// A client made by hand: what `vch attach` never does.
#[test]
fn a_client_that_goes_away_is_not_the_end_of_stdin() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let mut first = appliance.attach("stream=1&stdin=1&stdout=1&stderr=1");
    first.write_all(b"one ").expect("stdin");
    guest.until("input", |guest| guest.stdin == b"one ");
    drop(first);
    let mut second = appliance.attach("stream=1&stdin=1&stdout=1&stderr=1");
    second.write_all(b"two").expect("stdin");
    guest.until("more input", |guest| guest.stdin == b"one two");
    assert!(!guest.stdin_ended);
    second
        .shutdown(std::net::Shutdown::Write)
        .expect("half-close");
    guest.until("end of stdin", |guest| guest.stdin_ended);
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
}

#[test]
fn on_a_terminal_a_half_close_detaches_and_ends_nothing() {
    let appliance = Appliance::start();
    let container = Container {
        tty: true,
        ..Default::default()
    };
    let mut guest = Guest::start(appliance.port, &container);
    guest.settle();
    let mut client = appliance.attach("stream=1&stdin=1&stdout=1&stderr=1");
    client.write_all(b"ls\r").expect("stdin");
    guest.until("input", |guest| guest.stdin == b"ls\r");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("half-close");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut rest).expect("end of output");
    guest.print(Stream::Stdout, b"goes on");
    guest.settle();
    assert!(!guest.stdin_ended);
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
}

#[test]
fn the_server_finds_the_detach_keys_for_clients_that_do_not() {
    let appliance = Appliance::start();
    let container = Container {
        tty: true,
        ..Default::default()
    };
    let mut guest = Guest::start(appliance.port, &container);
    guest.settle();
    let mut client = appliance.attach("stream=1&stdin=1&stdout=1&stderr=1");
    client.write_all(b"a\x10b\x10\x11lost").expect("stdin");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut rest).expect("end of output");
    guest.until("input", |guest| guest.stdin == b"a\x10b");
}

#[test]
fn a_process_that_does_not_read_makes_the_client_wait_and_nobody_else() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.reads_stdin = false;
    let mut client = appliance.attach("stream=1&stdin=1&stdout=1&stderr=1");
    client.set_nonblocking(true).expect("non-blocking");
    let mut written = 0;
    let piece = vec![b'x'; 64 * 1024];
    // Until nothing moves for a while: everything between is full.
    let mut still = 0;
    while still < 200 {
        match client.write(&piece) {
            Ok(count) => (written, still) = (written + count, 0),
            Err(_) => still += 1,
        }
        guest.step();
    }
    assert!(written < 4 << 20, "{written} bytes are kept somewhere");
    guest.print(Stream::Stdout, &vec![b'y'; 1 << 20]);
    guest.exit(0);
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]).len(), 1 << 20);
}

#[test]
fn an_ended_stdin_stays_ended_over_a_restart() {
    let mut appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let mut client = appliance.attach("stream=1&stdin=1&stdout=1&stderr=1");
    client.write_all(b"all").expect("stdin");
    client
        .shutdown(std::net::Shutdown::Write)
        .expect("half-close");
    guest.until("end of stdin", |guest| guest.stdin_ended);
    appliance.kill();
    appliance.run();
    let output = appliance.spawn(&["attach", "--replay", ID]);
    guest.print(Stream::Stdout, b"done");
    guest.exit(0);
    let output = guest.until_ended(output);
    assert_eq!(
        (&output.stdout[..], output.status.code()),
        (&b"done"[..], Some(0))
    );
    assert_eq!(guest.stdin, b"all");
}
