//! A keystroke and its echo while another session of the same VM prints as fast as a virtio port carries:
//! what control frames that overtake data, and streams in turn, are for.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tether::link::{Channel, Control, Stream};

use crate::large::echoes;
use crate::machine::Appliance;
use crate::report::{Table, quantile};
use crate::vm::Vm;

const DUMP: Channel = Channel(2);
/// How long it is typed to an idle VM, and to one that prints.
const TIME: Duration = Duration::from_secs(3);
/// Bytes a second that the session prints.
const RATE: f64 = 50e6;
/// Bytes that it prints at a time.
const PIECE: usize = 64 << 10;
/// Longest that the VM sleeps.
const NAP: Duration = Duration::from_millis(1);

pub async fn run(vch: &Path) {
    let appliance = Appliance::start(vch, &[], false);
    let (dumping, over) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let dumped = Arc::new(AtomicU64::new(0));
    let mut vm = Vm::start(appliance.port, "vm00000", None).await;
    vm.link.open(DUMP);
    vm.link.send(&Control::Session {
        channel: DUMP,
        id: "dump".into(),
        name: String::new(),
        path: "/bin/dump".into(),
        args: Vec::new(),
        tty: false,
        openstdin: false,
        attach: false,
        primary: false,
        direct: false,
    });
    vm.settle().await;
    let living = {
        let (dumping, over, dumped) = (dumping.clone(), over.clone(), dumped.clone());
        tokio::spawn(async move {
            let piece = vec![b'd'; PIECE];
            let mut since = Instant::now();
            while !over.load(Ordering::Relaxed) {
                vm.until(Some(Instant::now() + NAP), true, |vm| {
                    let so_far = dumped.load(Ordering::Relaxed);
                    if !dumping.load(Ordering::Relaxed) {
                        since = Instant::now();
                    } else if (so_far as f64) < since.elapsed().as_secs_f64() * RATE {
                        let count = vm.link.write(DUMP, Stream::Stdout, &piece);
                        dumped.fetch_add(count as u64, Ordering::Relaxed);
                    }
                    over.load(Ordering::Relaxed)
                })
                .await;
            }
            vm.settle().await;
        })
    };
    let idle = echoes(&appliance, TIME).await;
    dumping.store(true, Ordering::Relaxed);
    let (before, begin) = (dumped.load(Ordering::Relaxed), Instant::now());
    let busy = echoes(&appliance, TIME).await;
    let bytes = dumped.load(Ordering::Relaxed) - before;
    let rate = bytes as f64 / begin.elapsed().as_secs_f64() / 1e6;
    over.store(true, Ordering::Relaxed);
    living.await.expect("no panic");

    let mut table = Table::new(
        &format!("A keystroke and its echo while the same VM prints {rate:.0} MB/s"),
        &["", "idle, ms", "meanwhile, ms", "ratio", "goal"],
    );
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        let (idle, busy) = (quantile(&idle, part), quantile(&busy, part));
        table.row(&[
            name.into(),
            format!("{:.2}", idle * 1e3),
            format!("{:.2}", busy * 1e3),
            format!("{:.1}", busy / idle),
            "≤ 3".into(),
        ]);
    }
    table.print();
}
