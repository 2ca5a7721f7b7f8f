//! Networks that machines share: made and removed by name, and who is on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::lan::{self, Joined, Wanted, join};
use super::life::{OFF_MOST, note, parts, put_off};
use super::names::is_name;
use super::subnet::{NewNetwork, lay_out};
use super::{MachineError, Machines, SPEC, Spec, Wish};
use crate::config::model::IpNet;
use crate::lan::{Guest, Names};
use crate::listener::clock::now_ns;
use crate::listener::container::Container;
use crate::listener::keys;
use crate::listener::vm::Shared;
use crate::provider::Network;

/// Names of networks that are always there.
pub const PREDEFINED: [&str; 2] = ["bridge", "none"];
/// Others that docker has, and none of ours may be called.
const RESERVED: [&str; 3] = ["bridge", "none", "host"];
impl Machines {
    /// All networks, the oldest first.
    ///
    /// # Errors
    /// They cannot be looked through.
    pub async fn networks(&self) -> Result<Vec<Network>, MachineError> {
        self.ask(|provider| provider.networks()).await
    }

    /// The network of a name, an ID or the beginning of one.
    ///
    /// # Errors
    /// There is none.
    pub async fn network(&self, wanted: &str) -> Result<Network, MachineError> {
        let all = self.networks().await?;
        let found = lan::find(&all, wanted).cloned();
        found.ok_or_else(|| MachineError::NoNetwork(wanted.to_owned()))
    }

    /// Makes a network.
    ///
    /// # Errors
    /// Its name or its addresses are another's or none, or it cannot be made.
    pub async fn make_network(&self, new: NewNetwork) -> Result<Network, MachineError> {
        let _naming = self.naming.lock().await;
        if !is_name(&new.name) {
            let text = format!(
                "{:?} is no network name, only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                new.name
            );
            return Err(Wish::Bad(text).into());
        }
        let all = self.networks().await?;
        if RESERVED.contains(&new.name.as_str()) || all.iter().any(|one| one.name == new.name) {
            return Err(MachineError::NetworkTaken(new.name));
        }
        let subnets: Vec<IpNet> = all.iter().map(|one| one.subnet).collect();
        let network = lay_out(new, &subnets, keys::hex(&keys::random()?), now_ns())?;
        let made = network.clone();
        self.ask(move |provider| provider.make_network(&made))
            .await?;
        Ok(network)
    }

    /// Deletes a network that no machine that is on is on.
    ///
    /// # Errors
    /// There is none, or a machine is on it.
    pub async fn remove_network(
        &self,
        shared: &Shared,
        wanted: &str,
    ) -> Result<Network, MachineError> {
        let _naming = self.naming.lock().await;
        if PREDEFINED.contains(&wanted) {
            return Err(MachineError::Predefined(wanted.to_owned()));
        }
        let network = self.network(wanted).await?;
        if let Some(other) = on(shared, &network.id).first() {
            return Err(MachineError::NetworkUsed {
                name: network.name,
                by: other.name(),
            });
        }
        let id = network.id.clone();
        self.ask(move |provider| provider.remove_network(&id))
            .await?;
        Ok(network)
    }

    /// Where a container that is to be is on networks; whoever calls holds the lock of names.
    pub(super) async fn join_all(
        &self,
        shared: &Shared,
        wanted: &[Wanted],
    ) -> Result<Vec<Joined>, MachineError> {
        let mut joined: Vec<Joined> = Vec::new();
        if wanted.is_empty() {
            return Ok(joined);
        }
        let all = self.networks().await?;
        for one in wanted {
            let network = lan::find(&all, &one.network)
                .ok_or_else(|| Wish::Bad(format!("network {} not found", one.network)))?;
            if joined.iter().any(|other| other.id == network.id) {
                return Err(Wish::Bad(format!("network {} is named twice", network.name)).into());
            }
            joined.push(join(network, one, &taken(shared, &network.id))?);
        }
        Ok(joined)
    }

