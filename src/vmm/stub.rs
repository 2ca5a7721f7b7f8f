//! QEMU's gdb stub behind a socket: [`super::gdb`]'s packets asked and answered.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::gdb::{Decoder, GeneralSet, Item, MEMORY_PIECE, Reply, Request, Thread};
use crate::backdoor::host::Memory;

/// Bytes taken from the socket at once: more than any answer.
const READ_SIZE: usize = 8 * 1024;
/// A damaged packet is sent again as often; on a local socket none ever is.
const RETRIES: usize = 3;

/// Why the stub did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StubError {
    /// QEMU has closed the socket: it has ended.
    #[error("QEMU has closed its gdb socket")]
    Gone,
    /// The socket failed.
    #[error("talking to QEMU's gdb stub")]
    Socket(#[source] io::Error),
    /// Another answer than the request can have.
    #[error("QEMU's gdb stub answered {reply:?} to {request:?}")]
    Refused {
        /// What was asked.
        request: Box<Request>,
        /// What came.
        reply: Reply,
    },
    /// Not the protocol.
    #[error("QEMU's gdb stub sent what is no answer: {0:?}")]
    Nonsense(String),
}

/// The machine stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// GDB's number of the signal.
    pub signal: u8,
    /// The processor that stopped first.
    pub thread: Option<Thread>,
}

/// What a wait for the machine to stop came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It stands still.
    Stopped(Stop),
    /// It has ended.
    Ended,
    /// Neither, at the time given.
    TimeOut,
}

/// A connection to the stub.
#[derive(Debug)]
pub struct Stub {
    socket: UnixStream,
    decoder: Decoder,
    /// What went out last, in case it must go again.
    last: Vec<u8>,
    /// A packet came that we have not acknowledged: that goes with the next request, which saves
    /// QEMU a wake-up.
    owes: bool,
}

impl Stub {
    /// Takes over a socket that QEMU has just connected to.
    pub fn new(socket: UnixStream) -> Stub {
        Stub {
            socket,
            decoder: Decoder::default(),
            last: Vec::new(),
            owes: false,
        }
    }

