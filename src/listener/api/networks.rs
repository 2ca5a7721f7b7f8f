//! Networks that machines share, and the two that are always there: listed, made, removed; containers put onto them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::create::{json_body, machines, to_the_end};
use super::endpoints::endpoint_id;
use super::error::ApiError;
use super::filters::{Filters, labelled};
use super::params::Params;
use super::shape::rfc3339;
use super::{Api, RawParams, done, find};
use crate::config::model::IpNet;
use crate::listener::container::Container;
use crate::listener::keys;
use crate::listener::machines::{MachineError, NewNetwork, PREDEFINED, Wanted, joined, on};
use crate::listener::vm::Shared;
use crate::provider::Network;

/// Filters of lists.
const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];
/// The one driver of networks that are made.
const BRIDGE: &str = "bridge";
/// What a request may say that means what is done anyway.
const USUAL: [&str; 5] = [
    "CheckDuplicate",
    "EnableIPv4",
    "Attachable",
    "Scope",
    "Name",
];

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

/// A network as docker shows it.
fn shown(shared: &Shared, network: &Network) -> Value {
    let mut ipam = json!({
        "Subnet": network.subnet.to_string(),
        "Gateway": network.gateway.to_string(),
    });
    if let Some(range) = network.range {
        ipam["IPRange"] = range.to_string().into();
    }
    if !network.reserved.is_empty() {
        ipam["AuxiliaryAddresses"] = json!(network.reserved);
    }
    let containers = on(shared, &network.id);
    let containers = containers.iter().filter_map(|container| {
        let joined = joined(container, &network.id)?;
        let shown = json!({
            "Name": container.name(),
            "EndpointID": endpoint_id(container.id(), &network.id),
            "MacAddress": joined.mac,
            "IPv4Address": joined.address.to_string(),
            "IPv6Address": "",
        });
        Some((container.id().to_owned(), shown))
    });
    let mut all = plain(&network.name, &network.id, BRIDGE);
    all["Created"] = rfc3339(network.created_ns).into();
    all["IPAM"]["Config"] = json!([ipam]);
    all["Internal"] = network.internal.into();
    all["Containers"] = Value::Object(containers.collect::<Map<_, _>>());
    all["Labels"] = json!(network.labels);
    all
}

/// One of those that are always there.
fn predefined(name: &str) -> Value {
    let id = keys::hex(&Sha256::digest(name.as_bytes()));
    let driver = if name == "none" { "null" } else { BRIDGE };
    plain(name, &id, driver)
}

