//! Answers of a machine's process 1 to who has asked (`docker cp`, `stats`, `pause`), from guests that give them: they go
//! into no log, they come as fast as they are taken, and whoever goes away ends what it has asked for.

use std::io::Read as _;

use tether::files::{Decoder, Entry, Event, Failure, Kind, Trouble, write_end};
use tether::link::control::PowerAction;
use tether::link::{Channel, Control, Exec, Stream};

use crate::appliance::Appliance;
use crate::docker::{Docker, clients};
use crate::guest::{Guest, NAME, generated};

fn each(test: impl Fn(&Docker, &mut Appliance)) {
    for program in clients() {
        let mut appliance = Appliance::start();
        test(&Docker::new(program, &appliance), &mut appliance);
    }
}

/// The next service that is asked for.
fn asked(guest: &mut Guest, service: &str) -> Exec {
    loop {
        guest.until("an order", |guest| !guest.commands.is_empty());
        match guest.commands.remove(0) {
            Control::Exec(order) => {
                assert_eq!(order.service, service);
                return *order;
            }
            // One that was asked before has been done with.
            Control::Signal { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn begin(guest: &mut Guest, order: &Exec, channel: Channel) {
    guest.link.open(channel);
    guest.say(&Control::Session {
        channel,
        id: order.id.clone(),
        name: String::new(),
        path: order.service.clone(),
        args: Vec::new(),
        tty: false,
        openstdin: order.openstdin,
        attach: false,
        primary: false,
        direct: true,
    });
    guest.say(&Control::Started {
        channel,
        pid: 43,
        time_ms: 1000,
    });
}

/// As much of it as it is let.
fn tell(guest: &mut Guest, channel: Channel, bytes: &[u8]) {
    let mut rest = bytes;
    guest.until("room for an answer", |guest| {
        let taken = guest.link.write(channel, Stream::Stdout, rest);
        rest = &rest[taken..];
        rest.is_empty()
    });
}

fn end(guest: &mut Guest, channel: Channel) {
    guest.link.finish(channel, Stream::Stdout);
    guest.link.finish(channel, Stream::Stderr);
    guest.say_exit_of(channel, 0);
    guest.until("delivery", |guest| guest.link.delivered(channel));
    guest.link.close(channel);
    guest.say(&Control::Closed { channel });
    guest.settle();
}

fn answered(guest: &mut Guest, service: &str, channel: u16, answer: &[u8]) -> Exec {
    let order = asked(guest, service);
    begin(guest, &order, Channel(channel));
    tell(guest, Channel(channel), answer);
    end(guest, Channel(channel));
    order
}

fn about(kind: Kind, size: u64) -> Entry {
    Entry {
        kind,
        path: b"file".to_vec(),
        mode: 0o640,
        size,
        about: true,
        ..Entry::default()
    }
}

fn whole(contents: &[u8]) -> Vec<u8> {
    let told = about(Kind::File, contents.len() as u64);
    let mut answer = Vec::new();
    told.write(&mut answer);
    Entry {
        about: false,
        ..told
    }
    .write(&mut answer);
    answer.extend_from_slice(contents);
    write_end(&Ok(()), &mut answer);
    answer
}

fn failure(trouble: Trouble, text: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    let failure = Failure {
        trouble,
        text: text.to_owned(),
    };
    write_end(&Err(failure), &mut answer);
    answer
}

fn log_bytes(appliance: &Appliance) -> u64 {
    let log = appliance
        .state()
        .join("containers")
        .join(crate::guest::ID)
        .join("log");
    let files = std::fs::read_dir(log).expect("its log");
    files
        .map(|file| file.expect("one").metadata().expect("it").len())
        .sum()
}

#[test]
fn files_go_to_who_has_asked_and_into_no_log() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        guest.print(Stream::Stdout, b"its own\n");
        let contents = generated(1, 3 << 20);
        let source = format!("{NAME}:/d/file");
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("copy");
        let client = docker.spawn(&["cp", &source, to.to_str().expect("UTF-8")]);
        let order = answered(&mut guest, "get", 2, &whole(&contents));
        assert_eq!(order.args, ["/d/file"]);
        let output = guest.until_ended(client);
        assert!(output.status.success(), "{output:?}");
        assert!(std::fs::read(&to).expect("the copy") == contents);
        guest.print(Stream::Stdout, b"goes on\n");
        guest.settle();
        assert!(log_bytes(appliance) < 64 << 10, "{}", log_bytes(appliance));
        let logs = docker.ok(&["logs", NAME]);
        assert_eq!(logs, "its own\ngoes on\n");
        // Nothing of what was asked is anybody's session.
        assert_eq!(docker.ok(&["ps", "-q"]).lines().count(), 1);
    });
}

#[test]
fn an_archive_becomes_entries_and_what_is_wrong_is_docker_s_word() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let folder = tempfile::tempdir().expect("a folder");
        let contents = generated(2, 300_000);
        let file = folder.path().join("new");
        std::fs::write(&file, &contents).expect("written");
        let file = file.to_str().expect("UTF-8");
        let target = format!("{NAME}:/dir");
        let client = docker.spawn(&["cp", file, &target]);
        let mut answer = Vec::new();
        about(Kind::Folder, 0).write(&mut answer);
        write_end(&Ok(()), &mut answer);
        answered(&mut guest, "stat", 2, &answer);
        let order = asked(&mut guest, "put");
        assert_eq!(order.args[0], "/dir");
        assert!(order.openstdin);
        begin(&mut guest, &order, Channel(3));
        let (mut decoder, mut seen, mut got, mut over) = (Decoder::default(), 0, Vec::new(), false);
        guest.until("all of it", |guest| {
            let mut input = &guest.stdin[seen..];
            while let Some(event) = decoder.next(&mut input).expect("entries") {
                match event {
                    Event::Entry(entry) => {
                        assert_eq!(
                            (entry.path.as_slice(), entry.kind),
                            (&b"new"[..], Kind::File)
                        );
                    }
                    Event::Data(data) => got.extend_from_slice(data),
                    Event::End(end) => {
                        assert_eq!(end, Ok(()));
                        over = true;
                    }
                }
            }
            seen = guest.stdin.len() - input.len();
            over
        });
        assert!(got == contents);
        let mut done = Vec::new();
        write_end(&Ok(()), &mut done);
        tell(&mut guest, Channel(3), &done);
        end(&mut guest, Channel(3));
        let output = guest.until_ended(client);
        assert!(output.status.success(), "{output:?}");
        for (answer, words) in [
            (failure(Trouble::NotFound, "x"), "nothing"),
            (failure(Trouble::Bad, "a socket"), "a socket"),
            (
                failure(Trouble::Failed, "the disk is broken"),
                "the disk is broken",
            ),
            (b"\xff\xff\xff\xff".to_vec(), "what has come are no files"),
        ] {
            let client = docker.spawn(&["cp", &format!("{NAME}:/nothing"), "-"]);
            answered(&mut guest, "get", 4, &answer);
            let output = guest.until_ended(client);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                !output.status.success() && said.contains(words),
                "{words}: {said}"
            );
        }
        let client = docker.spawn(&["cp", &format!("{NAME}:/x"), "-"]);
        let order = asked(&mut guest, "get");
        guest.say(&Control::Refused {
            what: order.id,
            message: "too many sessions".into(),
        });
        let output = guest.until_ended(client);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("too many sessions"), "{said}");
    });
}

