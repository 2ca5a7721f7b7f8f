//! The kernel's own files (cgroup v2, `/proc`) as docker's figures.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Nanoseconds of the unit that `/proc/stat` counts in (proc(5): `USER_HZ`).
const TICK_NS: u64 = 10_000_000;
/// Bytes of the sector that `/proc/diskstats` counts in, on every disk.
const SECTOR: u64 = 512;

/// The files of one moment, by name.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, String>);

impl Figures {
    pub(super) fn of(files: BTreeMap<String, String>) -> Self {
        Self(files)
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A file of one number; `max` and what is not there are none.
    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).trim().parse().ok()
    }

    /// `NAME NUMBER` a line.
    fn table(&self, name: &str) -> BTreeMap<&str, u64> {
        let rows = self.text(name).lines().filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name, number.parse().ok()?))
        });
        rows.collect()
    }

    /// `/proc/meminfo`, in bytes.
    fn machine_memory(&self, name: &str) -> u64 {
        let lines = self.text("/proc/meminfo").lines();
        let found = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(own, _)| *own == name);
        let number =
            found.and_then(|(_, text)| text.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_default() * 1024
    }

    /// Ticks of `/proc/stat`'s first line: all, and those of no work.
    fn ticks(&self) -> (u64, u64) {
        let first = self.text("/proc/stat").lines().next().unwrap_or_default();
        let numbers: Vec<u64> = first
            .split_whitespace()
            .skip(1)
            .filter_map(|t| t.parse().ok())
            .collect();
        // Guests' time, behind the eighth, is counted in the first already.
        let all = numbers.iter().take(8).sum();
        (all, numbers.iter().skip(3).take(2).sum())
    }

    pub(super) fn processors(&self) -> Value {
        let own = self.table("cpu.stat");
        let ns = |name: &str| own.get(name).copied().unwrap_or_default() * 1000;
        let (all, idle) = self.ticks();
        let total = match own.is_empty() {
            false => ns("usage_usec"),
            // Without a cgroup the machine is the container.
            true => (all - idle) * TICK_NS,
        };
        let lines = self.text("/proc/stat").lines();
        let online = lines.filter(|line| {
            let number = line
                .strip_prefix("cpu")
                .and_then(|rest| rest.split(' ').next());
            number.is_some_and(|number| !number.is_empty())
        });
        json!({
            "cpu_usage": {
                "total_usage": total,
                "usage_in_usermode": ns("user_usec"),
                "usage_in_kernelmode": ns("system_usec"),
            },
            "system_cpu_usage": all * TICK_NS,
            "online_cpus": online.count(),
            "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
        })
    }

    pub(super) fn memory(&self) -> Value {
        if self.0.is_empty() {
            return json!({});
        }
        let machine = self.machine_memory("MemTotal");
        let used = machine.saturating_sub(self.machine_memory("MemAvailable"));
        json!({
            "usage": self.number("memory.current").unwrap_or(used),
            "limit": self.number("memory.max").unwrap_or(machine),
            "stats": self.table("memory.stat"),
        })
    }

    pub(super) fn pids(&self) -> Value {
        let mut pids = Map::new();
        for (name, file) in [("current", "pids.current"), ("limit", "pids.max")] {
            if let Some(number) = self.number(file) {
                pids.insert(name.to_owned(), number.into());
            }
        }
        Value::Object(pids)
    }

    /// Whole disks: `MAJOR MINOR NAME READS MERGED SECTORS MS WRITES MERGED SECTORS …`.
    pub(super) fn disks(&self) -> Value {
        let (mut bytes, mut times) = (Vec::new(), Vec::new());
        for line in self.text("/proc/diskstats").lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(name) = words.get(2) else {
                continue;
            };
            let number = |at: usize| {
                words
                    .get(at)
                    .and_then(|w| w.parse::<u64>().ok())
                    .unwrap_or_default()
            };
            let is_disk = ["sd", "vd", "xvd"].iter().any(|kind| {
                let rest = name.strip_prefix(kind);
                rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase()))
            });
            if !is_disk {
                continue;
            }
            for (op, count, sectors) in [("read", 3, 5), ("write", 7, 9)] {
                let row = |value: u64| json!({ "major": number(0), "minor": number(1), "op": op, "value": value });
                bytes.push(row(number(sectors) * SECTOR));
                times.push(row(number(count)));
            }
        }
        json!({ "io_service_bytes_recursive": bytes, "io_serviced_recursive": times })
    }

    /// `NAME: ` and eight numbers of what came, eight of what went.
    pub(super) fn networks(&self) -> Value {
        let mut all = Map::new();
        for line in self.text("/proc/net/dev").lines() {
            let Some((name, numbers)) = line.split_once(':') else {
                continue;
            };
            let numbers: Vec<u64> = numbers
                .split_whitespace()
                .filter_map(|t| t.parse().ok())
                .collect();
            let number = |at: usize| numbers.get(at).copied().unwrap_or_default();
            if name.trim() == "lo" || numbers.is_empty() {
                continue;
            }
            all.insert(
                name.trim().to_owned(),
                json!({
                    "rx_bytes": number(0), "rx_packets": number(1), "rx_errors": number(2), "rx_dropped": number(3),
                    "tx_bytes": number(8), "tx_packets": number(9), "tx_errors": number(10), "tx_dropped": number(11),
                }),
            );
        }
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(files: &[(&str, &str)]) -> Figures {
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Figures::of(files.collect())
    }

    #[test]
    fn the_kernel_s_numbers_are_docker_s() {
        let figures = figures(&[
            (
                "cpu.stat",
                "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n",
            ),
            ("memory.current", "1048576\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 2\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            (
                "/proc/stat",
                "cpu  1 2 3 4 5 6 7 8 9 9\ncpu0 1 2 3\ncpu1 0 0 0\nintr 5\n",
            ),
            (
                "/proc/meminfo",
                "MemTotal:  1000 kB\nMemAvailable: 400 kB\n",
            ),
            (
                "/proc/net/dev",
                "Inter-|  Receive\n face |bytes\n  lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\neth0: 10 2 0 0 0 0 0 0 20 3 0 0 0 0 0 0\n",
            ),
            (
                "/proc/diskstats",
                "8 0 sda 5 0 8 1 6 0 16 2 0\n8 1 sda1 5 0 8 1 6 0 16 2\n11 0 sr0 9 0 9 9 9 9 9\n",
            ),
        ]);
        let cpu = figures.processors();
        assert_eq!(cpu["cpu_usage"]["total_usage"], 5_000_000);
        assert_eq!(cpu["system_cpu_usage"], 36 * TICK_NS);
        assert_eq!(cpu["online_cpus"], 2);
        let memory = figures.memory();
        assert_eq!(
            (&memory["usage"], &memory["limit"]),
            (&json!(1_048_576), &json!(1_024_000))
        );
        assert_eq!(memory["stats"]["inactive_file"], 2);
        assert_eq!(figures.pids(), json!({ "current": 3 }));
        let networks = figures.networks();
        assert_eq!(networks.as_object().map(Map::len), Some(1));
        assert_eq!(
            (&networks["eth0"]["rx_bytes"], &networks["eth0"]["tx_bytes"]),
            (&json!(10), &json!(20))
        );
        let disks = figures.disks();
        let bytes = disks["io_service_bytes_recursive"]
            .as_array()
            .expect("rows");
        assert_eq!(bytes.len(), 2);
        assert_eq!(
            bytes[1],
            json!({ "major": 8, "minor": 0, "op": "write", "value": 8192 })
        );
    }

    #[test]
    fn a_machine_without_a_cgroup_is_the_container() {
        let figures = figures(&[
            ("/proc/stat", "cpu  1 2 3 4 5 6 7 8 9 9\n"),
            (
                "/proc/meminfo",
                "MemTotal:  1000 kB\nMemAvailable: 400 kB\n",
            ),
        ]);
        assert_eq!(
            figures.processors()["cpu_usage"]["total_usage"],
            27 * TICK_NS
        );
        assert_eq!(figures.memory()["usage"], 600 * 1024);
        assert_eq!(Figures::default().memory(), json!({}));
        assert_eq!(Figures::default().processors()["online_cpus"], 0);
    }
}