    /// Sends requests at once, without waiting for an answer to the first.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn send(&mut self, requests: &[Request]) -> Result<(), StubError> {
        self.last.clear();
        if std::mem::take(&mut self.owes) {
            self.last.push(b'+');
        }
        for request in requests {
            self.last.extend(request.encode());
        }
        self.write()
    }

    /// The answer to the oldest request that has none yet.
    ///
    /// # Errors
    /// When QEMU is gone, or sends nonsense.
    pub fn receive(&mut self) -> Result<Reply, StubError> {
        self.set_timeout(None)?;
        loop {
            if let Some(reply) = self.next_reply(RETRIES)? {
                return Ok(reply);
            }
            self.read()?;
        }
    }

    /// One request, which is answered by `OK`.
    ///
    /// # Errors
    /// When it is answered otherwise.
    pub fn order(&mut self, request: Request) -> Result<(), StubError> {
        self.send(std::slice::from_ref(&request))?;
        self.expect_done(request)
    }

    /// Waits for the `OK` to a request sent before.
    ///
    /// # Errors
    /// When another answer comes.
    pub fn expect_done(&mut self, request: Request) -> Result<(), StubError> {
        match self.receive()? {
            Reply::Done => Ok(()),
            reply => Err(refused(request, reply)),
        }
    }

    /// Waits for the machine to stop, after [`Request::Continue`] or [`Request::Step`].
    ///
    /// # Errors
    /// When QEMU sends nonsense.
    pub fn wait(&mut self, until: Option<Instant>) -> Result<Waited, StubError> {
        loop {
            match self.next_reply(RETRIES)? {
                Some(Reply::Stopped { signal, thread }) => {
                    return Ok(Waited::Stopped(Stop { signal, thread }));
                }
                Some(Reply::Exited) => return Ok(Waited::Ended),
                Some(reply) => return Err(refused(Request::Continue, reply)),
                None => {}
            }
            self.set_timeout(until)?;
            match self.read() {
                Err(StubError::Gone) => return Ok(Waited::Ended),
                Err(StubError::Socket(error))
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(Waited::TimeOut);
                }
                other => other?,
            }
        }
    }

    /// The registers of the selected processor.
    ///
    /// # Errors
    /// When they do not come.
    pub fn registers(&mut self) -> Result<GeneralSet, StubError> {
        self.send(&[Request::ReadRegisters])?;
        self.expect_registers()
    }

    fn expect_registers(&mut self) -> Result<GeneralSet, StubError> {
        let reply = self.receive()?;
        match &reply {
            Reply::Bytes(bytes) => GeneralSet::decode(bytes),
            _ => None,
        }
        .ok_or_else(|| refused(Request::ReadRegisters, reply))
    }

    /// The registers of the selected processor, and the `length` bytes at a place where RIP may
    /// well be, in one turn. `None` instead of bytes: nothing is mapped there.
    ///
    /// # Errors
    /// When they do not come.
    pub fn registers_and_code(
        &mut self,
        address: u64,
        length: usize,
    ) -> Result<(GeneralSet, Option<Vec<u8>>), StubError> {
        let code = Request::ReadMemory { address, length };
        self.send(&[Request::ReadRegisters, code.clone()])?;
        let registers = self.expect_registers()?;
        match self.receive()? {
            Reply::Bytes(bytes) => Ok((registers, Some(bytes))),
            Reply::Failed(_) => Ok((registers, None)),
            reply => Err(refused(code, reply)),
        }
    }

    fn next_reply(&mut self, mut retries: usize) -> Result<Option<Reply>, StubError> {
        while let Some(item) = self.decoder.next_item() {
            match item {
                Item::Taken => {}
                Item::Packet(payload) => {
                    self.owes = true;
                    return match Reply::decode(&payload) {
                        Some(reply) => Ok(Some(reply)),
                        None => Err(StubError::Nonsense(
                            String::from_utf8_lossy(&payload).into_owned(),
                        )),
                    };
                }
                Item::Again | Item::Damaged if retries == 0 => {
                    return Err(StubError::Nonsense(String::from("damaged packets")));
                }
                Item::Again => {
                    retries -= 1;
                    self.write()?;
                }
                Item::Damaged => {
                    retries -= 1;
                    self.last = b"-".to_vec();
                    self.write()?;
                }
            }
        }
        Ok(None)
    }

    fn write(&mut self) -> Result<(), StubError> {
        self.socket
            .write_all(&self.last)
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => StubError::Gone,
                _ => StubError::Socket(error),
            })
    }

    fn read(&mut self) -> Result<(), StubError> {
        let mut bytes = [0; READ_SIZE];
        let length = loop {
            match self.socket.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(StubError::Gone);
                }
                other => break other.map_err(StubError::Socket)?,
            }
        };
        if length == 0 {
            return Err(StubError::Gone);
        }
        self.decoder.feed(bytes.get(..length).unwrap_or_default());
        Ok(())
    }

    fn set_timeout(&mut self, until: Option<Instant>) -> Result<(), StubError> {
        // Zero would mean "for ever".
        const SHORTEST: Duration = Duration::from_millis(1);
        let timeout = until.map(|until| {
            until
                .saturating_duration_since(Instant::now())
                .max(SHORTEST)
        });
        self.socket
            .set_read_timeout(timeout)
            .map_err(StubError::Socket)
    }
}

fn refused(request: Request, reply: Reply) -> StubError {
    StubError::Refused {
        request: Box::new(request),
        reply,
    }
}

/// The guest's memory by the selected processor's page tables.
///
/// A debugger writes through to the page that is mapped, also one that the guest itself could only
/// read: a buffer for `rep insb` must have been written to by the guest before, or the bytes may
/// land in a page that others share.
impl Memory for Stub {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = address;
        for piece in buffer.chunks_mut(MEMORY_PIECE) {
            let request = Request::ReadMemory {
                address: at,
                length: piece.len(),
            };
            self.send(std::slice::from_ref(&request))
                .map_err(io::Error::other)?;
            match self.receive().map_err(io::Error::other)? {
                Reply::Bytes(bytes) if bytes.len() == piece.len() => piece.copy_from_slice(&bytes),
                Reply::Failed(_) => return Err(not_mapped(at)),
                reply => return Err(io::Error::other(refused(request, reply))),
            }
            at = at.wrapping_add(piece.len() as u64);
        }
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = address;
        for piece in bytes.chunks(MEMORY_PIECE) {
            let request = Request::WriteMemory {
                address: at,
                bytes: piece.to_vec(),
            };
            self.send(std::slice::from_ref(&request))
                .map_err(io::Error::other)?;
            match self.receive().map_err(io::Error::other)? {
                Reply::Done => {}
                Reply::Failed(_) => return Err(not_mapped(at)),
                reply => return Err(io::Error::other(refused(request, reply))),
            }
            at = at.wrapping_add(piece.len() as u64);
        }
        Ok(())
    }
}

fn not_mapped(address: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("the guest has no memory at {address:#x}"),
    )
}
