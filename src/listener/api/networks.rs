//! A container's network as docker shows it.

use serde_json::{Map, Value, json};

use crate::link::NetworkEndpoint;

/// `NetworkSettings` of an inspected container.
pub fn settings(endpoints: &[NetworkEndpoint]) -> Value {
    let leads_out = endpoints.iter().find(|one| !one.gateway.is_empty());
    let main = leads_out.or(endpoints.first());
    let Value::Object(mut settings) = main.map_or_else(|| endpoint(&Default::default()), endpoint)
    else {
        return Value::Null;
    };
    settings.insert("Ports".into(), json!({}));
    settings.insert("Networks".into(), by_name(endpoints));
    Value::Object(settings)
}

/// The endpoints by their networks' names.
pub fn by_name(endpoints: &[NetworkEndpoint]) -> Value {
    let all = endpoints
        .iter()
        .map(|one| (one.name.clone(), endpoint(one)));
    Value::Object(all.collect::<Map<_, _>>())
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
        let settings = settings(&endpoints);
        assert_eq!(settings["IPAddress"], "172.16.0.2");
        assert_eq!(settings["IPPrefixLen"], 16);
        assert_eq!(settings["Gateway"], "172.16.0.1");
        assert_eq!(settings["Networks"]["back"]["IPAddress"], "10.9.0.7");
        let six = &settings["Networks"]["six"];
        assert_eq!(
            (&six["IPAddress"], &six["GlobalIPv6Address"]),
            (&json!(""), &json!("fd00::7"))
        );
        assert_eq!(six["GlobalIPv6PrefixLen"], 64);
    }

    #[test]
    fn without_a_network_all_of_it_is_there_and_empty() {
        let settings = settings(&[]);
        assert_eq!(
            (&settings["IPAddress"], &settings["Networks"]),
            (&json!(""), &json!({}))
        );
    }
}
