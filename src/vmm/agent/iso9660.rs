//! The files of an ISO 9660 image (ECMA-119), as far as finding one needs it: no extensions, the
//! plain names.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

/// Volume descriptors are in sectors of this size, whatever the logical block.
const SECTOR: u64 = 2048;
/// The first of them.
const FIRST_DESCRIPTOR: u64 = 16;
/// More than any image has.
const MAX_DESCRIPTORS: u64 = 64;
const IDENTIFIER: &[u8] = b"CD001";
const PRIMARY: u8 = 1;
const TERMINATOR: u8 = 255;

/// Offsets in the primary volume descriptor.
const BLOCK_SIZE: usize = 128;
const ROOT_RECORD: usize = 156;

/// Offsets in a directory record.
const EXTENT: usize = 2;
const SIZE: usize = 10;
const FLAGS: usize = 25;
const NAME_LENGTH: usize = 32;
const NAME: usize = 33;
const FLAG_DIRECTORY: u8 = 0x02;
/// The file goes on in the next record.
const FLAG_MORE: u8 = 0x80;

/// Folders on an image; more is taken for damage.
const MAX_FOLDERS: usize = 10_000;
/// Bytes of one folder; more is taken for damage.
const MAX_FOLDER_SIZE: u64 = 16 * 1024 * 1024;

/// Why an image's files could not be listed or read.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// Reading the image failed.
    #[error("reading the image at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// No primary volume descriptor.
    #[error("is not an ISO 9660 image")]
    NotIso,
    /// What it says cannot be.
    #[error("is a damaged ISO 9660 image: {0}")]
    Damaged(&'static str),
}

/// An image.
#[derive(Debug)]
pub struct Iso<R> {
    image: R,
    block: u64,
    root: Place,
}

/// A file, or a folder, of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// With a leading `/`, in the image's plain names (`/ISOLINUX/INITRD.IMG`).
    pub path: String,
    block: u32,
    size: u32,
}

impl<R: Read + Seek> Iso<R> {
    /// Reads the volume descriptors.
    ///
    /// # Errors
    /// When the image cannot be read, or is none.
    pub fn open(mut image: R) -> Result<Iso<R>, IsoError> {
        for sector in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MAX_DESCRIPTORS {
            let descriptor = match read_at(&mut image, sector * SECTOR, SECTOR) {
                Err(IsoError::Read { source, .. })
                    if source.kind() == io::ErrorKind::UnexpectedEof =>
                {
                    break;
                }
                other => other?,
            };
            match descriptor.split_first() {
                Some((kind, rest)) if rest.starts_with(IDENTIFIER) => match *kind {
                    PRIMARY => {
                        let block = little_endian(&descriptor, BLOCK_SIZE, 2)
                            .filter(|size| *size > 0)
                            .ok_or(IsoError::Damaged("its blocks have no size"))?;
                        let root = record(descriptor.get(ROOT_RECORD..).unwrap_or_default(), "")
                            .ok_or(IsoError::Damaged("it has no root folder"))?;
                        return Ok(Iso {
                            image,
                            block: u64::from(block),
                            root: root.place,
                        });
                    }
                    TERMINATOR => break,
                    _ => {}
                },
                _ => break,
            }
        }
        Err(IsoError::NotIso)
    }

    /// All files, those of a folder before those of the folders in it.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(&mut self) -> Result<Vec<Place>, IsoError> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        let mut seen = HashSet::from([self.root.block]);
        let mut next = 0;
        while let Some(folder) = folders.get(next).cloned() {
            next += 1;
            if next > MAX_FOLDERS {
                return Err(IsoError::Damaged("it has too many folders"));
            }
            for record in self.folder(&folder)? {
                if record.flags & FLAG_DIRECTORY != 0 {
                    // Each holds itself and its parent, under names of one special byte.
                    if seen.insert(record.place.block) {
                        folders.push(record.place);
                    }
                } else if record.flags & FLAG_MORE == 0 && record.place.size > 0 {
                    files.push(record.place);
                }
            }
        }
        Ok(files)
    }

    /// The first bytes of a file, at most `limit`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&mut self, place: &Place, limit: u64) -> Result<Vec<u8>, IsoError> {
        let size = u64::from(place.size).min(limit);
        read_at(&mut self.image, u64::from(place.block) * self.block, size)
    }

    fn folder(&mut self, folder: &Place) -> Result<Vec<Record>, IsoError> {
        if u64::from(folder.size) > MAX_FOLDER_SIZE {
            return Err(IsoError::Damaged("a folder is too large"));
        }
        let bytes = self.read(folder, MAX_FOLDER_SIZE)?;
        let block = usize::try_from(self.block).unwrap_or(usize::MAX);
        // A record never crosses a block: the rest of one is filled with zeros.
        let records = bytes
            .chunks(block)
            .flat_map(|block| records(block, &folder.path));
        Ok(records.collect())
    }
}

struct Record {
    place: Place,
    flags: u8,
}

fn records(mut block: &[u8], folder: &str) -> Vec<Record> {
    let mut found = Vec::new();
    while let Some(length) = block.first().map(|byte| usize::from(*byte)) {
        if length == 0 {
            break;
        }
        let Some((bytes, rest)) = block.split_at_checked(length) else {
            break;
        };
        found.extend(record(bytes, folder));
        block = rest;
    }
    found
}

/// One directory record in a folder of that path.
fn record(bytes: &[u8], folder: &str) -> Option<Record> {
    let name_length = usize::from(*bytes.get(NAME_LENGTH)?);
    let name = bytes.get(NAME..NAME + name_length)?;
    let path = match name {
        [0 | 1] => folder.to_owned(),
        name => {
            let name = String::from_utf8_lossy(name);
            // ";1" is the version, "." without an extension is put there by the standard.
            let name = name.split(';').next().unwrap_or_default();
            format!("{folder}/{}", name.trim_end_matches('.'))
        }
    };
    Some(Record {
        place: Place {
            path,
            block: little_endian(bytes, EXTENT, 4)?,
            size: little_endian(bytes, SIZE, 4)?,
        },
        flags: *bytes.get(FLAGS)?,
    })
}

/// The little-endian half of a number that the standard stores both ways.
fn little_endian(bytes: &[u8], offset: usize, length: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + length)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u32::from(*byte)),
    )
}

fn read_at<R: Read + Seek>(image: &mut R, offset: u64, length: u64) -> Result<Vec<u8>, IsoError> {
    let mut read = || {
        image.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        image.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    };
    read().map_err(|source| IsoError::Read { offset, source })
}
