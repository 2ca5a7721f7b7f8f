//! The client against a small server, on a clock of the test's own.

use super::message::{Answer, Kind};
use super::*;

const MAC: [u8; 6] = [0x00, 0x50, 0x56, 0x2c, 0xf7, 0xf4];
const S: Duration = Duration::from_secs(1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Options of a client's message.
fn option(question: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = question.get(240..)?;
    loop {
        let [kind, length, ..] = *rest else {
            return None;
        };
        let value = rest.get(2..2 + usize::from(length))?;
        if kind == wanted {
            return Some(value);
        }
        rest = &rest[2 + usize::from(length)..];
    }
}

/// A server's message to this question.
fn answer(question: &[u8], kind: u8, options: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0];
    bytes.extend(&question[4..8]);
    bytes.extend([0; 8]);
    bytes.extend([10, 0, 2, 15]);
    bytes.extend([0; 8]);
    bytes.extend(MAC);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    for option in options {
        bytes.extend_from_slice(option);
    }
    bytes.push(255);
    bytes
}

const IDENTITY: &[u8] = &[54, 4, 10, 0, 2, 2];
/// As QEMU's own server answers, with a lease of an hour.
const USUAL: [&[u8]; 5] = [
    IDENTITY,
    &[1, 4, 255, 255, 255, 0],
    &[3, 4, 10, 0, 2, 2],
    &[6, 4, 10, 0, 2, 3],
    &[51, 4, 0, 0, 14, 16],
];

fn client() -> Client {
    Client::new(MAC, "web", 7, Duration::ZERO)
}

fn asked(client: &mut Client, now: Duration) -> Transmit {
    client.poll(now).0.expect("a question")
}

