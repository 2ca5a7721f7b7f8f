//! The files of a Linux initramfs: cpio archives (`newc`), one after the other, the last of them
//! compressed or not (Linux: Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Read};

use super::lz4;

/// Bytes at a file's start that tell whether it is an initramfs.
pub const MAGIC_LENGTH: u64 = 8;
/// An initramfs, packed or not, is at most this large, in bytes.
pub const SIZE_LIMIT: u64 = 1024 * 1024 * 1024;

/// Why an initramfs could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A compression that is not read here.
    #[error("is compressed with {0}, which is not read here (gzip, zstd and lz4 are)")]
    Compression(&'static str),
    /// Unpacking failed.
    #[error("unpacking it as {method}")]
    Unpack {
        /// The compression.
        method: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Not a cpio archive where one should be.
    #[error("its cpio archive is damaged at byte {offset}: {what}")]
    Damaged {
        /// In the unpacked archive.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// A file of an initramfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Without a leading `/` or `./`.
    pub name: String,
    /// The content; a symbolic link's target.
    pub data: Vec<u8>,
    symbolic_link: bool,
    /// What hard links to one file have in common; the last of them carries the content.
    inode: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Cpio,
    Gzip,
    Zstd,
    Lz4,
    Other(&'static str),
}

const MAGICS: [(&[u8], Format); 9] = [
    (b"070701", Format::Cpio),
    (b"070702", Format::Cpio),
    (b"\x1f\x8b", Format::Gzip),
    (b"\x28\xb5\x2f\xfd", Format::Zstd),
    (&lz4::LEGACY_MAGIC, Format::Lz4),
    (b"\xfd7zXZ\0", Format::Other("xz")),
    (b"BZh", Format::Other("bzip2")),
    (b"\x89LZO\0", Format::Other("lzo")),
    (b"\x5d\0\0", Format::Other("lzma")),
];

fn format(head: &[u8]) -> Option<Format> {
    MAGICS
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, format)| *format)
}

/// Whether a file that starts like this may be an initramfs.
pub fn is_one(head: &[u8]) -> bool {
    format(head).is_some()
}

/// All its files.
///
/// # Errors
/// When it cannot be unpacked or read.
pub fn entries(image: &[u8]) -> Result<Vec<Entry>, InitramfsError> {
    let mut found = Vec::new();
    let mut rest = image;
    loop {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        rest = rest.get(zeros..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(found);
        }
        match format(rest) {
            Some(Format::Cpio) => rest = archive(rest, &mut found)?,
            Some(packed) => {
                archive(&unpack(packed, rest)?, &mut found)?;
                return Ok(found);
            }
            None => {
                return Err(InitramfsError::Damaged {
                    offset: image.len() - rest.len(),
                    what: "neither an archive nor a compression that is known",
                });
            }
        }
    }
}

/// The file under a name, behind symbolic links.
pub fn resolve<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    /// As many as Linux follows.
    const MAX_LINKS: usize = 40;
    let mut name = name.to_owned();
    for _ in 0..MAX_LINKS {
        let entry = entries.iter().rev().find(|entry| entry.name == name)?;
        if !entry.symbolic_link {
            let same = |other: &&Entry| other.inode == entry.inode && !other.data.is_empty();
            return Some(entries.iter().find(same).unwrap_or(entry));
        }
        let target = String::from_utf8_lossy(&entry.data).into_owned();
        let folder = match target.starts_with('/') {
            true => "",
            false => name.rsplit_once('/').map_or("", |(folder, _)| folder),
        };
        name = normal(&format!("{folder}/{target}"));
    }
    None
}

/// A path without `.`, `..` and a leading `/`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn unpack(format: Format, packed: &[u8]) -> Result<Vec<u8>, InitramfsError> {
    let (method, result) = match format {
        Format::Cpio => ("nothing", Ok(packed.to_vec())),
        Format::Gzip => ("gzip", read_all(flate2::read::GzDecoder::new(packed))),
        Format::Zstd => (
            "zstd",
            ruzstd::decoding::StreamingDecoder::new(packed)
                .map_err(io::Error::other)
                .and_then(read_all),
        ),
        Format::Lz4 => ("lz4", lz4::unpack(packed, SIZE_LIMIT)),
        Format::Other(name) => return Err(InitramfsError::Compression(name)),
    };
    result.map_err(|source| InitramfsError::Unpack { method, source })
}

fn read_all(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(SIZE_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a `newc` header: the magic, then 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 110;
const ALIGNMENT: usize = 4;
const LAST: &[u8] = b"TRAILER!!!";

/// Which of the numbers.
mod field {
    pub(super) const INODE: usize = 0;
    pub(super) const MODE: usize = 1;
    pub(super) const SIZE: usize = 6;
    pub(super) const NAME_LENGTH: usize = 11;
}

/// `S_IFMT`, and two of its kinds.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const SYMBOLIC_LINK: u32 = 0o120_000;

/// Reads one archive; what follows it comes back.
fn archive<'a>(bytes: &'a [u8], found: &mut Vec<Entry>) -> Result<&'a [u8], InitramfsError> {
    let mut at = 0;
    loop {
        let damaged = |what| InitramfsError::Damaged { offset: at, what };
        let header = bytes
            .get(at..at + HEADER)
            .ok_or(damaged("it ends without its trailer"))?;
        if format(header) != Some(Format::Cpio) {
            return Err(damaged("no header"));
        }
        let number = |field| number(header, field).ok_or(damaged("a number in a header is none"));
        let mode = number(field::MODE)?;
        let length = |field| number(field).map(|length| length as usize);
        let name_end = at + HEADER + length(field::NAME_LENGTH)?;
        let name = bytes
            .get(at + HEADER..name_end)
            .ok_or(damaged("a name goes past its end"))?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        let start = name_end.next_multiple_of(ALIGNMENT);
        let end = start + length(field::SIZE)?;
        let data = bytes
            .get(start..end)
            .ok_or(damaged("a file goes past its end"))?;
        let next = end.next_multiple_of(ALIGNMENT);
        if name == LAST {
            return Ok(bytes.get(next..).unwrap_or_default());
        }
        if matches!(mode & KIND, REGULAR | SYMBOLIC_LINK) {
            found.push(Entry {
                name: normal(&String::from_utf8_lossy(name)),
                data: data.to_vec(),
                symbolic_link: mode & KIND == SYMBOLIC_LINK,
                inode: number(field::INODE)?,
            });
        }
        at = next;
    }
}

fn number(header: &[u8], field: usize) -> Option<u32> {
    const MAGIC: usize = 6;
    const DIGITS: usize = 8;
    let start = MAGIC + field * DIGITS;
    let digits = std::str::from_utf8(header.get(start..start + DIGITS)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}
