//! Thousands of VMs on one listener that has one processor: memory as they grow, then all at once: output of
//! many, vMotions, keystrokes, and viewers that never read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tether::link::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

use crate::machine::Appliance;
use crate::report::{Table, quantile};
use crate::vm::{ONE, Vm};

/// VMs at each step, and those of them that have output in the end.
const STEPS: [usize; 4] = [1, 1_000, 4_000, 16_000];
const ACTIVE: usize = 1_000;
/// Connections that are being made at a time.
const CONNECTING: usize = 200;
const VIEWERS: usize = 100;
/// How long all of it goes on at once.
const BUSY: Duration = Duration::from_secs(20);
const MOVES_A_SECOND: u64 = 50;
/// Bytes that an active VM prints, ten times a second.
const LINES: usize = 2_000;

pub async fn run(vch: &Path) {
    let most = std::env::var("VMS").ok().and_then(|n| n.parse().ok());
    let appliance = Arc::new(Appliance::start(vch, &[], true));
    let go = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let printed = Arc::new(AtomicU64::new(0));
    let mut table = Table::new(
        "VMs that are idle, one listener on one processor",
        &[
            "VMs",
            "resident, MiB",
            "anonymous, MiB",
            "anonymous a VM, KiB",
        ],
    );
    let (_, empty) = appliance.memory();
    let mut vms = Vec::new();
    let mut last = (0, 0);
    for step in STEPS.into_iter().filter(|s| most.is_none_or(|m| *s <= m)) {
        let turn = Arc::new(Semaphore::new(CONNECTING));
        let ready = Arc::new(AtomicU64::new(0));
        let begin = vms.len();
        for number in begin..step {
            let (turn, ready) = (Arc::clone(&turn), Arc::clone(&ready));
            let (go, stop, printed) = (Arc::clone(&go), Arc::clone(&stop), Arc::clone(&printed));
            let port = appliance.port;
            vms.push(tokio::spawn(async move {
                let permit = turn.acquire().await;
                let mut vm = Vm::start(port, &format!("vm{number:05}"), None).await;
                vm.settle().await;
                ready.fetch_add(1, Ordering::Relaxed);
                drop(permit);
                live(&mut vm, number, &go, &stop, &printed).await;
            }));
        }
        while (ready.load(Ordering::Relaxed) as usize) < step - begin {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Past the keep-alive at which idle logs are closed.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let (resident, anonymous) = appliance.memory();
        table.row(&[
            step.to_string(),
            format!("{:.1}", resident as f64 / 1024.0),
            format!("{:.1}", anonymous as f64 / 1024.0),
            format!(
                "{:.1}",
                anonymous.saturating_sub(empty) as f64 / step as f64
            ),
        ]);
        last = (step, resident);
    }
    table.print();
    busy(&appliance, &go, &stop, &printed, last).await;
    for vm in vms {
        let _ = vm.await;
    }
}

/// One VM: idle, then perhaps printing, until all is over.
async fn live(vm: &mut Vm, number: usize, go: &AtomicBool, stop: &AtomicBool, printed: &AtomicU64) {
    let line = vec![b'x'; LINES];
    while !stop.load(Ordering::Relaxed) {
        let active = number > 0 && number <= ACTIVE && go.load(Ordering::Relaxed);
        let pause = if active { 100 } else { 1_000 };
        if active {
            let count = vm.link.write(ONE, Stream::Stdout, &line);
            printed.fetch_add(count as u64, Ordering::Relaxed);
        }
        let limit = Instant::now() + Duration::from_millis(pause);
        // The first one is typed to.
        vm.until(Some(limit), number == 0, |_| false).await;
    }
    if number <= ACTIVE {
        vm.settle().await;
    }
}

async fn busy(
    appliance: &Arc<Appliance>,
    go: &AtomicBool,
    stop: &AtomicBool,
    printed: &AtomicU64,
    (vms, idle): (usize, u64),
) {
    let quiet = echoes(appliance, Duration::from_secs(3)).await;
    let mut viewers = Vec::new();
    for number in 0..VIEWERS {
        viewers.push(view(appliance, number + 1).await);
    }
    let (logged, processor) = (appliance.logged(), appliance.processor_seconds());
    go.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    let moving = {
        let appliance = Arc::clone(appliance);
        tokio::spawn(async move { moves(&appliance, BUSY).await })
    };
    let typed = echoes(appliance, BUSY).await;
    let (answers, moved) = moving.await.expect("no panic");
    let seconds = begin.elapsed().as_secs_f64();
    let used = appliance.processor_seconds() - processor;
    let (resident, _) = appliance.memory();
    stop.store(true, Ordering::Relaxed);
    let wanted = printed.load(Ordering::Relaxed);
    let limit = Instant::now() + Duration::from_secs(60);
    while appliance.logged() - logged < wanted && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        appliance.logged() - logged >= wanted,
        "not every byte is on disk"
    );

    let ms = |seconds: f64| format!("{:.2}", seconds * 1e3);
    let mut table = Table::new(
        &format!(
            "{vms} VMs, {} of them with output, {MOVES_A_SECOND} vMotions a second, {VIEWERS} viewers that \
             never read, {:.0} s",
            ACTIVE.min(vms),
            BUSY.as_secs_f64()
        ),
        &["", "", "goal"],
    );
    table.row(&[
        "resident, MiB (before: idle)".into(),
        format!(
            "{:.1} ({:.1})",
            resident as f64 / 1024.0,
            idle as f64 / 1024.0
        ),
        "≤ 128".into(),
    ]);
    table.row(&[
        "output, all of it on disk, MB/s".into(),
        format!("{:.1}", wanted as f64 / seconds / 1e6),
        String::new(),
    ]);
    table.row(&[
        "processor used".into(),
        format!("{:.0} %", used / seconds * 100.0),
        String::new(),
    ]);
    table.row(&[
        "vMotions that came about".into(),
        moved.to_string(),
        String::new(),
    ]);
    table.row(&[
        "BEGIN to GOAHEAD, p50 / p99, ms".into(),
        format!(
            "{} / {}",
            ms(quantile(&answers, 0.5)),
            ms(quantile(&answers, 0.99))
        ),
        "≤ 5 (p99)".into(),
    ]);
    table.row(&[
        "keystroke and echo, idle, p50 / p99, ms".into(),
        format!(
            "{} / {}",
            ms(quantile(&quiet, 0.5)),
            ms(quantile(&quiet, 0.99))
        ),
        String::new(),
    ]);
    table.row(&[
        "the same meanwhile, p50 / p99, ms".into(),
        format!(
            "{} / {}",
            ms(quantile(&typed, 0.5)),
            ms(quantile(&typed, 0.99))
        ),
        String::new(),
    ]);
    table.print();
}

