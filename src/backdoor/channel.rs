//! The guest's end of one channel: a message out, a message in, over either bandwidth.

use super::protocol::{
    ANSWER_PAYLOAD, ANSWER_SIZE, FLAG_COOKIE, HIGH_MESSAGE, MAGIC, PORT_HIGH, PORT_LOW, WORD,
    command, halves, message, status, word,
};
use super::{Port, Registers};

/// An open channel. It does not close itself: it does not own the port.
#[derive(Debug)]
pub struct Channel {
    number: u16,
    cookie_high: u64,
    cookie_low: u64,
}

/// What went wrong with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// A snapshot or a migration came between: open a new channel, start over.
    #[error("a checkpoint ended the channel")]
    Checkpoint,
    /// The host does not know the channel, or refuses the call.
    #[error("the host refused the channel")]
    Refused,
    /// The host refused a string instruction that it had offered.
    #[error("the host refused the high bandwidth that it had offered")]
    HighBandwidth,
    /// The message is longer than the caller takes, or than a length can say.
    #[error("a message of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Bytes.
        length: usize,
        /// Bytes.
        limit: usize,
    },
}

impl Channel {
    /// Asks the host for a channel (one instruction). `protocol` is one of
    /// [`PROTOCOL_RPCI`](super::protocol::PROTOCOL_RPCI) and
    /// [`PROTOCOL_TCLO`](super::protocol::PROTOCOL_TCLO).
    ///
    /// # Errors
    /// When all channels are in use, or there is no such host.
    pub fn open(port: &mut impl Port, protocol: u32) -> Result<Channel, ChannelError> {
        let mut registers = Registers {
            rax: u64::from(MAGIC),
            rbx: u64::from(protocol | FLAG_COOKIE),
            rcx: halves(message::OPEN, command::MESSAGE),
            rdx: u64::from(PORT_LOW),
            ..Registers::default()
        };
        port.low(&mut registers);
        succeeded(registers.low_status(), ChannelError::Refused)?;
        Ok(Channel {
            number: registers.channel(),
            cookie_high: u64::from(word(registers.rsi)),
            cookie_low: u64::from(word(registers.rdi)),
        })
    }

    /// Gives the channel back. A host that does not know it any more has nothing to give back.
    pub fn close(self, port: &mut impl Port) {
        let mut registers = self.low(message::CLOSE, 0);
        port.low(&mut registers);
    }

    /// Sends one message. `high_bandwidth` permits the string instructions where the host offers
    /// them.
    ///
    /// # Errors
    /// See [`ChannelError`]; the channel is of no further use.
    pub fn send(
        &self,
        port: &mut impl Port,
        bytes: &[u8],
        high_bandwidth: bool,
    ) -> Result<(), ChannelError> {
        let limit = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        if bytes.len() > limit {
            let length = bytes.len();
            return Err(ChannelError::TooLong { length, limit });
        }
        let mut registers = self.low(message::SEND_SIZE, word(bytes.len() as u64));
        port.low(&mut registers);
        succeeded(registers.low_status(), ChannelError::Refused)?;
        if high_bandwidth && offered(registers.low_status()) && bytes.len() > WORD {
            let mut registers = Registers {
                rdi: self.cookie_low,
                rbp: self.cookie_high,
                ..self.high()
            };
            port.high_out(&mut registers, bytes);
            return succeeded(registers.high_status(), ChannelError::HighBandwidth);
        }
        for chunk in bytes.chunks(WORD) {
            let next = chunk
                .iter()
                .rev()
                .fold(0, |word, byte| (word << 8) | u32::from(*byte));
            let mut registers = self.low(message::SEND_PAYLOAD, next);
            port.low(&mut registers);
            succeeded(registers.low_status(), ChannelError::Refused)?;
        }
        Ok(())
    }

    /// The host's message, if one waits; at most `limit` bytes of it.
    ///
    /// # Errors
    /// See [`ChannelError`]; the channel is of no further use.
    pub fn receive(
        &self,
        port: &mut impl Port,
        limit: usize,
        high_bandwidth: bool,
    ) -> Result<Option<Vec<u8>>, ChannelError> {
        let mut registers = self.low(message::RECV_SIZE, 0);
        port.low(&mut registers);
        succeeded(registers.low_status(), ChannelError::Refused)?;
        if registers.low_status() & status::DO_RECV == 0 {
            return Ok(None);
        }
        if registers.channel() != ANSWER_SIZE {
            return Err(ChannelError::Refused);
        }
        let length = usize::try_from(word(registers.rbx)).unwrap_or(usize::MAX);
        if length > limit {
            return Err(ChannelError::TooLong { length, limit });
        }
        let mut bytes = vec![0; length];
        if high_bandwidth && offered(registers.low_status()) && length > WORD {
            let mut registers = Registers {
                rsi: self.cookie_high,
                rbp: self.cookie_low,
                ..self.high()
            };
            port.high_in(&mut registers, &mut bytes);
            succeeded(registers.high_status(), ChannelError::HighBandwidth)?;
        } else {
            for chunk in bytes.chunks_mut(WORD) {
                let mut registers = self.low(message::RECV_PAYLOAD, u32::from(status::SUCCESS));
                port.low(&mut registers);
                succeeded(registers.low_status(), ChannelError::Refused)?;
                if registers.channel() != ANSWER_PAYLOAD {
                    return Err(ChannelError::Refused);
                }
                let next = word(registers.rbx).to_le_bytes();
                for (to, from) in chunk.iter_mut().zip(next) {
                    *to = from;
                }
            }
        }
        let mut registers = self.low(message::RECV_STATUS, u32::from(status::SUCCESS));
        port.low(&mut registers);
        succeeded(registers.low_status(), ChannelError::Refused)?;
        Ok(Some(bytes))
    }

    fn low(&self, sub_type: u16, argument: u32) -> Registers {
        Registers {
            rax: u64::from(MAGIC),
            rbx: u64::from(argument),
            rcx: halves(sub_type, command::MESSAGE),
            rdx: halves(self.number, PORT_LOW),
            rsi: self.cookie_high,
            rdi: self.cookie_low,
            rbp: 0,
        }
    }

    fn high(&self) -> Registers {
        Registers {
            rax: u64::from(MAGIC),
            rbx: halves(status::SUCCESS, HIGH_MESSAGE),
            rdx: halves(self.number, PORT_HIGH),
            ..Registers::default()
        }
    }
}

fn offered(status: u16) -> bool {
    status & status::HIGH_BANDWIDTH != 0
}

fn succeeded(status: u16, failure: ChannelError) -> Result<(), ChannelError> {
    if status & status::CHECKPOINT != 0 {
        return Err(ChannelError::Checkpoint);
    }
    if status & status::SUCCESS == 0 {
        return Err(failure);
    }
    Ok(())
}
