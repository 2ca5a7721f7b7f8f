//! Another name for a container: in its machine's file, for its guest and for the appliance, and in what is known of it.

use std::sync::Arc;

use super::life::parts;
use super::{MachineError, NAME, Wish, free_name};
use crate::listener::container::Container;
use crate::listener::vm::Shared;

/// Gives a container another name, whether it runs or not.
///
/// # Errors
/// The name is none, or taken; the container was made elsewhere.
pub async fn rename(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    name: &str,
) -> Result<(), MachineError> {
    let (machines, _) = parts(shared, container)?;
    let _naming = machines.naming.lock().await;
    let before = container.name();
    if name.strip_prefix('/').unwrap_or(name) == before {
        return Err(Wish::Bad(
            "Renaming a container with the same name as its current name".to_owned(),
        )
        .into());
    }
    let name = free_name(shared, Some(name))?;
    let (id, new) = (container.id().to_owned(), name.clone());
    machines
        .ask(move |provider| provider.rename(&id, &new))
        .await?;
    super::life::note(machines, container, NAME, &name).await?;
    container.rename(&name)?;
    machines.tell_networks(shared).await?;
    shared
        .registry
        .events()
        .renamed(&container.snapshot().record, &before);
    Ok(())
}
