//! `docker update`: another restart policy for a container, or another size for its machine.

use serde_json::{Value, json};

use super::body::{memory, processors, restart};
use super::fields::{Fields, Wish};
use super::life::{OFF_MOST, note, parts, put_off};
use super::{MachineError, SPEC, Spec};
use crate::listener::container::Container;
use crate::listener::vm::Shared;

/// What is to be another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Update {
    /// Docker's object.
    policy: Option<Value>,
    /// MiB.
    memory_mib: Option<u64>,
    /// Virtual processors.
    processors: Option<u32>,
}

/// Docker's request, to a container that was asked for like this.
fn parse(body: &Value, spec: &Spec) -> Result<Update, Wish> {
    let fields = Fields::of("update", body)?;
    let mut update = Update::default();
    restart(&fields)?;
    let named = |policy: &&Value| policy["Name"].as_str().is_some_and(|name| !name.is_empty());
    if let Some(policy) = fields.value("RestartPolicy").filter(named) {
        if spec.auto_remove() {
            return Err(Wish::Bad(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
                    .into(),
            ));
        }
        update.policy = Some(policy.clone());
    }
    if fields.number("Memory")? != 0 {
        update.memory_mib = Some(memory(&fields, 0)?);
    }
    if fields.number("NanoCpus")? != 0 {
        update.processors = Some(processors(&fields)?);
    }
    // Beside the memory it means what there is.
    fields.value("MemorySwap");
    fields.rest(&[], &[])?;
    Ok(update)
}

/// Changes a container: its policy at any time, its machine's size while that is off.
///
/// # Errors
/// It makes no sense, cannot be had, or the machine is on.
pub async fn update(
    shared: &Shared,
    container: &Container,
    body: &Value,
) -> Result<(), MachineError> {
    let (machines, made) = parts(shared, container)?;
    let _turn = made.turn.lock().await;
    let mut spec = Spec::clone(&made.spec());
    let update = parse(body, &spec)?;
    let resized = update.memory_mib.is_some() || update.processors.is_some();
    if resized && container.is_on() {
        if !container.has_ended() || container.not_begun() {
            return Err(MachineError::Sized(container.name()));
        }
        put_off(machines, container, OFF_MOST).await?;
    }
    if let Some(policy) = update.policy {
        spec.host["RestartPolicy"] = policy;
    }
    for (name, wanted) in [
        ("Memory", update.memory_mib.is_some()),
        ("NanoCpus", update.processors.is_some()),
    ] {
        if wanted {
            spec.host[name] = body.get(name).cloned().unwrap_or_else(|| json!(0));
        }
    }
    if resized {
        let id = container.id().to_owned();
        machines
            .ask(move |provider| provider.resize(&id, update.memory_mib, update.processors))
            .await?;
    }
    let text = serde_json::to_string(&spec).map_err(|e| MachineError::Broken(e.to_string()))?;
    note(machines, container, SPEC, &text).await?;
    made.set_spec(spec);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the command line sends, all of it.
    fn sent(more: Value) -> Value {
        let mut body = json!({
            "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
            "BlkioWeightDevice": null, "CpuPeriod": 0, "CpuQuota": 0, "CpusetCpus": "", "Devices": null,
            "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": null, "OomKillDisable": null,
            "PidsLimit": null, "Ulimits": null, "CpuCount": 0,
            "RestartPolicy": { "Name": "", "MaximumRetryCount": 0 },
        });
        let more = more.as_object().cloned().unwrap_or_default();
        body.as_object_mut().expect("an object").extend(more);
        body
    }

    #[test]
    fn what_is_not_named_stays() {
        let spec = Spec::default();
        assert_eq!(parse(&sent(json!({})), &spec), Ok(Update::default()));
        let policy = json!({ "Name": "on-failure", "MaximumRetryCount": 3 });
        let update = parse(&sent(json!({ "RestartPolicy": policy })), &spec);
        assert_eq!(update.map(|update| update.policy), Ok(Some(policy)));
        let more = json!({ "Memory": 100 << 20, "MemorySwap": 200 << 20, "NanoCpus": 1_000_000 });
        let update = parse(&sent(more), &spec).expect("an update");
        assert_eq!((update.memory_mib, update.processors), (Some(100), Some(1)));
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let spec = Spec::default();
        for more in [
            json!({ "CpuShares": 512 }),
            json!({ "PidsLimit": 5 }),
            json!({ "Memory": 1 << 20 }),
            json!({ "RestartPolicy": { "Name": "sometimes" } }),
        ] {
            assert!(parse(&sent(more.clone()), &spec).is_err(), "{more}");
        }
        let removed = Spec {
            host: json!({ "AutoRemove": true }),
            ..Spec::default()
        };
        let more = json!({ "RestartPolicy": { "Name": "always" } });
        assert!(parse(&sent(more), &removed).is_err());
    }
}
