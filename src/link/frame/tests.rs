//! Frames between garbage, damaged, cut, and forged.

use super::*;
use proptest::prelude::*;

const SEED: u32 = 0x1234_5678;

fn data(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let head = Head {
        kind: Kind::Data,
        stream: 1,
        channel: 7,
        number,
    };
    encode(&mut out, SEED, head, [payload, &[]]);
    out
}

fn read(reader: &mut Reader) -> Vec<(u64, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut seal = Seal {
        seed: SEED,
        cipher: None,
    };
    let mut plain = Vec::new();
    while let Some((head, payload)) = reader.next(Some(&mut seal), &mut plain) {
        frames.push((head.number, payload.to_vec()));
    }
    frames
}

#[test]
fn the_bytes_of_version_one_never_change() {
    let mut out = Vec::new();
    let head = Head {
        kind: Kind::Data,
        stream: 1,
        channel: 0x0203,
        number: 0x0405,
    };
    encode(&mut out, SEED, head, [b"he", b"llo"]);
    assert_eq!(
        out,
        [
            0xb5, 0x1e, 16, 1, 3, 2, 5, 0, 5, 4, 0, 0, 0, 0, 0, 0, 180, 17, 242, 109, 105, 45, 188,
            17, b'h', b'e', b'l', b'l', b'o'
        ]
    );
}

#[test]
fn a_frame_inside_a_payload_is_no_frame_even_when_its_carrier_is_damaged() {
    let mut forged = Vec::new();
    let head = Head {
        kind: Kind::Data,
        stream: 1,
        channel: 7,
        number: 0,
    };
    encode(&mut forged, 0, head, [b"forged", &[]]);
    let mut bytes = data(5, &forged);
    bytes[9] ^= 1;
    let mut reader = Reader::default();
    reader.feed(&bytes);
    assert_eq!(read(&mut reader), []);
}

#[test]
fn sealed_frames_are_noise_before_the_handshake() {
    let mut reader = Reader::default();
    reader.feed(&data(0, b"early"));
    assert!(reader.next(None, &mut Vec::new()).is_none());
    assert_eq!(reader.skipped(), 29);
}

proptest! {
    #[test]
    fn frames_are_found_between_garbage_in_any_split(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        step in 1usize..400,
    ) {
        let mut bytes = Vec::new();
        for (number, payload) in payloads.iter().enumerate() {
            bytes.extend_from_slice(&noise);
            bytes.extend_from_slice(&data(number as u64, payload));
        }
        let mut reader = Reader::default();
        let mut frames = Vec::new();
        for piece in bytes.chunks(step) {
            reader.feed(piece);
            frames.extend(read(&mut reader));
        }
        let wanted: Vec<_> =
            payloads.iter().enumerate().map(|(n, p)| (n as u64, p.clone())).collect();
        prop_assert_eq!(frames, wanted);
    }

    #[test]
    fn damage_to_one_byte_costs_one_frame(at in 0usize..3 * (HEADER + 50), with in 1u8..) {
        let mut bytes: Vec<u8> = (0..3).flat_map(|n| data(n, &[n as u8; 50])).collect();
        bytes[at] ^= with;
        let mut reader = Reader::default();
        reader.feed(&bytes);
        let hit = (at / (HEADER + 50)) as u64;
        let found: Vec<u64> = read(&mut reader).into_iter().map(|(number, _)| number).collect();
        let wanted: Vec<u64> = (0..3).filter(|n| *n != hit).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_lost_byte_costs_one_frame_as_soon_as_another_follows(at in 0usize..HEADER + 50) {
        let mut bytes = data(0, &[9; 50]);
        bytes.remove(at);
        bytes.extend_from_slice(&data(1, b"next"));
        let mut reader = Reader::default();
        reader.feed(&bytes);
        prop_assert_eq!(read(&mut reader), vec![(1, b"next".to_vec())]);
    }
}
