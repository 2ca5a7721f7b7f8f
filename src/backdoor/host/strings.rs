//! The string instructions: a message's bytes straight from or to the guest's memory.

use super::channel::Cookie;
use super::{Host, HostError, Memory, Store};
use crate::backdoor::Registers;
use crate::backdoor::protocol::{HIGH_MESSAGE, halves, low_half, status, word};

impl Host {
    pub(super) fn high_out(
        &mut self,
        registers: &mut Registers,
        memory: &mut dyn Memory,
        store: &mut dyn Store,
    ) -> Result<(), HostError> {
        let length = registers.rcx;
        let number = registers.channel();
        let cookie = Cookie {
            high: word(registers.rbp),
            low: word(registers.rdi),
        };
        let Some(length_here) = self.string_length(registers, length) else {
            return Ok(());
        };
        let offered = self.options.high_bandwidth;
        let wanted = self
            .channel(number, cookie)
            .filter(|channel| offered && channel.wants(length_here));
        let Some(channel) = wanted else {
            registers.rbx = halves(0, HIGH_MESSAGE);
            return Ok(());
        };
        let mut bytes = vec![0; length_here];
        let address = registers.rsi;
        memory
            .read(address, &mut bytes)
            .map_err(|source| HostError::Read {
                address,
                length,
                source,
            })?;
        channel.append(&bytes);
        self.deliver(number, store);
        registers.rsi = address.wrapping_add(length);
        registers.rcx = 0;
        registers.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
        Ok(())
    }

    pub(super) fn high_in(
        &mut self,
        registers: &mut Registers,
        memory: &mut dyn Memory,
    ) -> Result<(), HostError> {
        let length = registers.rcx;
        let cookie = Cookie {
            high: word(registers.rsi),
            low: word(registers.rbp),
        };
        let Some(length_here) = self.string_length(registers, length) else {
            return Ok(());
        };
        let offered = self.options.high_bandwidth;
        let waiting = self
            .channel(registers.channel(), cookie)
            .filter(|_| offered)
            .and_then(|channel| channel.peek(length_here));
        let Some(bytes) = waiting else {
            registers.rbx = halves(0, HIGH_MESSAGE);
            return Ok(());
        };
        let address = registers.rdi;
        memory
            .write(address, bytes)
            .map_err(|source| HostError::Write {
                address,
                length,
                source,
            })?;
        if let Some(channel) = self.channel(registers.channel(), cookie) {
            channel.skip(length_here);
        }
        registers.rdi = address.wrapping_add(length);
        registers.rcx = 0;
        registers.rbx = halves(status::SUCCESS, HIGH_MESSAGE);
        Ok(())
    }

    /// The length of a string instruction, when there is anything to do.
    ///
    /// A count of zero executes nothing on the processor either: the status that the guest put
    /// into EBX itself stays.
    fn string_length(&self, registers: &mut Registers, length: u64) -> Option<usize> {
        if length == 0 {
            return None;
        }
        let length = usize::try_from(length).ok();
        if low_half(registers.rbx) != HIGH_MESSAGE || length.is_none() {
            registers.rbx = halves(0, HIGH_MESSAGE);
            return None;
        }
        length
    }
}
