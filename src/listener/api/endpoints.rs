//! A container's network as docker shows it.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::link::NetworkEndpoint;
use crate::listener::container::Snapshot;
use crate::listener::keys;
use crate::listener::machines::{Joined, Spec};
use crate::listener::store::state::{ContainerRecord, State};

/// The endpoint that its machine has besides, where it leads outside for networks that machines share.
const OUTSIDE: &str = "bridge";

/// `NetworkSettings` of an inspected container.
pub fn settings(snapshot: &Snapshot) -> Value {
    let own = told(snapshot);
    let mut settings = of_own(&own);
    settings["Networks"] = by_name(snapshot);
    settings
}

/// The endpoints by their networks' names.
pub fn by_name(snapshot: &Snapshot) -> Value {
    let own = told(snapshot);
    let own = own.iter().map(|one| (one.name.clone(), endpoint(one)));
    let joined = snapshot.spec.iter().flat_map(|spec| &spec.networks);
    let joined = joined.map(|one| (one.name.clone(), shared(&snapshot.record, one)));
    Value::Object(own.chain(joined).collect::<Map<_, _>>())
}

/// What its guest has told of endpoints that are its own.
fn told(snapshot: &Snapshot) -> Vec<NetworkEndpoint> {
    let spec = snapshot.spec.as_deref();
    let networks = spec.map_or(&[][..], |spec| &spec.networks);
    let hidden = !networks.is_empty() && !spec.is_some_and(Spec::has_bridge);
    let mut all = snapshot.record.run.network.clone();
    all.retain(|one| {
        let is_shared = networks.iter().any(|joined| joined.name == one.name);
        !(is_shared || hidden && one.name == OUTSIDE)
    });
    all
}

/// A container's place on a network that machines share.
fn shared(record: &ContainerRecord, one: &Joined) -> Value {
    let running = record.state == State::Running;
    let address = one.address.address.to_string();
    let digits: String = record.id.chars().take(12).collect();
    let names = [record.name.clone()]
        .into_iter()
        .chain(one.aliases.iter().cloned());
    let names: Vec<String> = names.chain([digits]).collect();
    let if_on = |text: String| if running { text } else { String::new() };
    json!({
        "IPAMConfig": one.fixed.then(|| json!({ "IPv4Address": address })),
        "Links": null,
        "Aliases": one.aliases,
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": one.id,
        "EndpointID": if_on(endpoint_id(&record.id, &one.id)),
        "Gateway": if_on(one.gateway.to_string()),
        "IPAddress": if_on(address),
        "IPPrefixLen": if running { one.address.prefix } else { 0 },
        "MacAddress": one.mac,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": names,
    })
}

/// The ID of a container's place on a network.
pub(super) fn endpoint_id(container: &str, network: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(container);
    digest.update(network);
    keys::hex(&digest.finalize())
}

fn of_own(endpoints: &[NetworkEndpoint]) -> Value {
    let leads_out = endpoints.iter().find(|one| !one.gateway.is_empty());
    let main = leads_out.or(endpoints.first());
    let mut settings = main.map_or_else(|| endpoint(&Default::default()), endpoint);
    settings["Ports"] = json!({});
    settings
}

fn endpoint(one: &NetworkEndpoint) -> Value {
    let (address, prefix) = one.address.split_once('/').unwrap_or_default();
    let prefix: u8 = prefix.parse().unwrap_or_default();
    let is_v6 = address.contains(':');
    let of = |family: bool, text: &str| {
        if family {
            text.to_owned()
        } else {
            String::new()
        }
    };
    let length = |family: bool| if family { prefix } else { 0 };
    json!({
        "IPAddress": of(!is_v6, address),
        "IPPrefixLen": length(!is_v6),
        "Gateway": of(!is_v6, &one.gateway),
        "GlobalIPv6Address": of(is_v6, address),
        "GlobalIPv6PrefixLen": length(is_v6),
        "IPv6Gateway": of(is_v6, &one.gateway),
        "MacAddress": one.mac,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, address: &str, gateway: &str) -> NetworkEndpoint {
        NetworkEndpoint {
            name: name.into(),
            mac: "52:54:00:00:00:01".into(),
            address: address.into(),
            gateway: gateway.into(),
            dhcp: false,
        }
    }

    #[test]
    fn the_way_out_is_the_container_s_address() {
        let endpoints = [
            one("back", "10.9.0.7/24", ""),
            one("front", "172.16.0.2/16", "172.16.0.1"),
            one("six", "fd00::7/64", ""),
        ];
        let settings = of_own(&endpoints);
        assert_eq!(settings["IPAddress"], "172.16.0.2");
        assert_eq!(settings["IPPrefixLen"], 16);
        let six = endpoint(&endpoints[2]);
        assert_eq!(
            (&six["IPAddress"], &six["GlobalIPv6Address"]),
            (&json!(""), &json!("fd00::7"))
        );
        assert_eq!(six["GlobalIPv6PrefixLen"], 64);
    }

    #[test]
    fn without_a_network_all_of_it_is_there_and_empty() {
        assert_eq!(of_own(&[])["IPAddress"], json!(""));
    }
}
