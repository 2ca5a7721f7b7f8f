//! What disks take of this host's.

use std::collections::HashMap;

use super::{MachineError, Machines};

impl Machines {
    /// Bytes that the own disks of containers take, by their IDs.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub async fn disk_bytes(&self, ids: Vec<String>) -> Result<HashMap<String, u64>, MachineError> {
        self.ask(move |provider| {
            let sizes = ids.into_iter().map(|id| {
                let bytes = provider.disk_bytes(&id)?;
                Ok((id, bytes))
            });
            sizes.collect()
        })
        .await
    }

    /// The same of volumes, by their names.
    ///
    /// # Errors
    /// They cannot be looked at.
    pub async fn volume_bytes(
        &self,
        names: Vec<String>,
    ) -> Result<HashMap<String, u64>, MachineError> {
        self.ask(move |provider| {
            let sizes = names.into_iter().map(|name| {
                let bytes = provider.volume_bytes(&name)?;
                Ok((name, bytes))
            });
            sizes.collect()
        })
        .await
    }
}
