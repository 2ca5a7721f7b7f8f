//! `make bench-link`: the link and the listener, beside peers on the same work. Prints Markdown; what counts
//! are ratios within one run.

mod echo;
mod large;
mod machine;
mod peers;
mod report;
mod vm;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tether::link::{Event, Identity, Key, Link, Options, Resume, Stream};

use self::report::{Table, median};

/// Bytes of one VM's output into the log.
const BULK_BYTES: usize = 200_000_000;
/// Longest that one of them may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Turns of each, of which the medians are shown.
const TURNS: usize = 5;

fn main() {
    // cargo passes its own flags to whatever it calls a benchmark.
    let only = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let wanted = |name: &str| only.as_deref().is_none_or(|o| o == name);
    let vch = PathBuf::from(env!("CARGO_BIN_EXE_vch"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    if wanted("memory") {
        alone();
    }
    if wanted("bulk") {
        bulk(&runtime, &vch);
    }
    if wanted("echo") {
        runtime.block_on(echo::run(&vch));
    }
    if wanted("large") {
        runtime.block_on(large::run(&vch));
    }
}

/// Both ends in one process, nothing between them: what the state machine costs.
fn alone() {
    let mut table = Table::new(
        "The state machine alone, both ends",
        &["", "GB/s", "overhead"],
    );
    for (name, key) in [("plain", None), ("with a key", Key::new(&[7; 32]))] {
        let rates: Vec<f64> = (0..TURNS).map(|_| conversation(key.clone()).0).collect();
        let overhead = conversation(key).1;
        table.row(&[
            name.to_owned(),
            format!("{:.2}", median(&rates)),
            format!("{:.2} %", overhead * 100.0),
        ]);
    }
    table.print();
}

/// GB/s, and what the carrier had to carry more than the bytes themselves, as a part of them.
fn conversation(key: Option<Key>) -> (f64, f64) {
    let options = Options {
        buffer: 1 << 20,
        ..Options::default()
    };
    let identity = Identity {
        id: "bench".into(),
        epoch: 1,
        ..Identity::default()
    };
    let one = vm::ONE;
    let mut guest = Link::guest(identity, 1, options.clone());
    if let Some(key) = key.clone() {
        guest.require(key, [1; 32]);
    }
    guest.open(one);
    guest.send(&vm::session("bench"));
    let mut listener = Link::listener(2, options);
    let block = vec![b'x'; 64 << 10];
    let (mut written, mut carried, mut stored) = (0, 0, 0);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    while stored < BULK_BYTES {
        let now = begin.elapsed();
        assert!(now < LIMIT, "{stored} bytes have come");
        written += guest.write(one, Stream::Stdout, &block);
        up.clear();
        guest.poll_transmit(now, &mut up, 128 << 10);
        carried += up.len();
        listener.handle_input(now, &up);
        while let Some(event) = listener.poll_event() {
            match event {
                Event::Hello(_) => {
                    if let Some(key) = &key {
                        listener.unseal(key, [3; 32]).expect("the same key");
                    }
                    listener.accept(Resume::default());
                }
                Event::Data {
                    channel,
                    stream,
                    offset,
                    bytes,
                } => {
                    stored = offset as usize + bytes.len();
                    listener.stored(channel, stream, stored as u64);
                }
                Event::Message { sequence, .. } => listener.message_stored(sequence),
                _ => {}
            }
        }
        down.clear();
        listener.poll_transmit(now, &mut down, 128 << 10);
        carried += down.len();
        guest.handle_input(now, &down);
        while guest.poll_event().is_some() {}
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert!(written >= stored);
    let overhead = (carried as f64 - stored as f64) / stored as f64;
    (stored as f64 / seconds / 1e9, overhead)
}

/// One VM's output into the log, by turns.
fn bulk(runtime: &tokio::runtime::Runtime, vch: &std::path::Path) {
    let mut rates: Vec<(&str, Vec<f64>)> = vec![
        ("socat (the floor: a copy from socket to file)", Vec::new()),
        ("vch, no link key", Vec::new()),
        ("the same, and to a client that is attached", Vec::new()),
        ("vch, link key", Vec::new()),
        ("conserver", Vec::new()),
        ("ser2net", Vec::new()),
    ];
    for _ in 0..TURNS {
        let figures = [
            peers::socat(BULK_BYTES),
            Some(runtime.block_on(vm::bulk(vch, BULK_BYTES, false, false))),
            Some(runtime.block_on(vm::bulk(vch, BULK_BYTES, false, true))),
            Some(runtime.block_on(vm::bulk(vch, BULK_BYTES, true, false))),
            peers::conserver(BULK_BYTES),
            peers::ser2net(BULK_BYTES),
        ];
        for ((_, all), figure) in rates.iter_mut().zip(figures) {
            all.extend(figure);
        }
    }
    let mut table = Table::new(
        &format!("One VM, {} MB into the log", BULK_BYTES / 1_000_000),
        &["", "MB/s", "of socat"],
    );
    let floor = median(&rates[0].1);
    for (name, all) in &rates {
        if all.is_empty() {
            table.row(&[(*name).to_owned(), "not installed".into(), String::new()]);
            continue;
        }
        let rate = median(all);
        table.row(&[
            (*name).to_owned(),
            format!("{:.0}", rate / 1e6),
            format!("{:.2}", rate / floor),
        ]);
    }
    table.print();
}
