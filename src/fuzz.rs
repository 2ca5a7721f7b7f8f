//! What any bytes may be fed to, as functions: the fuzzer (`tests/fuzz`) calls them with bytes of its own
//! making, `tests/corpus.rs` with those that it has found worth keeping. Each panics when a promise is
//! broken, and returns otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{from_document, guestinfo};
use crate::link::frame::{self, Head, Kind};
use crate::link::{
    Channel, Control, Event, Identity, KEY_BYTES, Key, Link, MESSAGE_MOST, Options, Resume, Stream,
    control,
};
use crate::listener::vspc::{Port, Told};
use crate::net::dhcp::{self, Client};
use crate::vmm::file::VmxFile;

/// A function that takes any bytes.
pub type Body = fn(&[u8]);

/// All of them, by name.
pub const BODIES: [(&str, Body); 7] = [
    ("conversation", conversation),
    ("control", control_messages),
    ("guestinfo", guestinfo_keys),
    ("document", document),
    ("vmx", vmx_file),
    ("vspc", serial_port),
    ("dhcp", dhcp_server),
];

/// Bytes that a guest keeps in [`conversation`].
const BUFFER: usize = 4096;
/// Steps of a conversation that are looked at.
const STEPS_MOST: usize = 400;

/// Both ends of a link, and between them what the bytes say: each step is an operation and a number.
/// Whatever happens, each stream comes in order and none of it twice, and nobody keeps more than it may.
pub fn conversation(data: &[u8]) {
    let Some((flags, script)) = data.split_first() else {
        return;
    };
    let mut talk = Talk::new(flags & 1 != 0);
    let (steps, _) = script.as_chunks::<4>();
    for [what, a, b, c] in steps.iter().take(STEPS_MOST) {
        talk.step(*what, u16::from_le_bytes([*a, *b]), *c);
    }
}

struct Talk {
    guest: Link,
    listener: Link,
    key: Option<Key>,
    now: Duration,
    /// What the listener has stored of stdout, and the guest of stdin.
    stored: [u64; 2],
    messages: u64,
    written: u64,
}

const ONE: Channel = Channel(1);

impl Talk {
    fn new(keyed: bool) -> Self {
        let options = Options {
            buffer: BUFFER,
            window: 2048,
            chunk: 500,
            ..Options::default()
        };
        let identity = Identity {
            id: "c1".into(),
            epoch: 5,
            ..Identity::default()
        };
        let mut guest = Link::guest(identity, 1, options.clone());
        let key = keyed.then(|| Key::new(&[7; KEY_BYTES])).flatten();
        if let Some(key) = key.clone() {
            guest.require(key, [1; 32]);
        }
        guest.open(ONE);
        guest.send(&Control::Session {
            channel: ONE,
            id: "c1".into(),
            name: String::new(),
            path: String::new(),
            args: Vec::new(),
            tty: false,
            openstdin: true,
            attach: true,
            primary: true,
            direct: false,
        });
        Self {
            guest,
            listener: Link::listener(2, options),
            key,
            now: Duration::ZERO,
            stored: [0; 2],
            messages: 0,
            written: 0,
        }
    }

    fn step(&mut self, what: u8, number: u16, byte: u8) {
        match what % 8 {
            0 => self.now += Duration::from_millis(u64::from(number)),
            1 => {
                let bytes = vec![byte; usize::from(number % 3000)];
                self.written += self.guest.write(ONE, Stream::Stdout, &bytes) as u64;
            }
            2 => {
                self.listener.write(ONE, Stream::Stdin, &[byte; 100]);
            }
            3 => self.carry(true, usize::from(number), 0),
            4 => self.carry(false, usize::from(number), 0),
            // With one byte changed.
            5 => self.carry(byte & 1 == 0, usize::from(number), byte | 1),
            6 => self.frame(byte, number),
            _ => {
                let noise: Vec<u8> = (0..number % 100)
                    .map(|n| byte.wrapping_mul(n as u8))
                    .collect();
                self.listener.handle_input(self.now, &noise);
                self.guest.handle_input(self.now, &noise);
            }
        }
        self.listen();
        self.obey();
        let kept = self.guest.unacknowledged().bytes;
        assert!(kept <= BUFFER as u64 + 2, "the guest keeps {kept} bytes");
    }

