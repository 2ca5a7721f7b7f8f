//! What a configuration asks for and this version does not do. Said aloud at the boot: a volume that
//! is not there must not be a surprise.

use super::volumes;
use crate::config::model::ContainerVm;

/// One sentence for each.
pub fn gaps(vm: &ContainerVm) -> Vec<String> {
    let missing = vm
        .mounts
        .iter()
        .filter(|(name, mount)| volumes::volume(name, mount).is_none());
    let volumes = missing.map(|(name, mount)| {
        format!(
            "volume {name:?} is not mounted at {}: what is written there stays on the root disk",
            mount.dest
        )
    });
    volumes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Mount, Session};

    #[test]
    fn a_plain_container_asks_for_nothing_more() {
        let mut vm = ContainerVm::default();
        vm.sessions.insert("a".into(), Session::default());
        assert!(gaps(&vm).is_empty());
    }

    #[test]
    fn each_thing_left_out_is_named() {
        let mut vm = ContainerVm::default();
        vm.mounts.insert(
            "data".into(),
            Mount {
                source: "nfs://host/share".into(),
                dest: "/srv".into(),
                ..Mount::default()
            },
        );
        let gaps = gaps(&vm);
        assert_eq!(gaps.len(), 1);
        assert!(
            gaps.iter()
                .any(|gap| gap.contains("\"data\"") && gap.contains("/srv"))
        );
    }
}
