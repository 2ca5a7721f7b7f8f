//! One stream through hell: its carrier moves from host to host, its listener is killed, and the log is what
//! was written, to the byte.
//!
//! A hundredth of it by default; `SOAK=MEBIBYTES` asks for more (`make soak`), with one vMotion and one
//! SIGKILL for each ten.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tether::link::Stream;

use crate::appliance::Appliance;
use crate::guest::{Guest, ID, generated};
use crate::stdin::cat;
use crate::vspc::{begin, moved};

const MIB: usize = 1 << 20;
/// Output between two events, in MiB.
const BETWEEN: usize = 10;
/// A kill in so many falls into the middle of a vMotion.
const IN_MID_MOVE: usize = 5;

fn mebibytes() -> usize {
    std::env::var("SOAK").map_or(100, |n| n.parse().expect("MiB"))
}

/// The stream's MiB of this number.
fn part(number: usize) -> Vec<u8> {
    generated(number as u64 + 1, MIB)
}

/// stdin of the same size, up to a GiB, through a process like `cat` and back.
#[test]
fn stdin_through_cat_and_back_is_the_same_bytes() {
    let mebibytes = mebibytes().min(1024);
    let appliance = Appliance::start();
    let mut guest = Guest::run(appliance.port);
    let mut client = appliance.spawn(&["attach", ID]);
    let mut stdin = client.stdin.take().expect("piped");
    let mut stdout = client.stdout.take().expect("piped");
    let typing = std::thread::spawn(move || {
        (0..mebibytes).try_for_each(|number| stdin.write_all(&part(number)))
    });
    let reading = std::thread::spawn(move || {
        let mut got = vec![0; MIB];
        for number in 0..mebibytes {
            stdout.read_exact(&mut got).expect("as much as was typed");
            assert!(got == part(number), "MiB {number} differs");
        }
        assert_eq!(stdout.read(&mut got).expect("the end"), 0);
    });
    cat(&mut guest);
    guest.until("end of the client", |_| reading.is_finished());
    typing.join().expect("no panic").expect("all is taken");
    reading.join().expect("the same bytes");
    assert_eq!(client.wait().expect("its end").code(), Some(0));
    assert_eq!(guest.stdin.len(), mebibytes * MIB);
}

#[test]
fn one_stream_through_moves_and_kills_is_the_same_bytes() {
    let mebibytes = mebibytes();
    let mut appliance = Appliance::start();
    let mut guest = Guest::behind_proxy(appliance.port);
    let begin_at = Instant::now();
    let mut told = Instant::now();
    let (mut moves, mut kills) = (0, 0);
    for number in 0..mebibytes {
        let bytes = part(number);
        // Somewhere in it, another place each time.
        let at = (number * 7919 * 4096 + 1) % MIB;
        guest.print(Stream::Stdout, &bytes[..at]);
        match number % BETWEEN {
            3 => {
                let sequence = (number as u32).wrapping_mul(0xff01_00ff).to_le_bytes();
                moved(&appliance, &mut guest, &sequence, number % 20 == 3);
                moves += 1;
            }
            8 => {
                if kills % IN_MID_MOVE == IN_MID_MOVE - 1 {
                    // The go-ahead has come; nobody will know the cookie.
                    begin(&mut guest, &[8, 8]);
                }
                appliance.kill();
                appliance.run();
                kills += 1;
            }
            _ => {}
        }
        guest.print(Stream::Stdout, &bytes[at..]);
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!("  {number} of {mebibytes} MiB, {moves} vMotions, {kills} SIGKILLs");
        }
    }
    guest.exit(42);
    guest.settle();
    let written = begin_at.elapsed();
    // Whatever of the exit came twice would count as another message.
    assert_eq!(appliance.ok(&["wait", ID]), "42\n");
    assert_eq!(appliance.ok(&["ps", "-aq"]).lines().count(), 1);

    let mut logs = appliance
        .command("logs")
        .arg(ID)
        .stdout(Stdio::piped())
        .spawn()
        .expect("vch logs");
    let mut stdout = logs.stdout.take().expect("piped");
    let mut got = vec![0; MIB];
    for number in 0..mebibytes {
        stdout.read_exact(&mut got).expect("as much as was written");
        assert!(got == part(number), "MiB {number} differs");
    }
    assert_eq!(
        stdout.read(&mut got).expect("the end"),
        0,
        "more than was written"
    );
    assert!(logs.wait().expect("its end").success());
    assert_eq!(
        (moves, kills),
        (mebibytes.div_ceil(BETWEEN), mebibytes / BETWEEN)
    );
    eprintln!("  {mebibytes} MiB, {moves} vMotions, {kills} SIGKILLs in {written:.1?}");
}
