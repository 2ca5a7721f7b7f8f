//! The invariants of ARCHITECTURE.md that a machine can keep. Each test names the file and line that
//! breaks one, and why it matters.

use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a program's entry: arguments and wiring.
const ENTRY_LINES: usize = 60;
/// Most lines of a file: past this a room wants a wall.
const FILE_LINES: usize = 500;
/// Most lines of a function.
const FUNCTION_LINES: usize = 80;

/// Rooms without input, output, clock or `unsafe`.
const PURE: [&str; 8] = [
    "backdoor", "config", "files", "frozen", "lan", "link", "net", "plan",
];
/// And what is so within others.
const PURE_FOLDERS: [&str; 1] = ["listener/vspc/"];
/// What each room may import of the others.
const MAY_IMPORT: [(&str, &[&str]); 15] = [
    ("backdoor", &[]),
    ("config", &[]),
    ("files", &["frozen"]),
    ("frozen", &[]),
    ("lan", &[]),
    ("link", &["frozen"]),
    ("net", &["config", "frozen"]),
    ("plan", &["config"]),
    ("sys", &["backdoor"]),
    (
        "guest",
        &[
            "backdoor", "config", "files", "frozen", "link", "net", "plan", "sys",
        ],
    ),
    ("image", &[]),
    ("provider", &["config", "image", "lan", "vmm"]),
    (
        "listener",
        &["config", "files", "image", "lan", "link", "provider"],
    ),
    ("client", &["listener", "config", "image"]),
    ("vmm", &["backdoor", "config", "lan", "sys"]),
];
/// What PID 1 runs: nothing of it may panic.
const IN_PID_1: [&str; 9] = [
    "backdoor", "config", "files", "frozen", "guest", "link", "net", "plan", "sys",
];

struct Source {
    path: PathBuf,
    room: String,
    /// Lines with their numbers, without those of tests.
    lines: Vec<(usize, String)>,
    count: usize,
}

impl Source {
    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// Code lines, comments left out, that hold any of `words`.
    fn with<'a>(&'a self, words: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
        self.lines
            .iter()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            .map(|(number, line)| format!("{}: {}", self.at(*number), line.trim()))
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder of the tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Files that only tests compile are no part of the house.
fn is_test(path: &Path) -> bool {
    path.iter()
        .any(|part| part == "tests" || part == "simulation")
        || path.file_name().is_some_and(|name| {
            ["tests.rs", "simulation.rs", "loopback.rs"]
                .iter()
                .any(|test| name == *test)
        })
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    paths.sort();
    let sources: Vec<Source> = paths
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let short = path.strip_prefix(root).expect("below the root").to_owned();
            let room = short
                .iter()
                .nth(1)
                .map(|part| part.to_string_lossy().into_owned());
            let mut lines: Vec<(usize, String)> = text
                .lines()
                .map(str::to_owned)
                .enumerate()
                .map(|(n, line)| (n + 1, line))
                .collect();
            // Unit tests stand at the end of their file.
            let tests = lines.windows(2).position(|two| {
                two[0].1.trim() == "#[cfg(test)]" && two[1].1.starts_with("mod tests {")
            });
            let count = tests.unwrap_or(lines.len());
            lines.truncate(count);
            Source {
                path: short,
                room: room.unwrap_or_default(),
                lines,
                count,
            }
        })
        .collect();
    assert!(
        sources.len() > 100,
        "the tree is not where it was: {} files",
        sources.len()
    );
    sources
}

fn none(found: Vec<String>, why: &str) {
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

#[test]
fn imports_point_down_only() {
    let mut found = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room) else {
            continue;
        };
        for (room, _) in MAY_IMPORT {
            if room != source.room && !allowed.contains(&room) {
                found.extend(
                    source.with(&[&format!("crate::{room}::"), &format!("crate::{room};")]),
                );
            }
        }
    }
    none(
        found,
        "a room imports one that it must not know (see MAY_IMPORT)",
    );
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    let outside = [
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::os::unix::net",
        "std::process",
        "std::thread",
        "Instant",
        "SystemTime",
        "std::env",
        "std::io::stdin",
        "println!",
        "rustix::",
        "nix::",
        "libc::",
    ];
    let found = sources()
        .iter()
        .filter(|source| {
            PURE.contains(&source.room.as_str())
                || PURE_FOLDERS
                    .iter()
                    .any(|folder| source.path.to_string_lossy().contains(folder))
        })
        .flat_map(|source| source.with(&outside).collect::<Vec<_>>())
        // A number of milliseconds, no clock.
        .filter(|line| !line.contains("smoltcp::time::Instant as Moment"))
        .collect();
    none(
        found,
        "a pure room takes bytes and time, and gives bytes and events; it fetches nothing",
    );
}

