use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::backdoor::host::CHANNELS;
use crate::backdoor::loopback::{Accident, Loopback};

const KEY: &str = "guestinfo./common/name";

fn client(high_bandwidth: bool) -> Rpc<Loopback> {
    Rpc::new(Loopback::new(high_bandwidth).with(KEY, b"jolly_panini"))
}

fn opened_before(high_bandwidth: bool) -> Rpc<Loopback> {
    let mut rpc = client(high_bandwidth);
    rpc.log("warm").unwrap();
    rpc.port.instructions = 0;
    rpc
}

#[test]
fn a_value_comes_back() {
    let mut rpc = client(true);
    assert_eq!(rpc.info_get(KEY).unwrap(), Some(b"jolly_panini".to_vec()));
}

#[test]
fn info_get_costs_five_instructions_with_high_bandwidth() {
    let mut rpc = opened_before(true);
    rpc.info_get(KEY).unwrap();
    assert_eq!(rpc.port.instructions, 5);
}

#[test]
fn info_get_costs_three_and_a_word_each_four_bytes_with_low_bandwidth() {
    let mut rpc = opened_before(false);
    rpc.info_get(KEY).unwrap();
    let request = "info-get guestinfo./common/name".len().div_ceil(4);
    let reply = "1 jolly_panini".len().div_ceil(4);
    assert_eq!(rpc.port.instructions, 3 + request + reply);
}

#[test]
fn a_reply_of_four_bytes_takes_no_string_instruction() {
    for (value, strings) in [(b"12".as_slice(), 1), (b"123", 2)] {
        let mut rpc = opened_before(true);
        rpc.port.store.values.insert(KEY.into(), value.to_vec());
        let before = rpc.port.strings;
        rpc.info_get(KEY).unwrap();
        assert_eq!(rpc.port.strings - before, strings);
        assert_eq!(rpc.port.instructions, 5);
    }
}

#[test]
fn a_host_that_refuses_the_high_bandwidth_it_offers_is_asked_once() {
    let mut rpc = client(true);
    rpc.port.strings_refused = true;
    assert_eq!(rpc.info_get(KEY).unwrap(), Some(b"jolly_panini".to_vec()));
    assert!(!rpc.high_bandwidth);
    rpc.port.instructions = 0;
    rpc.info_get(KEY).unwrap();
    assert_eq!(rpc.port.instructions, 3 + 8 + 4);
}

#[test]
fn a_missing_key_is_none_and_any_other_refusal_an_error() {
    let mut rpc = client(true);
    assert_eq!(rpc.info_get("guestinfo.nothing").unwrap(), None);
    let refused = rpc.call(b"frobnicate now please").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the VMware host refused `frobnicate now`: Unknown command"
    );
}

#[test]
fn an_empty_value_is_not_a_missing_one() {
    let mut rpc = Rpc::new(Loopback::default().with(KEY, b""));
    assert_eq!(rpc.info_get(KEY).unwrap(), Some(Vec::new()));
}

#[test]
fn set_keeps_spaces_and_an_empty_value_clears() {
    let mut rpc = client(true);
    rpc.info_set(KEY, b" two  spaces \0").unwrap();
    assert_eq!(
        rpc.info_get(KEY).unwrap(),
        Some(b" two  spaces \0".to_vec())
    );
    rpc.info_set(KEY, b"").unwrap();
    assert_eq!(rpc.info_get(KEY).unwrap(), None);
}

#[test]
fn log_and_tools_version_are_taken() {
    let mut rpc = client(true);
    rpc.log("tether: stage disk").unwrap();
    rpc.set_tools_version(TOOLS_UNMANAGED).unwrap();
    assert_eq!(rpc.port.store.log, ["tether: stage disk"]);
}

#[test]
fn one_channel_is_kept_and_given_back() {
    let mut rpc = client(true);
    for _ in 0..3 * CHANNELS {
        rpc.info_get(KEY).unwrap();
    }
    assert_eq!(rpc.port.host.open_channels().count(), 1);
    rpc.close();
    assert_eq!(rpc.port.host.open_channels().count(), 0);
    rpc.info_get(KEY).unwrap();
    assert_eq!(rpc.port.host.open_channels().count(), 1);
}

/// Every accident at every instruction of an RPC, over both bandwidths, on a channel that is open
/// already and on one that is not.
#[test]
fn any_accident_at_any_instruction_is_survived() {
    let accidents = [
        Accident::CheckpointBefore,
        Accident::CheckpointAfter,
        Accident::Forgotten,
    ];
    for accident in accidents {
        for high_bandwidth in [true, false] {
            let mut smooth = client(high_bandwidth);
            smooth.info_set(KEY, b"set by the guest").unwrap();
            let instructions = smooth.port.instructions;
            for at in 1..=instructions {
                if at == 1 && accident == Accident::Forgotten {
                    continue; // a plain no to OPEN is NoChannel, see below
                }
                let mut rpc = client(high_bandwidth);
                rpc.port.accidents.insert(at, accident);
                rpc.info_set(KEY, b"set by the guest").unwrap();
                assert_eq!(
                    rpc.port.store.values[KEY], b"set by the guest",
                    "{accident:?} at {at}"
                );
                assert!(
                    rpc.port.store.sets[KEY] <= 2,
                    "{accident:?} at {at} made it more than once again"
                );
                assert_eq!(
                    rpc.info_get(KEY).unwrap(),
                    Some(b"set by the guest".to_vec())
                );
                assert_eq!(rpc.port.host.open_channels().count(), 1);
            }
        }
    }
}

