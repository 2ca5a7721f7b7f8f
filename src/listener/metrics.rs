//! Figures for Prometheus: what has happened since the start, and how things stand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::vm::Shared;

/// A figure that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Grows by so much.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has happened on the port for VMs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections that were closed at once: too many of one address.
    pub turned_away: Counter,
    /// Connections that have ended.
    pub ended: Counter,
    /// VMs that were let in.
    pub admitted: Counter,
    /// VMs that were refused.
    pub refused: Counter,
    /// Bytes that have come on lines.
    pub received: Counter,
    /// Bytes that have gone out on lines.
    pub sent: Counter,
    /// vMotions that began.
    pub moves_begun: Counter,
    /// vMotions that came about.
    pub moved: Counter,
}

impl Counters {
    /// Name, what it counts, and the counter.
    fn rows(&self) -> [(&'static str, &'static str, &Counter); 9] {
        [
            (
                "vch_connections_accepted_total",
                "Connections accepted on the port for VMs.",
                &self.accepted,
            ),
            (
                "vch_connections_turned_away_total",
                "Connections closed at once: too many of one address.",
                &self.turned_away,
            ),
            (
                "vch_connections_ended_total",
                "Connections on the port for VMs that have ended.",
                &self.ended,
            ),
            (
                "vch_vms_admitted_total",
                "Handshakes of VMs that were let in.",
                &self.admitted,
            ),
            (
                "vch_vms_refused_total",
                "Handshakes of VMs that were refused.",
                &self.refused,
            ),
            (
                "vch_received_bytes_total",
                "Bytes that VMs have sent, frames included.",
                &self.received,
            ),
            (
                "vch_sent_bytes_total",
                "Bytes that VMs were sent, frames included.",
                &self.sent,
            ),
            (
                "vch_vmotions_begun_total",
                "vMotions that were given the go-ahead.",
                &self.moves_begun,
            ),
            (
                "vch_vmotions_completed_total",
                "vMotions that came about.",
                &self.moved,
            ),
        ]
    }
}

/// The page: text format 0.0.4.
pub fn page(shared: &Shared) -> String {
    let mut out = String::new();
    for (name, help, counter) in shared.counters.rows() {
        let value = [(String::new(), counter.value())];
        figure(&mut out, name, "counter", help, &value);
    }
    let (mut states, mut links, mut log_bytes, mut trouble) = (BTreeMap::new(), 0, 0, 0);
    for container in shared.registry.all() {
        let snapshot = container.snapshot();
        let state = format!("{:?}", snapshot.record.state).to_lowercase();
        *states.entry(format!("{{state={state:?}}}")).or_insert(0) += 1;
        links += u64::from(snapshot.link_up);
        log_bytes += snapshot.end;
        trouble += u64::from(snapshot.trouble.is_some());
    }
    let states: Vec<(String, u64)> = states.into_iter().collect();
    figure(
        &mut out,
        "vch_containers",
        "gauge",
        "Containers known.",
        &states,
    );
    let rows = [
        ("vch_links_up", "gauge", "VMs whose link is up.", links),
        (
            "vch_log_bytes",
            "gauge",
            "Bytes ever logged of the containers known, records included.",
            log_bytes,
        ),
        (
            "vch_containers_in_trouble",
            "gauge",
            "Containers whose output cannot be stored now; their VMs wait.",
            trouble,
        ),
    ];
    for (name, kind, help, value) in rows {
        figure(&mut out, name, kind, help, &[(String::new(), value)]);
    }
    out
}

fn figure(out: &mut String, name: &str, kind: &str, help: &str, values: &[(String, u64)]) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}
