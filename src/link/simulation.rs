//! The link through a carrier with faults: no sockets, no threads, no real time. A seed fixes
//! everything, and a failing one is printed with how to run it again.

mod copies;
mod offsets;
mod pair;
mod proofs;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::pair::{Pair, STEP, announce};
use self::wire::{Faults, PERFECT, Random};
use super::*;

/// Faults for a while, then none: everything must arrive in bounded virtual time.
fn run(seed: u64) {
    let mut random = Random(seed ^ 0xfa17);
    let mut one_of = |choices: &[u64]| choices[random.below(choices.len() as u64) as usize];
    let faults = Faults {
        drop_byte: one_of(&[0, 0, 300, 3_000, 30_000]),
        flip_byte: one_of(&[0, 0, 300, 3_000, 30_000]),
        noise: one_of(&[0, 3, 30]),
        stall: one_of(&[0, 0, 20, 100]),
        duplicate: one_of(&[0, 0, 10]),
        reconnect: one_of(&[0, 0, 40, 200]),
        listener_dies: one_of(&[0, 0, 40, 200]),
        upgrade: one_of(&[0, 0, 30, 100]),
        capacity: one_of(&[300, 4_000, 40_000]) as usize,
    };
    let sizes = [
        one_of(&[0, 1, 2_000, 80_000]) as usize,
        one_of(&[0, 1, 5_000, 150_000]) as usize,
        one_of(&[0, 7, 20_000]) as usize,
    ];
    let mut pair = Pair::new(seed, faults, sizes);
    // One half with a key; new ones of it every few frames, now and then.
    if seed % 2 == 1 {
        let renew = if seed % 8 == 7 { 20 } else { u64::MAX };
        pair = pair.with_key(key(7), renew);
    }
    if seed % 5 == 4 {
        pair = pair.dropping();
    }
    for _ in 0..one_of(&[0, 10, 100, 600]) {
        pair.step();
    }
    pair.faults = PERFECT;
    pair.finish();
    pair.check();
}

fn key(byte: u8) -> Key {
    Key::new(&[byte; KEY_BYTES]).expect("as long as keys are")
}

/// Seeds a plain `cargo test` runs; `TETHER_SEEDS` asks for more, `TETHER_SEED` for one.
const SEEDS: u64 = 300;

#[test]
fn everything_arrives_whatever_the_carrier_does() {
    if let Some(seed) = number("TETHER_SEED") {
        return run(seed);
    }
    if let Some(seed) = each(number("TETHER_SEEDS").unwrap_or(SEEDS), run) {
        panic!("seed {seed} fails; again: TETHER_SEED={seed} cargo test --lib link::simulation");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Cases 0 to `count`, on all processors; the first that fails.
fn each(count: u64, case: impl Fn(u64) + Sync + std::panic::RefUnwindSafe) -> Option<u64> {
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return None;
            }
            if std::panic::catch_unwind(|| case(number)).is_err() {
                // The others need not go on.
                next.store(count, Ordering::Relaxed);
                return Some(number);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ends = workers.into_iter().map(|worker| worker.join());
        ends.filter_map(|end| end.expect("caught")).min()
    })
}

#[test]
fn a_perfect_carrier_needs_no_repetition() {
    let mut pair = Pair::new(1, PERFECT, [10_000, 100_000, 50_000]);
    while !pair.done() {
        pair.step();
        assert!(pair.now < Duration::from_secs(20), "takes too long");
    }
    pair.check();
    assert_eq!((pair.guest.noise(), pair.listener.noise()), (0, 0));
}

#[test]
fn an_idle_link_says_nothing_but_its_keep_alive() {
    let mut pair = Pair::new(2, PERFECT, [10, 10, 10]);
    pair.finish();
    for _ in 0..100 {
        pair.step();
    }
    let mut bytes = 0;
    let minute = Duration::from_secs(60);
    let end = pair.now + minute;
    while pair.now < end {
        bytes += pair.exchange(|_| {}, |_| {});
    }
    assert!(
        bytes > 0 && bytes <= 2 * 24 * 13 * 2,
        "{bytes} bytes in an idle minute"
    );
}

