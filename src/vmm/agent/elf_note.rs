//! The ELF notes in which a guest program tells where its backdoor instructions are, so that a
//! debugger stub finds them in a stripped binary. Owner `VMwBdoor`; the description is virtual addresses,
//! 8 bytes each, little endian: of type 1 the instructions', of type 2 that of the word of 4 bytes which
//! the program writes right before each of them (the bell), if it does.

use std::collections::BTreeSet;
use std::ops::Range;

/// The section that holds the note, by convention; it is found by its owner and type.
pub const SECTION: &str = ".note.vmware-backdoor";

const OWNER: &[u8] = b"VMwBdoor";
const INSTRUCTIONS: u64 = 1;
const BELL: u64 = 2;

/// Where a program meets its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backdoor {
    /// Its backdoor instructions.
    pub instructions: BTreeSet<u64>,
    /// The word that it writes before each of them.
    pub bell: Option<u64>,
}

/// Why a program's addresses are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Another kind of file.
    #[error("is not a 64-bit little-endian ELF file")]
    NotElf,
    /// It would be loaded anywhere.
    #[error(
        "is position independent, so its instructions have no fixed addresses: link it without PIE"
    )]
    PositionIndependent,
    /// An ELF file without the note.
    #[error("has no {SECTION} note")]
    NoNote,
    /// A note that cannot be what it says.
    #[error("its {SECTION} note is damaged: {0}")]
    Damaged(&'static str),
}

/// ELF64 layout: offsets of the fields that count here.
mod field {
    use std::ops::Range;

    pub(super) const TYPE: Range<usize> = 16..18;
    pub(super) const PROGRAM_HEADERS: Range<usize> = 32..40;
    pub(super) const SECTION_HEADERS: Range<usize> = 40..48;
    pub(super) const PROGRAM_HEADER_SIZE: Range<usize> = 54..56;
    pub(super) const PROGRAM_HEADER_COUNT: Range<usize> = 56..58;
    pub(super) const SECTION_HEADER_SIZE: Range<usize> = 58..60;
    pub(super) const SECTION_HEADER_COUNT: Range<usize> = 60..62;
}

/// Where a header says what it is, and where its bytes are.
struct HeaderLayout {
    kind: Range<usize>,
    /// The kind that holds notes (`PT_NOTE`, `SHT_NOTE`).
    note: u64,
    offset: Range<usize>,
    size: Range<usize>,
}

const SEGMENT: HeaderLayout = HeaderLayout {
    kind: 0..4,
    note: 4,
    offset: 8..16,
    size: 32..40,
};

const SECTION_HEADER: HeaderLayout = HeaderLayout {
    kind: 4..8,
    note: 7,
    offset: 24..32,
    size: 32..40,
};

/// 64-bit, little endian.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
/// `ET_DYN`
const DYNAMIC: u64 = 3;
/// A note's parts begin at multiples of this.
const ALIGNMENT: usize = 4;
/// Three words: length of the owner, length of the description, type.
const NOTE_HEADER: usize = 12;
const ADDRESS: usize = 8;

/// What a program's notes say.
///
/// # Errors
/// When it is no program with such a note, or could be loaded anywhere.
pub fn backdoor(elf: &[u8]) -> Result<Backdoor, NoteError> {
    if !elf.starts_with(MAGIC) {
        return Err(NoteError::NotElf);
    }
    let number = |place| number(elf, place).ok_or(NoteError::NotElf);
    let mut found = Backdoor::default();
    for (layout, table, size, count) in [
        (
            SEGMENT,
            number(field::PROGRAM_HEADERS)?,
            number(field::PROGRAM_HEADER_SIZE)?,
            number(field::PROGRAM_HEADER_COUNT)?,
        ),
        (
            SECTION_HEADER,
            number(field::SECTION_HEADERS)?,
            number(field::SECTION_HEADER_SIZE)?,
            number(field::SECTION_HEADER_COUNT)?,
        ),
    ] {
        for index in 0..count {
            let header = table.saturating_add(index.saturating_mul(size));
            let Some(notes) = notes_of(elf, &layout, header) else {
                continue;
            };
            for (kind, description) in descriptions(notes) {
                match kind {
                    INSTRUCTIONS => found.instructions.extend(decode(description)?),
                    BELL => found.bell = decode(description)?.first().copied(),
                    // What a later program has to say besides.
                    _ => {}
                }
            }
        }
    }
    if found.instructions.is_empty() {
        return Err(NoteError::NoNote);
    }
    if number(field::TYPE)? == DYNAMIC {
        return Err(NoteError::PositionIndependent);
    }
    Ok(found)
}

/// A little-endian number of up to 8 bytes.
fn number(bytes: &[u8], place: Range<usize>) -> Option<u64> {
    let bytes = bytes.get(place)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, byte| (number << 8) | u64::from(*byte)),
    )
}

/// The bytes that a header points to, when it is one of notes.
fn notes_of<'a>(elf: &'a [u8], layout: &HeaderLayout, header: u64) -> Option<&'a [u8]> {
    let header = elf.get(usize::try_from(header).ok()?..)?;
    if number(header, layout.kind.clone())? != layout.note {
        return None;
    }
    let start = usize::try_from(number(header, layout.offset.clone())?).ok()?;
    let size = usize::try_from(number(header, layout.size.clone())?).ok()?;
    elf.get(start..start.checked_add(size)?)
}

/// The types and descriptions of our notes among others.
fn descriptions(notes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    let mut rest = notes;
    while let Some((owner, kind, description, next)) = split_note(rest) {
        if owner.strip_suffix(b"\0").unwrap_or(owner) == OWNER {
            found.push((kind, description));
        }
        rest = next;
    }
    found
}

type Note<'a> = (&'a [u8], u64, &'a [u8], &'a [u8]);

/// The first note, and what follows it.
fn split_note(notes: &[u8]) -> Option<Note<'_>> {
    let length = |place| usize::try_from(number(notes, place)?).ok();
    let owner_length = length(0..4)?;
    let description_length = length(4..8)?;
    let kind = number(notes, 8..NOTE_HEADER)?;
    let owner_end = NOTE_HEADER.checked_add(owner_length)?;
    let owner = notes.get(NOTE_HEADER..owner_end)?;
    let start = owner_end.checked_next_multiple_of(ALIGNMENT)?;
    let end = start.checked_add(description_length)?;
    let description = notes.get(start..end)?;
    let next = notes
        .get(end.checked_next_multiple_of(ALIGNMENT)?..)
        .unwrap_or_default();
    Some((owner, kind, description, next))
}

fn decode(description: &[u8]) -> Result<Vec<u64>, NoteError> {
    if description.is_empty() || !description.len().is_multiple_of(ADDRESS) {
        return Err(NoteError::Damaged(
            "its length is not a multiple of an address (8 bytes)",
        ));
    }
    let addresses: Vec<u64> = description
        .chunks_exact(ADDRESS)
        .filter_map(|bytes| number(bytes, 0..ADDRESS))
        .collect();
    if addresses.contains(&0) {
        return Err(NoteError::Damaged(
            "an address is zero: the linker has dropped the code it points to",
        ));
    }
    Ok(addresses)
}
