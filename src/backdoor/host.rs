//! The host's half of the backdoor, as a VMware host plays it: one instruction's registers in,
//! registers out, a key store and the guest's memory at the side.
//!
//! It never waits, reads no clock and knows no process: the ptrace host, the gdb-stub host and the
//! unit tests of the guest's half all drive [`Host::handle`].

mod channel;
mod instruction;
mod rpci;
mod strings;
mod tools;

use std::collections::VecDeque;
use std::time::Duration;

use super::Registers;
use super::protocol::{
    self, ANSWER_PAYLOAD, ANSWER_SIZE, FLAG_COOKIE, MAGIC, PROTOCOL_RPCI, PROTOCOL_TCLO,
    UNSUPPORTED, command, halves, low_half, message, status, word,
};
use super::tclo::PowerEvent;
use channel::{Channel, Cookie, Protocol};
pub use instruction::Instruction;
pub use tools::{PowerRefusal, Tools};

/// As many as a VMware host has.
pub const CHANNELS: usize = 8;

/// The longest message a guest may send: a whole value, its key and the command.
pub const MESSAGE_LIMIT: usize = protocol::VALUE_LIMIT + 4 * 1024;

/// EAX of GETVERSION: the backdoor's version since Workstation 4.
const VERSION: u32 = 6;
/// ECX of GETVERSION: a server product (ESX).
const PRODUCT_ESX: u32 = 2;

/// Where the values live: a .vmx file, or a map.
pub trait Store {
    /// The value of `key`, which is as the guest says it, with its `guestinfo.` prefix.
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    /// Keeps `value` for `key`; an empty value clears it.
    ///
    /// # Errors
    /// The reason, as the guest is told it.
    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String>;
    /// A line for the host's log (`vmware.log`).
    fn log(&mut self, text: &[u8]);
}

/// The guest's memory, by the guest's virtual addresses.
pub trait Memory {
    /// Fills `buffer` from `address` on.
    ///
    /// # Errors
    /// When not all of it is readable.
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> std::io::Result<()>;
    /// Writes `bytes` at `address`.
    ///
    /// # Errors
    /// When not all of it is writable.
    fn write(&mut self, address: u64, bytes: &[u8]) -> std::io::Result<()>;
}

/// The guest named memory that is not there; the instruction did nothing.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The buffer of a `rep outsb`.
    #[error("reading {length} bytes of the guest at {address:#x} for `rep outsb`")]
    Read {
        /// Where the buffer starts.
        address: u64,
        /// Its length.
        length: u64,
        /// Why not.
        source: std::io::Error,
    },
    /// The buffer of a `rep insb`.
    #[error("writing {length} bytes of the guest at {address:#x} for `rep insb`")]
    Write {
        /// Where the buffer starts.
        address: u64,
        /// Its length.
        length: u64,
        /// Why not.
        source: std::io::Error,
    },
}

/// What kind of host to play.
#[derive(Clone, Debug)]
pub struct Options {
    /// Offer the string instructions.
    pub high_bandwidth: bool,
    /// The answer to `machine.id.get` (`machine.id` of the .vmx).
    pub machine_id: Option<String>,
    /// The answer to GETUUID (`uuid.bios` of the .vmx).
    pub uuid: [u8; 16],
    /// Keep each request with its answer for [`Host::take_exchange`].
    pub trace: bool,
    /// Where the cookies start; any number will do, they only tell channels apart.
    pub cookie_seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            high_bandwidth: true,
            machine_id: None,
            uuid: [0; 16],
            trace: false,
            cookie_seed: 0x7e74_6865_7200_0001,
        }
    }
}

/// The host's half: channels with their cookies, and what waits for the guest.
#[derive(Debug)]
pub struct Host {
    options: Options,
    channels: [Option<Channel>; CHANNELS],
    /// Which of them a checkpoint has closed, and whose owner does not know it.
    lost: [bool; CHANNELS],
    cookies: u64,
    time: Option<Duration>,
    tools: Tools,
    requests: VecDeque<Vec<u8>>,
    /// What the guest has to answer next.
    asked: Vec<u8>,
    exchanges: VecDeque<Exchange>,
}

/// A request and its answer, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The host has asked (TCLO), not the guest (RPCI).
    pub by_host: bool,
    /// What was asked.
    pub request: Vec<u8>,
    /// What was answered.
    pub answer: Vec<u8>,
}

impl std::fmt::Display for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = if self.by_host { "TCLO" } else { "RPCI" };
        let (request, answer) = (self.request.escape_ascii(), self.answer.escape_ascii());
        write!(f, "{protocol} {request} -> {answer}")
    }
}

impl Host {
    /// A host that no guest has called yet.
    pub fn new(options: Options) -> Host {
        let cookies = options.cookie_seed;
        Host {
            options,
            channels: std::array::from_fn(|_| None),
            lost: [false; CHANNELS],
            cookies,
            time: None,
            tools: Tools::default(),
            requests: VecDeque::new(),
            asked: Vec::new(),
            exchanges: VecDeque::new(),
        }
    }