fn plain(name: &str, id: &str, driver: &str) -> Value {
    json!({
        "Name": name,
        "Id": id,
        "Created": rfc3339(0),
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}

async fn all(shared: &Shared) -> Result<Vec<Network>, ApiError> {
    match shared.machines.as_deref() {
        Some(machines) => Ok(machines.networks().await?),
        None => Ok(Vec::new()),
    }
}

async fn list(State(shared): Api, Query(query): RawParams) -> Result<Json<Vec<Value>>, ApiError> {
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"), &FILTERS)?;
    let own = all(&shared).await?;
    let own = own
        .iter()
        .map(|network| (Some(&network.labels), shown(&shared, network)));
    let mut rows: Vec<Value> = Vec::new();
    // Docker's list is of networks, whoever makes the machines.
    let always = PREDEFINED.iter().filter(|_| shared.machines.is_some());
    let always = always.map(|name| (None, predefined(name)));
    for (labels, row) in always.chain(own) {
        let custom = labels.is_some();
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let fits = filters.pass(|name, value| match name {
            "dangling" => {
                let unused = row["Containers"].as_object().is_none_or(Map::is_empty);
                custom && unused == matches!(value, "1" | "true")
            }
            "driver" => text("Driver") == value,
            "id" => text("Id").contains(value),
            "label" => labels.is_some_and(|labels| labelled(labels, value)),
            "scope" => text("Scope") == value,
            "type" => value == if custom { "custom" } else { "builtin" },
            _ => text("Name").contains(value),
        });
        if fits {
            rows.push(row);
        }
    }
    Ok(Json(rows))
}

async fn inspect(State(shared): Api, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let machines = machines(&shared)?;
    match machines.network(&id).await {
        Ok(network) => Ok(Json(shown(&shared, &network))),
        Err(MachineError::NoNetwork(_)) => {
            let mut always = PREDEFINED.iter().map(|name| predefined(name));
            let found = always.find(|row| row["Name"] == id.as_str() || row["Id"] == id.as_str());
            found
                .map(Json)
                .ok_or_else(|| MachineError::NoNetwork(id).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn create(State(shared): Api, body: Bytes) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let new = wanted(&json_body(&body)?)?;
    let network = to_the_end(async move { machines.make_network(new).await }).await?;
    let made = json!({ "Id": network.id, "Warning": "" });
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Docker's request: what is not possible is refused by its name.
fn wanted(body: &Value) -> Result<NewNetwork, ApiError> {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let bad = |what: String| ApiError::bad_request(what);
    let name = text(body, "Name");
    let driver = text(body, "Driver");
    if !matches!(driver.as_str(), "" | "default" | BRIDGE) {
        return Err(ApiError::not_found(format!(
            "could not find plugin {driver} in v1 plugin registry: plugin not found"
        )));
    }
    let mut new = NewNetwork {
        name,
        internal: body["Internal"] == true,
        ..NewNetwork::default()
    };
    for (field, value) in body.as_object().into_iter().flatten() {
        let said = !crate::listener::machines::is_empty(value);
        match field.as_str() {
            "Driver" | "Internal" | "IPAM" | "Labels" => {}
            usual if USUAL.contains(&usual) => {}
            other if said => {
                return Err(ApiError::not_implemented(format!(
                    "{other} is not done: networks are of IPv4, of this host's machines, and have no options"
                )));
            }
            _ => {}
        }
    }
    let labels: Option<BTreeMap<String, String>> =
        serde_json::from_value(body["Labels"].clone()).map_err(|e| bad(format!("Labels: {e}")))?;
    new.labels = labels.unwrap_or_default();
    let ipam = &body["IPAM"];
    let ipam_driver = text(ipam, "Driver");
    if !matches!(ipam_driver.as_str(), "" | "default")
        || !crate::listener::machines::is_empty(&ipam["Options"])
    {
        return Err(ApiError::not_implemented(
            "IPAM: there is one driver, without options",
        ));
    }
    let configs = ipam["Config"].as_array().cloned().unwrap_or_default();
    if configs.len() > 1 {
        return Err(ApiError::not_implemented(
            "IPAM.Config: a network has one subnet",
        ));
    }
    for config in configs {
        let net = |name: &str| -> Result<Option<IpNet>, ApiError> {
            match text(&config, name).as_str() {
                "" => Ok(None),
                written => written
                    .parse()
                    .map(Some)
                    .map_err(|e| bad(format!("invalid {name} {written}: {e}"))),
            }
        };
        (new.subnet, new.range) = (net("Subnet")?, net("IPRange")?);
        new.gateway = match text(&config, "Gateway").as_str() {
            "" => None,
            written => Some(
                written
                    .parse::<Ipv4Addr>()
                    .map_err(|e| bad(format!("invalid Gateway {written}: {e}")))?,
            ),
        };
        let reserved: Option<BTreeMap<String, Ipv4Addr>> =
            serde_json::from_value(config["AuxiliaryAddresses"].clone())
                .map_err(|e| bad(format!("AuxiliaryAddresses: {e}")))?;
        new.reserved = reserved.unwrap_or_default();
    }
    Ok(new)
}

async fn remove(State(shared): Api, Path(id): Path<String>) -> Result<Response, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    to_the_end(async move { machines.remove_network(&shared, &id).await }).await?;
    Ok(done())
}

/// Those that no container is on.
async fn prune(State(shared): Api, Query(query): RawParams) -> Result<Json<Value>, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let params = Params(query);
    let filters = Filters::parse(params.text("filters"), &["label"])?;
    let pruned = async move {
        let mut deleted = Vec::new();
        for network in machines.networks().await? {
            let used = shared
                .registry
                .all()
                .iter()
                .any(|c| joined(c, &network.id).is_some());
            if used || !filters.pass(|_, value| labelled(&network.labels, value)) {
                continue;
            }
            match machines.remove_network(&shared, &network.id).await {
                Ok(network) => deleted.push(network.name),
                Err(MachineError::NetworkUsed { .. } | MachineError::NoNetwork(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    };
    let deleted = to_the_end(pruned).await?;
    Ok(Json(json!({ "NetworksDeleted": deleted })))
}

/// The container that a request names.
fn named(shared: &Shared, body: &Value) -> Result<Arc<Container>, ApiError> {
    find(
        &shared.registry,
        body["Container"].as_str().unwrap_or_default(),
    )
}

async fn connect(
    State(shared): Api,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let body = json_body(&body)?;
    let container = named(&shared, &body)?;
    let wanted = Wanted::parse(&id, &body["EndpointConfig"]).map_err(MachineError::from)?;
    to_the_end(async move { machines.connect(&shared, &container, &wanted).await }).await?;
    Ok(StatusCode::OK)
}

async fn disconnect(
    State(shared): Api,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let machines = Arc::clone(machines(&shared)?);
    let body = json_body(&body)?;
    let container = named(&shared, &body)?;
    to_the_end(async move { machines.disconnect(&shared, &container, &id).await }).await?;
    Ok(StatusCode::OK)
}
