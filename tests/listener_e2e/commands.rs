//! The command line: names, tables, errors, requests to a VM.

use std::io::Read as _;
use std::process::{Command, Stdio};

use tether::link::{Control, Stream};

use crate::appliance::Appliance;
use crate::guest::{Container, Guest, ID, NAME, ONE};

#[test]
fn a_port_in_use_is_said_so() {
    let appliance = Appliance::start();
    let other = tempfile::tempdir().expect("folder");
    let output = Command::new(env!("CARGO_BIN_EXE_vch"))
        .args(["listen", "--port", &appliance.port.to_string(), "--state"])
        .arg(other.path())
        .output()
        .expect("vch");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("port {} is in use by another program", appliance.port);
    assert!(
        said.contains(&expected) && said.contains("choose another port"),
        "{said}"
    );
}

#[test]
fn a_state_folder_in_use_is_said_so() {
    let appliance = Appliance::start();
    let said = appliance.fails(&["listen", "--port", "0"]);
    assert!(said.contains("belongs to a listener that runs"), "{said}");
}

#[test]
fn without_a_listener_it_says_where_it_looked_and_what_to_do() {
    let appliance = Appliance::not_yet(&[]);
    let said = appliance.fails(&["ps"]);
    let socket = appliance.socket().display().to_string();
    assert!(said.contains(&format!("no listener at {socket}")), "{said}");
    assert!(
        said.contains("start one with `vch listen --state"),
        "{said}"
    );
}

#[test]
fn the_table_is_dockers() {
    let appliance = Appliance::start();
    let headings = "CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   NAMES\n";
    assert_eq!(appliance.ok(&["ps", "-a"]), headings);
    let mut guest = Guest::run(appliance.port);
    let table = appliance.ok(&["ps"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    let columns: Vec<&str> = lines[1].split("   ").map(str::trim).collect();
    assert_eq!(
        columns[..3],
        [&ID[..12], "hello-world", "\"/bin/hello --name a…\""]
    );
    assert!(
        columns[3].ends_with(" ago") && columns[4].starts_with("Up "),
        "{table}"
    );
    assert_eq!(columns[5], NAME);
    for heading in ["IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"] {
        let at = lines[0].find(heading).expect("a heading");
        assert_eq!(&lines[1][at - 1..at], " ", "{heading} in\n{table}");
    }
    guest.exit(3);
    guest.settle();
    assert_eq!(appliance.ok(&["ps", "-q"]), "");
    assert!(appliance.ok(&["ps", "-a"]).contains("Exited (3) "));
    assert_eq!(
        appliance.ok(&["ps", "-aq", "--no-trunc"]),
        format!("{ID}\n")
    );
    let json: serde_json::Value =
        serde_json::from_str(&appliance.ok(&["ps", "-a", "--format", "json"])).expect("JSON");
    assert_eq!(json["Names"], NAME);
    assert_eq!(json["State"], "exited");
}

#[test]
fn a_container_is_found_by_id_part_of_it_and_name() {
    let appliance = Appliance::start();
    let other_id = format!("2cf7{}", "0".repeat(60));
    let other = Container {
        id: &other_id,
        name: "sleepy_wozniak",
        ..Default::default()
    };
    let mut guests = [
        Guest::run(appliance.port),
        Guest::start(appliance.port, &other),
    ];
    for guest in &mut guests {
        guest.settle();
    }
    for text in [ID, &ID[..6], NAME, "/jolly_panini"] {
        assert_eq!(appliance.field(text, "/Id"), format!("\"{ID}\""), "{text}");
    }
    let said = appliance.fails(&["inspect", "2cf7"]);
    assert!(
        said.contains("2cf7 is ambiguous: ") && said.contains(&other_id),
        "{said}"
    );
    let said = appliance.fails(&["logs", "nobody"]);
    assert!(said.contains("No such container: nobody"), "{said}");
}

#[test]
fn kill_stop_and_their_errors() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    assert_eq!(
        appliance.ok(&["kill", "-s", "hup", NAME]),
        format!("{NAME}\n")
    );
    let hup = Control::Signal {
        channel: ONE,
        signal: "SIGHUP".into(),
    };
    guest.until("signal", |guest| guest.commands == [hup.clone()]);
    let said = appliance.fails(&["kill", "-s", "HELLO", NAME]);
    assert!(said.contains("Invalid signal: HELLO"), "{said}");

    let stop = appliance.spawn(&["stop", "-t", "2", ID]);
    let asked = Control::Stop { grace_s: 2 };
    guest.until("stop", |guest| guest.commands.contains(&asked));
    guest.exit(143);
    assert!(guest.until_ended(stop).status.success());
    assert_eq!(
        appliance.ok(&["stop", ID]),
        format!("{ID}\n"),
        "stopped already"
    );
    let said = appliance.fails(&["kill", ID]);
    assert!(
        said.contains("container jolly_panini is not running"),
        "{said}"
    );
}

#[test]
fn a_vm_that_is_away_cannot_be_asked() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.break_connection();
    appliance.until(ID, "/Vch/Link", "\"down\"");
    for command in ["kill", "stop"] {
        let said = appliance.fails(&[command, ID]);
        assert!(
            said.contains("container jolly_panini has no link: its VM is not"),
            "{said}"
        );
    }
    assert!(appliance.ok(&["ps"]).contains("(link down)"));
}

