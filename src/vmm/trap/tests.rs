use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::*;
use crate::backdoor::protocol::{
    FLAG_COOKIE, MAGIC, PORT_HIGH, PORT_LOW, PROTOCOL_RPCI, command, message, status,
};
use crate::vmm::gdb::{Decoder, Item, MEMORY_PIECE, packet};

/// Where the guest's program has its `in` and its `rep insb`.
const LOW: u64 = 0x40_1000;
const IN: u64 = 0x40_1100;
/// A buffer of the guest.
const BUFFER: u64 = 0x7fff_0000;

/// What QEMU's stub does when the machine is let go.
enum Next {
    /// Stops at an address with these registers.
    At(u64, Registers),
    /// Stops there on another processor.
    On(&'static str, u64, Registers),
    /// Stops for another reason.
    Signal(u8),
    /// Before it goes on as the next says, the machine is reset.
    Reset,
}

/// QEMU's stub, played: a machine with one page of code and one buffer.
struct FakeMachine {
    socket: UnixStream,
    decoder: Decoder,
    memory: BTreeMap<u64, u8>,
    registers: Vec<u8>,
    script: VecDeque<Next>,
    resets: Arc<AtomicU32>,
    requests: Vec<String>,
    /// The registers at each time that the machine was let go.
    left: Vec<GeneralSet>,
}

/// The requests, the registers at each time that the machine was let go, its memory.
type Remains = (Vec<String>, Vec<GeneralSet>, BTreeMap<u64, u8>);

impl FakeMachine {
    fn run(mut self) -> Remains {
        let mut bytes = [0; 4096];
        loop {
            while let Some(item) = self.decoder.next_item() {
                let Item::Packet(payload) = item else {
                    continue;
                };
                let request = String::from_utf8(payload).unwrap();
                self.requests.push(request.clone());
                let Some(reply) = self.reply(&request) else {
                    return (self.requests, self.left, self.memory);
                };
                for reply in reply {
                    let bytes = [b"+".to_vec(), packet(reply.as_bytes())].concat();
                    self.socket.write_all(&bytes).unwrap();
                }
            }
            match self.socket.read(&mut bytes).unwrap() {
                0 => return (self.requests, self.left, self.memory),
                length => self.decoder.feed(&bytes[..length]),
            }
        }
    }

    /// `None`: the machine has ended.
    fn reply(&mut self, request: &str) -> Option<Vec<String>> {
        let (first, rest) = request.split_at(1);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(match first {
            "g" => vec![hex(&self.registers)],
            "G" => {
                let bytes = unhex(rest);
                self.registers[..bytes.len()].copy_from_slice(&bytes);
                vec!["OK".into()]
            }
            "m" | "M" => {
                let (place, data) = rest.split_once(':').unwrap_or((rest, ""));
                let (address, length) = place.split_once(',').unwrap();
                let address = u64::from_str_radix(address, 16).unwrap();
                let length = u64::from_str_radix(length, 16).unwrap();
                assert!(length <= MEMORY_PIECE as u64);
                let range = address..address + length;
                if !range.clone().all(|at| self.memory.contains_key(&at)) {
                    return Some(vec!["E14".into()]);
                }
                if first == "M" {
                    self.memory.extend(range.zip(unhex(data)));
                    return Some(vec!["OK".into()]);
                }
                let bytes: Vec<u8> = range.map(|at| self.memory[&at]).collect();
                vec![hex(&bytes)]
            }
            "v" => vec!["T05thread:01;".into()],
            "c" => {
                self.left.push(GeneralSet::decode(&self.registers).unwrap());
                return self.next();
            }
            _ => vec!["OK".into()],
        })
    }

