//! The guest's end of the host's requests (TCLO): polled; each is answered before the next is asked for.
//!
//! Public sources: open-vm-tools `rpcin.c`, `services/plugins/powerOps`; what a host says is in [`Request`].

use super::Port;
use super::channel::{Channel, ChannelError};
use super::protocol::PROTOCOL_TCLO;

/// The longest request that is taken, in bytes.
const REQUEST_LIMIT: usize = 64 * 1024;
/// Requests taken at one poll; more wait for the next.
const MOST_AT_ONCE: usize = 16;

/// What happens to the machine's power, as the host tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// It is to power off ("Shut Down Guest").
    Halt,
    /// It is to start again ("Restart Guest").
    Reboot,
    /// It was powered on.
    PowerOn,
    /// It goes on after a suspension.
    Resume,
    /// It will be suspended.
    Suspend,
}

impl PowerEvent {
    /// Every one, in the order of its numbers.
    pub const ALL: [Self; 5] = [
        Self::Halt,
        Self::Reboot,
        Self::PowerOn,
        Self::Resume,
        Self::Suspend,
    ];

    /// What the host calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Halt => "OS_Halt",
            Self::Reboot => "OS_Reboot",
            Self::PowerOn => "OS_PowerOn",
            Self::Resume => "OS_Resume",
            Self::Suspend => "OS_Suspend",
        }
    }

    /// Its number in `tools.os.statechange.status`.
    pub fn number(self) -> u32 {
        match self {
            Self::Halt => 1,
            Self::Reboot => 2,
            Self::PowerOn => 3,
            Self::Resume => 4,
            Self::Suspend => 5,
        }
    }
}

/// A request that the guest has answered, and has to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The host starts anew: it has forgotten what it was told.
    Reset,
    /// Say what the guest's tools can do.
    Register,
    /// Say which address the machine has (`info-set guestinfo.ip …`).
    Address,
    /// Do it, and say how it went.
    Power(PowerEvent),
}

/// The channel that the host's requests come over. Closes it when it goes.
#[derive(Debug)]
pub struct Tclo<P: Port> {
    port: P,
    channel: Option<Channel>,
    answer: &'static [u8],
    /// Off for good once the host refuses what it offers.
    high_bandwidth: bool,
}

impl<P: Port> Tclo<P> {
    /// A channel that is opened with the first poll.
    pub fn new(port: P) -> Self {
        Self {
            port,
            channel: None,
            answer: b"",
            high_bandwidth: true,
        }
    }

    /// Asks whether there is anything to do; two instructions where there is not.
    ///
    /// # Errors
    /// The channel was lost (a snapshot, a migration, a host that has invalidated it): the next poll opens
    /// another, and a host then asks to register again. What came before the loss is in the value.
    pub fn poll(&mut self) -> (Vec<Request>, Result<(), ChannelError>) {
        let mut requests = Vec::new();
        let outcome = self.take(&mut requests);
        if let Err(error) = outcome {
            self.high_bandwidth &= error != ChannelError::HighBandwidth;
            self.close();
        }
        (requests, outcome)
    }

    fn take(&mut self, requests: &mut Vec<Request>) -> Result<(), ChannelError> {
        let port = &mut self.port;
        let channel = match &mut self.channel {
            Some(channel) => channel,
            none => none.insert(Channel::open(port, PROTOCOL_TCLO)?),
        };
        for _ in 0..MOST_AT_ONCE {
            channel.send(port, self.answer, self.high_bandwidth)?;
            self.answer = b"";
            let Some(request) = channel.receive(port, REQUEST_LIMIT, self.high_bandwidth)? else {
                break;
            };
            let (answer, request) = understand(&request);
            self.answer = answer;
            requests.extend(request);
        }
        Ok(())
    }

    fn close(&mut self) {
        self.answer = b"";
        if let Some(channel) = self.channel.take() {
            channel.close(&mut self.port);
        }
    }
}

