//! Output and exit status, from the guest to `vch logs` and `vch wait`.

use tether::link::control::PowerAction;
use tether::link::{Control, Stream};

use crate::appliance::Appliance;
use crate::guest::{Container, Guest, ID, NAME, ONE, generated};

#[test]
fn output_and_then_the_exit_status() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, b"out\n");
    guest.print(Stream::Stderr, b"err\n");
    guest.exit(3);
    guest.settle();
    assert_eq!(appliance.ok(&["wait", NAME]), "3\n");
    let logs = appliance.vch(&["logs", NAME]);
    assert_eq!(
        (&logs.stdout[..], &logs.stderr[..]),
        (&b"out\n"[..], &b"err\n"[..])
    );
}

#[test]
fn a_wait_that_came_first_ends_with_the_exit() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let wait = appliance.spawn(&["wait", ID]);
    let follow = appliance.spawn(&["logs", "-f", ID]);
    guest.print(Stream::Stdout, b"some\n");
    guest.settle();
    guest.exit(137);
    assert_eq!(guest.until_ended(wait).stdout, b"137\n");
    assert_eq!(guest.until_ended(follow).stdout, b"some\n");
}

#[test]
fn the_exit_waits_for_the_last_byte() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.say_exit(7, 10, 0);
    guest.print(Stream::Stdout, b"12345");
    guest.settle();
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
    guest.print(Stream::Stdout, b"67890");
    guest.settle();
    assert_eq!(appliance.field(ID, "/State/Status"), "\"exited\"");
    assert_eq!(appliance.ok(&["wait", ID]), "7\n");
}

#[test]
fn a_vm_gone_for_good_shows_its_exit_and_what_is_missing() {
    let appliance = Appliance::with(&["--lost-after", "1"]);
    let mut guest = Guest::run(appliance.port);
    guest.say_exit(7, 10, 2);
    guest.print(Stream::Stdout, b"1234");
    guest.settle();
    drop(guest);
    let waited = appliance.vch(&["wait", ID]);
    assert_eq!(waited.stdout, b"7\n");
    assert_eq!(waited.status.code(), Some(1));
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(said.contains("before 8 bytes of output came"), "{said}");
}

#[test]
fn a_vm_gone_without_an_exit_is_said_to_be_lost() {
    let appliance = Appliance::with(&["--lost-after", "1"]);
    let mut guest = Guest::run(appliance.port);
    let follow = appliance.spawn(&["logs", "-f", ID]);
    guest.say(&Control::Stage {
        name: "sessions".into(),
        text: "started".into(),
        time_ms: 1,
    });
    guest.print(Stream::Stdout, b"last words");
    guest.settle();
    drop(guest);
    let waited = appliance.vch(&["wait", ID]);
    assert_eq!(
        (waited.stdout.as_slice(), waited.status.code()),
        (&b"125\n"[..], Some(1))
    );
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(
        said.contains("gone and did not tell an exit status"),
        "{said}"
    );
    assert!(
        said.contains("its last step was sessions (started)"),
        "{said}"
    );
    let followed = follow.wait_with_output().expect("output");
    assert_eq!(
        (&followed.stdout[..], followed.status.code()),
        (&b"last words"[..], Some(1))
    );
    assert!(appliance.ok(&["ps", "-a"]).contains("Lost "));
}

#[test]
fn a_lost_vm_that_comes_back_goes_on() {
    let appliance = Appliance::with(&["--lost-after", "1"]);
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, b"before ");
    guest.settle();
    guest.break_connection();
    appliance.until(ID, "/State/Status", "\"dead\"");
    guest.print(Stream::Stdout, b"after");
    guest.settle();
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
    guest.exit(0);
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "before after");
}

#[test]
fn a_vm_that_said_it_powers_off_is_not_waited_for() {
    let appliance = Appliance::with(&["--lost-after", "3600"]);
    let mut guest = Guest::run(appliance.port);
    let (action, reason) = (PowerAction::Off, "no disk labelled containerfs".to_owned());
    guest.say(&Control::Power { action, reason });
    guest.settle();
    drop(guest);
    let said = appliance.fails(&["wait", ID]);
    assert!(
        said.contains("it powered off: no disk labelled containerfs"),
        "{said}"
    );
}