#[test]
fn who_does_not_read_holds_up_nobody_and_who_goes_ends_the_copy() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let contents = generated(3, 64 << 20);
        let mut client = docker.spawn(&["cp", &format!("{NAME}:/big"), "-"]);
        let mut stdout = client.stdout.take().expect("a pipe");
        let order = asked(&mut guest, "get");
        let channel = Channel(2);
        begin(&mut guest, &order, channel);
        // Nobody reads: it stops somewhere.
        let answer = whole(&contents);
        let (mut told, mut still) = (0, 0);
        guest.until("a standstill", |guest| {
            let taken = guest.link.write(channel, Stream::Stdout, &answer[told..]);
            told += taken;
            still = if taken == 0 { still + 1 } else { 0 };
            still > 500
        });
        assert!(told < 32 << 20, "{told} bytes are kept for nobody");
        guest.print(Stream::Stdout, &generated(4, 1 << 20));
        let own = guest.link.written(crate::guest::ONE, Stream::Stdout);
        let id = crate::guest::ID;
        guest.until("the process's own output", |_| {
            let end = appliance.field(id, "/Vch/LogBytes");
            end.parse::<u64>().is_ok_and(|end| end > own)
        });
        // It is taken again where it was.
        let mut some = vec![0; 4 << 20];
        let reading = std::thread::spawn(move || {
            stdout.read_exact(&mut some).expect("more of it");
            (stdout, some)
        });
        guest.until("more to be taken", |guest| {
            told += guest.link.write(channel, Stream::Stdout, &answer[told..]);
            reading.is_finished()
        });
        let (stdout, some) = reading.join().expect("read");
        assert!(
            some[512..1 << 20] == contents[..(1 << 20) - 512],
            "the same bytes"
        );
        drop(stdout);
        client.kill().expect("killed");
        client.wait().expect("ended");
        guest.commands.clear();
        let killed = |command: &Control| matches!(command, Control::Signal { signal, .. } if signal == "KILL");
        guest.until("word that nobody wants it", |guest| {
            told += guest.link.write(channel, Stream::Stdout, &answer[told..]);
            guest.commands.iter().any(killed)
        });
        end(&mut guest, channel);
        guest.exit(0);
        guest.settle();
        appliance.until(id, "/State/Status", "\"exited\"");
    });
}

