use simple_dns::{Packet, TYPE};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
const WEB: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
const MACS: [Mac; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]];
const ALL: Mac = [255; 6];

fn lan(outside: bool) -> Lan {
    let mut lan = Lan::new("back", GATEWAY, 16, outside);
    for port in 0..3 {
        lan.joined(Port(port));
    }
    let hosts = [("web".to_owned(), vec![WEB])].into();
    lan.set_names(Names {
        hosts,
        ..Names::default()
    });
    lan
}

fn framed(to: Mac, from: Mac, kind: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr {
        src_addr: EthernetAddress(from),
        dst_addr: EthernetAddress(to),
        ethertype: kind,
    }
    .emit(&mut frame);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

fn arp_request(from: Mac, own: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(from),
        source_protocol_addr: own,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: wanted,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes));
    framed(ALL, from, EthernetProtocol::Arp, &bytes)
}

fn datagram(to: Mac, from: Mac, source: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let udp = UdpRepr {
        src_port: 4000,
        dst_port: 53,
    };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: GATEWAY,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; ip.buffer_len() + ip.payload_len];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes);
    ip.emit(&mut packet, &Default::default());
    let mut inner = UdpPacket::new_unchecked(packet.payload_mut());
    udp.emit(
        &mut inner,
        &source.into(),
        &GATEWAY.into(),
        payload.len(),
        |room| room.copy_from_slice(payload),
        &Default::default(),
    );
    framed(to, from, EthernetProtocol::Ipv4, &bytes)
}

fn ports(out: &[Out]) -> Vec<u64> {
    let ports = out.iter().map(|one| match one {
        Out::Frame(port, _) => port.0,
        Out::Ask(_) => panic!("a question"),
    });
    ports.collect()
}

/// The DNS message in the only frame that goes out, to port 0.
fn said(out: &[Out]) -> Vec<u8> {
    let [Out::Frame(Port(0), frame)] = out else {
        panic!("{out:?}");
    };
    let frame = EthernetFrame::new_checked(&frame[..]).expect("a frame");
    let packet = Ipv4Packet::new_checked(frame.payload()).expect("a packet");
    assert!(packet.verify_checksum());
    assert_eq!((packet.src_addr(), packet.dst_addr()), (GATEWAY, WEB));
    let datagram = UdpPacket::new_checked(packet.payload()).expect("a datagram");
    assert_eq!((datagram.src_port(), datagram.dst_port()), (53, 4000));
    datagram.payload().to_vec()
}

/// The machine of port 0 knows the gateway's address, and the gateway its.
fn introduced(outside: bool) -> Lan {
    let mut lan = lan(outside);
    lan.frame(Port(0), &arp_request(MACS[0], WEB, GATEWAY), 1);
    let out = lan.take();
    // The others hear the question, port 0 the answer.
    assert_eq!(ports(&out), [1, 2, 0]);
    lan
}

#[test]
fn a_frame_goes_to_all_until_its_address_is_known_and_then_to_one() {
    let mut lan = lan(true);
    let there = framed(MACS[1], MACS[0], EthernetProtocol::Unknown(0x88b5), b"1");
    let back = framed(MACS[0], MACS[1], EthernetProtocol::Unknown(0x88b5), b"2");
    lan.frame(Port(0), &there, 1);
    assert_eq!(ports(&lan.take()), [1, 2]);
    lan.frame(Port(1), &back, 2);
    assert_eq!(lan.take(), [Out::Frame(Port(0), back.clone().into())]);
    lan.frame(Port(0), &there, 3);
    assert_eq!(lan.take(), [Out::Frame(Port(1), there.into())]);
    lan.left(Port(0));
    lan.frame(Port(1), &back, 4);
    assert_eq!(ports(&lan.take()), [2]);
}

#[test]
fn what_is_no_frame_or_of_the_gateway_s_address_goes_nowhere() {
    let mut lan = lan(true);
    let own = lan.gateway.mac();
    let kind = EthernetProtocol::Unknown(0x88b5);
    for frame in [
        vec![],
        vec![1; 13],
        framed(MACS[1], ALL, kind, b""),
        framed(MACS[1], own, kind, b""),
    ] {
        lan.frame(Port(0), &frame, 1);
        assert_eq!(lan.take(), []);
    }
}

#[test]
fn a_name_of_the_network_is_answered() {
    let mut lan = introduced(false);
    let question = names::tests::question("web", TYPE::A);
    let own = lan.gateway.mac();
    lan.frame(Port(0), &datagram(own, MACS[0], WEB, &question), 2);
    let answer = said(&lan.take());
    let packet = Packet::parse(&answer).expect("an answer");
    assert_eq!(packet.answers.len(), 1);
}

#[test]
fn another_name_is_asked_for_outside_and_whoever_has_asked_hears_the_answer() {
    let mut lan = introduced(true);
    let question = names::tests::question("example.org", TYPE::A);
    let own = lan.gateway.mac();
    lan.frame(Port(0), &datagram(own, MACS[0], WEB, &question), 2);
    let out = lan.take();
    let [Out::Ask(asked)] = out.as_slice() else {
        panic!("{out:?}");
    };
    assert_eq!((&asked.message, &asked.servers), (&question, &vec![]));
    lan.answered(asked.number, b"whatever it says", 3);
    assert_eq!(said(&lan.take()), b"whatever it says");
    // Once.
    lan.answered(asked.number, b"whatever it says", 4);
    assert_eq!(lan.take(), []);

    lan.frame(Port(0), &datagram(own, MACS[0], WEB, &question), 5);
    let out = lan.take();
    let [Out::Ask(asked)] = out.as_slice() else {
        panic!("{out:?}");
    };
    lan.unanswered(asked, 6);
    let answer = said(&lan.take());
    let packet = Packet::parse(&answer).expect("an answer");
    assert_eq!(packet.rcode(), simple_dns::RCODE::ServerFailure);
}

proptest::proptest! {
    /// Whatever a machine sends: frames go to others only, and nothing breaks.
    #[test]
    fn garbage_harms_nobody(frames in proptest::collection::vec(
        (0_u64..3, proptest::collection::vec(proptest::num::u8::ANY, 0..200), 0_u8..4), 1..30,
    )) {
        let mut lan = introduced(true);
        let own = lan.gateway.mac();
        for (now, (port, mut frame, kind)) in frames.into_iter().enumerate() {
            if kind > 0 && frame.len() >= HEADER {
                frame[..6].copy_from_slice(if kind == 1 { &ALL } else { &own });
                frame[6..12].copy_from_slice(&MACS[usize::try_from(port).unwrap_or(0)]);
                frame[12..14].copy_from_slice(if kind == 3 { &[8, 6] } else { &[8, 0] });
            }
            lan.frame(Port(port), &frame, now as u64);
            for out in lan.take() {
                if let Out::Frame(to, bytes) = out {
                    proptest::prop_assert!(to != Port(port) || bytes[6..12] == own);
                }
            }
        }
    }
}
