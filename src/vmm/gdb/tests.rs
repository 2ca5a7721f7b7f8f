use proptest::prelude::*;

use super::*;

fn items(decoder: &mut Decoder) -> Vec<Item> {
    std::iter::from_fn(|| decoder.next_item()).collect()
}

#[test]
fn a_packet_is_found_among_acknowledgements_and_noise() {
    let mut decoder = Decoder::default();
    decoder.feed(b"+\0\r$OK#9a-");
    assert_eq!(
        items(&mut decoder),
        [Item::Taken, Item::Packet(b"OK".to_vec()), Item::Again]
    );
}

#[test]
fn a_damaged_packet_is_not_taken() {
    let mut decoder = Decoder::default();
    decoder.feed(b"$OK#9b$OK#zz$OK#9a");
    assert_eq!(
        items(&mut decoder),
        [Item::Damaged, Item::Damaged, Item::Packet(b"OK".to_vec())]
    );
}

#[test]
fn run_lengths_and_escapes_are_undone() {
    // The manual's own example: "0* " is four zeros.
    assert_eq!(expand(b"0* "), b"0000");
    assert_eq!(expand(b"a}\x03b}\x5dc"), b"a#b}c");
    assert_eq!(expand(b"}"), b"");
    assert_eq!(expand(b"* "), b"");
}

#[test]
fn requests_are_written_as_the_manual_has_them() {
    let cases: [(Request, &[u8]); 6] = [
        (Request::Why, b"$?#3f"),
        (Request::ReadRegisters, b"$g#67"),
        (
            Request::ReadMemory {
                address: 0x40_1000,
                length: 16,
            },
            b"$m401000,10#1f",
        ),
        (
            Request::WriteMemory {
                address: 0x1000,
                bytes: vec![0xab, 0x01],
            },
            b"$M1000,2:ab01#ca",
        ),
        (Request::SetBreakpoint(0x40_1000), b"$Z1,401000,1#39"),
        (Request::Step(Thread("02".into())), b"$vCont;s:02#54"),
    ];
    for (request, bytes) in cases {
        let text = String::from_utf8(request.encode()).unwrap();
        assert_eq!(text.as_bytes(), bytes, "{request:?}");
    }
}

#[test]
fn replies_are_told_apart() {
    let cases: [(&[u8], Reply); 7] = [
        (b"", Reply::Unknown),
        (b"OK", Reply::Done),
        (b"E14", Reply::Failed(0x14)),
        (b"W00", Reply::Exited),
        (b"deadbeef", Reply::Bytes(vec![0xde, 0xad, 0xbe, 0xef])),
        (
            b"T05thread:02;",
            Reply::Stopped {
                signal: SIGNAL_TRAP,
                thread: Some(Thread("02".into())),
            },
        ),
        (
            b"S02",
            Reply::Stopped {
                signal: SIGNAL_INTERRUPT,
                thread: None,
            },
        ),
    ];
    for (payload, reply) in cases {
        assert_eq!(Reply::decode(payload), Some(reply));
    }
    assert_eq!(Reply::decode(b"abc"), None);
    assert_eq!(Reply::decode(b"T0"), None);
    assert_eq!(Reply::decode("é".as_bytes()), None);
}

#[test]
fn registers_are_in_qemus_places() {
    let bytes: Vec<u8> = (0..24u64)
        .flat_map(|word| (word * 0x1_0000_0001).to_le_bytes())
        .collect();
    let mut set = GeneralSet::decode(&bytes).unwrap();
    let registers = set.registers();
    let numbers = [
        registers.rax,
        registers.rbx,
        registers.rcx,
        registers.rdx,
        registers.rsi,
        registers.rdi,
        registers.rbp,
        set.rip(),
    ];
    assert_eq!(numbers.map(|n| n & 0xff), [0, 1, 2, 3, 4, 5, 6, 16]);
    assert_eq!(set.encode(), bytes[..GENERAL_WORDS * WORD]);
    set.set_registers(&Registers {
        rbp: 99,
        ..registers
    });
    set.step_over(2);
    let after = GeneralSet::decode(&set.encode()).unwrap();
    assert_eq!(after.registers().rbp, 99);
    assert_eq!(after.rip(), 16 * 0x1_0000_0001 + 2);
    assert_eq!(GeneralSet::decode(&bytes[..100]), None);
}

proptest! {
    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        payloads in proptest::collection::vec("[a-zA-Z0-9;:,]{0,20}", 0..6),
        cuts in proptest::collection::vec(1usize..9, 1..40),
    ) {
        let stream: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| [b"+".to_vec(), packet(payload.as_bytes())].concat())
            .collect();
        let mut decoder = Decoder::default();
        let mut rest = &stream[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.feed(now);
            rest = later;
        }
        let found = items(&mut decoder);
        let expected: Vec<Item> = payloads
            .iter()
            .flat_map(|payload| [Item::Taken, Item::Packet(payload.clone().into_bytes())])
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        for item in items(&mut decoder) {
            if let Item::Packet(payload) = item {
                let _ = Reply::decode(&payload);
            }
        }
    }
}
