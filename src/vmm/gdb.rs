//! GDB's remote serial protocol, as far as QEMU's stub needs it: packets, and the requests and
//! stops of a debugger that only sets breakpoints and looks at registers and memory. Pure: bytes
//! in, bytes out.
//!
//! A packet is `$payload#XX`, XX the sum of the payload's bytes modulo 256. The other side answers
//! each with `+` (taken) or `-` (again). In a reply `}` escapes the next byte (xor 0x20), and `x*n`
//! repeats `x` another n - 29 times. See "Remote Protocol" in GDB's manual.

use std::collections::VecDeque;

use crate::backdoor::Registers;

/// Bytes of memory in one request: QEMU drops a packet over 4,096 characters without an answer, and
/// a byte is two of them.
pub const MEMORY_PIECE: usize = 1024;

/// What a run-length count is above the number that it means.
const REPEAT_BIAS: u8 = 29;

/// What [`Decoder`] finds in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Our packet was taken.
    Taken,
    /// Our packet was damaged: it must be sent again.
    Again,
    /// A packet of the other side, decoded.
    Packet(Vec<u8>),
    /// A packet whose checksum is wrong.
    Damaged,
}

/// Cuts the stream into items, whatever pieces it comes in.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    items: VecDeque<Item>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    Payload(Vec<u8>),
    /// The payload, and the first digit of its checksum once it is there.
    Sum(Vec<u8>, Option<u8>),
}

impl Decoder {
    /// Takes what has arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = match (std::mem::take(&mut self.state), byte) {
                (State::Between, b'$') => State::Payload(Vec::new()),
                (State::Between, b'+') => {
                    self.items.push_back(Item::Taken);
                    State::Between
                }
                (State::Between, b'-') => {
                    self.items.push_back(Item::Again);
                    State::Between
                }
                (State::Between, _) => State::Between,
                (State::Payload(payload), b'#') => State::Sum(payload, None),
                (State::Payload(mut payload), byte) => {
                    payload.push(*byte);
                    State::Payload(payload)
                }
                (State::Sum(payload, None), digit) => State::Sum(payload, Some(*digit)),
                (State::Sum(payload, Some(high)), low) => {
                    let item = match unhex(&[high, *low]).as_deref() {
                        Some([sum]) if *sum == checksum(&payload) => Item::Packet(expand(&payload)),
                        _ => Item::Damaged,
                    };
                    self.items.push_back(item);
                    State::Between
                }
            };
        }
    }

    /// The next item, if one is whole.
    pub fn next_item(&mut self) -> Option<Item> {
        self.items.pop_front()
    }
}

fn checksum(payload: &[u8]) -> u8 {
    payload.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Undoes escapes and run lengths.
fn expand(payload: &[u8]) -> Vec<u8> {
    const ESCAPE_XOR: u8 = 0x20;
    let mut expanded = Vec::with_capacity(payload.len());
    let mut bytes = payload.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'}' => expanded.extend(bytes.next().map(|byte| byte ^ ESCAPE_XOR)),
            b'*' => {
                let count = bytes.next().map_or(0, |n| n.saturating_sub(REPEAT_BIAS));
                if let Some(last) = expanded.last().copied() {
                    expanded.extend(std::iter::repeat_n(last, usize::from(count)));
                }
            }
            byte => expanded.push(*byte),
        }
    }
    expanded
}

/// A packet with this payload, which must hold none of `$ # } *` (no request here does).
pub fn packet(payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(payload.len() + 4);
    packet.push(b'$');
    packet.extend_from_slice(payload);
    packet.extend_from_slice(format!("#{:02x}", checksum(payload)).as_bytes());
    packet
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// What a debugger asks of the stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Why does it stand still?
    Why,
    /// The registers that follow are those of this thread (a processor of the machine).
    Select(Thread),
    /// All registers.
    ReadRegisters,
    /// The first registers of the set; the others stay.
    WriteRegisters(Vec<u8>),
    /// Memory, at most [`MEMORY_PIECE`] bytes.
    ReadMemory {
        /// By the thread's own page tables.
        address: u64,
        /// In bytes.
        length: usize,
    },
    /// The same the other way.
    WriteMemory {
        /// By the thread's own page tables.
        address: u64,
        /// At most [`MEMORY_PIECE`] of them.
        bytes: Vec<u8>,
    },
    /// The machine stops after a word of 4 bytes has been written.
    Watch(u64),
    /// A hardware breakpoint.
    SetBreakpoint(u64),
    /// The same away.
    ClearBreakpoint(u64),
    /// Everything runs; the answer is the next stop.
    Continue,
    /// This processor does one instruction, the others stand still; the answer is its stop.
    Step(Thread),
}

