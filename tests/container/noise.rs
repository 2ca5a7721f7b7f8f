//! A wire between a machine's serial port and the listener that throws garbage in.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How much garbage, in bytes.
#[derive(Clone, Copy)]
pub struct Plan {
    /// To both ends, before anything of the other end's.
    pub before: usize,
    /// To both ends in pieces, one after each read.
    pub during: usize,
}

/// One piece of garbage thrown in between, in bytes.
const PIECE: usize = 4 << 10;

/// The wire. It carries each connection that is made to it, until the test ends.
pub struct Noise {
    port: u16,
    thrown: Arc<AtomicUsize>,
}

impl Noise {
    /// A wire to the listener at this port of the machine.
    pub fn start(listener: u16, plan: Plan) -> Self {
        let incoming = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = incoming.local_addr().expect("its address").port();
        let thrown = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&thrown);
        thread::spawn(move || {
            for machine in incoming.incoming() {
                let Ok(machine) = machine else { return };
                // A listener that is not there: the machine's port dials again.
                let Ok(listener) = TcpStream::connect(("127.0.0.1", listener)) else {
                    continue;
                };
                let (from, to) = (clone(&machine), clone(&listener));
                carry(from, to, plan, &count, 1);
                carry(listener, machine, plan, &count, 2);
            }
        });
        Self { port, thrown }
    }

    /// Where the machine's port dials.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of garbage thrown in until now, both directions together.
    pub fn thrown(&self) -> usize {
        self.thrown.load(Ordering::Relaxed)
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

/// One direction, in a thread of its own.
fn carry(mut from: TcpStream, mut to: TcpStream, plan: Plan, count: &Arc<AtomicUsize>, seed: u64) {
    let count = Arc::clone(count);
    thread::spawn(move || {
        let mut random = Random(seed);
        let mut left = plan.during;
        let mut buffer = [0; 4096];
        let mut throw = |to: &mut TcpStream, bytes: usize| {
            count.fetch_add(bytes, Ordering::Relaxed);
            to.write_all(&random.bytes(bytes)).is_ok()
        };
        if !throw(&mut to, plan.before) {
            return;
        }
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            // In two halves, so that garbage comes within a frame as well as between two.
            let (first, second) = buffer[..read].split_at(read / 2);
            let piece = left.min(PIECE);
            left -= piece;
            if to.write_all(first).is_err()
                || !throw(&mut to, piece)
                || to.write_all(second).is_err()
            {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// xorshift64*: the same garbage in each run.
struct Random(u64);

impl Random {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            bytes.extend(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
