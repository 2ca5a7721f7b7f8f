//! Where the code stands in an ELF file.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// 64-bit, little endian.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const HEADER: usize = 64;
const SECTION_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SHT_PROGBITS: u64 = 1;
const SHF_EXECINSTR: u64 = 4;
const PT_LOAD: u64 = 1;
const PF_X: u64 = 1;
/// More headers than any real file has; a limit on what a damaged one makes us read.
const HEADERS: u64 = 4096;

/// Offsets in the file of its code: its executable sections, or, where somebody has cut the section
/// headers off, its executable segments. None for a file that is no ELF file of this machine.
pub fn code_ranges(file: &File) -> Vec<Range<u64>> {
    read_ranges(file).unwrap_or_default()
}

fn read_ranges(file: &File) -> Option<Vec<Range<u64>>> {
    let size = file.metadata().ok()?.len();
    let header = read(file, 0, HEADER)?;
    if !header.starts_with(MAGIC) {
        return None;
    }
    let sections = table(
        file,
        number(&header, 40, 8)?,
        number(&header, 60, 2)?,
        SECTION_HEADER,
    );
    let mut ranges: Vec<_> = sections
        .iter()
        .filter_map(|section| {
            let code = number(section, 4, 4)? == SHT_PROGBITS
                && number(section, 8, 8)? & SHF_EXECINSTR != 0;
            code.then_some((number(section, 24, 8)?, number(section, 32, 8)?))
        })
        .collect();
    if ranges.is_empty() {
        let segments = table(
            file,
            number(&header, 32, 8)?,
            number(&header, 56, 2)?,
            PROGRAM_HEADER,
        );
        ranges = segments
            .iter()
            .filter_map(|segment| {
                let code = number(segment, 0, 4)? == PT_LOAD && number(segment, 4, 4)? & PF_X != 0;
                code.then_some((number(segment, 8, 8)?, number(segment, 32, 8)?))
            })
            .collect();
    }
    let within = |(start, length): (u64, u64)| {
        let end = start.checked_add(length)?;
        (end <= size).then_some(start..end)
    };
    Some(ranges.into_iter().filter_map(within).collect())
}

/// The headers of one of the two tables, as far as they can be read.
fn table(file: &File, offset: u64, count: u64, size: usize) -> Vec<Vec<u8>> {
    if offset == 0 {
        return Vec::new();
    }
    (0..count.min(HEADERS))
        .map_while(|index| {
            let place = offset.checked_add(index * size as u64)?;
            read(file, place, size)
        })
        .collect()
}

fn read(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// A little-endian field.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(length)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_programs_own_code_is_found() {
        let file = File::open("/proc/self/exe").unwrap();
        let ranges = code_ranges(&file);
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        assert!(bytes > 100_000, "{ranges:?}");
    }

    #[test]
    fn a_file_that_is_no_elf_file_has_no_code() {
        assert_eq!(code_ranges(&File::open("/proc/self/maps").unwrap()), []);
        assert_eq!(code_ranges(&File::open("/dev/null").unwrap()), []);
    }
}
