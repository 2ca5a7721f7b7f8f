//! The guest's requests to its host: `info-get`, `info-set`, `log`.
//!
//! A request is one message, its reply one message: `1 ` and a value, or `0 ` and a reason. One
//! channel is opened at the first request and kept: a host has few, and opening costs instructions.
//! A snapshot or a migration takes it away; then the whole request is made again on a new one. Every
//! request here may be repeated: the last one wins, and a log line may come twice.

use super::Port;
use super::channel::{Channel, ChannelError};
use super::protocol::PROTOCOL_RPCI;

/// How often one request is made before the channel counts as lost. Two checkpoints in the middle of
/// one request are rare already.
pub const ATTEMPTS: u32 = 4;

/// The longest reply that is taken, in bytes. VMware's own limit for a value is 64 KiB.
pub const REPLY_LIMIT: usize = 1024 * 1024;

/// Tells the host that what runs in the guest keeps itself up to date: without it the host's user
/// interface says that no tools are installed.
pub const TOOLS_UNMANAGED: u32 = 2_147_483_647;

/// What a host says when a key has no value.
const NO_VALUE: &str = "No value found";

/// Why a request got no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The host gives out no channel: all in use, or a host with GETVERSION and little else.
    #[error("the VMware host gives no RPC channel for `{request}`")]
    NoChannel {
        /// The request's first words.
        request: String,
    },
    /// The channel was lost in each of the attempts.
    #[error("the RPC channel was lost {ATTEMPTS} times during `{request}`")]
    Lost {
        /// The request's first words.
        request: String,
        /// The last of the reasons.
        source: ChannelError,
    },
    /// The request or its reply is longer than the protocol takes.
    #[error("the VMware host's reply to `{request}` was not taken")]
    TooLong {
        /// The request's first words.
        request: String,
        /// Which lengths.
        source: ChannelError,
    },
    /// The host said no.
    #[error("the VMware host refused `{request}`: {reason}")]
    Refused {
        /// The request's first words.
        request: String,
        /// In the host's words.
        reason: String,
    },
    /// The reply starts with neither `1` nor `0`.
    #[error("the VMware host's reply to `{request}` makes no sense: {reply:?}")]
    Malformed {
        /// The request's first words.
        request: String,
        /// Its first bytes.
        reply: String,
    },
}

/// The client. Closes its channel when it goes.
#[derive(Debug)]
pub struct Rpc<P: Port> {
    port: P,
    channel: Option<Channel>,
    /// Off for good once the host refuses what it offers.
    high_bandwidth: bool,
}

impl<P: Port> Rpc<P> {
    /// A client that has not called yet; no instruction is executed.
    pub fn new(port: P) -> Rpc<P> {
        Rpc {
            port,
            channel: None,
            high_bandwidth: true,
        }
    }

    /// Makes one request; the value of its reply (what stands behind `1 `).
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, RpcError> {
        let reply = self.exchange(request)?;
        let (outcome, rest) = reply.split_first().unwrap_or((&0, &[]));
        let value = match rest.split_first() {
            None => Some(rest),
            Some((b' ', value)) => Some(value),
            Some(_) => None,
        };
        match (outcome, value) {
            (b'1', Some(value)) => Ok(value.to_vec()),
            (b'0', Some(reason)) => Err(RpcError::Refused {
                request: excerpt(request),
                reason: String::from_utf8_lossy(reason).into_owned(),
            }),
            _ => Err(RpcError::Malformed {
                request: excerpt(request),
                reply: excerpt(&reply),
            }),
        }
    }

    /// The value of a key, prefix and all (`guestinfo.…`); `None` when the host has none.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn info_get(&mut self, key: &str) -> Result<Option<Vec<u8>>, RpcError> {
        match self.call(format!("info-get {key}").as_bytes()) {
            Ok(value) => Ok(Some(value)),
            Err(RpcError::Refused { reason, .. }) if reason == NO_VALUE => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets a key, prefix and all; an empty value clears it.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn info_set(&mut self, key: &str, value: &[u8]) -> Result<(), RpcError> {
        let mut request = format!("info-set {key} ").into_bytes();
        request.extend_from_slice(value);
        self.call(&request).map(drop)
    }

    /// A line for the host's log (`vmware.log`).
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn log(&mut self, line: &str) -> Result<(), RpcError> {
        self.call(format!("log {line}").as_bytes()).map(drop)
    }

    /// Tells the host's user interface which tools run here ([`TOOLS_UNMANAGED`]).
    ///
    /// # Errors
    /// See [`RpcError`].
    pub fn set_tools_version(&mut self, version: u32) -> Result<(), RpcError> {
        self.call(format!("tools.set.version {version}").as_bytes())
            .map(drop)
    }

    #[cfg(test)]
    pub(crate) fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Gives the channel back; the next request opens another.
    pub fn close(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.close(&mut self.port);
        }
    }

    /// The whole reply. Repairs what a checkpoint breaks.
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, RpcError> {
        let mut last = ChannelError::Refused;
        for _ in 0..ATTEMPTS {
            match self.attempt(request) {
                Ok(Some(reply)) => return Ok(reply),
                // The host has forgotten the request: as good as a lost channel.
                Ok(None) => last = ChannelError::Refused,
                Err(source @ ChannelError::TooLong { .. }) => {
                    self.close();
                    let request = excerpt(request);
                    return Err(RpcError::TooLong { request, source });
                }
                Err(ChannelError::Refused) if self.channel.is_none() => {
                    let request = excerpt(request);
                    return Err(RpcError::NoChannel { request });
                }
                Err(error) => {
                    last = error;
                    self.high_bandwidth &= error != ChannelError::HighBandwidth;
                }
            }
            self.close();
        }
        Err(RpcError::Lost {
            request: excerpt(request),
            source: last,
        })
    }

    fn attempt(&mut self, request: &[u8]) -> Result<Option<Vec<u8>>, ChannelError> {
        let port = &mut self.port;
        let channel = match &mut self.channel {
            Some(channel) => channel,
            none => none.insert(Channel::open(port, PROTOCOL_RPCI)?),
        };
        channel.send(port, request, self.high_bandwidth)?;
        channel.receive(port, REPLY_LIMIT, self.high_bandwidth)
    }
}

impl<P: Port> Drop for Rpc<P> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The beginning of a message, fit for an error text: values are never shown whole.
fn excerpt(message: &[u8]) -> String {
    /// Bytes; most keys are shorter.
    const SHOWN: usize = 160;
    let name = message
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b' ')
        .nth(1)
        .map_or(message.len(), |(second_space, _)| second_space);
    let shown = message.get(..name.min(SHOWN)).unwrap_or(message);
    String::from_utf8_lossy(shown).into_owned()
}

#[cfg(test)]
mod tests;