impl<P: Port> Drop for Tclo<P> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The answer to a request, and what is to be done.
fn understand(request: &[u8]) -> (&'static [u8], Option<Request>) {
    const OK: &[u8] = b"OK ";
    let text = String::from_utf8_lossy(request);
    // Some hosts send the terminating zero of their strings, or a space behind them.
    let words: Vec<&str> = text
        .split([' ', '\0'])
        .filter(|word| !word.is_empty())
        .collect();
    match words.as_slice() {
        ["reset"] => (b"OK ATR toolbox", Some(Request::Reset)),
        ["ping"] => (OK, None),
        ["Capabilities_Register"] => (OK, Some(Request::Register)),
        ["Set_Option", "broadcastIP", "1"] => (OK, Some(Request::Address)),
        ["Set_Option", ..] => (OK, None),
        [name] => {
            let mut events = PowerEvent::ALL.into_iter();
            match events.find(|event| event.name() == *name) {
                Some(event) => (OK, Some(Request::Power(event))),
                None => (UNKNOWN, None),
            }
        }
        _ => (UNKNOWN, None),
    }
}

const UNKNOWN: &[u8] = b"ERROR Unknown Command";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backdoor::host::Options;
    use crate::backdoor::loopback::{Accident, Loopback};

    fn polled(tclo: &mut Tclo<Loopback>) -> Vec<Request> {
        let (requests, outcome) = tclo.poll();
        outcome.expect("the channel holds");
        requests
    }

    fn tclo(high_bandwidth: bool) -> Tclo<Loopback> {
        let mut tclo = Tclo::new(Loopback::of(Options {
            high_bandwidth,
            trace: true,
            ..Options::default()
        }));
        assert_eq!(
            polled(&mut tclo),
            [Request::Reset, Request::Register, Request::Address]
        );
        answers(&mut tclo);
        tclo
    }

    fn answers(tclo: &mut Tclo<Loopback>) -> Vec<String> {
        let host = &mut tclo.port.host;
        let exchanges = std::iter::from_fn(|| host.take_exchange());
        exchanges
            .map(|one| String::from_utf8(one.answer).expect("text"))
            .collect()
    }

    #[test]
    fn each_request_is_answered_as_open_vm_tools_answers_it() {
        for high_bandwidth in [true, false] {
            let mut tclo = tclo(high_bandwidth);
            let requests = [
                ("ping", "OK ", None),
                ("OS_Halt", "OK ", Some(PowerEvent::Halt)),
                ("OS_Resume\0", "OK ", Some(PowerEvent::Resume)),
                ("Set_Option synctime 0", "OK ", None),
                ("vix command", "ERROR Unknown Command", None),
                ("", "ERROR Unknown Command", None),
            ];
            for (request, _, _) in requests {
                tclo.port.host.push_request(request.as_bytes());
            }
            let events = requests.iter().filter_map(|(_, _, event)| *event);
            assert_eq!(
                polled(&mut tclo),
                events.map(Request::Power).collect::<Vec<_>>()
            );
            let expected = requests.map(|(_, answer, _)| answer.to_owned());
            assert_eq!(answers(&mut tclo), expected);
        }
    }

    #[test]
    fn nothing_to_do_costs_two_instructions() {
        let mut tclo = tclo(true);
        let before = tclo.port.instructions;
        assert_eq!(polled(&mut tclo), []);
        assert_eq!(tclo.port.instructions - before, 2);
    }

    #[test]
    fn more_than_one_poll_takes_waits_for_the_next() {
        let mut tclo = tclo(true);
        for _ in 0..MOST_AT_ONCE + 1 {
            tclo.port.host.push_request(b"OS_PowerOn");
        }
        assert_eq!(polled(&mut tclo).len(), MOST_AT_ONCE);
        assert_eq!(polled(&mut tclo).len(), 1);
        assert_eq!(answers(&mut tclo).len(), MOST_AT_ONCE + 1);
    }

    #[test]
    fn after_a_checkpoint_the_channel_is_opened_and_registered_again() {
        for accident in [
            Accident::CheckpointBefore,
            Accident::CheckpointAfter,
            Accident::Forgotten,
        ] {
            let mut tclo = tclo(true);
            let next = tclo.port.instructions + 1;
            tclo.port.accidents.insert(next, accident);
            let (requests, outcome) = tclo.poll();
            assert_eq!(requests, []);
            assert!(outcome.is_err());
            assert_eq!(
                polled(&mut tclo),
                [Request::Reset, Request::Register, Request::Address]
            );
        }
    }
}