#[test]
fn a_connection_that_breaks_loses_nothing_and_a_new_listener_wants_nothing() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let contents = generated(5, 4 << 20);
        let answer = whole(&contents);
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("copy");
        let source = format!("{NAME}:/file");
        let client = docker.spawn(&["cp", &source, to.to_str().expect("UTF-8")]);
        let order = asked(&mut guest, "get");
        let channel = Channel(2);
        begin(&mut guest, &order, channel);
        for piece in answer.chunks(600_000) {
            tell(&mut guest, channel, piece);
            guest.break_connection();
        }
        end(&mut guest, channel);
        let output = guest.until_ended(client);
        assert!(output.status.success(), "{output:?}");
        assert!(std::fs::read(&to).expect("the copy") == contents);

        let mut client = docker.spawn(&["cp", &source, "-"]);
        let order = asked(&mut guest, "get");
        begin(&mut guest, &order, channel);
        tell(&mut guest, channel, &answer[..600_000]);
        appliance.kill();
        client.kill().expect("killed");
        client.wait().expect("ended");
        guest.commands.clear();
        appliance.run();
        let killed = |command: &Control| matches!(command, Control::Signal { signal, .. } if signal == "KILL");
        guest.until("word that nobody wants it", |guest| {
            guest.commands.iter().any(killed)
        });
        tell(&mut guest, channel, &answer[600_000..]);
        end(&mut guest, channel);
        assert!(log_bytes(appliance) < 64 << 10);
        // And the next question has its answer.
        let client = docker.spawn(&["cp", &source, to.to_str().expect("UTF-8")]);
        answered(&mut guest, "get", 3, &whole(b"short"));
        assert!(guest.until_ended(client).status.success());
        assert_eq!(std::fs::read(&to).expect("the copy"), b"short");
    });
}

