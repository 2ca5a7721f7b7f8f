//! An endpoint, its interface, and its conversation with a DHCP server.

use std::net::SocketAddrV4;
use std::time::Duration;

use super::error::NetworkError;
use super::nic::{self, Interface};
use super::{LIMIT, MOST};
use crate::net::dhcp::{Client, Event, SERVER_PORT};
use crate::plan::network::{Endpoint, InUse};
use crate::sys::datagram::Datagrams;

/// An endpoint.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) endpoint: Endpoint,
    pub(super) interface: Option<Interface>,
    pub(super) dhcp: Option<(Client, Datagrams)>,
    pub(super) in_use: Option<InUse>,
}

impl Attached {
    /// An endpoint whose interface is to be found.
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            interface: None,
            dhcp: None,
            in_use: None,
        }
    }

    /// What has come of one message, or of the time.
    pub(super) fn turn(&mut self, now: Duration) -> Option<Event> {
        let (client, socket) = self.dhcp.as_mut()?;
        let mut buffer = [0; MOST];
        loop {
            match socket.receive(&mut buffer) {
                Ok(Some(bytes)) => {
                    if let Some(event) = client.receive(now, bytes) {
                        return Some(event);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    log::debug!("DHCP: {error}");
                    break;
                }
            }
        }
        let (transmit, event) = client.poll(now);
        if let Some(transmit) = transmit {
            let to = SocketAddrV4::new(transmit.to, SERVER_PORT);
            if let Err(error) = socket.send(&transmit.bytes, to) {
                // It is asked again.
                log::debug!("DHCP: {error}");
            }
        }
        event
    }

    /// Why it has no address.
    pub(super) fn reason(&self) -> NetworkError {
        let name = self.endpoint.name.clone();
        match (&self.interface, &self.dhcp) {
            (Some(interface), Some((client, _))) => NetworkError::NoLease {
                name,
                interface: interface.name.clone(),
                limit: LIMIT,
                refusal: match client.refusal() {
                    "" => String::new(),
                    text => format!("; one refuses: {text}"),
                },
            },
            _ => NetworkError::NoNic {
                name,
                nic: self.endpoint.nic,
                limit: LIMIT,
                seen: nic::all(),
            },
        }
    }
}
