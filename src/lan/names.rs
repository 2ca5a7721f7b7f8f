//! Who has which name: DNS questions that can be answered here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use simple_dns::rdata::{A, PTR, RData};
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};

/// Seconds that an answer is good for: machines come and go.
const TTL: u32 = 5;
/// Addresses of one answer: more would not fit into the 512 bytes of a datagram (RFC 1035, 4.2.1).
const ADDRESSES_MOST: usize = 20;
/// Behind the names of addresses.
const REVERSE: &str = ".in-addr.arpa";

/// Names in small letters, and who has them.
pub type Hosts = BTreeMap<String, Vec<Ipv4Addr>>;

/// Who is on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// What everybody on it sees.
    pub hosts: Hosts,
    /// What one of them sees beside that, by its address.
    pub guests: BTreeMap<Ipv4Addr, Guest>,
}

/// What one machine sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guest {
    /// Who is on its other networks.
    pub hosts: Hosts,
    /// Servers that it wants to be asked for all other names; none: the host's.
    pub servers: Vec<IpAddr>,
}

/// What is to be done with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say this.
    Answer(Vec<u8>),
    /// Ask these, or the host's servers.
    Ask(Vec<IpAddr>),
    /// It is no question.
    Nothing,
}

impl Names {
    /// A question of a machine of this network. `turn` moves on with each: of several addresses another one is the first.
    pub(super) fn asked(
        &self,
        network: &str,
        by: Ipv4Addr,
        message: &[u8],
        outside: bool,
        turn: usize,
    ) -> Verdict {
        let Ok(packet) = Packet::parse(message) else {
            return Verdict::Nothing;
        };
        if packet.has_flags(PacketFlag::RESPONSE) {
            return Verdict::Nothing;
        }
        let [question] = packet.questions.as_slice() else {
            return Verdict::Nothing;
        };
        let name = question.qname.to_string().to_lowercase();
        let guest = self.guests.get(&by);
        let records = if let Some(address) = reversed(&name) {
            self.name_of(network, guest, address)
                .map(|name| wanted(question, TYPE::PTR, vec![name]))
        } else {
            self.addresses(network, guest, &name).map(|mut all| {
                let count = all.len().max(1);
                all.rotate_left(turn % count);
                all.truncate(ADDRESSES_MOST);
                let records = all.into_iter().map(|address| RData::A(A::from(address)));
                wanted(question, TYPE::A, records.collect())
            })
        };
        match records {
            Some(records) => answer(&packet, question, records, RCODE::NoError),
            None if outside => {
                Verdict::Ask(guest.map(|guest| guest.servers.clone()).unwrap_or_default())
            }
            // Nobody knows more than we do.
            None => answer(&packet, question, Vec::new(), RCODE::NameError),
        }
    }

    /// Who has a name, by itself or as `name.network`.
    fn addresses(&self, network: &str, guest: Option<&Guest>, name: &str) -> Option<Vec<Ipv4Addr>> {
        let suffix = format!(".{}", network.to_lowercase());
        let short = name.strip_suffix(&suffix).unwrap_or(name);
        let others = guest.and_then(|guest| guest.hosts.get(name));
        self.hosts.get(short).or(others).cloned()
    }

    fn name_of<'a>(
        &self,
        network: &str,
        guest: Option<&Guest>,
        address: Ipv4Addr,
    ) -> Option<RData<'a>> {
        let find = |hosts: &Hosts| {
            let mut all = hosts.iter();
            all.find(|(_, own)| own.contains(&address))
                .map(|(name, _)| name.clone())
        };
        let name = match find(&self.hosts) {
            Some(name) => format!("{name}.{network}"),
            None => guest.and_then(|guest| find(&guest.hosts))?,
        };
        let name = Name::new(&name).ok()?.into_owned();
        Some(RData::PTR(PTR(name)))
    }
}

/// The records, where their type is what was asked for: a name that is known has none of another type.
fn wanted<'a>(question: &Question<'_>, kind: TYPE, records: Vec<RData<'a>>) -> Vec<RData<'a>> {
    let asked = question.qtype == QTYPE::TYPE(kind) || question.qtype == QTYPE::ANY;
    let internet = matches!(question.qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY);
    if asked && internet {
        records
    } else {
        Vec::new()
    }
}

fn answer(
    packet: &Packet<'_>,
    question: &Question<'_>,
    records: Vec<RData<'_>>,
    code: RCODE,
) -> Verdict {
    let mut reply = Packet::new_reply(packet.id());
    *reply.rcode_mut() = code;
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    reply.questions.push(question.clone());
    let name = &question.qname;
    let records = records.into_iter();
    reply
        .answers
        .extend(records.map(|data| ResourceRecord::new(name.clone(), CLASS::IN, TTL, data)));
    match reply.build_bytes_vec_compressed() {
        Ok(bytes) => Verdict::Answer(bytes),
        Err(_) => Verdict::Nothing,
    }
}

