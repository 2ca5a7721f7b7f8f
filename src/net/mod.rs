//! Protocols that give a machine its addresses, without sockets or clocks: bytes and time in, bytes and
//! events out.
//!
//! | | |
//! |---|---|
//! | [`dhcp`] | a DHCPv4 client (RFC 2131) |
//! | [`firewall`] | what a trust level lets through, as rules |
//! | [`netlink`] | the form of what the kernel is asked, and of its answers |
//! | [`nftables`] | these rules as the kernel takes them |
//! | [`rtnetlink`] | the kernel's interfaces, addresses and routes (`rtnetlink(7)`) |

pub mod dhcp;
pub mod firewall;
pub mod netlink;
pub mod nftables;
pub mod rtnetlink;
