//! The host of a VM whose serial port has a proxy: telnet and VMware's extension as the vendor's
//! capture shows them, in code of its own.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::appliance::LIMIT;
use crate::pipe::Pipe;

const IAC: u8 = 255;
const SB: u8 = 250;
const SE: u8 = 240;
const EXTENSION: u8 = 232;

/// The codes of the capture's VM, in its order.
const KNOWN: [u8; 23] = [
    0, 0, 1, 2, 3, 40, 41, 43, 44, 45, 46, 48, 70, 71, 73, 80, 81, 84, 85, 86, 87, 82, 83,
];
pub const UUID: &str = "68 4c 91 6c 5f 6c 4c 2f-aa 50 df d6 61 a2 2e 0d";

pub struct Host {
    socket: Pipe,
    /// Bytes of the telnet stream that wait: from the other side, and for it.
    input: Vec<u8>,
    out: Vec<u8>,
    /// The line's bytes for the VM.
    data: Vec<u8>,
    /// What it says first once the extension is agreed.
    opening: Vec<u8>,
    /// Messages of the extension that came, the code first.
    pub said: Vec<Vec<u8>>,
    /// Writes one byte at a time.
    pub dribbles: bool,
    closed: bool,
}

impl Host {
    /// The VM is switched on here.
    pub fn connect(socket: Pipe) -> Self {
        let service = [&[70, b'C'], &b"tcp://192.0.2.1:2377?port=link"[..]].concat();
        Self::open(socket, &[message(&KNOWN), message(&service)].concat())
    }

    /// The VM moves here: no service is asked for, and another option is offered in the same
    /// segment.
    pub fn peer(address: SocketAddr, tls: Option<&Arc<ClientConfig>>, cookie: &[u8]) -> Self {
        let peer = [&[44], cookie].concat();
        let opening = [message(&KNOWN), message(&peer), vec![IAC, 251, 44]].concat();
        Self::open(Pipe::connect(address, tls).expect("the listener"), &opening)
    }

    fn open(socket: Pipe, opening: &[u8]) -> Self {
        Self {
            socket,
            input: Vec::new(),
            // Unasked: WILL AUTHENTICATION.
            out: vec![IAC, 251, 37],
            data: Vec::new(),
            opening: opening.to_vec(),
            said: Vec::new(),
            dribbles: false,
            closed: false,
        }
    }

    /// Says a message of the extension.
    pub fn say(&mut self, code: u8, payload: &[u8]) {
        let text = [&[code], payload].concat();
        self.out.extend_from_slice(&message(&text));
    }

    /// What came for the VM and it has not taken.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// The payload of the first message with this code that has come.
    pub fn heard(&self, code: u8) -> Option<Vec<u8>> {
        let said = self.said.iter().find(|said| said[0] == code)?;
        Some(said[1..].to_vec())
    }

    /// Waits for a message with this code: its payload; `None`: the listener has closed.
    pub fn wait(&mut self, code: u8) -> Option<Vec<u8>> {
        let begin = Instant::now();
        loop {
            if let Some(payload) = self.heard(code) {
                return Some(payload);
            }
            if self.closed {
                return None;
            }
            assert!(begin.elapsed() < LIMIT, "no {code}: {:?}", self.said);
            self.step();
        }
    }

    /// Lives on for a while, or until the listener closes: true, then.
    pub fn linger(&mut self, time: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < time && !self.closed {
            self.step();
        }
        self.closed
    }

    /// Ends the connection.
    pub fn hang_up(&mut self) {
        self.socket.hang_up();
    }

    /// Until all that was said is with the kernel, or the listener has closed.
    pub fn flushed(&mut self) {
        let begin = Instant::now();
        while !self.out.is_empty() && !self.closed {
            assert!(begin.elapsed() < LIMIT, "the listener does not read");
            self.step();
        }
    }

    fn step(&mut self) {
        if !self.turn() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends and takes what can be; false: nothing.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        while !self.out.is_empty() {
            let most = if self.dribbles { 1 } else { self.out.len() };
            match self.socket.write(&self.out[..most]) {
                Ok(count) => {
                    self.out.drain(..count);
                    moved = true;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.closed = true;
                    return false;
                }
            }
        }
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.input.extend_from_slice(&buffer[..count]);
                self.parse();
                moved = true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.closed = true,
        }
        moved
    }

    fn parse(&mut self) {
        let mut at = 0;
        while at < self.input.len() {
            let rest = &self.input[at..];
            if rest[0] != IAC {
                self.data.push(rest[0]);
                at += 1;
                continue;
            }
            match rest.get(1) {
                None => break,
                Some(&IAC) => {
                    self.data.push(IAC);
                    at += 2;
                }
                Some(&SB) => {
                    let end = (2..rest.len().saturating_sub(1)).find(|&i| {
                        // An odd number of 255 before SE ends it.
                        let run = rest[2..=i].iter().rev().take_while(|&&b| b == IAC).count();
                        rest[i + 1] == SE && run % 2 == 1
                    });
                    let Some(end) = end else { break };
                    let mut sub = Vec::new();
                    let mut bytes = rest[2..end].iter();
                    while let Some(&byte) = bytes.next() {
                        sub.push(byte);
                        if byte == IAC {
                            assert_eq!(bytes.next(), Some(&IAC), "a single 255: {rest:?}");
                        }
                    }
                    at += end + 2;
                    self.sub(&sub);
                }
                Some(&command) => {
                    let Some(&option) = rest.get(2) else { break };
                    assert!((251..=254).contains(&command), "command {command}");
                    at += 3;
                    self.negotiated(command, option);
                }
            }
        }
        self.input.drain(..at);
    }

    fn negotiated(&mut self, command: u8, option: u8) {
        match (command, option) {
            // The answer to its offer of authentication; it held the extension back until then.
            (254, 37) => {
                self.out.extend_from_slice(&[IAC, 251, EXTENSION]);
                let opening = std::mem::take(&mut self.opening);
                self.out.extend_from_slice(&opening);
            }
            (253, 0 | 3) => self.out.extend_from_slice(&[IAC, 251, option]),
            (251, 0 | 3) => self.out.extend_from_slice(&[IAC, 253, option]),
            (253, EXTENSION) | (254, 44) => {}
            other => panic!("{other:?} was said"),
        }
    }

    fn sub(&mut self, sub: &[u8]) {
        assert_eq!(sub[0], EXTENSION, "{sub:?}");
        match sub[1] {
            81 => self.say(80, UUID.as_bytes()),
            83 => self.say(82, b"jolly_panini"),
            _ => {}
        }
        self.said.push(sub[1..].to_vec());
    }
}

/// `IAC SB 232 … IAC SE`.
fn message(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![IAC, SB, EXTENSION];
    for &byte in payload {
        bytes.push(byte);
        if byte == IAC {
            bytes.push(IAC);
        }
    }
    bytes.extend_from_slice(&[IAC, SE]);
    bytes
}

impl Read for Host {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.turn();
        let count = self.data.len().min(buffer.len());
        if count == 0 {
            return match self.closed {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        buffer[..count].copy_from_slice(&self.data[..count]);
        self.data.drain(..count);
        Ok(count)
    }
}

impl Write for Host {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.turn();
        // Before the extension is agreed, a VM's output waits with its host.
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.opening.is_empty() || self.out.len() > 64 * 1024 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for &byte in bytes {
            self.out.push(byte);
            if byte == IAC {
                self.out.push(IAC);
            }
        }
        self.turn();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