#[test]
fn a_pause_is_the_machine_s_and_is_shown() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let mut done = Vec::new();
        write_end(&Ok(()), &mut done);
        let client = docker.spawn(&["pause", NAME]);
        answered(&mut guest, "freeze", 2, &done);
        assert!(guest.until_ended(client).status.success());
        assert!(docker.ok(&["ps"]).contains("(Paused)"));
        assert_eq!(
            docker
                .ok(&["ps", "-q", "--filter", "status=paused"])
                .lines()
                .count(),
            1
        );
        assert!(docker.ok(&["info"]).contains("Paused: 1"));
        let told = docker.fails(&["exec", NAME, "true"], 1);
        assert!(
            told.contains("is paused, unpause the container before exec"),
            "{told}"
        );
        let told = docker.fails(&["pause", NAME], 1);
        assert!(told.contains("is already paused"), "{told}");
        // It is so for the next listener, too.
        appliance.kill();
        appliance.run();
        guest.until("a link", |_| appliance.field(NAME, "/Vch/Link") == "\"up\"");
        assert_eq!(appliance.field(NAME, "/State/Status"), "\"paused\"");
        let client = docker.spawn(&["unpause", NAME]);
        answered(&mut guest, "thaw", 2, &done);
        assert!(guest.until_ended(client).status.success());
        assert_eq!(appliance.field(NAME, "/State/Status"), "\"running\"");
        let told = docker.fails(&["unpause", NAME], 1);
        assert!(told.contains("is not paused"), "{told}");
        let client = docker.spawn(&["pause", NAME]);
        answered(
            &mut guest,
            "freeze",
            2,
            &failure(Trouble::Failed, "not all stand still"),
        );
        let output = guest.until_ended(client);
        assert!(String::from_utf8_lossy(&output.stderr).contains("not all stand still"));
        assert_eq!(appliance.field(NAME, "/State/Paused"), "false");
        // One that stands still is killed, whatever becomes of its thawing.
        let client = docker.spawn(&["pause", NAME]);
        answered(&mut guest, "freeze", 2, &done);
        assert!(guest.until_ended(client).status.success());
        let client = docker.spawn(&["kill", NAME]);
        guest.until("the signal", |guest| {
            let kill = |command: &Control| matches!(command, Control::Signal { signal, .. } if signal == "SIGKILL");
            guest.commands.iter().any(kill)
        });
        guest.exit(137);
        guest.say(&Control::Power {
            action: PowerAction::Off,
            reason: "it has ended".into(),
        });
        guest.settle();
        guest.break_connection();
        let output = client.wait_with_output().expect("docker");
        assert!(output.status.success(), "{output:?}");
    });
}

#[test]
fn figures_are_docker_s() {
    each(|docker, appliance| {
        let mut guest = Guest::run(appliance.port);
        let client = docker.spawn(&[
            "stats",
            "--no-stream",
            "--format",
            "{{.MemUsage}} {{.PIDs}} {{.CPUPerc}}",
            NAME,
        ]);
        let order = asked(&mut guest, "figures");
        begin(&mut guest, &order, Channel(2));
        for (used, all) in [(0, 100), (500_000, 200)] {
            let mut answer = Vec::new();
            for (name, text) in [
                ("cpu.stat", format!("usage_usec {used}\n")),
                ("memory.current", "1048576\n".to_owned()),
                ("memory.max", "2097152\n".to_owned()),
                ("pids.current", "7\n".to_owned()),
                ("/proc/stat", format!("cpu {all} 0 0 0 0 0 0 0\ncpu0 1\n")),
            ] {
                Entry {
                    path: name.into(),
                    size: text.len() as u64,
                    ..Entry::default()
                }
                .write(&mut answer);
                answer.extend_from_slice(text.as_bytes());
            }
            Entry {
                about: true,
                ..Entry::default()
            }
            .write(&mut answer);
            tell(&mut guest, Channel(2), &answer);
        }
        let output = guest.until_ended(client);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "1MiB / 2MiB 7 50.00%"
        );
        end(&mut guest, Channel(2));
    });
}