#[test]
fn noise_before_and_between_costs_nothing() {
    let appliance = Appliance::start();
    let mut guest = Guest::start(appliance.port, &Container::default());
    guest.until("connection", |guest| guest.connections > 0);
    guest.noise(&generated(1, 1 << 20));
    guest.noise(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\xff\xfd\x01SeaBIOS (version 1.16)\r\n");
    let data = generated(2, 3 << 20);
    for (n, part) in data.chunks(64 * 1024).enumerate() {
        guest.print(Stream::Stdout, part);
        if n % 6 == 5 {
            guest.noise(&generated(100 + n as u64, 128 * 1024));
        }
    }
    guest.exit(0);
    guest.settle();
    assert!(
        appliance.vch(&["logs", ID]).stdout == data,
        "the log differs"
    );
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}

#[test]
fn output_made_before_anybody_listened_is_delivered() {
    let mut appliance = Appliance::not_yet(&[]);
    let mut guest = Guest::start(appliance.port, &Container::default());
    guest.print(Stream::Stdout, b"nobody there yet\n");
    guest.exit(0);
    for _ in 0..50 {
        guest.step();
    }
    appliance.run();
    guest.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "nobody there yet\n");
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
}

#[test]
fn a_reboot_begins_anew_and_keeps_the_output() {
    let appliance = Appliance::start();
    let mut first = Guest::run(appliance.port);
    first.print(Stream::Stdout, b"first boot\n");
    first.exit(1);
    first.settle();
    drop(first);
    let mut second = Guest::start(
        appliance.port,
        &Container {
            epoch: 2,
            ..Default::default()
        },
    );
    second.settle();
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
    assert_eq!(appliance.field(ID, "/RestartCount"), "1");
    second.print(Stream::Stdout, b"second boot\n");
    second.exit(0);
    second.settle();
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
    assert_eq!(appliance.ok(&["logs", ID]), "first boot\nsecond boot\n");
}

#[test]
fn of_two_connections_the_one_that_spoke_last_counts() {
    let appliance = Appliance::start();
    let mut old = Guest::run(appliance.port);
    old.print(Stream::Stdout, b"old\n");
    old.settle();
    let container = Container {
        epoch: 9,
        ..Default::default()
    };
    let mut new = Guest::start(appliance.port, &container);
    new.print(Stream::Stdout, b"new\n");
    new.settle();
    let before = old.connections;
    // Its connection is closed; it may try again, which is how we see it.
    old.until("the old connection's end", |old| old.connections > before);
    drop(old);
    new.exit(0);
    new.settle();
    assert_eq!(appliance.ok(&["logs", ID]), "old\nnew\n");
}

#[test]
fn an_id_that_is_no_file_name_is_refused_with_the_reason() {
    let appliance = Appliance::start();
    let container = Container {
        id: "../../etc",
        ..Default::default()
    };
    let mut guest = Guest::start(appliance.port, &container);
    guest.until("refusal", |guest| guest.refused.is_some());
    let reason = guest.refused.unwrap_or_default();
    assert!(
        reason.contains("\"../../etc\" is refused: expected"),
        "{reason}"
    );
    assert_eq!(appliance.ok(&["ps", "-aq"]), "");
}

#[test]
fn two_streams_stay_apart_and_in_order() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    for n in 0..400_u64 {
        let (o, e) = (
            generated(n, (n * 37 % 5000) as usize),
            generated(!n, (n * 11 % 900) as usize),
        );
        guest.print(Stream::Stdout, &o);
        guest.print(Stream::Stderr, &e);
        out.extend(o);
        err.extend(e);
    }
    guest.exit(0);
    guest.settle();
    let logs = appliance.vch(&["logs", ID]);
    assert!(logs.stdout == out && logs.stderr == err, "the log differs");
    assert_eq!(guest.link.written(ONE, Stream::Stdout), out.len() as u64);
}
