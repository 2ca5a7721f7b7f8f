//! A VM: the real guest's end of the link behind a serial port that connects again by itself and,
//! like a real one, loses what was on its way when the connection broke.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tether::link::{
    Channel, Control, Event, Exec, ExitClass, ExitRecord, Identity, Link, Options, Stream,
};

use crate::appliance::LIMIT;
use crate::host::Host;
use crate::pipe::Pipe;

pub const ONE: Channel = Channel(1);
/// The blog's container.
pub const ID: &str = "2cf7f4a1b2c3d4e5f60718293a4b5c6d7e8f9001122334455667788990aabbcc";
pub const NAME: &str = "jolly_panini";

const PORT_BYTES: usize = 64 * 1024;

pub struct Guest {
    address: SocketAddr,
    socket: Option<Wire>,
    /// Its serial port has a proxy.
    pub proxied: bool,
    /// Its host connects in TLS.
    pub tls: Option<Arc<ClientConfig>>,
    pub link: Link,
    begin: Instant,
    out: Vec<u8>,
    /// What its process has read.
    pub stdin: Vec<u8>,
    pub stdin_ended: bool,
    /// False: its process does not read.
    pub reads_stdin: bool,
    /// Signals, sizes, stops.
    pub commands: Vec<Control>,
    /// What its listener says that the time is.
    pub told_time: Option<Duration>,
    pub refused: Option<String>,
    pub connections: u32,
    /// How often it was told to be a copy.
    pub copies: u32,
    /// Its listener knew nothing of what had been acknowledged.
    pub forgotten: bool,
}

/// What is behind the serial port.
pub enum Wire {
    Plain(Pipe),
    Proxy(Box<Host>),
}

/// What a guest says of itself.
pub struct Container<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub epoch: u64,
    pub tty: bool,
}

impl Default for Container<'_> {
    fn default() -> Self {
        Self {
            id: ID,
            name: NAME,
            epoch: 1,
            tty: false,
        }
    }
}

impl Guest {
    /// A VM that is switched on: nothing is said yet.
    pub fn off(address: SocketAddr, container: &Container<'_>) -> Self {
        let identity = Identity {
            id: container.id.to_owned(),
            name: container.name.to_owned(),
            repo: "hello-world".to_owned(),
            epoch: container.epoch,
            software: "test".to_owned(),
        };
        let nonce = container.epoch.wrapping_mul(0x1234_5678_9abc_def1);
        let mut link = Link::guest(identity, nonce, Options::default());
        link.open(ONE);
        Self {
            address,
            socket: None,
            proxied: false,
            tls: None,
            link,
            begin: Instant::now(),
            out: Vec::new(),
            stdin: Vec::new(),
            stdin_ended: false,
            reads_stdin: true,
            commands: Vec::new(),
            told_time: None,
            refused: None,
            connections: 0,
            copies: 0,
            forgotten: false,
        }
    }

    /// A VM whose process has been started; what it says arrives when somebody listens.
    pub fn start(address: SocketAddr, container: &Container<'_>) -> Self {
        let mut guest = Self::off(address, container);
        guest.announce(
            container,
            &["/bin/hello", "--name", "a long enough argument"],
        );
        guest
    }

    /// The same, and the listener knows of it.
    pub fn run(address: SocketAddr) -> Self {
        let mut guest = Self::start(address, &Container::default());
        guest.settle();
        guest
    }

    pub fn announce(&mut self, container: &Container<'_>, args: &[&str]) {
        self.say(&Control::Session {
            channel: ONE,
            id: container.id.to_owned(),
            name: container.name.to_owned(),
            path: args[0].to_owned(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            tty: container.tty,
            openstdin: true,
            attach: true,
            primary: true,
            direct: false,
        });
        self.say(&Control::Started {
            channel: ONE,
            pid: 42,
            time_ms: 1000,
        });
    }

    pub fn say(&mut self, message: &Control) {
        assert!(self.link.send(message), "the outbox is full");
    }

    /// Output of its process, as much as it takes: blocks as a full pipe does.
    pub fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let mut rest = bytes;
        self.until("room for output", |guest| {
            let taken = guest.link.write(ONE, stream, rest);
            rest = &rest[taken..];
            rest.is_empty()
        });
    }

    /// Its process has ended: ends of its streams and exit record.
    pub fn exit(&mut self, status: i32) {
        self.link.finish(ONE, Stream::Stdout);
        self.link.finish(ONE, Stream::Stderr);
        let stdout = self.link.written(ONE, Stream::Stdout);
        let stderr = self.link.written(ONE, Stream::Stderr);
        self.say_exit(status, stdout, stderr);
    }

    /// Runs a process beside the primary one, to its end.
    pub fn add_session(&mut self, order: &Exec, stdout: &[u8], stderr: &[u8], status: i32) {
        let two = Channel(2);
        self.link.open(two);
        self.say(&Control::Session {
            channel: two,
            id: order.id.clone(),
            name: String::new(),
            path: String::new(),
            args: order.args.clone(),
            tty: false,
            openstdin: false,
            attach: true,
            primary: false,
            direct: false,
        });
        self.say(&Control::Started {
            channel: two,
            pid: 43,
            time_ms: 1000,
        });
        self.link.write(two, Stream::Stdout, stdout);
        self.link.write(two, Stream::Stderr, stderr);
        self.link.finish(two, Stream::Stdout);
        self.link.finish(two, Stream::Stderr);
        self.say_exit_of(two, status);
    }

