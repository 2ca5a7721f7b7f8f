//! The host's half of the backdoor, as a VMware host plays it: one instruction's registers in,
//! registers out, a key store and the guest's memory at the side.
//!
//! It never waits, reads no clock and knows no process: the ptrace host, the gdb-stub host and the
//! unit tests of the guest's half all drive [`Host::handle`].

mod channel;
mod instruction;
mod rpci;
mod strings;

use std::collections::VecDeque;
use std::time::Duration;

use super::Registers;
use super::protocol::{
    self, ANSWER_PAYLOAD, ANSWER_SIZE, FLAG_COOKIE, MAGIC, PROTOCOL_RPCI, PROTOCOL_TCLO,
    UNSUPPORTED, command, halves, low_half, message, status, word,
};
use channel::{Channel, Cookie, Protocol};
pub use instruction::Instruction;

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
    /// Where the cookies start; any number will do, they only tell channels apart.
    pub cookie_seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            high_bandwidth: true,
            machine_id: None,
            uuid: [0; 16],
            cookie_seed: 0x7e74_6865_7200_0001,
        }
    }
}

/// The host's half: channels with their cookies, and what waits for the guest.
#[derive(Debug)]
pub struct Host {
    options: Options,
    channels: [Option<Channel>; CHANNELS],
    cookies: u64,
    time: Option<Duration>,
    requests: VecDeque<Vec<u8>>,
    replies: VecDeque<Vec<u8>>,
}

impl Host {
    /// A host that no guest has called yet.
    pub fn new(options: Options) -> Host {
        let cookies = options.cookie_seed;
        Host {
            options,
            channels: std::array::from_fn(|_| None),
            cookies,
            time: None,
            requests: VecDeque::new(),
            replies: VecDeque::new(),
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

    /// The guest's answer to the oldest request that it has answered and nobody has taken yet.
    pub fn take_reply(&mut self) -> Option<Vec<u8>> {
        self.replies.pop_front()
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
        let Some(channel) = self.channel(number, cookie) else {
            return 0;
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
                    self.requests.pop_front();
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
        match channel.protocol() {
            Protocol::Rpci => channel.offer(rpci::answer(&message, &self.options, store)),
            Protocol::Tclo => {
                if channel.take_answer_due() {
                    self.replies.push_back(message);
                }
            }
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
