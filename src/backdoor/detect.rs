//! Whether this machine is a VMware one: first by what it says of itself, then by asking.
//!
//! Asking alone will not do: elsewhere the port instruction raises a general protection fault.

use super::protocol::{MAGIC, PORT_LOW, UNSUPPORTED, command, word};
use super::{Port, Registers};

/// CPUID leaf 0x40000000 of a VMware machine: EBX, ECX, EDX.
pub const SIGNATURE: [u8; 12] = *b"VMwareVMware";

/// DMI `sys_vendor` of a VMware machine.
const VENDOR: &str = "VMware, Inc.";
/// What DMI `product_serial` of a VMware machine starts with (`VMware-56 4d …`).
const SERIAL: &str = "VMware-";

/// What the machine says of itself. Empty where it could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The signature of CPUID leaf 0x40000000, if leaf 1 says that there is a hypervisor.
    pub hypervisor: Option<[u8; 12]>,
    /// DMI `sys_vendor`.
    pub vendor: String,
    /// DMI `product_serial`; only root can read it.
    pub serial: String,
}

impl Evidence {
    /// Whether a backdoor may be asked for.
    ///
    /// Either proof is enough: VMware can hide its signature from CPUID
    /// (`hypervisor.cpuid.v0 = "FALSE"`), and the DMI strings can be set by the user.
    pub fn says_vmware(&self) -> bool {
        self.hypervisor == Some(SIGNATURE)
            || self.vendor.trim() == VENDOR
            || self.serial.starts_with(SERIAL)
    }
}

/// What GETVERSION answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Of the backdoor: 6 for all that run today.
    pub version: u32,
    /// 2 = ESX, 4 = Workstation and its kin.
    pub product: u32,
}

/// Asks for the backdoor's version; `None`: nobody there.
pub fn probe(port: &mut impl Port) -> Option<Version> {
    let mut registers = Registers {
        rax: u64::from(MAGIC),
        // Anything but the magic: it must come back as the magic.
        rbx: u64::from(!MAGIC),
        rcx: u64::from(command::GET_VERSION),
        rdx: u64::from(PORT_LOW),
        ..Registers::default()
    };
    port.low(&mut registers);
    let answered = word(registers.rbx) == MAGIC && word(registers.rax) != UNSUPPORTED;
    answered.then(|| Version {
        version: word(registers.rax),
        product: word(registers.rcx),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backdoor::loopback::Loopback;

    fn evidence(hypervisor: Option<&[u8; 12]>, vendor: &str, serial: &str) -> Evidence {
        Evidence {
            hypervisor: hypervisor.copied(),
            vendor: vendor.into(),
            serial: serial.into(),
        }
    }

    #[test]
    fn either_cpuid_or_dmi_proves_vmware() {
        assert!(evidence(Some(&SIGNATURE), "", "").says_vmware());
        assert!(evidence(None, "VMware, Inc.\n", "").says_vmware());
        let serial = "VMware-56 4d 11 22 33 44 55 66-77 88 99 aa bb cc dd ee";
        assert!(evidence(Some(b"TCGTCGTCGTCG"), "", serial).says_vmware());
    }

    #[test]
    fn other_hypervisors_and_bare_metal_are_not_vmware() {
        assert!(!Evidence::default().says_vmware());
        assert!(!evidence(Some(b"KVMKVMKVM\0\0\0"), "QEMU", "1234").says_vmware());
        assert!(!evidence(Some(b"Microsoft Hv"), "Microsoft Corporation", "").says_vmware());
    }

    #[test]
    fn the_host_answers_the_probe() {
        let version = probe(&mut Loopback::default());
        assert_eq!(
            version,
            Some(Version {
                version: 6,
                product: 2
            })
        );
    }

    #[test]
    fn registers_that_come_back_unchanged_are_no_answer() {
        struct Nobody;
        impl Port for Nobody {
            fn low(&mut self, _: &mut Registers) {}
            fn high_out(&mut self, _: &mut Registers, _: &[u8]) {}
            fn high_in(&mut self, _: &mut Registers, _: &mut [u8]) {}
        }
        assert_eq!(probe(&mut Nobody), None);
    }
}
