//! A firewall's rules as one transaction of the kernel's nftables (linux/netfilter/nf_tables.h): numbers in the
//! network's order, but for those of registers' contents, which are as the packet or the kernel has them.

use std::net::IpAddr;

use super::firewall::{Chain, Match, Rule, Verdict};
use super::netlink::{ACKNOWLEDGE, APPEND, Attributes, CREATE, Messages};
use crate::config::model::IpNet;

/// A transaction's ends, and the subsystem that its messages are of.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
/// The header of the messages between: of both versions of IP.
const OF_INET: [u8; 4] = [1, 0, 0, 0];

/// The name of our table, which `nft list ruleset` shows.
const TABLE: &[u8] = b"tether\0";
/// The register that holds what is looked at (16 bytes), and the one of the verdict.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;

const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const NOT_EQUAL: u32 = 1;
const AT_LEAST: u32 = 5;
/// `NFT_META_*`
const META_IN: u32 = 4;
const META_OUT: u32 = 5;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
/// `NFT_CT_STATE`, and its bits for what is established and what is related to that.
const STATE: u32 = 0;
const REPLIES: u32 = 2 | 4;
/// Headers, and where in them.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const PORT_AT: u32 = 2;
const SOURCE_AT: u32 = 12;
const SOURCE_V6_AT: u32 = 8;

/// The transaction after which these rules, and no others of ours, hold.
pub fn transaction(rules: &[Rule]) -> Vec<u8> {
    let mut batch = Messages::default();
    let made = CREATE | ACKNOWLEDGE;
    batch.add(BEGIN, 0, |to| to.raw(&end()));
    // Whether it is there or not.
    for kind in [NEW_TABLE, DELETE_TABLE, NEW_TABLE] {
        batch.add(kind, made, |to| {
            to.raw(&OF_INET);
            to.bytes(1, TABLE);
        });
    }
    for chain in [Chain::Input, Chain::Output] {
        batch.add(NEW_CHAIN, made, |to| {
            to.raw(&OF_INET);
            to.bytes(1, TABLE);
            to.bytes(3, name(chain));
            to.nested(4, |hook| {
                hook.number(1, point(chain));
                hook.number(2, 0);
            });
            // What no rule is of is let through.
            to.number(5, 1);
            to.bytes(7, b"filter\0");
        });
    }
    for rule in rules {
        batch.add(NEW_RULE, made | APPEND, |to| {
            to.raw(&OF_INET);
            to.bytes(1, TABLE);
            to.bytes(2, name(rule.chain));
            to.nested(4, |expressions| {
                for one in &rule.matches {
                    matches(expressions, rule.chain, one);
                }
                verdict(expressions, rule.verdict);
            });
        });
    }
    batch.add(END, 0, |to| to.raw(&end())).take()
}

/// The header of a transaction's ends (`struct nfgenmsg`): of no version of IP, and whose transaction.
fn end() -> [u8; 4] {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    [0, 0, high, low]
}

const fn name(chain: Chain) -> &'static [u8] {
    match chain {
        Chain::Input => b"input\0",
        Chain::Output => b"output\0",
    }
}

/// `NF_INET_LOCAL_IN`, `NF_INET_LOCAL_OUT`.
const fn point(chain: Chain) -> u32 {
    match chain {
        Chain::Input => 1,
        Chain::Output => 3,
    }
}

fn matches(to: &mut Attributes<'_>, chain: Chain, one: &Match) {
    match one {
        Match::Interface(index) => {
            let key = match chain {
                Chain::Input => META_IN,
                Chain::Output => META_OUT,
            };
            meta(to, key);
            compare(to, EQUAL, &index.to_ne_bytes());
        }
        Match::Reply => {
            expression(to, b"ct\0", |ct| {
                ct.number(1, REGISTER);
                ct.number(2, STATE);
            });
            mask(to, &REPLIES.to_ne_bytes());
            compare(to, NOT_EQUAL, &[0; 4]);
        }
        Match::Protocol(number) => {
            meta(to, META_PROTOCOL);
            compare(to, EQUAL, &[*number]);
        }
        Match::Ports(first, last) => {
            load(to, TRANSPORT, PORT_AT, 2);
            range(to, &first.to_be_bytes(), &last.to_be_bytes());
        }
        Match::IcmpTypes(first, last) => {
            load(to, TRANSPORT, 0, 1);
            range(to, &[*first], &[*last]);
        }
        Match::From(net) => from(to, net),
    }
}