/// A client that follows a log and never reads.
async fn view(appliance: &Appliance, number: usize) -> UnixStream {
    let mut socket = UnixStream::connect(appliance.socket())
        .await
        .expect("the socket");
    let request = format!(
        "GET /containers/vm{number:05}/logs?follow=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: vch\r\n\r\n"
    );
    socket
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    socket
}

/// Types to the first VM, which echoes: seconds for each key.
pub async fn echoes(appliance: &Appliance, time: Duration) -> Vec<f64> {
    let mut socket = UnixStream::connect(appliance.socket())
        .await
        .expect("the socket");
    let request = "POST /containers/vm00000/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: vch\r\n\
                   Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    socket
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a head"));
    }
    let (end, mut all) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let begin = Instant::now();
        socket.write_all(b"k").await.expect("a key");
        // docker's frame of one byte.
        let mut frame = [0; 9];
        socket.read_exact(&mut frame).await.expect("its echo");
        assert_eq!(frame[8], b'k');
        all.push(begin.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all
}

/// vMotions, so many a second: seconds from BEGIN to GOAHEAD, and how many came about.
async fn moves(appliance: &Appliance, time: Duration) -> (Vec<f64>, usize) {
    let port = appliance.port;
    let (end, mut all) = (Instant::now() + time, Vec::new());
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / MOVES_A_SECOND));
    let mut number = 0u32;
    while Instant::now() < end {
        tick.tick().await;
        number += 1;
        all.push(tokio::spawn(one_move(port, number)));
    }
    let mut answers = Vec::new();
    for moved in all {
        answers.push(moved.await.expect("it came about"));
    }
    let count = answers.len();
    (answers, count)
}

const WILL_EXTENSION: [u8; 6] = [255, 251, 37, 255, 251, 232];

async fn one_move(port: std::net::SocketAddr, number: u32) -> f64 {
    let mut old = TcpStream::connect(port).await.expect("the listener");
    old.set_nodelay(true).expect("an option");
    let service = sub(70, b"Ctcp://192.0.2.1:2377");
    old.write_all(&[&WILL_EXTENSION[..], &service].concat())
        .await
        .expect("negotiation");
    answer(&mut old, 71).await;
    let sequence = number.to_le_bytes();
    let begin = Instant::now();
    old.write_all(&sub(40, &sequence)).await.expect("BEGIN");
    let cookie = answer(&mut old, 41).await;
    let waited = begin.elapsed().as_secs_f64();
    let mut new = TcpStream::connect(port).await.expect("the listener");
    new.set_nodelay(true).expect("an option");
    new.write_all(&[&WILL_EXTENSION[..], &sub(44, &cookie)].concat())
        .await
        .expect("PEER");
    assert_eq!(answer(&mut new, 45).await, sequence);
    new.write_all(&sub(46, &sequence)).await.expect("COMPLETE");
    // The old connection ends when the VM is on the new one.
    let mut rest = Vec::new();
    let _ = old.read_to_end(&mut rest).await;
    waited
}

fn sub(code: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![255, 250, 232, code];
    for &byte in payload {
        bytes.push(byte);
        if byte == 255 {
            bytes.push(255);
        }
    }
    bytes.extend([255, 240]);
    bytes
}

/// The payload of the next message with this code; the rest is left out.
async fn answer(socket: &mut TcpStream, code: u8) -> Vec<u8> {
    let mut seen = Vec::new();
    let head = [255, 250, 232, code];
    loop {
        let begin = seen.windows(4).position(|w| w == head);
        if let Some(begin) = begin {
            let (mut payload, mut at) = (Vec::new(), begin + 4);
            while let Some(&byte) = seen.get(at) {
                match (byte, seen.get(at + 1)) {
                    (255, Some(240)) => return payload,
                    (255, Some(_)) => {
                        payload.push(255);
                        at += 2;
                    }
                    (255, None) => break,
                    _ => {
                        payload.push(byte);
                        at += 1;
                    }
                }
            }
        }
        let count = socket.read_buf(&mut seen).await.expect("an answer");
        assert!(count > 0, "closed before {code}: {seen:?}");
    }
}
