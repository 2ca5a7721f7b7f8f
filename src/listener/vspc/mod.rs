//! The virtual serial port concentrator's dialect: telnet with VMware's extension, option 232.
//!
//! A VM whose serial port has a proxy (`serial0.vspc = "telnet://HOST:PORT"`) speaks it, and it is
//! what keeps the line alive over vMotion. Pure: bytes in, bytes and events out.
//!
//! ```text
//!  socket ▶ telnet (commands, doubled 255) ▶ options (RFC 1143)
//!                                          ▶ extension (messages of option 232) ▶ port ▶ link
//! ```
//! Sources: RFC 854, RFC 855, RFC 1143; VMware, "Using a Proxy with vSphere Virtual Serial Ports",
//! and its own packet capture of four connections.

mod extension;
mod options;
mod port;
mod telnet;
mod vmotion;

pub use self::port::{About, Port, Told};
pub use self::telnet::escape;
pub use self::vmotion::{SECRET_BYTES, Vmotion};

/// What the listener says to who says nothing: `DO 232`, the question that tells the peers apart. A VM behind a proxy agrees, a telnet client declines, and the link of a VM on a plain
/// TCP port takes it for noise between frames.
pub const QUESTION: [u8; 3] = [telnet::IAC, telnet::DO, extension::OPTION];

/// With which telnet begins.
pub const FIRST: u8 = telnet::IAC;

/// These bytes begin telnet; `None`: more of them are needed.
#[must_use]
pub fn is_telnet(first: &[u8]) -> Option<bool> {
    match first {
        [] | [FIRST] => None,
        [FIRST, command, ..] => Some(telnet::negotiates(*command)),
        _ => Some(false),
    }
}
