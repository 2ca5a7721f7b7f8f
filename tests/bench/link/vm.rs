//! A VM: the real guest's end of the link on a socket.

use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use tether::link::{Channel, Control, Event, Identity, Key, Link, Options, Stream};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::machine::Appliance;

pub const ONE: Channel = Channel(1);

/// What a guest says of its session.
pub fn session(id: &str) -> Control {
    Control::Session {
        channel: ONE,
        id: id.to_owned(),
        name: id.to_owned(),
        path: "/bin/bench".into(),
        args: Vec::new(),
        tty: false,
        openstdin: true,
        attach: true,
        primary: true,
        direct: false,
    }
}

/// A VM that is on.
pub struct Vm {
    pub link: Link,
    socket: TcpStream,
    begin: Instant,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    /// Bytes of stdin that its process has read.
    pub stdin: u64,
}

impl Vm {
    pub async fn start(appliance: std::net::SocketAddr, id: &str, key: Option<[u8; 32]>) -> Self {
        let identity = Identity {
            id: id.to_owned(),
            name: id.to_owned(),
            repo: "bench".into(),
            epoch: 1,
            software: "bench".into(),
        };
        let mut link = Link::guest(identity, 77, Options::default());
        if let Some(key) = key {
            link.require(Key::new(&key).expect("32 bytes"), [9; 32]);
        }
        link.open(ONE);
        link.send(&session(id));
        link.send(&Control::Started {
            channel: ONE,
            pid: 1,
            time_ms: 1,
        });
        let socket = TcpStream::connect(appliance).await.expect("the listener");
        socket.set_nodelay(true).expect("an option");
        Self {
            link,
            socket,
            begin: Instant::now(),
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
            stdin: 0,
        }
    }

    /// All that can be sent and taken now; what comes on stdin goes to stdout, if it echoes. False: there
    /// was nothing.
    fn turn(&mut self, echoes: bool) -> bool {
        let mut moved = false;
        let now = self.begin.elapsed();
        loop {
            if self.out.is_empty() {
                self.link.poll_transmit(now, &mut self.out, 128 << 10);
                if self.out.is_empty() {
                    break;
                }
            }
            match self.socket.try_write(&self.out[self.sent..]) {
                Ok(count) => {
                    moved = true;
                    self.sent += count;
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(e) => panic!("the listener has closed: {e}"),
            }
            if self.sent == self.out.len() {
                self.sent = 0;
                self.out = Vec::new();
            }
        }
        self.input.resize(16 << 10, 0);
        loop {
            match self.socket.try_read(&mut self.input) {
                Ok(0) => panic!("the listener has closed"),
                Ok(count) => {
                    moved = true;
                    self.link.handle_input(now, &self.input[..count]);
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(e) => panic!("the listener has closed: {e}"),
            }
        }
        self.input = Vec::new();
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Data {
                    channel,
                    stream,
                    offset,
                    bytes,
                } => {
                    self.stdin = offset + bytes.len() as u64;
                    self.link.stored(channel, stream, self.stdin);
                    if echoes {
                        self.link.write(ONE, Stream::Stdout, &bytes);
                    }
                }
                Event::Message { sequence, .. } => self.link.message_stored(sequence),
                Event::Refused { reason } => panic!("refused: {reason}"),
                _ => {}
            }
        }
        moved
    }

    /// Lives until something is so, or until this time.
    pub async fn until(
        &mut self,
        limit: Option<Instant>,
        echoes: bool,
        mut so: impl FnMut(&mut Self) -> bool,
    ) {
        loop {
            if so(self) {
                return;
            }
            if self.turn(echoes) {
                tokio::task::yield_now().await;
                continue;
            }
            if limit.is_some_and(|l| l <= Instant::now()) {
                return;
            }
            let now = self.begin.elapsed();
            let wait = self
                .link
                .poll_timeout()
                .map_or(Duration::from_secs(60), |at| at.saturating_sub(now))
                .max(Duration::from_millis(1));
            let wait = limit.map_or(wait, |l| {
                wait.min(l.saturating_duration_since(Instant::now()))
            });
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let _ = tokio::time::timeout(wait, self.socket.ready(interest)).await;
        }
    }

    /// Until all that it has said is stored.
    pub async fn settle(&mut self) {
        self.until(None, false, |vm| {
            vm.link.established() && vm.link.unacknowledged().is_zero()
        })
        .await;
    }
}

/// A client that is attached, as docker's is: it ends with so many bytes of output.
fn attached(socket: &Path, id: &str, bytes: usize) -> std::thread::JoinHandle<()> {
    let mut stream = UnixStream::connect(socket).expect("the clients' socket");
    let request = format!(
        "POST /v1.44/containers/{id}/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
         Upgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.extend(byte);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    std::thread::spawn(move || {
        let mut stream = BufReader::with_capacity(256 << 10, stream);
        let mut left = bytes;
        while left > 0 {
            let mut header = [0; 8];
            stream.read_exact(&mut header).expect("a frame");
            let [_, _, _, _, length @ ..] = header;
            let length = u32::from_be_bytes(length);
            let frame = (&mut stream).take(u64::from(length));
            let count = std::io::copy(&mut { frame }, &mut std::io::sink()).expect("a frame");
            left = left
                .checked_sub(count as usize)
                .expect("no more than was printed");
        }
    })
}

/// One VM's output into the log, and to a client that is `attached`: bytes a second, to the last acknowledgement, and
/// the client's last byte.
pub async fn bulk(vch: &Path, bytes: usize, keyed: bool, watched: bool) -> f64 {
    let key = keyed.then_some([5; 32]);
    let keys: Vec<_> = key.iter().map(|key| ("bulk".to_owned(), *key)).collect();
    let appliance = Appliance::start(vch, &keys, false);
    let mut vm = Vm::start(appliance.port, "bulk", key).await;
    vm.settle().await;
    let client = watched.then(|| attached(&appliance.socket(), "bulk", bytes));
    let block = b"0123456789".repeat(6_553);
    let begin = Instant::now();
    let mut left = bytes;
    vm.until(None, false, |vm| {
        while left > 0 {
            let count = vm
                .link
                .write(ONE, Stream::Stdout, &block[..left.min(block.len())]);
            left -= count;
            if count == 0 {
                break;
            }
        }
        left == 0 && vm.link.unacknowledged().is_zero()
    })
    .await;
    if let Some(client) = client {
        client.join().expect("all of it");
    }
    let rate = bytes as f64 / begin.elapsed().as_secs_f64();
    assert!(appliance.logged() >= bytes as u64);
    rate
}