    /// The time since 1970 that GETTIME and GETTIMEFULL answer; `None`: this host has no clock.
    pub fn set_time(&mut self, now: Option<Duration>) {
        self.time = now;
    }

    /// Queues a request for the guest (`OS_Halt`, `ping`): a TCLO channel gets it at its next poll.
    pub fn push_request(&mut self, request: &[u8]) {
        self.requests.push_back(request.to_vec());
    }

    /// The guest's tools, as far as they have told.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Asks the guest's tools for what a change of power needs, as "Shut Down Guest" does.
    ///
    /// # Errors
    /// They would not take it.
    pub fn power(&mut self, event: PowerEvent) -> Result<(), PowerRefusal> {
        self.tools.power(event)?;
        self.push_request(event.name().as_bytes());
        Ok(())
    }

    /// How the last power event went, once the guest has said so: `true`, it does what was asked.
    pub fn take_power_outcome(&mut self) -> Option<(PowerEvent, bool)> {
        self.tools.take_outcome()
    }

    /// The oldest exchange that nobody has taken ([`Options::trace`]).
    pub fn take_exchange(&mut self) -> Option<Exchange> {
        self.exchanges.pop_front()
    }

    /// The machine was reset: nothing that the guest has opened or told counts any more.
    pub fn reset(&mut self) {
        self.channels.fill_with(|| None);
        self.lost = [false; CHANNELS];
        self.requests.clear();
        self.tools.reset();
    }

    /// The machine comes back from a suspension, or was moved: its channels are gone, and it is told so.
    pub fn checkpoint(&mut self) {
        for (slot, lost) in self.channels.iter_mut().zip(&mut self.lost) {
            *lost |= slot.take().is_some();
        }
    }

    /// The channels in use.
    pub fn open_channels(&self) -> impl Iterator<Item = u16> {
        (0u16..)
            .zip(&self.channels)
            .filter_map(|(number, slot)| slot.is_some().then_some(number))
    }

    /// Forgets a channel whose owner is gone without closing it.
    pub fn close(&mut self, channel: u16) {
        if let Some(slot) = self.channels.get_mut(usize::from(channel)) {
            *slot = None;
        }
    }

    /// Does what the instruction asks; the caller then steps RIP over [`Instruction::len`] bytes.
    ///
    /// # Errors
    /// When the guest's buffer is not there: nothing has changed, and on a real machine the
    /// instruction would have faulted.
    pub fn handle(
        &mut self,
        instruction: Instruction,
        registers: &mut Registers,
        memory: &mut dyn Memory,
        store: &mut dyn Store,
    ) -> Result<(), HostError> {
        match instruction {
            Instruction::Low => self.low(registers, store),
            Instruction::HighOut => self.high_out(registers, memory, store)?,
            Instruction::HighIn => self.high_in(registers, memory)?,
        }
        Ok(())
    }

    fn low(&mut self, registers: &mut Registers, store: &mut dyn Store) {
        match registers.command() {
            command::GET_VERSION => {
                registers.rax = u64::from(VERSION);
                registers.rbx = u64::from(MAGIC);
                registers.rcx = u64::from(PRODUCT_ESX);
            }
            command::GET_UUID => {
                let mut words = self
                    .options
                    .uuid
                    .chunks_exact(4)
                    .map(|bytes| u64::from(little_endian(bytes)));
                let mut next = || words.next().unwrap_or(0);
                registers.rax = next();
                registers.rbx = next();
                registers.rcx = next();
                registers.rdx = next();
            }
            command::GET_TIME => match self.time {
                Some(time) => {
                    registers.rax = u64::from(word(time.as_secs()));
                    registers.rbx = u64::from(time.subsec_micros());
                    registers.rcx = 0;
                    registers.rdx = 0;
                }
                None => registers.rax = u64::from(UNSUPPORTED),
            },
            command::GET_TIME_FULL => match self.time {
                Some(time) => {
                    registers.rax = u64::from(MAGIC);
                    registers.rbx = u64::from(time.subsec_micros());
                    registers.rcx = 0;
                    registers.rdx = u64::from(word(time.as_secs()));
                    registers.rsi = time.as_secs() >> 32;
                }
                None => registers.rax = u64::from(UNSUPPORTED),
            },
            command::MESSAGE => {
                let status = self.message(registers, store);
                registers.rcx = halves(status, registers.command());
            }
            _ => registers.rax = u64::from(UNSUPPORTED),
        }
    }

