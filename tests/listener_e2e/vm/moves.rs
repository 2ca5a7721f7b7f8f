//! A machine whose serial port has a proxy: moved from host to host while its listener is killed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::Machine;
use crate::appliance::Appliance;
use crate::bytes::{assert_same, seq};
use crate::guest::ID;
use crate::host::Host;
use crate::pipe::Pipe;
use crate::vspc::{arrived, begin_on};

/// What a piece of the way holds, at most.
const PIECE: usize = 32 << 10;

/// The hosts' half of the line: carries the machine's port, speaks the proxy's dialect.
struct Hosts {
    port: SocketAddr,
    moves: Sender<Vec<u8>>,
    moved: Receiver<bool>,
}

impl Hosts {
    fn start(listener: SocketAddr) -> Self {
        let incoming = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = incoming.local_addr().expect("its address");
        let (moves, wanted) = channel();
        let (done, moved) = channel();
        thread::spawn(move || {
            let (machine, _) = incoming.accept().expect("the machine's call");
            machine.set_nonblocking(true).expect("non-blocking");
            carry(machine, listener, &wanted, &done);
        });
        Self { port, moves, moved }
    }

    /// Moves the machine; false: its listener died meanwhile.
    fn move_it(&self, sequence: &[u8]) -> bool {
        self.moves.send(sequence.to_vec()).expect("the hosts live");
        self.moved.recv().expect("the hosts live")
    }
}

/// Until the machine closes its port.
fn carry(mut machine: TcpStream, to: SocketAddr, wanted: &Receiver<Vec<u8>>, done: &Sender<bool>) {
    let mut host: Option<Host> = None;
    let mut up = Vec::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let Some(line) = &mut host else {
            // What was under way is lost with the connection.
            up.clear();
            host = Pipe::connect(to, None).ok().map(Host::connect);
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        if let Ok(sequence) = wanted.try_recv() {
            let moved =
                begin_on(line, &sequence).and_then(|cookie| arrived(to, &cookie, &sequence));
            let _ = done.send(moved.is_some());
            if let Some(mut new) = moved {
                // What the old host has for the machine and it has not taken comes along.
                let pending = std::mem::take(line.pending());
                new.pending().splice(0..0, pending);
                host = Some(new);
            } else {
                host = None;
            }
            continue;
        }
        let mut idle = true;
        if up.is_empty() {
            match machine.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => up.extend_from_slice(&buffer[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        let sent = match line.write(&up) {
            Ok(count) => {
                idle &= count == 0;
                up.drain(..count);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        };
        let received = match line.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(count) => {
                idle = false;
                machine.set_nonblocking(false).expect("blocking");
                let written = machine.write_all(&buffer[..count]);
                machine.set_nonblocking(true).expect("non-blocking");
                written
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        };
        if sent.and(received).is_err() {
            host = None;
        } else if idle {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn two_hundred_mebibytes_through_moves_and_kills_are_the_same() {
    const LAST: u32 = 26_000_000;
    const EVENTS: usize = 20;
    let mut appliance = Appliance::start();
    let hosts = Hosts::start(appliance.port);
    let mut machine = Machine::new(hosts.port, &["/bin/seq", "1", &LAST.to_string()]);
    machine.boot();
    let wanted = seq(1, LAST);
    assert!(wanted.len() > 200 << 20);
    machine.until_running(&appliance);
    let mut moved = 0;
    for event in 1..=EVENTS {
        let so_far = wanted.len() / (EVENTS + 2) * event;
        machine.until("output", || {
            let length = appliance.field(ID, "/Vch/LogBytes");
            length.parse::<usize>().expect("a number") > so_far
        });
        // Where the host has not noticed yet that the listener is another, it does so now.
        while !hosts.move_it(&[event as u8, 255, 0, 1]) {}
        moved += 1;
        appliance.kill();
        appliance.run();
    }
    machine.off();
    assert_same(&appliance.vch(&["logs", ID]).stdout, &wanted);
    assert_eq!(appliance.ok(&["wait", ID]), "0\n");
    assert_eq!(moved, EVENTS);
}
