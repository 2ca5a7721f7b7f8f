//! Protocols that give a machine its addresses, without sockets or clocks: bytes and time in, bytes and
//! events out.
//!
//! | | |
//! |---|---|
//! | [`dhcp`] | a DHCPv4 client (RFC 2131) |
//! | [`rtnetlink`] | the kernel's interfaces, addresses and routes (`rtnetlink(7)`) |

pub mod dhcp;
pub mod rtnetlink;
