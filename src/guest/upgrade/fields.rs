//! Numbers of the fields that process 1 leaves. One that has once been given out keeps its meaning.

/// The meaning of the fields. Raised when one gets another meaning, not when there are more of them.
pub const FORMAT_NOW: u32 = 1;

pub const FORMAT: u8 = 1;
pub const FROZEN_AT: u8 = 2;
pub const SOFTWARE: u8 = 3;
/// Of the upgrade's session.
pub const CHANNEL: u8 = 4;
pub const CONFIG: u8 = 5;
pub const LINK_KEY: u8 = 6;
pub const LINK: u8 = 7;
pub const SESSION: u8 = 8;
pub const CARRIER: u8 = 9;
pub const NETWORK: u8 = 10;
pub const HOST: u8 = 11;
/// First process of the container's namespaces.
pub const INIT: u8 = 12;
pub const CGROUP: u8 = 13;
pub const LAST_CHANNEL: u8 = 14;
pub const BOOT_STEPS: u8 = 15;
pub const OOM_KILLS: u8 = 16;
/// A descriptor that is left open.
pub const DESCRIPTOR: u8 = 17;

/// Fields of the carrier.
pub mod carrier {
    pub const FD: u8 = 1;
    pub const NAME: u8 = 2;
    pub const IS_VIRTIO: u8 = 3;
    pub const UNSENT: u8 = 4;
}