    /// One message call; the answer is its status.
    fn message(&mut self, registers: &mut Registers, store: &mut dyn Store) -> u16 {
        if registers.message() == message::OPEN {
            return self.open(registers);
        }
        let number = registers.channel();
        let cookie = Cookie {
            high: word(registers.rsi),
            low: word(registers.rdi),
        };
        let offer = self.offer();
        let lost = self.lost.get(usize::from(number)) == Some(&true);
        let Some(channel) = self.channel(number, cookie) else {
            return if lost { status::CHECKPOINT } else { 0 };
        };
        let argument = word(registers.rbx);
        let port = registers.port();
        match registers.message() {
            message::SEND_SIZE => {
                if !channel.expect(argument, MESSAGE_LIMIT) {
                    return 0;
                }
                self.deliver(number, store);
                status::SUCCESS | offer
            }
            message::SEND_PAYLOAD => {
                if !channel.append_word(argument) {
                    return 0;
                }
                self.deliver(number, store);
                status::SUCCESS
            }
            message::RECV_SIZE => {
                let request = match channel.protocol() {
                    Protocol::Rpci => None,
                    Protocol::Tclo => self.requests.front().cloned(),
                };
                let Some(channel) = self.channel(number, cookie) else {
                    return 0;
                };
                if let Some(request) = request {
                    channel.offer(request);
                }
                let Some(length) = channel.rewind() else {
                    return status::SUCCESS;
                };
                registers.rbx = u64::from(length);
                registers.rdx = halves(ANSWER_SIZE, port);
                status::SUCCESS | status::DO_RECV | offer
            }
            message::RECV_PAYLOAD => {
                let Some(next) = channel.next_word() else {
                    return 0;
                };
                registers.rbx = u64::from(next);
                registers.rdx = halves(ANSWER_PAYLOAD, port);
                status::SUCCESS
            }
            message::RECV_STATUS => {
                // A guest that fared badly asks for the size again and gets the same message.
                if low_half(registers.rbx) & status::SUCCESS != 0
                    && channel.received()
                    && channel.protocol() == Protocol::Tclo
                {
                    self.asked = self.requests.pop_front().unwrap_or_default();
                }
                status::SUCCESS
            }
            message::CLOSE => {
                self.close(number);
                status::SUCCESS
            }
            _ => 0,
        }
    }

    fn open(&mut self, registers: &mut Registers) -> u16 {
        let argument = word(registers.rbx);
        let protocol = match argument & !FLAG_COOKIE {
            PROTOCOL_RPCI => Protocol::Rpci,
            PROTOCOL_TCLO => Protocol::Tclo,
            _ => return 0,
        };
        let cookie = (argument & FLAG_COOKIE != 0).then(|| self.next_cookie());
        let free = (0u16..)
            .zip(&mut self.channels)
            .find(|(_, slot)| slot.is_none());
        let Some((number, slot)) = free else {
            return 0;
        };
        *slot = Some(Channel::new(protocol, cookie));
        if let Some(lost) = self.lost.get_mut(usize::from(number)) {
            *lost = false;
        }
        if protocol == Protocol::Tclo {
            self.requests.push_front(b"reset".to_vec());
        }
        registers.rdx = halves(number, registers.port());
        if let Some(cookie) = cookie {
            registers.rsi = u64::from(cookie.high);
            registers.rdi = u64::from(cookie.low);
        }
        status::SUCCESS
    }

    /// The status bit that offers the string instructions.
    fn offer(&self) -> u16 {
        if self.options.high_bandwidth {
            status::HIGH_BANDWIDTH
        } else {
            0
        }
    }

    fn channel(&mut self, number: u16, cookie: Cookie) -> Option<&mut Channel> {
        self.channels
            .get_mut(usize::from(number))?
            .as_mut()
            .filter(|channel| channel.admits(cookie))
    }

    /// Acts on the guest's message when it is complete.
    fn deliver(&mut self, number: u16, store: &mut dyn Store) {
        let Some(channel) = self
            .channels
            .get_mut(usize::from(number))
            .and_then(Option::as_mut)
        else {
            return;
        };
        let Some(message) = channel.take_message() else {
            return;
        };
        let exchange = match channel.protocol() {
            Protocol::Rpci => {
                let answer = rpci::answer(&message, &self.options, store);
                channel.offer(answer.clone());
                self.tools.said(&message);
                Exchange {
                    by_host: false,
                    request: message,
                    answer,
                }
            }
            Protocol::Tclo if channel.take_answer_due() => {
                let request = std::mem::take(&mut self.asked);
                for next in self.tools.answered(&request, &message) {
                    self.push_request(next.as_bytes());
                }
                Exchange {
                    by_host: true,
                    request,
                    answer: message,
                }
            }
            Protocol::Tclo => return,
        };
        if self.options.trace {
            self.exchanges.push_back(exchange);
        }
    }

    /// A well-mixed walk over all 64-bit numbers (splitmix64): no cookie comes twice.
    fn next_cookie(&mut self) -> Cookie {
        self.cookies = self.cookies.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.cookies;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        Cookie {
            high: word(mixed >> 32),
            low: word(mixed),
        }
    }
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests;
