//! Published ports, `80/tcp`.

use std::str::FromStr;

/// One port or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// Of what.
    pub protocol: Transport,
    /// The first.
    pub first: u16,
    /// The last, which may be the first.
    pub last: u16,
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl PublishedPort {
    /// What is expected of the text.
    pub const EXPECTED: &'static str = "a port such as 80/tcp, or some such as 8000-8010/udp";
}

/// A text that is no such port.
#[derive(Debug, thiserror::Error)]
#[error("expected {}", PublishedPort::EXPECTED)]
pub struct PublishedPortError;

/// As docker writes them: `80`, `80/tcp`, `8000-8010/udp`; of `8080:80/tcp`, a mapping, the container's side.
impl FromStr for PublishedPort {
    type Err = PublishedPortError;

    fn from_str(text: &str) -> Result<Self, PublishedPortError> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(PublishedPortError),
        };
        let inside = ports.rsplit(':').next().unwrap_or(ports);
        let (first, last) = inside.split_once('-').unwrap_or((inside, inside));
        let number = |text: &str| text.parse().map_err(|_| PublishedPortError);
        let (first, last) = (number(first)?, number(last)?);
        if first == 0 || last < first {
            return Err(PublishedPortError);
        }
        Ok(Self {
            protocol,
            first,
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_docker_writes_them() {
        let port = |text: &str| text.parse::<PublishedPort>().ok();
        let of = |protocol, first, last| {
            Some(PublishedPort {
                protocol,
                first,
                last,
            })
        };
        assert_eq!(port("80"), of(Transport::Tcp, 80, 80));
        assert_eq!(port("53/udp"), of(Transport::Udp, 53, 53));
        assert_eq!(port("8000-8010/tcp"), of(Transport::Tcp, 8000, 8010));
        assert_eq!(port("127.0.0.1:8080:80/tcp"), of(Transport::Tcp, 80, 80));
        for bad in ["", "0", "80/", "80/icmp", "9-8", "65536", "http/tcp", "-80"] {
            assert_eq!(port(bad), None, "{bad}");
        }
    }
}
