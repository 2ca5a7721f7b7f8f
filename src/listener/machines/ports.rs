//! The network of a container that is made: docker's options → the machine's adapter and the ports that lead to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;

use super::fields::{Fields, Wish};
use crate::config::model::Network;
use crate::provider::Forward;
use crate::provider::vmx::NIC_SLOT;

/// The network that a container is on unless told otherwise.
const NETWORK: &str = "bridge";

/// It has a network.
pub(super) fn network_mode(host: &Fields<'_>, disabled: bool) -> Result<bool, Wish> {
    match host.text("NetworkMode")? {
        "none" => Ok(false),
        "" | "default" | NETWORK => Ok(!disabled),
        other => Err(Wish::Refused(format!(
            "HostConfig.NetworkMode {other:?} is not possible: there are bridge, a network of its own behind \
             this host's, and none"
        ))),
    }
}

/// What the request says of networks beside the mode must be empty.
pub(super) fn networking(config: &Fields<'_>) -> Result<(), Wish> {
    let networking = config
        .value("NetworkingConfig")
        .and_then(|all| all.get("EndpointsConfig"));
    let endpoints = networking.and_then(Value::as_object);
    for (name, endpoint) in endpoints.into_iter().flatten() {
        if !matches!(name.as_str(), "default" | NETWORK | "none")
            || !super::fields::is_empty(endpoint)
        {
            return Err(Wish::Refused(format!(
                "NetworkingConfig of network {name:?} is not possible: addresses are given out by the VM's own \
                 network"
            )));
        }
    }
    Ok(())
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

pub(super) fn networks(
    host: &Fields<'_>,
    network: bool,
    forwards: &[Forward],
) -> Result<BTreeMap<String, Network>, Wish> {
    let servers = host.texts("Dns")?.unwrap_or_default();
    if !network {
        return Ok(BTreeMap::new());
    }
    let servers = servers.iter().map(|text| {
        let bad = |_| Wish::Bad(format!("HostConfig.Dns: {text:?} is no address"));
        text.parse::<IpAddr>().map_err(bad)
    });
    let network = Network {
        slot: NIC_SLOT.to_owned(),
        name: NETWORK.to_owned(),
        network: NETWORK.to_owned(),
        default: true,
        nameservers: servers.collect::<Result<_, _>>()?,
        ports: ports(forwards).into_keys().collect(),
        ..Network::default()
    };
    Ok(BTreeMap::from([(NETWORK.to_owned(), network)]))
}
