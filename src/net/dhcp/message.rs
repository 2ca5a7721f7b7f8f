//! DHCP messages as bytes: RFC 2131, options of RFC 2132, long ones (RFC 3396) and routes (RFC 3442).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::Lease;
use crate::config::model::IpNet;

/// Bytes before the options: BOOTP's fields, and the cookie that says options follow.
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where BOOTP's texts stand, which may hold options, too.
const SERVER_NAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
/// BOOTP servers drop what is shorter.
const LEAST: usize = 300;
/// A server's answer is to be broadcast: before it has an address our kernel takes nothing else.
const BROADCAST: u16 = 0x8000;
/// Longest message that we take.
const MOST: u16 = 1500;

const MASK: u8 = 1;
const ROUTERS: u8 = 3;
const NAMESERVERS: u8 = 6;
const HOSTNAME: u8 = 12;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WISHES: u8 = 55;
const TEXT: u8 = 56;
const MOST_BYTES: u8 = 57;
const RENEWAL: u8 = 58;
const REBINDING: u8 = 59;
const CLIENT: u8 = 61;
const ROUTES: u8 = 121;
const END: u8 = 255;

/// A time that never comes (RFC 2131, 3.3).
const INFINITE: u32 = u32::MAX;
/// Where a server names no time.
const USUAL_TIME: u32 = 3600;
/// An interface's MTU is not believed below (RFC 791).
const MTU_LEAST: u16 = 576;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

/// A client's message.
pub(super) struct Question<'a> {
    pub(super) kind: Kind,
    pub(super) number: u32,
    /// Since the client began.
    pub(super) elapsed: Duration,
    pub(super) mac: [u8; 6],
    /// The address that it has.
    pub(super) address: Option<Ipv4Addr>,
    /// The address that it wants, and the server that has offered it.
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
    pub(super) hostname: &'a str,
}

impl Question<'_> {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let [m0, m1, m2, m3, m4, m5] = self.mac;
        let seconds = u16::try_from(self.elapsed.as_secs()).unwrap_or(u16::MAX);
        let flags = if self.address.is_none() { BROADCAST } else { 0 };
        let address = self.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        // A request of an Ethernet's client, no relay so far.
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(seconds.to_be_bytes());
        bytes.extend(flags.to_be_bytes());
        bytes.extend(address.octets());
        bytes.extend([0; 12]);
        bytes.extend(self.mac);
        bytes.resize(FIXED, 0);
        bytes.extend(COOKIE);
        let mut option = |kind: u8, value: &[u8]| {
            if let Ok(length @ 1..) = u8::try_from(value.len()) {
                bytes.extend([kind, length]);
                bytes.extend_from_slice(value);
            }
        };
        option(KIND, &[self.kind as u8]);
        option(CLIENT, &[1, m0, m1, m2, m3, m4, m5]);
        if let Some(requested) = self.requested {
            option(REQUESTED, &requested.octets());
        }
        if let Some(server) = self.server {
            option(SERVER, &server.octets());
        }
        if self.kind != Kind::Release {
            option(MOST_BYTES, &MOST.to_be_bytes());
            option(HOSTNAME, self.hostname.as_bytes());
            // RFC 3442: routes before routers.
            let wishes = [
                MASK,
                ROUTES,
                ROUTERS,
                NAMESERVERS,
                DOMAIN,
                MTU,
                LEASE_TIME,
                RENEWAL,
                REBINDING,
            ];
            option(WISHES, &wishes);
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(LEAST), 0);
        bytes
    }
}

/// A server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) server: Option<Ipv4Addr>,
    /// Why there is no address.
    pub(super) text: String,
    /// None where it lacks what an interface needs.
    pub(super) lease: Option<Lease>,
}

impl Answer {
    /// Reads an answer to the question with this number from this interface; anything else is `None`.
    pub(super) fn from_bytes(bytes: &[u8], number: u32, mac: [u8; 6]) -> Option<Self> {
        let [2, 1, 6] = *bytes.first_chunk()? else {
            return None;
        };
        let asked = bytes.get(4..8)? == number.to_be_bytes() && bytes.get(28..34)? == mac;
        if !asked || bytes.get(FIXED..FIXED + COOKIE.len())? != COOKIE {
            return None;
        }
        let options = Options::of(bytes);
        let kind = match options.get(KIND)?.as_slice() {
            [2] => Kind::Offer,
            [5] => Kind::Ack,
            [6] => Kind::Nak,
            _ => return None,
        };
        let server = options.address(SERVER);
        let address = Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?);
        Some(Self {
            kind,
            server,
            text: options.text(TEXT),
            lease: server.and_then(|server| lease(&options, address, server)),
        })
    }
}