#[test]
fn unsafe_lives_in_sys_alone() {
    let found = sources()
        .iter()
        .filter(|source| source.room != "sys")
        .flat_map(|source| {
            source
                .with(&["unsafe {", "unsafe fn", "unsafe impl"])
                .collect::<Vec<_>>()
        })
        .collect();
    none(found, "unsafe belongs into src/sys, with a SAFETY line");
}

#[test]
fn pid_1_reads_the_clock_and_waits_in_one_place() {
    let found = sources()
        .iter()
        .filter(|source| source.room == "guest" && !source.path.ends_with("event_loop.rs"))
        .flat_map(|source| {
            source
                .with(&[
                    "Instant::now",
                    "SystemTime::now",
                    "clock_gettime",
                    "thread::sleep",
                    "epoll::wait",
                    "nanosleep",
                ])
                .collect::<Vec<_>>()
        })
        .collect();
    none(found, "only guest/event_loop.rs waits or reads a clock");
}

#[test]
fn what_pid_1_runs_cannot_panic_by_word() {
    let words = [
        ".unwrap()",
        ".expect(\"",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
    ];
    let found = sources()
        .iter()
        .filter(|source| IN_PID_1.contains(&source.room.as_str()))
        .flat_map(|source| source.with(&words).collect::<Vec<_>>())
        // A test's own helper beside the code it helps with.
        .filter(|line| !line.starts_with("src/sys/fork.rs"))
        .collect();
    none(
        found,
        "an error has to end in a reported reason and a power-off, not in a panic",
    );
}

#[test]
fn programs_only_wire() {
    let found = sources()
        .iter()
        .filter(|source| source.room == "bin" && source.count > ENTRY_LINES)
        .map(|source| format!("{} has {} lines", source.path.display(), source.count))
        .collect();
    none(found, "a program's entry is arguments and wiring");
}

#[test]
fn files_and_functions_stay_readable() {
    let mut found = Vec::new();
    for source in sources() {
        if source.count > FILE_LINES {
            found.push(format!(
                "{} has {} lines",
                source.path.display(),
                source.count
            ));
        }
        let mut start: Option<(usize, usize, String)> = None;
        for (number, line) in &source.lines {
            let indent = line.len() - line.trim_start().len();
            let text = line.trim_start();
            let is_function = [
                "fn ",
                "pub fn ",
                "pub(super) fn ",
                "pub(crate) fn ",
                "async fn ",
                "pub async fn ",
            ]
            .iter()
            .any(|head| text.starts_with(head));
            if is_function && start.is_none() && !line.ends_with(';') {
                start = Some((*number, indent, text.to_owned()));
            } else if let Some((first, depth, head)) = &start
                && indent == *depth
                && text == "}"
            {
                if number - first > FUNCTION_LINES {
                    found.push(format!(
                        "{}: {} lines: {head}",
                        source.at(*first),
                        number - first
                    ));
                }
                start = None;
            }
        }
    }
    none(found, "a file or function this long wants a wall");
}

#[test]
fn every_file_says_its_duty_first() {
    let found = sources()
        .iter()
        .filter(|source| {
            !source
                .lines
                .first()
                .is_some_and(|(_, line)| line.starts_with("//!"))
        })
        .map(|source| source.path.display().to_string())
        .collect();
    none(found, "a file's first line says what it is for");
}

#[test]
fn no_promise_is_left_open() {
    let found = sources()
        .iter()
        .flat_map(|source| {
            source
                .lines
                .iter()
                .map(move |(number, line)| (source, number, line))
        })
        .filter(|(_, _, line)| {
            ["TODO", "FIXME", "XXX"]
                .iter()
                .any(|word| line.contains(word))
        })
        .map(|(source, number, line)| format!("{}: {line}", source.at(*number)))
        .collect();
    none(found, "what is not done goes into an issue");
}
