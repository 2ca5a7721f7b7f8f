//! Link keys: who has one is let in, who has another is not, and nobody else learns anything.

use super::pair::Pair;
use super::wire::PERFECT;
use super::*;

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

/// Both ends without programs, for as long as a handshake may take.
fn converse(pair: &mut Pair, mut decide: impl FnMut(&mut Link, Hello)) -> Vec<String> {
    let mut reasons = Vec::new();
    for _ in 0..100 {
        pair.exchange(
            |listener| {
                while let Some(event) = listener.poll_event() {
                    if let Event::Hello(hello) = event {
                        decide(listener, hello);
                    }
                }
            },
            |guest| {
                while let Some(event) = guest.poll_event() {
                    if let Event::Refused { reason } = event {
                        reasons.push(reason);
                    }
                }
            },
        );
    }
    reasons
}

#[test]
fn a_carrier_shows_neither_names_nor_output() {
    let identity = Identity {
        id: "c1".into(),
        name: "jolly_panini".into(),
        epoch: 77,
        ..Identity::default()
    };
    let mut pair = Pair::new(1, PERFECT, [0, 0, 0]).with_key(key(7), u64::MAX);
    pair.guest = Link::guest(identity, 5, Options::default());
    pair.guest.require(key(7), [1; 32]);
    pair.seen = Some(Vec::new());
    pair.guest.open(Channel(1));
    pair.guest
        .write(Channel(1), Stream::Stdout, b"the secret of the kitchen");
    let mut output = Vec::new();
    for _ in 0..50 {
        pair.exchange(
            |listener| {
                while let Some(event) = listener.poll_event() {
                    match event {
                        Event::Hello(hello) => {
                            assert_eq!(
                                (hello.identity.name.as_str(), hello.identity.epoch),
                                ("", 0)
                            );
                            let told = listener.unseal(&key(7), [2; 32]).expect("the key");
                            assert_eq!(told.identity.name, "jolly_panini");
                            assert_eq!(told.identity.epoch, 77);
                            listener.accept(Resume::default());
                            listener.open(Channel(1));
                        }
                        Event::Data { bytes, .. } => output.extend(bytes),
                        _ => {}
                    }
                }
            },
            |_| {},
        );
    }
    assert_eq!(output, b"the secret of the kitchen");
    let seen = pair.seen.expect("recorded");
    assert!(contains(&seen, b"c1"), "the ID has to be in the clear");
    assert!(!contains(&seen, b"panini") && !contains(&seen, b"kitchen"));
}

#[test]
fn another_key_is_refused_and_leaves_no_link() {
    let mut pair = Pair::new(2, PERFECT, [0, 0, 0]).with_key(key(7), u64::MAX);
    let reasons = converse(&mut pair, |listener, _| {
        assert_eq!(listener.unseal(&key(8), [2; 32]), None);
        // Careless: what was not unsealed cannot be accepted.
        listener.accept(Resume::default());
        assert!(!listener.established());
    });
    assert!(reasons.is_empty() && !pair.guest.established() && !pair.listener.established());

    let mut pair = Pair::new(2, PERFECT, [0, 0, 0]).with_key(key(7), u64::MAX);
    let reasons = converse(&mut pair, |listener, _| {
        if listener.unseal(&key(8), [2; 32]).is_none() {
            listener.refuse("another key");
        }
    });
    assert_eq!(reasons.first().map(String::as_str), Some("another key"));
}

#[test]
fn a_guest_with_a_key_never_talks_plainly() {
    // A listener that knows nothing of keys, or one in between that pretends so.
    let mut pair = Pair::new(3, PERFECT, [0, 0, 0]).with_key(key(7), u64::MAX);
    let mut out = Vec::new();
    converse(&mut pair, |_, hello| {
        let welcome = format!(
            r#"{{"version":1,"answer":{},"messages":0,"streams":[]}}"#,
            hello.nonce
        );
        let head = frame::Head::link(frame::Kind::Welcome);
        frame::encode(&mut out, frame::PLAIN_SEED, head, [welcome.as_bytes(), &[]]);
    });
    assert!(!out.is_empty());
    pair.guest.handle_input(pair.now, &out);
    assert!(!pair.guest.established());
}

#[test]
fn a_recorded_conversation_cannot_be_played_again() {
    let mut pair = Pair::new(4, PERFECT, [0, 2_000, 0]).with_key(key(7), u64::MAX);
    pair.seen = Some(Vec::new());
    let accept = |listener: &mut Link, _| {
        if listener.unseal(&key(7), [2; 32]).is_some() {
            listener.accept(Resume::default());
        }
    };
    converse(&mut pair, accept);
    assert!(pair.guest.established() && pair.listener.established());
    let recorded = pair.seen.take().expect("recorded");
    // To another connection's listener, which has asked with a nonce of its own …
    pair.new_listener();
    let mut hellos = 0;
    pair.listener.poll_transmit(pair.now, &mut Vec::new(), 1000);
    pair.listener.handle_input(pair.now, &recorded);
    while let Some(event) = pair.listener.poll_event() {
        hellos += usize::from(matches!(event, Event::Hello(_)));
    }
    assert_eq!(hellos, 0);
    // … and to the guest itself: nothing it takes for new.
    let before = pair.guest.unacknowledged();
    pair.guest.handle_input(pair.now, &recorded);
    assert_eq!(pair.guest.unacknowledged(), before);
    assert!(pair.guest.poll_event().is_none());
}

#[test]
fn worn_keys_are_replaced_in_mid_stream_and_nothing_is_lost() {
    let mut pair = Pair::new(5, PERFECT, [20_000, 300_000, 20_000]).with_key(key(7), 30);
    pair.finish();
    pair.check();
    assert!(pair.handshakes > 3, "{} handshakes", pair.handshakes);
}
