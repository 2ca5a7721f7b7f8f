//! Two guests that go on from the same memory: one of them becomes another boot.

use super::pair::{Pair, announce};
use super::wire::PERFECT;
use super::*;

const FRESH: Fresh = [3, 1, 4, 1];
const OTHER_EPOCH: u64 = 99;

/// What the listener has heard, and what the guest was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Epoch and last WELCOME of each HELLO.
    hellos: Vec<(u64, u64)>,
    messages: usize,
    copies: Vec<Fresh>,
}

/// A guest whose first HELLO is taken for a copy's.
fn converse(key: Option<Key>) -> (u64, Heard) {
    let mut pair = Pair::new(8, PERFECT, [0; 3]);
    if let Some(key) = key {
        pair = pair.with_key(key, u64::MAX);
    }
    pair.guest.open(Channel(1));
    announce(&mut pair.guest);
    let (key, random) = (pair.key.clone(), pair.bytes());
    let (mut heard, mut copies) = (Heard::default(), Vec::new());
    for _ in 0..50 {
        pair.exchange(
            |listener| {
                while let Some(event) = listener.poll_event() {
                    match event {
                        Event::Hello(hello) => {
                            let hello = match &key {
                                Some(key) => listener.unseal(key, random).expect("its key"),
                                None => hello,
                            };
                            heard.hellos.push((hello.identity.epoch, hello.last));
                            match heard.hellos.len() {
                                1 => listener.accept_as_another(FRESH),
                                _ => listener.accept(Resume::default()),
                            }
                        }
                        Event::Message { sequence, .. } => {
                            heard.messages += 1;
                            listener.message_stored(sequence);
                        }
                        _ => {}
                    }
                }
            },
            |guest| {
                while let Some(event) = guest.poll_event() {
                    if let Event::Copy { fresh } = event {
                        assert!(!guest.established());
                        copies.push(fresh);
                        guest.become_another(OTHER_EPOCH, 7, [5; 32]);
                    }
                }
            },
        );
    }
    assert!(pair.guest.established() && pair.listener.established());
    assert!(pair.guest.unacknowledged().is_zero());
    heard.copies = copies;
    (heard.hellos[0].0, heard)
}

#[test]
fn a_copy_comes_again_as_another_boot() {
    for key in [None, Some(key(7))] {
        let (epoch, heard) = converse(key);
        assert_ne!(epoch, OTHER_EPOCH);
        let wanted = Heard {
            hellos: vec![(epoch, 0), (OTHER_EPOCH, 0)],
            messages: 1,
            copies: vec![FRESH],
        };
        assert_eq!(heard, wanted);
    }
}

#[test]
fn each_hello_names_the_welcome_that_was_taken_last() {
    let mut pair = Pair::new(9, PERFECT, [0; 3]);
    let mut hellos = Vec::new();
    for step in 0..90 {
        if step % 30 == 29 {
            pair.new_listener();
        }
        pair.exchange(
            |listener| {
                while let Some(event) = listener.poll_event() {
                    if let Event::Hello(hello) = event {
                        hellos.push((hello.last, hello.answer));
                        listener.accept(Resume::default());
                    }
                }
            },
            |guest| while guest.poll_event().is_some() {},
        );
    }
    assert_eq!(hellos.len(), 3, "{hellos:?}");
    assert_eq!(hellos[0].0, 0);
    for pair in hellos.windows(2) {
        assert_eq!(pair[1].0, pair[0].1);
    }
}
