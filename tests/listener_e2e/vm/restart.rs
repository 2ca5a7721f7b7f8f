//! A session that is started again.

use serde_json::json;

use super::Machine;
use crate::appliance::Appliance;
use crate::guest::ID;

/// Its streams go on over its restarts, and one that is told to stop stops for good.
#[test]
fn a_session_is_started_again_until_it_is_stopped() {
    let appliance = Appliance::start();
    let script = "echo x >>/runs; n=$(wc -l </runs); echo run $n; trap 'exit 9' TERM; \
        if [ $n -lt 4 ]; then exit $n; fi; while :; do sleep 0.1; done";
    let mut machine =
        Machine::new(appliance.port, &["/bin/sh", "-c", script]).with("restart", json!(true));
    machine.boot();
    machine.until_running(&appliance);
    machine.until("the fourth run", || {
        appliance.ok(&["logs", ID]) == "run 1\nrun 2\nrun 3\nrun 4\n"
    });
    assert_eq!(appliance.field(ID, "/State/Status"), "\"running\"");
    let stage = appliance.ok(&["inspect", ID]);
    let told = "ended with status 3: started again in 400 ms, for the 3. time";
    assert!(stage.contains(told), "{stage}");
    assert_eq!(appliance.field(ID, "/RestartCount"), "3");
    assert!(appliance.vch(&["stop", "-t", "10", ID]).status.success());
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "9\n");
}

/// A stop while it rests is a stop; and what cannot be executed is not tried for ever.
#[test]
fn a_stop_in_a_rest_is_the_end_and_so_is_a_program_that_is_gone() {
    let appliance = Appliance::start();
    let mut machine =
        Machine::new(appliance.port, &["/bin/sh", "-c", "exit 3"]).with("restart", json!(true));
    machine.boot();
    machine.until_running(&appliance);
    machine.until("some restarts", || {
        let stage = appliance.ok(&["inspect", ID]);
        (4..20).any(|count| stage.contains(&format!("for the {count}. time")))
    });
    assert!(appliance.vch(&["stop", "-t", "10", ID]).status.success());
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "3\n");

    let appliance = Appliance::start();
    let words = ["/bin/sh", "-c", "rm /bin/sh; exit 1"];
    let mut machine = Machine::new(appliance.port, &words).with("restart", json!(true));
    machine.boot();
    machine.off();
    assert_eq!(appliance.ok(&["wait", ID]), "127\n");
}

/// A terminal is a new one each time, and a client stays attached.
#[test]
fn a_terminal_is_there_again() {
    let appliance = Appliance::start();
    let mut machine = Machine::new(
        appliance.port,
        &[
            "/bin/sh",
            "-c",
            "read line; echo got $line >/dev/console; exit 1",
        ],
    )
    .with("restart", json!(true))
    .with("tty", json!(true));
    machine.boot();
    machine.until_running(&appliance);
    let mut client = appliance.attach("stream=1&stdin=1&stdout=1");
    let mut seen = String::new();
    for word in ["one", "two", "three"] {
        use std::io::{Read as _, Write as _};
        // What is typed while nobody runs is lost, as on any terminal: until it is answered.
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(2)))
            .expect("a limit");
        while !seen.contains(&format!("got {word}")) {
            writeln!(client, "{word}").expect("typed");
            let mut bytes = [0; 4096];
            if let Ok(length) = client.read(&mut bytes) {
                seen += &String::from_utf8_lossy(&bytes[..length]);
            }
            assert!(seen.len() < 10_000, "{seen}");
        }
    }
    assert!(appliance.vch(&["stop", "-t", "1", ID]).status.success());
    machine.off();
}