#[test]
fn a_signal_is_not_lost_with_a_connection() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    for n in 1..=20 {
        appliance.ok(&["kill", "-s", "USR1", ID]);
        guest.break_connection();
        guest.until("signal", |guest| guest.commands.len() >= n);
        appliance.until_link(&mut guest);
    }
    assert_eq!(guest.commands.len(), 20);
}

#[test]
fn removing_needs_force_while_it_runs() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let said = appliance.fails(&["rm", ID]);
    assert!(
        said.contains("stop the container before removing or force remove"),
        "{said}"
    );
    let remove = appliance.spawn(&["rm", "-f", ID]);
    guest.until("stop", |guest| {
        guest.commands == [Control::Stop { grace_s: 0 }]
    });
    guest.exit(137);
    guest.settle();
    drop(guest);
    assert!(remove.wait_with_output().expect("output").status.success());
    assert_eq!(appliance.ok(&["ps", "-aq"]), "");
    assert!(!appliance.state().join("containers").join(ID).exists());
}

#[test]
fn a_reader_that_closes_early_is_no_error() {
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    guest.print(Stream::Stdout, &vec![b'x'; 2 << 20]);
    guest.settle();
    let mut logs = appliance.spawn(&["logs", ID]);
    let mut stdout = logs.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 10]).expect("some output");
    drop(stdout);
    let output = logs.wait_with_output().expect("output");
    assert_eq!((output.status.code(), output.stderr), (Some(141), vec![]));
}

#[test]
fn on_a_terminal_keys_go_through_and_its_mode_is_restored() {
    let appliance = Appliance::start();
    let container = Container {
        tty: true,
        ..Default::default()
    };
    let mut guest = Guest::start(appliance.port, &container);
    guest.settle();
    // `script` gives it a terminal; what follows the client shows the mode it left behind.
    let vch = env!("CARGO_BIN_EXE_vch");
    let shell = format!("stty rows 33 cols 99; {vch} attach {ID}; echo status=$?; stty -a");
    let mut client = Command::new("script")
        .args(["-qec", &shell, "/dev/null"])
        .env("VCH_STATE", appliance.state())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script (package bsdutils)");
    let size = |rows, columns| Control::Resize {
        channel: ONE,
        rows,
        columns,
    };
    guest.until("size", |guest| {
        guest.commands == [size(34, 100), size(33, 99)]
    });
    let mut keys = client.stdin.take().expect("piped");
    std::io::Write::write_all(&mut keys, b"\x03\x1a").expect("keys");
    guest.until("keys", |guest| guest.stdin == b"\x03\x1a");
    guest.print(Stream::Stdout, b"shell$ ");
    std::io::Write::write_all(&mut keys, b"\x10\x11").expect("keys");
    let mut stdout = client.stdout.take().expect("piped");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    guest.until("end of the client", |_| reading.is_finished());
    let text = reading.join().expect("no panic").expect("text");
    client.wait().expect("wait");
    assert!(
        text.contains("detached from") && text.contains("status=0"),
        "{text}"
    );
    let modes: Vec<&str> = text.split_whitespace().collect();
    for mode in ["icanon", "isig", "echo", "opost"] {
        assert!(modes.contains(&mode), "{mode} is not restored: {text}");
    }
    assert!(!guest.stdin_ended);
}