#[test]
fn a_silent_peer_is_lost_after_three_keep_alives() {
    let mut pair = Pair::new(3, PERFECT, [0, 10, 10]);
    pair.finish();
    let mut out = Vec::new();
    let quiet = pair.now;
    while pair.guest.established() {
        pair.now += STEP;
        pair.guest.poll_transmit(pair.now, &mut out, 40_000);
    }
    let waited = pair.now - quiet;
    assert!(
        waited > Duration::from_secs(15) && waited < Duration::from_secs(21),
        "{waited:?}"
    );
    assert_eq!(pair.guest.poll_event(), Some(Event::Lost));
}

#[test]
fn a_listener_that_lost_its_state_is_told_of_the_gap() {
    let mut pair = Pair::new(4, PERFECT, [0, 50_000, 0]);
    pair.finish();
    pair.new_listener();
    let (mut forgotten, mut gap, mut ends) = (false, None, 0);
    for _ in 0..200 {
        pair.exchange(
            |listener| {
                while let Some(event) = listener.poll_event() {
                    match event {
                        Event::Hello(_) => listener.accept(Resume::default()),
                        Event::Message { sequence, .. } => {
                            listener.message_stored(sequence);
                        }
                        Event::Gap {
                            channel,
                            stream,
                            from,
                            to,
                        } => {
                            listener.stored(channel, stream, to);
                            if stream == Stream::Stdout {
                                gap = Some((from, to));
                            }
                        }
                        Event::End {
                            channel,
                            stream,
                            offset,
                        } => {
                            listener.stored(channel, stream, offset + 1);
                            ends += 1;
                        }
                        _ => {}
                    }
                }
            },
            |guest| {
                while let Some(event) = guest.poll_event() {
                    if event == (Event::Established { forgotten: true }) {
                        forgotten = true;
                        announce(guest);
                    }
                }
            },
        );
    }
    assert!(forgotten);
    assert_eq!((gap, ends), (Some((0, 50_000)), 2));
}

/// An hour without a listener: the process never waits, the guest keeps no more than its buffer, and the
/// listener that comes gets the newest of it, behind a gap of exactly what is gone.
#[test]
fn an_hour_without_a_listener_costs_the_oldest() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut pair = Pair::new(6, PERFECT, [0, 0, 0]).dropping();
    let one = Channel(1);
    assert!(pair.guest.open(one));
    announce(&mut pair.guest);
    let (mut out, mut total) = (Vec::new(), 0u64);
    let line = |n: u64| [(n % 251) as u8; 1000];
    while pair.now < HOUR {
        pair.now += STEP;
        let wrote = pair.guest.write(one, Stream::Stdout, &line(total / 1000));
        assert_eq!(wrote, 1000, "the process waits");
        total += 1000;
        out.clear();
        pair.guest.poll_transmit(pair.now, &mut out, 40_000);
        assert!(pair.guest.unacknowledged().bytes <= 100_000);
    }
    let (mut gaps, mut next) = (Vec::new(), 0);
    for _ in 0..500 {
        pair.exchange(
            |listener| {
                while let Some(event) = listener.poll_event() {
                    match event {
                        Event::Hello(_) => listener.accept(Resume::default()),
                        Event::Gap {
                            channel,
                            stream,
                            from,
                            to,
                        } => {
                            assert_eq!(from, next);
                            gaps.push(to - from);
                            next = to;
                            listener.stored(channel, stream, to);
                        }
                        Event::Data {
                            channel,
                            stream,
                            offset,
                            bytes,
                        } => {
                            assert_eq!(offset, next);
                            for (at, byte) in (offset..).zip(&bytes) {
                                assert_eq!(*byte, (at / 1000 % 251) as u8);
                            }
                            next += bytes.len() as u64;
                            listener.stored(channel, stream, next);
                        }
                        _ => {}
                    }
                }
            },
            |_| {},
        );
    }
    assert_eq!(next, total);
    assert_eq!(gaps, [total - 100_000]);
}

#[test]
fn a_refusal_reaches_the_guest_with_its_reason() {
    let mut pair = Pair::new(5, PERFECT, [0, 0, 0]);
    let mut reason = None;
    for _ in 0..50 {
        pair.exchange(
            |listener| {
                if let Some(Event::Hello(_)) = listener.poll_event() {
                    listener.refuse("no key for c1");
                }
            },
            |guest| {
                if let Some(Event::Refused { reason: text }) = guest.poll_event() {
                    reason = Some(text);
                }
            },
        );
    }
    assert_eq!(reason.as_deref(), Some("no key for c1"));
    assert!(!pair.guest.established());
}
