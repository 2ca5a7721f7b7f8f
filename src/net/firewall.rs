//! What a network's trust level lets through, as rules in their order. The meaning of each level is the
//! original system's (its guest's `net_linux.go`); what the interface itself cannot live without is added.

use crate::config::PublishedPort;
use crate::config::Transport;
use crate::config::model::{IpNet, TrustLevel};

/// Numbers of protocols.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;
/// Types of ICMP: a ping of each version, and what IPv6 finds its neighbours and routers with.
const PING: u8 = 8;
const PING_V6: u8 = 128;
const NEIGHBOURS: (u8, u8) = (133, 137);
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// To this machine.
    Input,
    /// From this machine.
    Output,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It does not.
    Drop,
}

/// What a packet must be for a rule to be of it: all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It comes or goes over this interface.
    Interface(u32),
    /// It belongs to a connection that was let through.
    Reply,
    /// It is of this protocol.
    Protocol(u8),
    /// It goes to one of these ports.
    Ports(u16, u16),
    /// It is one of these types of ICMP.
    IcmpTypes(u8, u8),
    /// It comes from this network.
    From(IpNet),
}

/// One rule: the first that a packet matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which way.
    pub chain: Chain,
    /// For which packets.
    pub matches: Vec<Match>,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// An endpoint that is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded<'a> {
    /// Its interface.
    pub interface: u32,
    /// Whom it trusts.
    pub trust: TrustLevel,
    /// Ports that everybody may use.
    pub ports: &'a [PublishedPort],
    /// Its network, once that is known.
    pub net: Option<IpNet>,
    /// It has its address by DHCP.
    pub dhcp: bool,
}

impl Guarded<'_> {
    fn is_open(&self) -> bool {
        matches!(self.trust, TrustLevel::Unspecified | TrustLevel::Open)
    }

    fn rule(&self, chain: Chain, verdict: Verdict, matches: &[Match]) -> Rule {
        Rule {
            chain,
            matches: [&[Match::Interface(self.interface)], matches].concat(),
            verdict,
        }
    }

    /// What comes through.
    fn accepted(&self) -> Vec<Rule> {
        let input = |matches: &[Match]| self.rule(Chain::Input, Verdict::Accept, matches);
        let mut rules = Vec::new();
        if self.dhcp {
            let udp = Match::Protocol(UDP);
            rules.push(input(&[udp, Match::Ports(DHCP_CLIENT, DHCP_CLIENT)]));
            let ask = [udp, Match::Ports(DHCP_SERVER, DHCP_SERVER)];
            rules.push(self.rule(Chain::Output, Verdict::Accept, &ask));
        }
        if self.trust == TrustLevel::Closed {
            return rules;
        }
        let (first, last) = NEIGHBOURS;
        rules.push(input(&[Match::Reply]));
        rules.push(input(&[
            Match::Protocol(ICMP_V6),
            Match::IcmpTypes(first, last),
        ]));
        match self.trust {
            TrustLevel::Published => {
                rules.push(input(&[
                    Match::Protocol(ICMP),
                    Match::IcmpTypes(PING, PING),
                ]));
                let ping = Match::IcmpTypes(PING_V6, PING_V6);
                rules.push(input(&[Match::Protocol(ICMP_V6), ping]));
                rules.extend(self.ports.iter().map(|port| {
                    let protocol = match port.protocol {
                        Transport::Tcp => TCP,
                        Transport::Udp => UDP,
                    };
                    input(&[
                        Match::Protocol(protocol),
                        Match::Ports(port.first, port.last),
                    ])
                }));
            }
            TrustLevel::Peers => {
                rules.extend(self.net.map(|net| input(&[Match::From(net.network())])));
            }
            TrustLevel::Unspecified
            | TrustLevel::Open
            | TrustLevel::Closed
            | TrustLevel::Outbound => {}
        }
        rules
    }

    /// What is left does not.
    fn dropped(&self) -> Vec<Rule> {
        let mut rules = vec![self.rule(Chain::Input, Verdict::Drop, &[])];
        if self.trust == TrustLevel::Closed {
            rules.push(self.rule(Chain::Output, Verdict::Drop, &[]));
        }
        rules
    }
}

/// The rules of all endpoints; none where all are open. Of several on one interface each lets its own through.
pub fn rules(all: &[Guarded<'_>]) -> Vec<Rule> {
    let open = |interface| {
        let mut on_it = all.iter().filter(|one| one.interface == interface);
        on_it.any(Guarded::is_open)
    };
    let guarded = || all.iter().filter(|one| !open(one.interface));
    let accepted = guarded().flat_map(Guarded::accepted);
    accepted
        .chain(guarded().flat_map(Guarded::dropped))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(trust: TrustLevel) -> Guarded<'static> {
        Guarded {
            interface: 2,
            trust,
            ports: &[],
            net: None,
            dhcp: false,
        }
    }

    fn last(rules: &[Rule]) -> (Chain, Verdict, usize) {
        let last = rules.last().expect("a rule");
        (last.chain, last.verdict, last.matches.len())
    }

    #[test]
    fn an_open_network_has_no_rules() {
        assert!(rules(&[guarded(TrustLevel::Open), guarded(TrustLevel::Unspecified)]).is_empty());
        // The same interface is closed for one of them, and open for the other.
        assert!(rules(&[guarded(TrustLevel::Open), guarded(TrustLevel::Closed)]).is_empty());
    }

    #[test]
    fn closed_is_closed_both_ways_but_for_its_address() {
        let all = rules(&[guarded(TrustLevel::Closed)]);
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|rule| rule.verdict == Verdict::Drop));
        let leased = Guarded {
            dhcp: true,
            ..guarded(TrustLevel::Closed)
        };
        let all = rules(&[leased]);
        assert_eq!(all.len(), 4);
        assert_eq!(last(&all), (Chain::Output, Verdict::Drop, 1));
    }

    #[test]
    fn published_ports_are_let_in_and_all_others_end_at_the_last_rule() {
        let ports = ["80/tcp".parse().unwrap(), "5000-5010/udp".parse().unwrap()];
        let published = Guarded {
            ports: &ports,
            ..guarded(TrustLevel::Published)
        };
        let all = rules(&[published]);
        let of_port = |protocol, first, last| {
            let wanted = [
                Match::Interface(2),
                Match::Protocol(protocol),
                Match::Ports(first, last),
            ];
            all.iter().any(|rule| rule.matches == wanted)
        };
        assert!(of_port(TCP, 80, 80) && of_port(UDP, 5000, 5010));
        assert_eq!(last(&all), (Chain::Input, Verdict::Drop, 1));
        assert!(all.iter().all(|rule| rule.chain == Chain::Input));
    }

    #[test]
    fn peers_are_those_of_the_network() {
        let mut peers = guarded(TrustLevel::Peers);
        let from = |rules: Vec<Rule>| {
            let matches = rules.into_iter().flat_map(|rule| rule.matches);
            matches.filter(|one| matches!(one, Match::From(_))).count()
        };
        assert_eq!(from(rules(&[peers.clone()])), 0);
        peers.net = Some("10.0.2.15/24".parse().unwrap());
        let all = rules(&[peers]);
        let net = Match::From("10.0.2.0/24".parse().unwrap());
        assert!(all.iter().any(|rule| rule.matches.contains(&net)));
    }
}
