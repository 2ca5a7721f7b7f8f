//! The `cpuid` instructions in a program's executable mappings, each with a breakpoint on it.
//!
//! Nothing is kept per process: where a file's instructions stand is a property of the file, so a
//! fork, a thread or the next exec of the same program needs no book-keeping.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::elf;
use super::length::cpuid_offsets;
use crate::sys::trace::Task;

const CPUID: [u8; 2] = [0x0f, 0xa2];
/// `int3`
const BREAKPOINT: u8 = 0xcc;
/// `cpuid` with the breakpoint in its first byte.
const PLANTED: [u8; 2] = [BREAKPOINT, 0xa2];

/// Bytes to step over.
pub const CPUID_LENGTH: u64 = 2;

/// A mapped file: device and inode.
type FileId = (String, u64);

/// An executable mapping of a file.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    /// Of its first byte in the file.
    offset: u64,
    file: FileId,
    path: String,
}

/// What is known of the files that have been mapped so far.
#[derive(Debug, Default)]
pub struct Code {
    /// File offsets of the true `cpuid` instructions.
    sites: HashMap<FileId, Vec<u64>>,
}

impl Code {
    /// Plants a breakpoint on each `cpuid` of the executable mappings that touch
    /// `start..end`.
    ///
    /// # Errors
    /// When the task's mappings or memory cannot be opened. A file that cannot be read, or whose
    /// code cannot be changed (a shared mapping), is left alone: its `cpuid` says the truth.
    pub fn plant(&mut self, task: Task, start: u64, end: u64) -> io::Result<()> {
        let touching: Vec<Mapping> = mappings(task)?
            .into_iter()
            .filter(|mapping| mapping.start < end && start < mapping.end)
            .collect();
        if touching.is_empty() {
            return Ok(());
        }
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/mem", task.id()))?;
        for mapping in touching {
            for address in self.addresses(task, &mapping) {
                plant(&memory, address);
            }
        }
        Ok(())
    }

    /// Whether a breakpoint that was hit at `address` is one of ours.
    ///
    /// # Errors
    /// When the task's mappings or memory cannot be opened.
    pub fn is_planted(&mut self, task: Task, address: u64) -> io::Result<bool> {
        let here = mappings(task)?
            .into_iter()
            .find(|mapping| (mapping.start..mapping.end).contains(&address));
        let Some(mapping) = here else {
            return Ok(false);
        };
        if !self.addresses(task, &mapping).contains(&address) {
            return Ok(false);
        }
        let memory = File::open(format!("/proc/{}/mem", task.id()))?;
        Ok(word_at(&memory, address) == Some(PLANTED))
    }

    /// Addresses of the `cpuid` instructions in one mapping.
    fn addresses(&mut self, task: Task, mapping: &Mapping) -> Vec<u64> {
        let sites = self
            .sites
            .entry(mapping.file.clone())
            .or_insert_with(|| sites(task, mapping));
        let length = mapping.end - mapping.start;
        sites
            .iter()
            .filter_map(|site| site.checked_sub(mapping.offset))
            .filter(|within| *within < length)
            .filter_map(|within| mapping.start.checked_add(within))
            .collect()
    }
}

fn plant(memory: &File, address: u64) {
    if word_at(memory, address) == Some(CPUID) {
        // The kernel refuses where it would change the file for others: nothing is planted then.
        let _ = memory.write_at(&[BREAKPOINT], address);
    }
}

fn word_at(memory: &File, address: u64) -> Option<[u8; 2]> {
    let mut bytes = [0; 2];
    memory.read_exact_at(&mut bytes, address).ok()?;
    Some(bytes)
}

/// File offsets of the true `cpuid` instructions of a mapped file.
fn sites(task: Task, mapping: &Mapping) -> Vec<u64> {
    let id = task.id();
    let range = format!("{:x}-{:x}", mapping.start, mapping.end);
    // The first way works for deleted files too, but only for root.
    let file = File::open(format!("/proc/{id}/map_files/{range}"))
        .or_else(|_| File::open(format!("/proc/{id}/root{}", mapping.path)));
    let Ok(file) = file else {
        return Vec::new();
    };
    cpuid_sites(&file)
}

/// File offsets of the `cpuid` instructions in an ELF file.
pub fn cpuid_sites(file: &File) -> Vec<u64> {
    let mut found = Vec::new();
    for range in elf::code_ranges(file) {
        let mut code = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        if file.read_exact_at(&mut code, range.start).is_ok() {
            found.extend(
                cpuid_offsets(&code)
                    .into_iter()
                    .map(|offset| range.start + offset as u64),
            );
        }
    }
    found
}

fn mappings(task: Task) -> io::Result<Vec<Mapping>> {
    let text = std::fs::read(format!("/proc/{}/maps", task.id()))?;
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// The executable mappings of files in a `/proc/PID/maps`.
fn parse(maps: &str) -> Vec<Mapping> {
    maps.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let executable = fields.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = fields.next()?;
    let device = fields.next()?;
    let inode: u64 = fields.next()?.parse().ok()?;
    let path = fields.next()?.trim_start();
    if !executable || inode == 0 {
        return None;
    }
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        file: (device.into(), inode),
        path: path.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_mappings_of_files_are_listed() {
        let maps = "\
5581e0000000-5581e0002000 r--p 00000000 fe:00 1234                       /usr/bin/a tool
5581e0002000-5581e0006000 r-xp 00002000 fe:00 1234                       /usr/bin/a tool
7f1200000000-7f1200001000 rwxp 00000000 00:00 0
7ffd61d2e000-7ffd61d30000 r-xp 00000000 00:00 0                          [vdso]
";
        let expected = Mapping {
            start: 0x5581_e000_2000,
            end: 0x5581_e000_6000,
            offset: 0x2000,
            file: ("fe:00".into(), 1234),
            path: "/usr/bin/a tool".into(),
        };
        assert_eq!(parse(maps), [expected]);
    }
}
