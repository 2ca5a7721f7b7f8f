//! Deaths: sessions by the thousand that end in every way, each with its own record, in one machine whose
//! process numbers come round again every few hundred.
//!
//! The test is the listener itself, so that the guest is what is measured: orders go out thirty at a time.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use tether::link::{
    Channel, Control, Event, Exec, ExitClass, ExitRecord, Link, Options, Resume, Stream,
};

use super::{Machine, PATIENCE};
use crate::guest::ID;

/// Deaths in `make test`; `TETHER_DEATHS` says another number (`make soak`: a million).
const DEATHS: u64 = 100_000;
/// Grandchildren that each session leaves for the stand-in to reap: with their parents and itself a session is
/// so many deaths.
const ORPHANS: u64 = 12;
const PER_SESSION: u64 = 2 * ORPHANS + 1;
/// Sessions in which every end comes once.
const ROUND: u64 = 512;
/// Sessions that are open at once.
const OPEN_MOST: usize = 30;
/// Signals that end a program which does nothing about them; of the others it survives all but those that stop.
const STOPS: [i32; 4] = [19, 20, 21, 22];
const HARMLESS: [i32; 4] = [17, 18, 23, 28];
/// What may be missing of the machine's memory at the end, beside what it was after a tenth, in KiB.
const GROWTH_MOST: u64 = 2048;

/// What is asked for, and what must come of it: class, status.
fn case(number: u64) -> (Vec<String>, ExitClass, i32) {
    let deaths = |how: &str, argument: i32| {
        ["/deaths", &ORPHANS.to_string(), how, &argument.to_string()]
            .map(str::to_owned)
            .to_vec()
    };
    let one = |path: &str| vec![path.to_owned()];
    let n = i32::try_from(number % ROUND).expect("small");
    match n {
        0..=255 => (deaths("exit", n), ExitClass::Exited, n),
        300..=363 if !STOPS.contains(&(n - 299)) && !matches!(n - 299, 32 | 33) => {
            let signal = n - 299;
            if HARMLESS.contains(&signal) {
                (deaths("signal", signal), ExitClass::Exited, 201)
            } else {
                (deaths("signal", signal), ExitClass::Signaled, 128 + signal)
            }
        }
        400 => (one("/no/such/program"), ExitClass::NotFound, 127),
        401 => (one("no-such-program"), ExitClass::NotFound, 127),
        402 => (one("/etc/passwd"), ExitClass::NotExecutable, 126),
        403 => (one("/etc"), ExitClass::NotExecutable, 126),
        404 => (one(""), ExitClass::Failed, 125),
        _ => (deaths("exit", n % 256), ExitClass::Exited, n % 256),
    }
}

/// The listener's end of the machine's link.
struct Appliance {
    socket: TcpStream,
    link: Link,
    begin: Instant,
    out: Vec<u8>,
    messages: u64,
    /// Open sessions by their channels; what each was to be.
    open: BTreeMap<Channel, String>,
    stored: BTreeMap<(Channel, Stream), u64>,
    output: Vec<u8>,
    records: BTreeMap<String, ExitRecord>,
    refused: Vec<String>,
    /// Sessions whose process has run.
    started: u64,
    /// The machine is off.
    gone: bool,
}