#[test]
fn a_host_that_always_loses_the_channel_is_given_up() {
    let mut rpc = client(true);
    rpc.port.accidents = (1..1000)
        .map(|at| (at, Accident::CheckpointBefore))
        .collect::<BTreeMap<_, _>>();
    let error = rpc.info_get(KEY).unwrap_err();
    assert!(matches!(
        error,
        RpcError::Lost {
            source: ChannelError::Checkpoint,
            ..
        }
    ));
    assert_eq!(rpc.port.instructions, ATTEMPTS as usize);
    rpc.port.accidents.clear();
}

#[test]
fn a_host_without_a_free_channel_is_said_so() {
    let mut port = Loopback::default();
    let channels: Vec<_> = (0..CHANNELS)
        .map(|_| Channel::open(&mut port, PROTOCOL_RPCI).unwrap())
        .collect();
    let mut rpc = Rpc::new(port);
    assert_eq!(
        rpc.info_get(KEY),
        Err(RpcError::NoChannel {
            request: format!("info-get {KEY}")
        })
    );
    for channel in channels {
        channel.close(&mut rpc.port);
    }
    rpc.port.store.values.insert(KEY.into(), b"now".to_vec());
    assert_eq!(rpc.info_get(KEY).unwrap(), Some(b"now".to_vec()));
}

#[test]
fn a_reply_over_the_limit_is_refused_and_the_next_request_goes_through() {
    let mut rpc = client(true);
    rpc.port
        .store
        .values
        .insert("guestinfo.huge".into(), vec![b'x'; REPLY_LIMIT]);
    assert!(matches!(
        rpc.info_get("guestinfo.huge"),
        Err(RpcError::TooLong { .. })
    ));
    assert!(rpc.info_get(KEY).unwrap().is_some());
}

proptest! {
    #[test]
    fn any_value_of_any_size_round_trips(
        value in prop::collection::vec(any::<u8>(), 1..3000),
        high_bandwidth: bool,
    ) {
        let mut rpc = client(high_bandwidth);
        rpc.info_set(KEY, &value).unwrap();
        prop_assert_eq!(rpc.info_get(KEY).unwrap(), Some(value));
    }

    #[test]
    fn a_few_accidents_anywhere_are_survived(
        value in prop::collection::vec(any::<u8>(), 1..60),
        high_bandwidth: bool,
        at in prop::collection::btree_set(2usize..40, 0..ATTEMPTS as usize),
    ) {
        let mut rpc = client(high_bandwidth);
        rpc.port.accidents = at.into_iter().map(|at| (at, Accident::CheckpointAfter)).collect();
        rpc.info_set(KEY, &value).unwrap();
        prop_assert_eq!(rpc.info_get(KEY).unwrap(), Some(value));
    }

    #[test]
    fn any_reply_is_a_value_or_an_error(reply in prop::collection::vec(any::<u8>(), 0..40)) {
        struct Says(Loopback, Vec<u8>);
        impl Port for Says {
            fn low(&mut self, registers: &mut crate::backdoor::Registers) {
                use crate::backdoor::protocol::{halves, message, word};
                let asked = registers.message();
                self.0.low(registers);
                if asked == message::RECV_SIZE {
                    registers.rbx = u64::from(word(self.1.len() as u64));
                } else if asked == message::RECV_PAYLOAD {
                    let rest = self.1.len().min(4);
                    let next = self.1.drain(..rest).rev().fold(0, |w, b| (w << 8) | u64::from(b));
                    registers.rbx = next;
                    registers.rcx = halves(1, registers.command());
                    registers.rdx = halves(2, registers.port());
                }
            }
            fn high_out(&mut self, registers: &mut crate::backdoor::Registers, data: &[u8]) {
                self.0.high_out(registers, data);
            }
            fn high_in(&mut self, registers: &mut crate::backdoor::Registers, buffer: &mut [u8]) {
                self.0.high_in(registers, buffer);
            }
        }
        let mut rpc = Rpc::new(Says(Loopback::new(false), reply.clone()));
        match rpc.call(b"log x") {
            Ok(value) => prop_assert!(reply == b"1" || reply == [b"1 ".as_slice(), &value].concat()),
            Err(RpcError::Refused { .. }) => prop_assert_eq!(reply[0], b'0'),
            Err(RpcError::Malformed { .. }) => prop_assert!(
                !reply.starts_with(b"1 ") && !reply.starts_with(b"0 ")
            ),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
