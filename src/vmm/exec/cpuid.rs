//! What CPUID says under `vmx exec`: the processor's own words, and VMware's where it says which
//! hypervisor there is.

use crate::backdoor::detect::SIGNATURE;
use crate::sys::cpuid;

/// Features.
const FEATURES: u32 = 1;
/// Of ECX there: there is a hypervisor.
const HYPERVISOR_BIT: u32 = 1 << 31;
/// The hypervisor's leaves. EAX of the first names the last that there is: no more than the first,
/// so that nobody looks for VMware's own call instruction there and all keep to the port.
const FIRST: u32 = 0x4000_0000;
const SECOND: u32 = 0x4000_0001;
const LAST: u32 = 0x4000_00ff;

/// EAX, EBX, ECX and EDX of a leaf.
pub fn answer(leaf: u32, sub_leaf: u32) -> [u32; 4] {
    match leaf {
        FEATURES => {
            let [eax, ebx, ecx, edx] = cpuid::leaf(leaf, sub_leaf);
            [eax, ebx, ecx | HYPERVISOR_BIT, edx]
        }
        FIRST => {
            let mut words = SIGNATURE.chunks_exact(4).map(|bytes| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |word, byte| (word << 8) | u32::from(*byte))
            });
            let mut next = || words.next().unwrap_or(0);
            [FIRST, next(), next(), next()]
        }
        // What another hypervisor says there would make no sense.
        SECOND..=LAST => [0; 4],
        _ => cpuid::leaf(leaf, sub_leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hypervisor_is_vmware() {
        let [last, ebx, ecx, edx] = answer(0x4000_0000, 0);
        let signature = [ebx, ecx, edx].map(u32::to_le_bytes).concat();
        assert_eq!(signature, b"VMwareVMware");
        assert_eq!(last, 0x4000_0000);
        assert_eq!(answer(0x4000_0001, 0), [0; 4]);
        assert_ne!(answer(1, 0)[2] & 0x8000_0000, 0);
    }

    #[test]
    fn all_else_is_the_processors() {
        assert_eq!(answer(0, 0), cpuid::leaf(0, 0));
        assert_eq!(answer(7, 0), cpuid::leaf(7, 0));
    }
}
