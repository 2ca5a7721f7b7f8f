//! The guest's half wired straight to the host's, with the accidents of a real host on demand.

use std::collections::BTreeMap;
use std::io;

use super::host::{Host, Instruction, Memory, Options, Store};
use super::protocol::{MAGIC, PORT_HIGH, PORT_LOW, halves, status, word};
use super::{Port, Registers};

/// What happens to one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accident {
    /// All channels are gone before the instruction does anything; the answer says so.
    CheckpointBefore,
    /// The instruction is carried out, then all channels are gone; the answer says so.
    CheckpointAfter,
    /// All channels are gone and the answer is a plain no.
    Forgotten,
}

/// A map for a store.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) values: BTreeMap<String, Vec<u8>>,
    pub(crate) log: Vec<String>,
    /// How often each of the keys was set.
    pub(crate) sets: BTreeMap<String, u32>,
}

impl Store for Values {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.values.get(key).cloned()
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        *self.sets.entry(key.into()).or_default() += 1;
        if value.is_empty() {
            self.values.remove(key);
        } else {
            self.values.insert(key.into(), value.into());
        }
        Ok(())
    }

    fn log(&mut self, text: &[u8]) {
        self.log.push(String::from_utf8_lossy(text).into_owned());
    }
}

/// A port whose other end is a host in the same process. Counts its instructions.
#[derive(Debug)]
pub(crate) struct Loopback {
    pub(crate) host: Host,
    pub(crate) store: Values,
    pub(crate) instructions: usize,
    /// How many of them were string instructions.
    pub(crate) strings: usize,
    /// The instructions (from 1) that do not go well.
    pub(crate) accidents: BTreeMap<usize, Accident>,
    /// The host refuses every string instruction, though it offers them.
    pub(crate) strings_refused: bool,
}

impl Default for Loopback {
    fn default() -> Self {
        Loopback::new(true)
    }
}

impl Loopback {
    pub(crate) fn new(high_bandwidth: bool) -> Loopback {
        Loopback::of(Options {
            high_bandwidth,
            ..Options::default()
        })
    }

    pub(crate) fn of(options: Options) -> Loopback {
        Loopback {
            host: Host::new(options),
            store: Values::default(),
            instructions: 0,
            strings: 0,
            accidents: BTreeMap::new(),
            strings_refused: false,
        }
    }

    pub(crate) fn with(mut self, key: &str, value: &[u8]) -> Loopback {
        self.store.values.insert(key.into(), value.into());
        self
    }

    fn execute(&mut self, instruction: Instruction, registers: &mut Registers, memory: &mut [u8]) {
        self.instructions += 1;
        self.strings += usize::from(instruction != Instruction::Low);
        assert_eq!(word(registers.rax), MAGIC);
        let expected = match instruction {
            Instruction::Low => PORT_LOW,
            Instruction::HighOut | Instruction::HighIn => PORT_HIGH,
        };
        assert_eq!(registers.port(), expected);
        let accident = self.accidents.get(&self.instructions).copied();
        if accident.is_none() || accident == Some(Accident::CheckpointAfter) {
            self.host
                .handle(instruction, registers, &mut Slice(memory), &mut self.store)
                .expect("the port names its own buffer");
        }
        let Some(accident) = accident else {
            return;
        };
        for channel in self.host.open_channels().collect::<Vec<_>>() {
            self.host.close(channel);
        }
        let answer = match accident {
            Accident::CheckpointBefore | Accident::CheckpointAfter => status::CHECKPOINT,
            Accident::Forgotten => 0,
        };
        match instruction {
            Instruction::Low => registers.rcx = halves(answer, registers.command()),
            Instruction::HighOut | Instruction::HighIn => registers.rbx = halves(answer, 0),
        }
    }
}

impl Port for Loopback {
    fn low(&mut self, registers: &mut Registers) {
        self.execute(Instruction::Low, registers, &mut []);
    }

    fn high_out(&mut self, registers: &mut Registers, data: &[u8]) {
        if self.strings_refused {
            self.instructions += 1;
            registers.rbx = 0;
            return;
        }
        registers.rsi = Slice::BASE;
        registers.rcx = data.len() as u64;
        self.execute(Instruction::HighOut, registers, &mut data.to_vec());
    }

    fn high_in(&mut self, registers: &mut Registers, buffer: &mut [u8]) {
        if self.strings_refused {
            self.instructions += 1;
            registers.rbx = 0;
            return;
        }
        registers.rdi = Slice::BASE;
        registers.rcx = buffer.len() as u64;
        self.execute(Instruction::HighIn, registers, buffer);
    }
}

/// Guest memory that is one buffer.
pub(crate) struct Slice<'a>(pub(crate) &'a mut [u8]);

impl Slice<'_> {
    pub(crate) const BASE: u64 = 0x7fff_0000_1000;

    fn range(&mut self, address: u64, length: usize) -> io::Result<&mut [u8]> {
        address
            .checked_sub(Self::BASE)
            .and_then(|start| usize::try_from(start).ok())
            .and_then(|start| self.0.get_mut(start..start.checked_add(length)?))
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Memory for Slice<'_> {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(self.range(address, buffer.len())?);
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.range(address, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
}