impl Request {
    /// The packet on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let payload = match self {
            Self::Why => "?".to_owned(),
            Self::Select(thread) => format!("Hg{}", thread.0),
            Self::ReadRegisters => "g".to_owned(),
            Self::WriteRegisters(bytes) => format!("G{}", hex(bytes)),
            Self::ReadMemory { address, length } => format!("m{address:x},{length:x}"),
            Self::WriteMemory { address, bytes } => {
                format!("M{address:x},{:x}:{}", bytes.len(), hex(bytes))
            }
            Self::Watch(address) => format!("Z2,{address:x},4"),
            Self::SetBreakpoint(address) => format!("Z1,{address:x},1"),
            Self::ClearBreakpoint(address) => format!("z1,{address:x},1"),
            Self::Continue => "c".to_owned(),
            Self::Step(thread) => format!("vCont;s:{}", thread.0),
        };
        packet(payload.as_bytes())
    }
}

/// A processor of the machine, as the stub writes it (hexadecimal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread(pub String);

/// What the stub answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `OK`
    Done,
    /// `Enn`: the error number.
    Failed(u8),
    /// Bytes: registers or memory.
    Bytes(Vec<u8>),
    /// The machine stands still.
    Stopped {
        /// GDB's number of the signal: 5 = breakpoint or step.
        signal: u8,
        /// The processor that stopped first.
        thread: Option<Thread>,
    },
    /// The machine is gone.
    Exited,
    /// Nothing: the stub does not know the request.
    Unknown,
}

/// GDB's number for a breakpoint or a step.
pub const SIGNAL_TRAP: u8 = 5;
/// GDB's number for QEMU's "stopped by its monitor".
pub const SIGNAL_INTERRUPT: u8 = 2;
/// GDB's number for QEMU's "shut down".
pub const SIGNAL_QUIT: u8 = 3;

impl Reply {
    /// Reads a packet's payload; `None`: it is none of the replies known here.
    pub fn decode(payload: &[u8]) -> Option<Reply> {
        let number = |digits: &[u8]| unhex(digits.get(..2)?)?.first().copied();
        match payload {
            [] => Some(Self::Unknown),
            b"OK" => Some(Self::Done),
            [b'E', digits @ ..] if digits.len() == 2 => Some(Self::Failed(number(digits)?)),
            [b'T' | b'S', rest @ ..] => {
                let facts = rest.get(2..).unwrap_or_default();
                let thread = facts
                    .split(|byte| *byte == b';')
                    .find_map(|fact| fact.strip_prefix(b"thread:"))
                    .map(|id| Thread(String::from_utf8_lossy(id).into_owned()));
                Some(Self::Stopped {
                    signal: number(rest)?,
                    thread,
                })
            }
            [b'W' | b'X', ..] => Some(Self::Exited),
            digits => unhex(digits).map(Self::Bytes),
        }
    }
}

/// The part of QEMU's x86-64 register set (`g`) that comes first: sixteen general registers and
/// RIP, 8 bytes each, little endian. QEMU answers it in this form in 16 and 32-bit modes too, and a
/// `G` that is shorter than the set changes only these: segments and control registers, whose
/// writing would flush the translation caches, are left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneralSet {
    words: [u64; GENERAL_WORDS],
}

const WORD: usize = 8;
const GENERAL_WORDS: usize = 17;

/// Places in the set.
mod place {
    pub(super) const RAX: usize = 0;
    pub(super) const RBX: usize = 1;
    pub(super) const RCX: usize = 2;
    pub(super) const RDX: usize = 3;
    pub(super) const RSI: usize = 4;
    pub(super) const RDI: usize = 5;
    pub(super) const RBP: usize = 6;
    pub(super) const RIP: usize = 16;
}

impl GeneralSet {
    /// Takes them from the answer to `g`; `None` when that is too short.
    pub fn decode(bytes: &[u8]) -> Option<GeneralSet> {
        let mut words = [0; GENERAL_WORDS];
        for (number, word) in words.iter_mut().enumerate() {
            let bytes = bytes.get(number * WORD..(number + 1) * WORD)?;
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(GeneralSet { words })
    }

    /// The bytes of a `G`.
    pub fn encode(&self) -> Vec<u8> {
        self.words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    /// The instruction that comes next.
    pub fn rip(&self) -> u64 {
        self.words[place::RIP]
    }

    /// Moves on by `length` bytes.
    pub fn step_over(&mut self, length: u64) {
        self.words[place::RIP] = self.rip().wrapping_add(length);
    }

    /// Those that a backdoor instruction takes part in.
    pub fn registers(&self) -> Registers {
        Registers {
            rax: self.words[place::RAX],
            rbx: self.words[place::RBX],
            rcx: self.words[place::RCX],
            rdx: self.words[place::RDX],
            rsi: self.words[place::RSI],
            rdi: self.words[place::RDI],
            rbp: self.words[place::RBP],
        }
    }

    /// Puts them back.
    pub fn set_registers(&mut self, registers: &Registers) {
        self.words[place::RAX] = registers.rax;
        self.words[place::RBX] = registers.rbx;
        self.words[place::RCX] = registers.rcx;
        self.words[place::RDX] = registers.rdx;
        self.words[place::RSI] = registers.rsi;
        self.words[place::RDI] = registers.rdi;
        self.words[place::RBP] = registers.rbp;
    }
}

#[cfg(test)]
mod tests;
