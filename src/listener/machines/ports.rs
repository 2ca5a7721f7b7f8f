//! The network of a container that is made: docker's options → the machine's adapter and the ports that lead to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;

use super::fields::{Fields, Wish};
use super::lan::Wanted;
use crate::config::names::{self, Names};
use crate::provider::Forward;

/// The network that a container is on unless told otherwise.
pub(super) const NETWORK: &str = "bridge";

/// Docker's word for this host's address, and that by which a machine's own network reaches it.
const HOST_GATEWAY: &str = "host-gateway";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// What a container's machine is plugged into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mode {
    /// It has a way out of its own.
    pub(super) outside: bool,
    /// Networks that it shares.
    pub(super) shared: Vec<Wanted>,
}

/// Reads the mode, and what the request says of each network.
pub(super) fn mode(host: &Fields<'_>, config: &Fields<'_>) -> Result<Mode, Wish> {
    let disabled = config.flag("NetworkDisabled")? == Some(true);
    let networking = config
        .value("NetworkingConfig")
        .and_then(|all| all.get("EndpointsConfig"));
    let endpoints = networking.and_then(Value::as_object);
    let mut shared = Vec::new();
    let mode = host.text("NetworkMode")?;
    if !is_own(mode) {
        if mode == "host" || mode.contains(':') {
            return Err(Wish::Refused(format!(
                "HostConfig.NetworkMode {mode:?} is not possible: there are bridge, a network of its own behind \
                 this host's, networks that are made by name, and none"
            )));
        }
        let own = endpoints.and_then(|all| all.get(mode));
        shared.push(Wanted::parse(mode, own.unwrap_or(&Value::Null))?);
    }
    for (name, endpoint) in endpoints.into_iter().flatten() {
        if is_own(name) {
            if !super::fields::is_empty(endpoint) {
                return Err(Wish::Refused(format!(
                    "NetworkingConfig of network {name:?} is not possible: addresses are given out by the VM's own \
                     network; make one by name (docker network create)"
                )));
            }
        } else if name != mode {
            shared.push(Wanted::parse(name, endpoint)?);
        }
    }
    let outside = mode != "none" && !disabled;
    if !outside && !shared.is_empty() {
        return Err(Wish::Bad("a container without a network is on none".into()));
    }
    Ok(Mode { outside, shared })
}

/// One of those that are always there.
fn is_own(name: &str) -> bool {
    matches!(name, "" | "default" | "none" | NETWORK)
}

pub(super) fn forwards(host: &Fields<'_>, network: bool) -> Result<Vec<Forward>, Wish> {
    let mut all = Vec::new();
    for (port, bindings) in host.object("PortBindings")?.into_iter().flatten() {
        let bad = || {
            Wish::Bad(format!(
                "HostConfig.PortBindings {port:?}: expected 80/tcp and its addresses"
            ))
        };
        let (guest, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let guest: u16 = guest.parse().map_err(|_| bad())?;
        if !matches!(protocol, "tcp" | "udp") {
            return Err(Wish::Refused(format!(
                "port {port}: only tcp and udp are forwarded"
            )));
        }
        for binding in bindings.as_array().into_iter().flatten() {
            let text = |name| {
                binding
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let ip = match text("HostIp") {
                "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                ip => ip.parse().map_err(|_| bad())?,
            };
            if ip.is_ipv6() {
                return Err(Wish::Refused(format!(
                    "port {port}: {ip}: only IPv4 addresses are forwarded"
                )));
            }
            let number = match text("HostPort") {
                "" | "0" => free_port(ip, protocol).map_err(|error| {
                    Wish::Bad(format!("port {port}: no port of {ip} is free: {error}"))
                })?,
                number => number.parse().map_err(|_| bad())?,
            };
            all.push(Forward {
                protocol: protocol.to_owned(),
                host: SocketAddr::new(ip, number),
                guest,
            });
        }
    }
    if !network && !all.is_empty() {
        return Err(Wish::Bad(
            "a container without a network publishes no ports".into(),
        ));
    }
    Ok(all)
}

/// One that nobody has now.
fn free_port(ip: IpAddr, protocol: &str) -> std::io::Result<u16> {
    let address = match protocol {
        "udp" => std::net::UdpSocket::bind((ip, 0))?.local_addr()?,
        _ => std::net::TcpListener::bind((ip, 0))?.local_addr()?,
    };
    Ok(address.port())
}

pub(super) fn ports(forwards: &[Forward]) -> BTreeMap<String, Vec<(String, u16)>> {
    let mut all: BTreeMap<String, Vec<(String, u16)>> = BTreeMap::new();
    for forward in forwards {
        let port = format!("{}/{}", forward.guest, forward.protocol);
        let host = (forward.host.ip().to_string(), forward.host.port());
        all.entry(port).or_default().push(host);
    }
    all
}

/// The same back.
pub(super) fn forwarded(ports: &BTreeMap<String, Vec<(String, u16)>>) -> Vec<Forward> {
    let all = ports.iter().flat_map(|(port, hosts)| {
        let (guest, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        hosts.iter().filter_map(move |(ip, number)| {
            Some(Forward {
                protocol: protocol.to_owned(),
                host: SocketAddr::new(ip.parse().ok()?, *number),
                guest: guest.parse().ok()?,
            })
        })
    });
    all.collect()
}

/// What the guest is told of names beside its networks'.
pub(super) fn names(host: &Fields<'_>, outside: bool) -> Result<Names, Wish> {
    let mut hosts = host.texts("ExtraHosts")?.unwrap_or_default();
    for text in &mut hosts {
        if let Some(name) = text.strip_suffix(HOST_GATEWAY) {
            if !outside {
                return Err(Wish::Bad(format!(
                    "HostConfig.ExtraHosts {text:?}: a container without a network that leads outside does not reach \
                     its host"
                )));
            }
            *text = format!("{name}{HOST}");
        }
        if names::host(text).is_none() {
            return Err(Wish::Bad(format!(
                "invalid extra host {text:?}: expected NAME:ADDRESS"
            )));
        }
    }
    let words = |field| -> Result<Vec<String>, Wish> {
        let words = host.texts(field)?.unwrap_or_default();
        match words.iter().find(|word| !names::is_word(word)) {
            Some(word) => Err(Wish::Bad(format!("HostConfig.{field}: {word:?} is none"))),
            None => Ok(words),
        }
    };
    Ok(Names {
        hosts,
        search: words("DnsSearch")?,
        options: words("DnsOptions")?,
    })
}

/// Servers that the container wants to be asked for names must have addresses.
pub(super) fn servers(host: &Fields<'_>) -> Result<(), Wish> {
    for text in host.texts("Dns")?.unwrap_or_default() {
        text.parse::<IpAddr>()
            .map_err(|_| Wish::Bad(format!("HostConfig.Dns: {text:?} is no address")))?;
    }
    Ok(())
}