    /// Puts a container whose machine is off onto a network more.
    ///
    /// # Errors
    /// Its machine is on, it is on that network already, or there is no place for it.
    pub async fn connect(
        &self,
        shared: &Shared,
        container: &Container,
        wanted: &Wanted,
    ) -> Result<(), MachineError> {
        let network = self.network(&wanted.network).await?;
        self.rewire(shared, container, |spec| {
            if spec.networks.iter().any(|one| one.id == network.id) {
                return Err(MachineError::NetworkJoined {
                    name: container.name(),
                    network: network.name.clone(),
                });
            }
            if spec.networks.is_empty() && !spec.has_bridge() && !spec.is_detached() {
                let text = "container cannot be connected to multiple networks with one of the networks in \
                            private (none) mode";
                return Err(Wish::Bad(text.into()).into());
            }
            let joined = join(&network, wanted, &taken(shared, &network.id))?;
            spec.networks.push(joined);
            Ok(())
        })
        .await
    }

    /// Takes a container whose machine is off from a network.
    ///
    /// # Errors
    /// Its machine is on, or it is not on that network.
    pub async fn disconnect(
        &self,
        shared: &Shared,
        container: &Container,
        wanted: &str,
    ) -> Result<(), MachineError> {
        // By what it remembers: the network itself may be gone.
        let network = self.network(wanted).await;
        let id = network.as_ref().map_or(wanted, |one| &one.id).to_owned();
        self.rewire(shared, container, |spec| {
            let before = spec.networks.len();
            spec.networks.retain(|one| one.id != id && one.name != id);
            if spec.networks.len() == before {
                return Err(MachineError::NetworkApart {
                    name: container.name(),
                    network: wanted.to_owned(),
                });
            }
            Ok(())
        })
        .await
    }

    async fn rewire(
        &self,
        shared: &Shared,
        container: &Container,
        change: impl FnOnce(&mut Spec) -> Result<(), MachineError>,
    ) -> Result<(), MachineError> {
        let (_, made) = parts(shared, container)?;
        let _turn = made.turn.lock().await;
        if container.is_on() {
            if !container.has_ended() || container.not_begun() {
                return Err(MachineError::Wired(container.name()));
            }
            put_off(self, container, OFF_MOST).await?;
        }
        let _naming = self.naming.lock().await;
        let mut spec = Spec::clone(&made.spec());
        change(&mut spec)?;
        let wiring = lan::wiring(&spec)?;
        let id = container.id().to_owned();
        let text = serde_json::to_string(&spec).map_err(|e| MachineError::Broken(e.to_string()))?;
        self.ask(move |provider| provider.rewire(&id, &wiring))
            .await?;
        note(self, container, SPEC, &text).await?;
        made.set_spec(spec);
        Ok(())
    }

    /// Tells all networks who is on them.
    pub(super) async fn tell_networks(&self, shared: &Shared) -> Result<(), MachineError> {
        let _telling = self.telling.lock().await;
        let on: Vec<Present> = shared.registry.all().iter().filter_map(present).collect();
        let all = self.networks().await?;
        if all.is_empty() {
            return Ok(());
        }
        let told: Vec<(String, Names)> = all
            .iter()
            .map(|one| (one.id.clone(), names(&on, &one.id)))
            .collect();
        self.ask(move |provider| {
            let mut tellings = told.iter();
            tellings.try_for_each(|(id, names)| provider.name_hosts(id, names))
        })
        .await
    }
}

/// The containers whose machines are on, of those that are on a network.
pub fn on(shared: &Shared, id: &str) -> Vec<Arc<Container>> {
    let mut all = shared.registry.all();
    all.retain(|container| container.is_on() && joined(container, id).is_some());
    all
}

