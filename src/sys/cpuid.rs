//! What the processor and the firmware say of the machine.

use std::arch::x86_64::{__cpuid, __cpuid_count};

use super::file;
use crate::backdoor::detect::Evidence;

/// Leaf with the features; bit 31 of ECX: a hypervisor is present.
const FEATURES: u32 = 1;
const HYPERVISOR_BIT: u32 = 1 << 31;
/// First leaf of the hypervisor's own.
const HYPERVISOR: u32 = 0x4000_0000;

/// Where Linux shows the DMI strings.
const DMI: &str = "/sys/class/dmi/id";

/// EAX, EBX, ECX and EDX of a CPUID leaf.
pub fn leaf(leaf: u32, sub_leaf: u32) -> [u32; 4] {
    let answer = __cpuid_count(leaf, sub_leaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// Gathers what [`Evidence`] needs. A DMI string that cannot be read (no `/sys` yet, not root)
/// counts as not there.
pub fn evidence() -> Evidence {
    let present = __cpuid(FEATURES).ecx & HYPERVISOR_BIT != 0;
    let hypervisor = present.then(|| {
        let answer = __cpuid(HYPERVISOR);
        let mut signature = [0; 12];
        let words = [answer.ebx, answer.ecx, answer.edx];
        for (to, from) in signature.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        signature
    });
    let dmi = |name: &str| file::text(&format!("{DMI}/{name}"));
    Evidence {
        hypervisor,
        vendor: dmi("sys_vendor"),
        serial: dmi("product_serial"),
    }
}