    /// What one end has to say goes to the other.
    fn carry(&mut self, up: bool, at: usize, damage: u8) {
        let mut out = Vec::new();
        let (from, to) = if up {
            (&mut self.guest, &mut self.listener)
        } else {
            (&mut self.listener, &mut self.guest)
        };
        from.poll_transmit(self.now, &mut out, 2000);
        let length = out.len().max(1);
        if let Some(byte) = out.get_mut(at % length) {
            *byte ^= damage;
        }
        to.handle_input(self.now, &out);
    }

    /// A whole frame of a handshake, or of no seal, that nobody has sent.
    fn frame(&mut self, kind: u8, number: u16) {
        let payloads: [&[u8]; 4] = [
            br#"{"versions":[1],"nonce":3}"#,
            br#"{"versions":[1],"id":"c1","epoch":5,"nonce":9,"answer":0}"#,
            br#"{"version":1,"answer":3,"messages":9,"streams":[[1,"stdout",7]]}"#,
            b"go away",
        ];
        let kinds = [
            Kind::Hail,
            Kind::Hello,
            Kind::Welcome,
            Kind::Refuse,
            Kind::Data,
        ];
        let head = Head {
            number: u64::from(number),
            ..Head::link(kinds[usize::from(kind) % kinds.len()])
        };
        let payload = payloads[usize::from(kind / 8) % payloads.len()];
        let mut out = Vec::new();
        frame::encode(&mut out, frame::PLAIN_SEED, head, [payload, &[]]);
        self.guest.handle_input(self.now, &out);
        self.listener.handle_input(self.now, &out);
    }

    fn listen(&mut self) {
        while let Some(event) = self.listener.poll_event() {
            match event {
                Event::Hello(hello) => {
                    if let Some(key) = &self.key
                        && self.listener.unseal(key, [3; 32]).is_none()
                    {
                        self.listener.refuse("another key");
                        continue;
                    }
                    // A forged hello may say anything; what is stored stays what it is.
                    drop(hello);
                    self.listener.accept(Resume {
                        messages: self.messages,
                        streams: vec![(ONE, Stream::Stdout, self.stored[0])],
                    });
                }
                Event::Data {
                    channel,
                    stream: Stream::Stdout,
                    offset,
                    bytes,
                } => {
                    self.listener
                        .stored(channel, Stream::Stdout, offset + bytes.len() as u64);
                    assert_eq!(offset, self.stored[0], "in order, none twice");
                    self.stored[0] += bytes.len() as u64;
                    assert!(self.stored[0] <= self.written, "bytes that nobody wrote");
                }
                Event::Message { sequence, .. } => {
                    assert_eq!(sequence, self.messages, "in order, none twice");
                    self.messages += 1;
                    self.listener.message_stored(sequence);
                }
                _ => {}
            }
        }
    }

    fn obey(&mut self) {
        while let Some(event) = self.guest.poll_event() {
            if let Event::Data {
                channel,
                stream,
                offset,
                bytes,
            } = event
            {
                assert_eq!(offset, self.stored[1], "in order, none twice");
                self.stored[1] += bytes.len() as u64;
                self.guest.stored(channel, stream, self.stored[1]);
            }
        }
    }
}

/// A control message, read as a guest's and as a listener's.
pub fn control_messages(data: &[u8]) {
    if data.len() <= MESSAGE_MOST {
        control::read(data);
    }
}