/// Until it has its lease.
fn bound(client: &mut Client, now: Duration) -> Lease {
    let discover = asked(client, now);
    assert_eq!(
        client.receive(now, &answer(&discover.bytes, 2, &USUAL)),
        None
    );
    let request = asked(client, now);
    match client.receive(now, &answer(&request.bytes, 5, &USUAL)) {
        Some(Event::Bound(lease)) => *lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn discover_offer_request_ack() {
    let mut client = client();
    let discover = asked(&mut client, Duration::ZERO);
    assert_eq!(discover.to, Ipv4Addr::BROADCAST);
    assert!(discover.bytes.len() >= 300);
    assert_eq!(option(&discover.bytes, 53), Some(&[1][..]));
    assert_eq!(option(&discover.bytes, 12), Some(&b"web"[..]));
    assert_eq!(
        discover.bytes[10] & 0x80,
        0x80,
        "the answer is to be broadcast"
    );
    client.receive(S, &answer(&discover.bytes, 2, &USUAL));
    let request = asked(&mut client, S);
    assert_eq!(option(&request.bytes, 53), Some(&[3][..]));
    assert_eq!(option(&request.bytes, 50), Some(&[10, 0, 2, 15][..]));
    assert_eq!(option(&request.bytes, 54), Some(&[10, 0, 2, 2][..]));
    assert_eq!(request.bytes[4..8], discover.bytes[4..8]);
    let Some(Event::Bound(lease)) = client.receive(S, &answer(&request.bytes, 5, &USUAL)) else {
        panic!("no lease");
    };
    assert_eq!(lease.address.to_string(), "10.0.2.15/24");
    assert_eq!(lease.gateway, Some(SERVER));
    assert_eq!(lease.nameservers, [Ipv4Addr::new(10, 0, 2, 3)]);
    assert_eq!(client.timeout(), Some(S + 1800 * S));
}

#[test]
fn a_question_without_an_answer_is_asked_again_and_ever_later() {
    let mut client = client();
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    for _ in 0..12 {
        asked(&mut client, now);
        let next = client.timeout().expect("there is more to ask");
        waits.push(next - now);
        now = next;
    }
    assert!(waits[0] < Duration::from_millis(126), "{waits:?}");
    assert!(
        waits.windows(2).all(|two| two[0] <= two[1] * 5 / 4),
        "{waits:?}"
    );
    assert!(waits[11] >= 16 * S && waits[11] <= 20 * S, "{waits:?}");
    let early = client.poll(now - Duration::from_millis(1));
    assert_eq!(early, (None, None));
}

#[test]
fn a_server_that_offers_and_does_not_keep_it_is_given_up() {
    let mut client = client();
    let discover = asked(&mut client, Duration::ZERO);
    client.receive(Duration::ZERO, &answer(&discover.bytes, 2, &USUAL));
    let mut kinds = Vec::new();
    for _ in 0..REQUESTS_MOST + 1 {
        let now = client.timeout().expect("there is more to ask");
        kinds.push(option(&asked(&mut client, now).bytes, 53).expect("a kind")[0]);
    }
    assert_eq!(kinds, [3, 3, 3, 3, 3, 3, 1]);
}

#[test]
fn a_lease_is_renewed_and_the_same_one_is_no_event() {
    let mut client = client();
    bound(&mut client, Duration::ZERO);
    let renewal = asked(&mut client, 1800 * S);
    assert_eq!(renewal.to, SERVER);
    assert_eq!(renewal.bytes[12..16], [10, 0, 2, 15], "its own address");
    assert_eq!(option(&renewal.bytes, 50), None);
    assert_eq!(
        client.receive(1800 * S, &answer(&renewal.bytes, 5, &USUAL)),
        None
    );
    assert_eq!(client.timeout(), Some(3600 * S));
    let other = asked(&mut client, 3600 * S);
    let mut options = USUAL;
    options[3] = &[6, 4, 10, 0, 2, 4];
    assert!(matches!(
        client.receive(3600 * S, &answer(&other.bytes, 5, &options)),
        Some(Event::Bound(_))
    ));
}

#[test]
fn a_lease_that_nobody_renews_is_over_at_its_time_and_another_is_sought() {
    let mut client = client();
    bound(&mut client, Duration::ZERO);
    let (mut to_all, mut lost) = (None, None);
    while lost.is_none() {
        let now = client.timeout().expect("there is more to ask");
        let (transmit, event) = client.poll(now);
        let transmit = transmit.expect("a question");
        if event == Some(Event::Lost) {
            lost = Some(now);
            assert_eq!(option(&transmit.bytes, 53), Some(&[1][..]));
        } else if transmit.to == Ipv4Addr::BROADCAST {
            to_all.get_or_insert(now);
        }
    }
    assert_eq!((to_all, lost), (Some(3150 * S), Some(3600 * S)));
    bound(&mut client, 4000 * S);
}

#[test]
fn a_refusal_begins_again_and_is_told() {
    let mut client = client();
    bound(&mut client, Duration::ZERO);
    let renewal = asked(&mut client, 1800 * S);
    let no = answer(&renewal.bytes, 6, &[IDENTITY, b"\x38\x05moved"]);
    assert_eq!(client.receive(1800 * S, &no), Some(Event::Lost));
    assert_eq!(client.refusal(), "moved");
    assert!(client.timeout() > Some(1800 * S));
    bound(&mut client, 1801 * S);
    assert_eq!(client.refusal(), "");
}

#[test]
fn a_lease_is_given_back() {
    let mut client = client();
    assert_eq!(client.release(), None);
    let mut client = self::client();
    bound(&mut client, Duration::ZERO);
    let release = client.release().expect("a message");
    assert_eq!(release.to, SERVER);
    assert_eq!(option(&release.bytes, 53), Some(&[7][..]));
    assert_eq!(release.bytes[12..16], [10, 0, 2, 15]);
    assert_eq!(client.timeout(), None);
}

#[test]
fn what_was_not_asked_for_changes_nothing() {
    let mut client = client();
    let discover = asked(&mut client, Duration::ZERO);
    let offer = answer(&discover.bytes, 2, &USUAL);
    let mut other_number = offer.clone();
    other_number[4] ^= 1;
    let mut other_mac = offer.clone();
    other_mac[28] ^= 1;
    let early_ack = answer(&discover.bytes, 5, &USUAL);
    for bytes in [&other_number, &other_mac, &early_ack, &Vec::new()] {
        assert_eq!(client.receive(S, bytes), None);
        assert!(matches!(client.state, State::Selecting));
    }
    for length in 0..offer.len() - 7 {
        client.receive(S, &offer[..length]);
    }
    client.receive(S, &offer);
    // Another server's word for an offer of the first one.
    let request = asked(&mut client, S);
    let mut options = USUAL;
    options[0] = &[54, 4, 10, 0, 2, 9];
    assert_eq!(
        client.receive(S, &answer(&request.bytes, 5, &options)),
        None
    );
    assert!(matches!(client.state, State::Requesting(_)));
}

fn read(options: &[&[u8]]) -> Answer {
    let mut client = client();
    let discover = asked(&mut client, Duration::ZERO);
    let bytes = answer(&discover.bytes, 2, options);
    Answer::from_bytes(&bytes, client.number, MAC).expect("an answer")
}

#[test]
fn routes_take_the_place_of_routers() {
    let mut options = USUAL.to_vec();
    // 10.9.0.0/16 through 10.0.2.9, everywhere through 10.0.2.1: in two pieces.
    options.push(&[121, 7, 16, 10, 9, 10, 0, 2, 9]);
    options.push(&[121, 5, 0, 10, 0, 2, 1]);
    let lease = read(&options).lease.expect("a lease");
    assert_eq!(lease.gateway, None);
    let routes: Vec<String> = lease
        .routes
        .iter()
        .map(|(to, via)| format!("{to} {via}"))
        .collect();
    assert_eq!(routes, ["10.9.0.0/16 10.0.2.9", "0.0.0.0/0 10.0.2.1"]);
}

#[test]
fn nonsense_is_left_out() {
    assert_eq!(read(&[IDENTITY]).lease, None, "no mask");
    assert_eq!(read(&[IDENTITY, &[1, 4, 255, 0, 255, 0]]).lease, None);
    assert_eq!(read(&USUAL[1..]).lease, None, "nobody's");
    let mut options = USUAL.to_vec();
    options.push(b"\x0f\x0fa\nnameserver 6.6");
    options.push(&[26, 2, 0, 68]);
    options.push(&[121, 3, 33, 1, 2]);
    let lease = read(&options).lease.expect("a lease");
    assert_eq!((lease.domain.as_str(), lease.mtu), ("", None));
    assert!(lease.routes.is_empty());
    let forever = read(&[&USUAL[..4], &[&[51, 4, 255, 255, 255, 255][..]]].concat());
    assert_eq!(forever.lease.expect("a lease").times, None);
    assert_eq!(forever.kind, Kind::Offer);
}