    /// A process that was added has ended.
    pub fn say_exit_of(&mut self, channel: Channel, status: i32) {
        let mut record = ExitRecord::failed(ExitClass::Exited, String::new(), 2000);
        (record.status, record.code) = (status, Some(status));
        record.stdout = self.link.written(channel, Stream::Stdout);
        record.stderr = self.link.written(channel, Stream::Stderr);
        self.say(&Control::Exit { channel, record });
    }

    pub fn say_exit(&mut self, status: i32, stdout: u64, stderr: u64) {
        let mut record = ExitRecord::failed(ExitClass::Exited, String::new(), 2000);
        (record.status, record.code) = (status, Some(status));
        (record.stdout, record.stderr) = (stdout, stderr);
        self.say(&Control::Exit {
            channel: ONE,
            record,
        });
    }

    /// Until everything that it has said has been acknowledged.
    pub fn settle(&mut self) {
        self.until("acknowledgement", |guest| {
            guest.link.unacknowledged().is_zero()
        });
    }

    /// Lives on until something is so.
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !so(self) {
            let noise = self.link.noise();
            assert!(
                begin.elapsed() < LIMIT,
                "no {what}: {:?}, {noise}",
                self.link.unacknowledged()
            );
            self.step();
        }
    }

    /// Lives on until this child has ended: its output.
    pub fn until_ended(&mut self, mut child: std::process::Child) -> std::process::Output {
        // Somebody must take what it prints, or it never ends.
        drop(child.stdin.take());
        let waiting = std::thread::spawn(move || child.wait_with_output());
        self.until("end of the client", |_| waiting.is_finished());
        waiting.join().expect("no panic").expect("output")
    }

    /// Bytes on the wire that are no frames.
    pub fn noise(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.until("noise sent", |guest| guest.out.is_empty());
    }

    /// The connection breaks; what was on its way is lost. The guest does not notice.
    pub fn break_connection(&mut self) {
        self.socket = None;
        self.out.clear();
    }

    /// A VM whose serial port has a proxy, and whose process has been started.
    pub fn behind_proxy(address: SocketAddr) -> Self {
        let mut guest = Self::start(address, &Container::default());
        guest.proxied = true;
        guest.settle();
        guest
    }

    /// The host that carries its serial port.
    pub fn host(&mut self) -> &mut Host {
        match &mut self.socket {
            Some(Wire::Proxy(host)) => host,
            _ => panic!("a VM without a proxy"),
        }
    }

    /// The VM is on this host now: what it had in its hands comes along.
    pub fn moved_to(&mut self, mut host: Host) -> Host {
        let old = std::mem::take(self.host().pending());
        host.pending().splice(0..0, old);
        let old = self.socket.replace(Wire::Proxy(Box::new(host)));
        match old {
            Some(Wire::Proxy(host)) => *host,
            _ => panic!("a VM without a proxy"),
        }
    }

    /// One turn of the VM's life.
    pub fn step(&mut self) {
        let now = self.begin.elapsed();
        if self.out.is_empty() {
            self.link.poll_transmit(now, &mut self.out, PORT_BYTES);
        }
        if self.socket.is_none() {
            match Wire::connect(self.address, self.proxied, self.tls.as_ref()) {
                Ok(socket) => {
                    self.socket = Some(socket);
                    self.connections += 1;
                }
                Err(_) => {
                    self.out.clear();
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        if !(self.send() | self.receive()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.take_events();
    }

    fn send(&mut self) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        match socket.write(&self.out) {
            Ok(count) => {
                self.out.drain(..count);
                count > 0
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                self.break_connection();
                true
            }
        }
    }

    fn receive(&mut self) -> bool {
        let Some(socket) = &mut self.socket else {
            return false;
        };
        let mut buffer = [0; 16 * 1024];
        match socket.read(&mut buffer) {
            Ok(count) if count > 0 => {
                self.link
                    .handle_input(self.begin.elapsed(), &buffer[..count]);
                true
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => {
                self.break_connection();
                true
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Data {
                    channel,
                    stream,
                    offset,
                    bytes,
                } => {
                    assert_eq!(offset, self.stdin.len() as u64);
                    self.stdin.extend_from_slice(&bytes);
                    if self.reads_stdin {
                        self.link
                            .stored(channel, stream, offset + bytes.len() as u64);
                    }
                }
                Event::End {
                    channel,
                    stream,
                    offset,
                } => {
                    assert!(!self.stdin_ended, "two ends");
                    self.stdin_ended = true;
                    self.link.stored(channel, stream, offset + 1);
                }
                Event::Message { sequence, message } => {
                    self.commands.push(message);
                    self.link.message_stored(sequence);
                }
                Event::Refused { reason } => self.refused = Some(reason),
                Event::Gap { .. } => panic!("stdin has a gap"),
                Event::Copy { fresh } => {
                    self.copies += 1;
                    self.link.become_another(fresh[0], fresh[1], [7; 32]);
                }
                Event::Established { forgotten } => self.forgotten |= forgotten,
                Event::Hello(_) | Event::Lost => {}
                Event::Time(time) => self.told_time = Some(time),
            }
        }
    }
}

impl Wire {
    fn connect(
        address: SocketAddr,
        proxied: bool,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let pipe = Pipe::connect(address, tls)?;
        Ok(if proxied {
            Self::Proxy(Box::new(Host::connect(pipe)))
        } else {
            Self::Plain(pipe)
        })
    }
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Proxy(host) => host.read(buffer),
        }
    }
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Proxy(host) => host.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that look like nothing else, the same for the same seed.
pub fn generated(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