/// Keys of a host, `name=value` with a zero byte after each.
pub fn guestinfo_keys(data: &[u8]) {
    let mut keys = BTreeMap::new();
    for pair in data.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(pair);
        if let Some((name, value)) = text.split_once('=') {
            keys.insert(name.to_owned(), value.to_owned());
        }
    }
    let whole = guestinfo::decode_whole(&mut keys);
    let read = guestinfo::decode(&mut keys);
    if let (Ok(whole), Ok(read)) = (whole, read) {
        assert_eq!(whole.id, read.id);
    }
}

/// A JSON document, or a JSON map of guestinfo keys.
pub fn document(data: &[u8]) {
    // What is wrong with it is told without the values that may be secret.
    if let Err(errors) = from_document(data) {
        assert!(!errors.to_string().is_empty());
    }
}

/// A .vmx file: what is not changed comes back as it was.
pub fn vmx_file(data: &[u8]) {
    let mut file = VmxFile::parse(data);
    assert_eq!(file.to_bytes(), data);
    let _ = file.problems();
    let value = b"a \"quoted\" |7C value";
    if let Ok(true) = file.set("guestinfo.fuzz", value) {
        assert_eq!(file.get("guestinfo.fuzz"), Some(&value[..]));
        let again = VmxFile::parse(&file.to_bytes());
        assert_eq!(again.get("guestinfo.fuzz"), Some(&value[..]));
        assert!(file.remove("guestinfo.fuzz"));
    }
}

/// What a VM's serial port, or whoever connects in its place, says to the proxy: the same comes of it in
/// one piece and byte for byte, and what is answered stays within bounds.
pub fn serial_port(data: &[u8]) {
    let (whole, rest) = hear(data, data.len().max(1));
    let (pieces, _) = hear(data, 1);
    assert_eq!(whole, pieces);
    assert!(whole.0.len() <= data.len(), "bytes that nobody sent");
    // A message of two bytes is answered with one of seven, 255 doubled, and two more at most.
    assert!(rest <= data.len() * 30 + 100, "{rest} bytes of answers");
}

fn hear(data: &[u8], piece: usize) -> ((Vec<u8>, Vec<Told>), usize) {
    let (mut port, mut line, mut all) = (Port::new(true), Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for piece in data.chunks(piece) {
        let mut at = 0;
        while at < piece.len() {
            let (taken, told) = port.take(&piece[at..], &mut line);
            at += taken;
            if let Some(Told::Begin(sequence)) = &told {
                port.go_ahead(sequence, &[255; 8]);
            }
            all.extend(told);
        }
    }
    port.poll_transmit(&mut answers);
    ((line, all), answers.len())
}

/// What a DHCP server sends: two bytes of seconds before each message, and two of its length. A message gets
/// the number of the client's question, which no stranger could guess.
///
/// # Panics
/// The client would ask without a pause, or takes an address that no interface can have.
pub fn dhcp_server(mut data: &[u8]) {
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    let mut now = Duration::ZERO;
    let mut client = Client::new(MAC, "host", 1, now);
    let mut number = [0; 4];
    while let Some(([s0, s1, l0, l1], rest)) = data.split_first_chunk::<4>() {
        let length = usize::from(u16::from_le_bytes([*l0, *l1]) % 1500).min(rest.len());
        let (message, rest) = rest.split_at(length);
        data = rest;
        now += Duration::from_secs(u64::from(u16::from_le_bytes([*s0, *s1])));
        if let (Some(question), _) = client.poll(now) {
            number.copy_from_slice(&question.bytes[4..8]);
        }
        assert!(
            client.timeout().is_none_or(|next| next > now),
            "it asks without a pause"
        );
        let mut message = message.to_vec();
        if message.len() >= 34 {
            message[4..8].copy_from_slice(&number);
            message[28..34].copy_from_slice(&MAC);
        }
        if let Some(dhcp::Event::Bound(lease)) = client.receive(now, &message) {
            assert!(lease.address.prefix <= 32 && !lease.address.address.is_unspecified());
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            assert!(lease.domain.bytes().all(plain), "{:?}", lease.domain);
        }
    }
}