/// Where a container is on a network.
pub fn joined(container: &Container, id: &str) -> Option<Joined> {
    let spec = container.made()?.spec();
    spec.networks.iter().find(|one| one.id == id).cloned()
}

/// The addresses that containers have on a network.
fn taken(shared: &Shared, id: &str) -> BTreeSet<Ipv4Addr> {
    let all = shared.registry.all();
    let addresses = all
        .iter()
        .filter_map(|container| v4(&joined(container, id)?));
    addresses.collect()
}

fn v4(joined: &Joined) -> Option<Ipv4Addr> {
    match joined.address.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// A container whose machine is on, and its networks.
struct Present {
    names: Vec<String>,
    spec: Arc<Spec>,
}

fn present(container: &Arc<Container>) -> Option<Present> {
    let spec = container.made()?.spec();
    let is_on = container.is_on() && !spec.networks.is_empty();
    is_on.then(|| Present {
        names: vec![container.name(), container.id().chars().take(12).collect()],
        spec,
    })
}

/// Who is on a network, and what those see that are on others, too.
fn names(all: &[Present], id: &str) -> Names {
    let mut told = Names {
        hosts: hosts(all, id),
        ..Names::default()
    };
    for one in all {
        let networks = one.spec.networks.iter();
        let Some(own) = networks.clone().find(|joined| joined.id == id) else {
            continue;
        };
        let mut guest = Guest {
            servers: one.spec.servers(),
            ..Guest::default()
        };
        for other in networks.filter(|other| other.id != id) {
            for (name, addresses) in hosts(all, &other.id) {
                let whole = format!("{name}.{}", other.name.to_lowercase());
                guest.hosts.insert(whole, addresses.clone());
                guest.hosts.entry(name).or_default().extend(addresses);
            }
        }
        if let Some(address) = v4(own).filter(|_| guest != Guest::default()) {
            told.guests.insert(address, guest);
        }
    }
    told
}

fn hosts(all: &[Present], id: &str) -> BTreeMap<String, Vec<Ipv4Addr>> {
    let mut hosts: BTreeMap<String, Vec<Ipv4Addr>> = BTreeMap::new();
    for one in all {
        let networks = one.spec.networks.iter();
        for joined in networks.filter(|joined| joined.id == id) {
            let Some(address) = v4(joined) else {
                continue;
            };
            for name in one.names.iter().chain(&joined.aliases) {
                let all = hosts.entry(name.to_lowercase()).or_default();
                if !all.contains(&address) {
                    all.push(address);
                }
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::IpNet;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn present(name: &str, networks: &[(&str, u8, &[&str])]) -> Present {
        let joined = networks.iter().map(|(id, last, aliases)| Joined {
            id: (*id).to_owned(),
            name: id.to_uppercase(),
            address: net(&format!("10.9.0.{last}/24")),
            gateway: Ipv4Addr::new(10, 9, 0, 1),
            mac: String::new(),
            aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
            fixed: false,
            internal: false,
        });
        let spec = Spec {
            networks: joined.collect(),
            ..Spec::default()
        };
        Present {
            names: vec![name.to_owned()],
            spec: Arc::new(spec),
        }
    }

    #[test]
    fn each_sees_who_is_on_its_networks() {
        let all = [
            present("Web", &[("a", 2, &["www"]), ("b", 3, &[])]),
            present("db", &[("b", 4, &["www", "www"])]),
        ];
        let on_b = names(&all, "b");
        let hosts: Vec<&str> = on_b.hosts.keys().map(String::as_str).collect();
        assert_eq!(hosts, ["db", "web", "www"]);
        // Only the one that is on the other network sees what is there.
        assert_eq!(on_b.guests.len(), 1);
        let guest = &on_b.guests[&Ipv4Addr::new(10, 9, 0, 3)];
        let seen: Vec<&str> = guest.hosts.keys().map(String::as_str).collect();
        assert_eq!(seen, ["web", "web.a", "www", "www.a"]);
    }
}