fn from(to: &mut Attributes<'_>, net: &IpNet) {
    let ones = IpNet {
        address: match net.address {
            IpAddr::V4(_) => IpAddr::V4(u32::MAX.into()),
            IpAddr::V6(_) => IpAddr::V6(u128::MAX.into()),
        },
        ..*net
    };
    let (family, at) = match net.address {
        IpAddr::V4(_) => (2, SOURCE_AT),
        IpAddr::V6(_) => (10, SOURCE_V6_AT),
    };
    let bytes = |net: IpNet| match net.network().address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let value = bytes(*net);
    meta(to, META_FAMILY);
    compare(to, EQUAL, &[family]);
    load(to, NETWORK, at, value.len());
    mask(to, &bytes(ones));
    compare(to, EQUAL, &value);
}

fn range(to: &mut Attributes<'_>, first: &[u8], last: &[u8]) {
    compare(to, AT_LEAST, first);
    compare(to, AT_MOST, last);
}

fn expression(to: &mut Attributes<'_>, name: &[u8], data: impl FnOnce(&mut Attributes<'_>)) {
    to.nested(1, |one| {
        one.bytes(1, name);
        one.nested(2, data);
    });
}

fn meta(to: &mut Attributes<'_>, key: u32) {
    expression(to, b"meta\0", |meta| {
        meta.number(1, REGISTER);
        meta.number(2, key);
    });
}

fn load(to: &mut Attributes<'_>, header: u32, at: u32, length: usize) {
    expression(to, b"payload\0", |payload| {
        payload.number(1, REGISTER);
        payload.number(2, header);
        payload.number(3, at);
        payload.number(4, u32::try_from(length).unwrap_or_default());
    });
}

fn mask(to: &mut Attributes<'_>, mask: &[u8]) {
    expression(to, b"bitwise\0", |bitwise| {
        bitwise.number(1, REGISTER);
        bitwise.number(2, REGISTER);
        bitwise.number(3, u32::try_from(mask.len()).unwrap_or_default());
        bitwise.nested(4, |data| data.bytes(1, mask));
        bitwise.nested(5, |data| data.bytes(1, &vec![0; mask.len()]));
    });
}

fn compare(to: &mut Attributes<'_>, how: u32, value: &[u8]) {
    expression(to, b"cmp\0", |cmp| {
        cmp.number(1, REGISTER);
        cmp.number(2, how);
        cmp.nested(3, |data| data.bytes(1, value));
    });
}

fn verdict(to: &mut Attributes<'_>, verdict: Verdict) {
    let code = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
    };
    expression(to, b"immediate\0", |immediate| {
        immediate.number(1, VERDICT);
        immediate.nested(2, |data| data.nested(2, |verdict| verdict.number(1, code)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind and length of each message.
    fn messages(mut batch: &[u8]) -> Vec<(u16, usize)> {
        let mut all = Vec::new();
        while !batch.is_empty() {
            let length = u32::from_ne_bytes(batch[..4].try_into().unwrap()) as usize;
            all.push((u16::from_ne_bytes([batch[4], batch[5]]), length));
            batch = &batch[length..];
        }
        all
    }

    #[test]
    fn a_transaction_is_whole() {
        let rule = Rule {
            chain: Chain::Input,
            matches: vec![
                Match::Interface(2),
                Match::Reply,
                Match::From("10.0.2.0/24".parse().unwrap()),
                Match::Protocol(6),
                Match::Ports(80, 90),
            ],
            verdict: Verdict::Accept,
        };
        let all = messages(&transaction(&[rule]));
        let kinds: Vec<u16> = all.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(
            kinds,
            [0x10, 0xa00, 0xa02, 0xa00, 0xa03, 0xa03, 0xa06, 0x11]
        );
        assert!(all.iter().all(|(_, length)| length % 4 == 0));
        assert_eq!(all[0].1, 20);
    }

    #[test]
    fn an_expression_is_as_the_kernel_reads_it() {
        let bytes = Messages::default().add(0, 0, |to| meta(to, META_IN)).take();
        assert_eq!(
            bytes[16..],
            [
                36, 0, 1, 0x80, // one expression
                9, 0, 1, 0, b'm', b'e', b't', b'a', 0, 0, 0, 0, // its name
                20, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 1, 8, 0, 2, 0, 0, 0, 0, 4,
            ]
        );
    }
}