    fn next(&mut self) -> Option<Vec<String>> {
        let mut stop = |thread: &str, rip: u64, registers: &Registers| {
            let mut set = GeneralSet::decode(&self.registers).unwrap();
            set.set_registers(registers);
            set.step_over(rip.wrapping_sub(set.rip()));
            self.registers[..set.encode().len()].copy_from_slice(&set.encode());
            format!("T05thread:{thread};")
        };
        Some(match self.script.pop_front()? {
            Next::At(rip, registers) => vec![stop("01", rip, &registers)],
            Next::On(thread, rip, registers) => vec![stop(thread, rip, &registers)],
            Next::Signal(signal) => {
                let mut replies = vec![format!("T{signal:02x}thread:01;")];
                // A machine that somebody paused goes on without us.
                if signal == SIGNAL_INTERRUPT {
                    replies.extend(self.next()?);
                }
                replies
            }
            Next::Reset => {
                self.resets.fetch_add(1, Ordering::Relaxed);
                return self.next();
            }
        })
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// A machine that follows a script, and the host that answers it.
struct Scene {
    folder: tempfile::TempDir,
    store: VmxStore,
    traps: Traps,
    machine: JoinHandle<Remains>,
}

/// What is left of it.
struct Played {
    outcome: Result<(), TrapError>,
    statistics: Statistics,
    requests: Vec<String>,
    left: Vec<GeneralSet>,
    memory: BTreeMap<u64, u8>,
    log: String,
}

impl Scene {
    fn new(script: Vec<Next>) -> Scene {
        Scene::with_bell(script, None)
    }

    fn with_bell(script: Vec<Next>, bell: Option<u64>) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("x.vmx");
        std::fs::write(&path, "guestinfo.a = \"value\"\n").unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let resets = Arc::new(AtomicU32::new(0));
        let desk = Desk {
            resets: Arc::clone(&resets),
            orders: mpsc::unbounded_channel().1,
            trace: None,
        };
        let code = [(LOW, &[0xed, 0xc3][..]), (IN, &[0xf3, 0x6c])];
        let memory = code
            .iter()
            .flat_map(|(at, bytes)| (*at..).zip(bytes.iter().copied()))
            .chain((BUFFER..BUFFER + 4096).map(|at| (at, 0)));
        let machine = FakeMachine {
            socket: theirs,
            decoder: Decoder::default(),
            memory: memory.collect(),
            registers: vec![0; 600],
            script: script.into(),
            resets: Arc::clone(&resets),
            requests: Vec::new(),
            left: Vec::new(),
        };
        let machine = std::thread::spawn(|| machine.run());
        let backdoor = Backdoor {
            instructions: BTreeSet::from([LOW, IN]),
            bell,
        };
        Scene {
            store: VmxStore::open(&path).unwrap(),
            folder,
            traps: Traps::set(ours, backdoor, Options::default(), desk).unwrap(),
            machine,
        }
    }

    fn play(script: Vec<Next>) -> Played {
        Scene::new(script).played_out()
    }

    fn played_out(self) -> Played {
        let mut scene = self;
        let outcome = scene.traps.run(&mut scene.store, |error| panic!("{error}"));
        let statistics = scene.traps.statistics();
        drop(scene.traps);
        let (requests, left, memory) = scene.machine.join().unwrap();
        let log = std::fs::read_to_string(scene.folder.path().join("vmware.log")).unwrap();
        Played {
            outcome,
            statistics,
            requests,
            left,
            memory,
            log,
        }
    }
}

fn low(command: u16, kind: u16, argument: u32) -> Registers {
    Registers {
        rax: u64::from(MAGIC),
        rbx: u64::from(argument),
        rcx: halves(kind, command),
        rdx: u64::from(PORT_LOW),
        ..Registers::default()
    }
}

fn open() -> Registers {
    low(command::MESSAGE, message::OPEN, PROTOCOL_RPCI | FLAG_COOKIE)
}

#[test]
fn an_instruction_is_answered_and_stepped_over() {
    let played = Scene::play(vec![Next::At(LOW, low(command::GET_VERSION, 0, 0))]);
    played.outcome.unwrap();
    assert_eq!(played.left.len(), 2);
    assert_eq!(played.left[1].rip(), LOW + 1);
    assert_eq!(played.left[1].registers().rbx, u64::from(MAGIC));
    assert_eq!(
        played.requests[..3],
        ["Z1,401000,1", "Z1,401100,1", "c"].map(String::from)
    );
    assert_eq!((played.statistics.low, played.statistics.foreign), (1, 0));
}

#[test]
fn something_else_at_the_address_is_stepped_over_with_the_breakpoint_away() {
    let elsewhere = Registers::default();
    let played = Scene::play(vec![Next::On("02", LOW, elsewhere)]);
    played.outcome.unwrap();
    let end = played.requests.len() - 4;
    assert_eq!(
        played.requests[end..],
        ["z1,401000,1", "vCont;s:02", "Z1,401000,1", "c"].map(String::from)
    );
    assert_eq!(played.left[1].registers(), elsewhere);
    assert_eq!(played.statistics.foreign, 1);
}

#[test]
fn a_program_with_a_bell_is_stopped_by_that_and_its_code_is_left_alone() {
    let version = low(command::GET_VERSION, 0, 0);
    // Somebody else's word at the bell's address: nowhere near an instruction, and at the address of one.
    let script = vec![
        Next::At(0x7000, Registers::default()),
        Next::At(LOW, version),
        Next::At(IN, Registers::default()),
        Next::At(LOW, version),
    ];
    let played = Scene::with_bell(script, Some(0x40_3000)).played_out();
    played.outcome.unwrap();
    assert_eq!(played.requests[..2], ["Z2,403000,4", "c"].map(String::from));
    let breakpoints = |request: &String| request.starts_with("Z1") || request.starts_with('v');
    assert!(!played.requests.iter().any(breakpoints));
    let places: Vec<u64> = played.left.iter().map(GeneralSet::rip).collect();
    assert_eq!(places[1..], [0x7000, LOW + 1, IN, LOW + 1]);
    assert_eq!((played.statistics.low, played.statistics.foreign), (2, 2));
}

#[test]
fn the_registers_are_those_of_the_processor_that_stopped() {
    let version = low(command::GET_VERSION, 0, 0);
    let played = Scene::play(vec![
        Next::On("02", LOW, version),
        Next::On("02", LOW, version),
        Next::On("01", LOW, version),
    ]);
    played.outcome.unwrap();
    let selected: Vec<&String> = played
        .requests
        .iter()
        .filter(|request| request.starts_with("Hg"))
        .collect();
    assert_eq!(selected, ["Hg02", "Hg01"]);
}

#[test]
fn a_stop_for_another_reason_is_an_error_that_tells_it() {
    let played = Scene::play(vec![Next::Signal(23)]);
    let message = played.outcome.unwrap_err().to_string();
    assert!(message.contains("disk"), "{message}");
}

#[test]
fn a_machine_paused_at_its_monitor_is_waited_for() {
    let version = low(command::GET_VERSION, 0, 0);
    let played = Scene::play(vec![Next::Signal(SIGNAL_INTERRUPT), Next::At(LOW, version)]);
    played.outcome.unwrap();
    assert_eq!(played.statistics.answered(), 1);
    assert!(played.log.contains("paused"), "{}", played.log);
}

#[test]
fn a_reset_frees_the_channels() {
    let opened = |script: Vec<Next>| {
        let played = Scene::play(script);
        played.outcome.unwrap();
        let last = played.left.last().unwrap().registers();
        last.low_status() & status::SUCCESS != 0
    };
    let eight = || (0..8).map(|_| Next::At(LOW, open()));
    let ninth = || [Next::At(LOW, open())];
    assert!(!opened(eight().chain(ninth()).collect()));
    assert!(opened(
        eight().chain([Next::Reset]).chain(ninth()).collect()
    ));
}

/// A conversation up to the answer that waits: its cookie comes from a scene of its own, as it is
/// the same each time.
fn until_the_answer(request: &[u8]) -> (Vec<Next>, Registers) {
    let opened = Scene::play(vec![Next::At(LOW, open())]).left[1].registers();
    let on_channel = |kind, argument| Registers {
        rdx: opened.rdx,
        rsi: opened.rsi,
        rdi: opened.rdi,
        ..low(command::MESSAGE, kind, argument)
    };
    let length = u32::try_from(request.len()).unwrap();
    let mut script = vec![
        Next::At(LOW, open()),
        Next::At(LOW, on_channel(message::SEND_SIZE, length)),
    ];
    for piece in request.chunks(4) {
        let mut word = [0; 4];
        word[..piece.len()].copy_from_slice(piece);
        let word = u32::from_le_bytes(word);
        script.push(Next::At(LOW, on_channel(message::SEND_PAYLOAD, word)));
    }
    script.push(Next::At(LOW, on_channel(message::RECV_SIZE, 0)));
    let receive = Registers {
        rax: u64::from(MAGIC),
        rbx: halves(status::SUCCESS, HIGH_MESSAGE),
        rcx: 7,
        rdx: halves(opened.channel(), PORT_HIGH),
        rsi: opened.rsi,
        rbp: opened.rdi,
        rdi: BUFFER,
    };
    (script, receive)
}

#[test]
fn a_value_goes_into_the_guests_buffer() {
    let (mut script, receive) = until_the_answer(b"info-get guestinfo.a");
    script.push(Next::At(IN, receive));
    let played = Scene::play(script);
    played.outcome.unwrap();
    let last = played.left.last().unwrap();
    assert_eq!((last.rip(), last.registers().rcx), (IN + 2, 0));
    assert_eq!(last.registers().high_status(), status::SUCCESS);
    let bytes: Vec<u8> = (BUFFER..BUFFER + 8).map(|at| played.memory[&at]).collect();
    assert_eq!(bytes, b"1 value\0");
}

#[test]
fn a_buffer_that_is_not_there_fails_the_instruction_and_is_logged() {
    let (mut script, mut receive) = until_the_answer(b"info-get guestinfo.a");
    receive.rdi = 0x1000;
    script.push(Next::At(IN, receive));
    let played = Scene::play(script);
    played.outcome.unwrap();
    let last = played.left.last().unwrap();
    assert_eq!(last.rip(), IN + 2);
    assert_eq!(last.registers().high_status(), 0);
    assert!(played.log.contains("0x1000"), "{}", played.log);
}

#[test]
fn memory_goes_in_pieces_that_qemu_takes() {
    use crate::backdoor::host::Memory;
    let mut scene = Scene::new(Vec::new());
    let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
    scene.traps.stub.write(BUFFER, &bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    scene.traps.stub.read(BUFFER, &mut back).unwrap();
    assert_eq!(back, bytes);
    let error = scene.traps.stub.read(BUFFER + 4000, &mut back).unwrap_err();
    assert!(error.to_string().contains("no memory at"), "{error}");
    drop(scene.traps);
    let (requests, ..) = scene.machine.join().unwrap();
    let pieces = requests.iter().filter(|r| r.starts_with('M')).count();
    assert_eq!(pieces, 3);
}

#[test]
fn what_the_guest_sets_is_due_to_be_saved() {
    let (script, _) = until_the_answer(b"info-set guestinfo.b x");
    let mut scene = Scene::new(script);
    scene
        .traps
        .run(&mut scene.store, |error| panic!("{error}"))
        .unwrap();
    assert!(scene.store.save_at().is_some());
    scene.store.save().unwrap();
    let text = std::fs::read_to_string(scene.folder.path().join("x.vmx")).unwrap();
    assert!(text.ends_with("guestinfo.b = \"x\"\n"), "{text}");
}