fn lease(options: &Options, address: Ipv4Addr, server: Ipv4Addr) -> Option<Lease> {
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return None;
    }
    let mask = u32::from(options.address(MASK)?);
    let prefix = u8::try_from(mask.leading_ones()).ok()?;
    // Ones, then zeroes.
    if mask.leading_ones() + mask.trailing_zeros() != u32::BITS {
        return None;
    }
    let time = options.number(LEASE_TIME).unwrap_or(USUAL_TIME).max(1);
    let of = |kind, usual: u64| options.number(kind).map_or(usual, u64::from);
    let rebind = of(REBINDING, u64::from(time) * 7 / 8).clamp(1, u64::from(time));
    let renew = of(RENEWAL, u64::from(time) / 2).clamp(1, rebind);
    let routes = options.get(ROUTES).map(|bytes| routes(&bytes));
    let mtu = options
        .get(MTU)
        .and_then(|bytes| Some(u16::from_be_bytes(*bytes.first_chunk()?)));
    Some(Lease {
        address: IpNet {
            address: IpAddr::V4(address),
            prefix,
        },
        server,
        // With routes the routers are to be ignored (RFC 3442).
        gateway: options.address(ROUTERS).filter(|_| routes.is_none()),
        routes: routes.unwrap_or_default(),
        nameservers: options.addresses(NAMESERVERS),
        domain: domain(options.text(DOMAIN)),
        mtu: mtu.filter(|mtu| *mtu >= MTU_LEAST),
        times: (time != INFINITE)
            .then(|| [renew, rebind, u64::from(time)].map(Duration::from_secs)),
    })
}

/// A name for `/etc/resolv.conf`, or nothing: whoever answers first must not write lines of theirs into it.
fn domain(text: String) -> String {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if text.bytes().all(good) {
        text
    } else {
        String::new()
    }
}

/// Prefix length, as many bytes as it takes, router; and again.
fn routes(mut bytes: &[u8]) -> Vec<(IpNet, Ipv4Addr)> {
    let mut routes = Vec::new();
    while let Some((&prefix @ 0..=32, rest)) = bytes.split_first() {
        let significant = usize::from(prefix.div_ceil(8));
        let (Some(net), Some(router)) = (rest.get(..significant), rest.get(significant..)) else {
            break;
        };
        let Some((router, rest)) = router.split_first_chunk::<4>() else {
            break;
        };
        let mut address = [0; 4];
        for (to, from) in address.iter_mut().zip(net) {
            *to = *from;
        }
        let net = IpNet {
            address: IpAddr::V4(address.into()),
            prefix,
        };
        routes.push((net, Ipv4Addr::from(*router)));
        bytes = rest;
    }
    routes
}

/// All options of a message, in their order.
struct Options<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Options<'a> {
    fn of(message: &'a [u8]) -> Self {
        let mut options = Self(Vec::new());
        options.read(message.get(FIXED + COOKIE.len()..).unwrap_or_default());
        let overload = options
            .get(OVERLOAD)
            .and_then(|value| value.first().copied());
        for (bit, place) in [(1, FILE), (2, SERVER_NAME)] {
            if overload.unwrap_or_default() & bit != 0 {
                options.read(message.get(place).unwrap_or_default());
            }
        }
        options
    }

    fn read(&mut self, mut bytes: &'a [u8]) {
        while let Some((&kind, rest)) = bytes.split_first() {
            match kind {
                0 => bytes = rest,
                END => return,
                _ => {
                    let Some((&length, rest)) = rest.split_first() else {
                        return;
                    };
                    let Some((value, rest)) = rest.split_at_checked(usize::from(length)) else {
                        return;
                    };
                    self.0.push((kind, value));
                    bytes = rest;
                }
            }
        }
    }

    /// The value, its pieces put together.
    fn get(&self, wanted: u8) -> Option<Vec<u8>> {
        let mut pieces = self.0.iter().filter(|(kind, _)| *kind == wanted).peekable();
        pieces.peek()?;
        Some(
            pieces
                .flat_map(|(_, value)| value.iter().copied())
                .collect(),
        )
    }

    fn addresses(&self, kind: u8) -> Vec<Ipv4Addr> {
        let value = self.get(kind).unwrap_or_default();
        let (addresses, _) = value.as_chunks::<4>();
        addresses
            .iter()
            .map(|octets| Ipv4Addr::from(*octets))
            .collect()
    }

    fn address(&self, kind: u8) -> Option<Ipv4Addr> {
        self.addresses(kind).first().copied()
    }

    fn number(&self, kind: u8) -> Option<u32> {
        Some(u32::from_be_bytes(*self.get(kind)?.first_chunk()?))
    }

    fn text(&self, kind: u8) -> String {
        let value = self.get(kind).unwrap_or_default();
        String::from_utf8_lossy(&value)
            .trim_end_matches('\0')
            .to_owned()
    }
}