impl Appliance {
    fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().expect("the machine calls");
        socket.set_nonblocking(true).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        Self {
            socket,
            link: Link::listener(7, Options::default()),
            begin: Instant::now(),
            out: Vec::new(),
            messages: 0,
            open: BTreeMap::new(),
            stored: BTreeMap::new(),
            output: Vec::new(),
            records: BTreeMap::new(),
            refused: Vec::new(),
            started: 0,
            gone: false,
        }
    }

    fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Whatever goes, both ways.
    fn turn(&mut self) {
        let mut piece = [0; 64 << 10];
        let mut idle = true;
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => {
                    self.gone = true;
                    break;
                }
                Ok(length) => {
                    let now = self.now();
                    self.link.handle_input(now, &piece[..length]);
                    idle = false;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("reading: {error}"),
            }
        }
        while let Some(event) = self.link.poll_event() {
            self.event(event);
        }
        let now = self.now();
        self.link.poll_transmit(now, &mut self.out, 64 << 10);
        match self.socket.write(&self.out) {
            Ok(length) => drop(self.out.drain(..length)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "writing"),
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Hello(_) => self.link.accept(Resume::default()),
            Event::Data {
                channel,
                stream,
                offset,
                bytes,
            } => {
                self.output.extend_from_slice(&bytes);
                let stored = offset + bytes.len() as u64;
                self.stored.insert((channel, stream), stored);
                self.link.stored(channel, stream, stored);
            }
            Event::End {
                channel,
                stream,
                offset,
            } => self.link.stored(channel, stream, offset + 1),
            Event::Message { sequence, message } => {
                assert_eq!(sequence, self.messages, "in order, none twice");
                self.messages += 1;
                self.message(message);
                self.link.message_stored(sequence);
            }
            Event::Gap { .. } => panic!("a gap"),
            _ => {}
        }
    }

    fn message(&mut self, message: Control) {
        match message {
            Control::Session { channel, id, .. } => {
                assert_eq!(self.open.insert(channel, id), None, "one session a channel");
            }
            Control::Exit { channel, record } => {
                let id = self.open.get(&channel).expect("an open channel").clone();
                assert_eq!(
                    self.records.insert(id, record),
                    None,
                    "one record a session"
                );
            }
            Control::Closed { channel } => {
                self.open.remove(&channel).expect("an open channel");
                self.stored.retain(|(of, _), _| *of != channel);
            }
            Control::Started { .. } => self.started += 1,
            Control::Refused { what, message } => self.refused.push(format!("{what}: {message}")),
            _ => {}
        }
    }

    fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(!self.gone, "{what}: the machine has gone");
            assert!(
                Instant::now() < limit,
                "{what}: never; open {:?}",
                self.open
            );
            self.turn();
        }
    }

    /// Runs one to its end, alone; what it prints.
    fn run(&mut self, id: &str, script: &str) -> String {
        self.output.clear();
        let args = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        self.order(id, args, false);
        self.until("the end of a script", |it| {
            it.records.contains_key(id) && !it.open.values().any(|open| open == id)
        });
        self.records.remove(id);
        String::from_utf8_lossy(&self.output).into_owned()
    }

    fn order(&mut self, id: &str, args: Vec<String>, tty: bool) {
        let order = Exec {
            id: id.to_owned(),
            args,
            tty,
            ..Exec::default()
        };
        assert!(self.link.send(&Control::Exec(Box::new(order))), "room");
    }

    /// Memory that the machine has, in KiB, when nothing runs.
    fn memory(&mut self, id: &str) -> u64 {
        let told = self.run(
            id,
            "sync; echo 3 >/proc/sys/vm/drop_caches; grep MemAvailable /proc/meminfo",
        );
        let number = told
            .split_whitespace()
            .nth(1)
            .and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{told}"))
    }
}

#[test]
fn every_death_has_its_own_record_and_nothing_is_left() {
    let deaths = std::env::var("TETHER_DEATHS").ok();
    let deaths: u64 = deaths.map_or(DEATHS, |text| text.parse().expect("a number"));
    let sessions = deaths.div_ceil(PER_SESSION);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    // One process: nothing of it is left to hold its output when it is stopped.
    let words = ["/bin/sleep", "1000000"];
    let mut machine = Machine::new(listener.local_addr().expect("an address"), &words)
        // However late a double fork's processes get a processor: they hold the session's output.
        .with_top("link", json!({ "stdioGrace": 120 }))
        // Once round, numbers below 300 are for kernel threads: some 700 are left, and the thirty that are open need
        // 400 when nobody has been reaped. The caches are to be dropped.
        .with_top(
            "isolation",
            json!({ "sysctls": ["kernel.pid_max=1024"], "readonlyPaths": [] }),
        );
    machine.boot();
    let mut appliance = Appliance::accept(&listener);
    appliance.until("the machine runs", |it| it.started == 1);
    let mut expected = BTreeMap::new();
    let (mut next, mut done, mut early) = (0_u64, 0_u64, None);
    while done < sessions {
        while next < sessions && expected.len() < OPEN_MOST {
            let (args, class, status) = case(next);
            let id = format!("{next:064x}");
            // Every other round on a terminal.
            appliance.order(&id, args.clone(), next / ROUND % 2 == 1);
            expected.insert(id, (args, class, status));
            next += 1;
        }
        let before = done;
        appliance.until("another end", |it| !it.records.is_empty());
        for (id, record) in std::mem::take(&mut appliance.records) {
            let (args, class, status) = expected.remove(&id).expect("one of ours");
            assert_eq!(
                (record.class, record.status),
                (class, status),
                "{args:?}: {record:?}"
            );
            assert_eq!((record.stdout, record.stdio_held), (0, false), "{args:?}");
            done += 1;
        }
        assert_eq!(appliance.refused, Vec::<String>::new());
        if early.is_none() && done >= sessions / 10 {
            early = Some(appliance.memory("early"));
        }
        if before / 1000 != done / 1000 {
            eprintln!("{done} sessions, {} deaths", done * PER_SESSION);
        }
    }
    appliance.until("all channels closed", |it| it.open.len() == 1);
    let told = appliance.run(
        "zombies",
        "grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; ls -d /proc/[0-9]* | wc -l",
    );
    let counts: Vec<u64> = told
        .lines()
        .map(|line| line.trim().parse().expect("a number"))
        .collect();
    assert_eq!(counts[0], 0, "zombies");
    assert!(counts[1] < 10, "{} processes are left", counts[1]);
    let (early, late) = (early.expect("measured"), appliance.memory("late"));
    assert!(
        late + GROWTH_MOST > early,
        "{early} KiB were free after a tenth, {late} at the end"
    );
    assert!(appliance.link.send(&Control::Stop { grace_s: 0 }));
    appliance.until("the end", |it| it.records.contains_key(ID));
    // It powers off when it knows that all of it is stored.
    while !appliance.gone {
        appliance.turn();
    }
    machine.off();
}