/// What is said where no server has answered (RFC 1035: server failure).
pub(super) fn failure(message: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(message).ok()?;
    let question = packet.questions.first()?;
    match answer(&packet, question, Vec::new(), RCODE::ServerFailure) {
        Verdict::Answer(bytes) => Some(bytes),
        Verdict::Ask(_) | Verdict::Nothing => None,
    }
}

/// The address in `3.0.18.172.in-addr.arpa`.
fn reversed(name: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = name.strip_suffix(REVERSE)?.parse().ok()?;
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const WEB: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
    const DB: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 3);

    /// What a resolver sends.
    pub(in crate::lan) fn question(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(77);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(name).expect("a name").into_owned();
        packet
            .questions
            .push(Question::new(name, kind.into(), CLASS::IN.into(), false));
        packet.build_bytes_vec().expect("bytes")
    }

    fn names() -> Names {
        let hosts = [
            ("web".to_owned(), vec![WEB]),
            ("db".to_owned(), vec![DB, WEB]),
        ];
        let other = Guest {
            hosts: [("far".to_owned(), vec![Ipv4Addr::new(172, 19, 0, 2)])].into(),
            servers: vec!["9.9.9.9".parse().expect("an address")],
        };
        Names {
            hosts: hosts.into(),
            guests: [(DB, other)].into(),
        }
    }

    fn ask(
        name: &str,
        kind: TYPE,
        by: Ipv4Addr,
        outside: bool,
    ) -> Result<(RCODE, Vec<String>), Vec<IpAddr>> {
        match names().asked("Back", by, &question(name, kind), outside, 1) {
            Verdict::Answer(bytes) => {
                let packet = Packet::parse(&bytes).expect("a packet");
                assert_eq!((packet.id(), packet.questions.len()), (77, 1));
                assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
                let shown = packet.answers.iter().map(|record| match &record.rdata {
                    RData::A(a) => Ipv4Addr::from(a.address).to_string(),
                    RData::PTR(ptr) => ptr.0.to_string(),
                    other => panic!("{other:?}"),
                });
                Ok((packet.rcode(), shown.collect()))
            }
            Verdict::Ask(servers) => Err(servers),
            Verdict::Nothing => panic!("no verdict"),
        }
    }

    #[test]
    fn names_are_answered_whatever_their_letters_and_with_the_network_s_name_behind() {
        for name in ["web", "WEB", "web.back", "Web.BACK"] {
            let told = ask(name, TYPE::A, WEB, true).expect("an answer");
            assert_eq!(told, (RCODE::NoError, vec![WEB.to_string()]), "{name}");
        }
        // Another first one with each turn.
        let told = ask("db", TYPE::A, WEB, true).expect("an answer");
        assert_eq!(told.1, [WEB.to_string(), DB.to_string()]);
        // It is there, and has no address of the other kind: not the same as not being there.
        let told = ask("web", TYPE::AAAA, WEB, true).expect("an answer");
        assert_eq!(told, (RCODE::NoError, vec![]));
    }

    #[test]
    fn what_nobody_here_has_is_asked_for_outside_or_is_not_there() {
        assert_eq!(ask("example.org", TYPE::A, WEB, true), Err(vec![]));
        let own = vec!["9.9.9.9".parse().expect("an address")];
        assert_eq!(ask("example.org", TYPE::A, DB, true), Err(own));
        let told = ask("example.org", TYPE::A, DB, false).expect("an answer");
        assert_eq!(told, (RCODE::NameError, vec![]));
    }

    #[test]
    fn a_machine_of_two_networks_sees_both_and_the_others_do_not() {
        let told = ask("far", TYPE::A, DB, true).expect("an answer");
        assert_eq!(told.1, ["172.19.0.2"]);
        assert_eq!(ask("far", TYPE::A, WEB, true), Err(vec![]));
    }

    #[test]
    fn addresses_have_names() {
        let told = ask("2.0.18.172.in-addr.arpa", TYPE::PTR, WEB, true).expect("an answer");
        assert_eq!(told.1, ["db.Back"]);
        assert_eq!(
            ask("9.0.18.172.in-addr.arpa", TYPE::PTR, WEB, true),
            Err(vec![])
        );
    }

    #[test]
    fn answers_and_garbage_are_no_questions() {
        let mut answer = question("web", TYPE::A);
        answer[2] |= 0x80;
        for message in [answer.as_slice(), b"", &[0; 11], &[255; 40]] {
            let told = names().asked("back", WEB, message, true, 0);
            assert_eq!(told, Verdict::Nothing);
        }
    }
}
