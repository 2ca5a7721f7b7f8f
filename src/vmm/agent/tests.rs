use std::collections::BTreeSet;
use std::io::{Cursor, Write};

use super::*;

fn note(owner: &str, kind: u32, description: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    note.extend_from_slice(&u32::try_from(owner.len() + 1).unwrap().to_le_bytes());
    note.extend_from_slice(&u32::try_from(description.len()).unwrap().to_le_bytes());
    note.extend_from_slice(&kind.to_le_bytes());
    note.extend_from_slice(owner.as_bytes());
    note.resize((note.len() + 1).next_multiple_of(4), 0);
    note.extend_from_slice(description);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}

/// An ELF64 file with the note of its instructions.
fn elf(owner: &str, description: &[u8], kind: u16, in_segment: bool) -> Vec<u8> {
    elf_with(&note(owner, 1, description), kind, in_segment)
}

/// An ELF64 file with notes, in a segment (as in a running program) or in a section only.
fn elf_with(note: &[u8], kind: u16, in_segment: bool) -> Vec<u8> {
    const HEADER: usize = 64;
    let mut elf = vec![0; HEADER];
    let mut put = |offset: usize, bytes: &[u8]| {
        elf[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &kind.to_le_bytes());
    let (table, size, count) = if in_segment {
        (32, 54, 56)
    } else {
        (40, 58, 60)
    };
    put(table, &(HEADER as u64).to_le_bytes());
    put(size, &64u16.to_le_bytes());
    put(count, &1u16.to_le_bytes());
    let mut entry = [0u8; 64];
    let (kind_at, kind, offset_at) = if in_segment {
        (0, 4u32, 8)
    } else {
        (4, 7u32, 24)
    };
    entry[kind_at..kind_at + 4].copy_from_slice(&kind.to_le_bytes());
    entry[offset_at..offset_at + 8].copy_from_slice(&(HEADER as u64 + 64).to_le_bytes());
    entry[32..40].copy_from_slice(&(note.len() as u64).to_le_bytes());
    elf.extend_from_slice(&entry);
    elf.extend_from_slice(note);
    elf
}

fn two_addresses() -> Vec<u8> {
    [0x40_1000u64.to_le_bytes(), 0x40_1003u64.to_le_bytes()].concat()
}

fn agent_elf() -> Vec<u8> {
    elf("VMwBdoor", &two_addresses(), 2, true)
}

fn cpio(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    let last: [(&str, u32, &[u8]); 1] = [("TRAILER!!!", 0, b"")];
    for (inode, (name, mode, data)) in (1u32..).zip(files.iter().chain(&last)) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let name_length = length(name.as_bytes()) + 1;
        let numbers = [
            inode,
            *mode,
            0,
            0,
            1,
            0,
            length(data),
            0,
            0,
            0,
            0,
            name_length,
            0,
        ];
        archive.extend_from_slice(b"070701");
        for number in numbers {
            archive.extend_from_slice(format!("{number:08X}").as_bytes());
        }
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

/// An image with `/BOOT/<name>`, that file's content in one piece at sector 20.
fn iso(name: &str, content: &[u8]) -> Vec<u8> {
    const SECTOR: usize = 2048;
    fn record(name: &[u8], block: u32, size: usize, flags: u8) -> Vec<u8> {
        let mut record = vec![0; 33];
        record[2..6].copy_from_slice(&block.to_le_bytes());
        record[10..14].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
        record[25] = flags;
        record[32] = u8::try_from(name.len()).unwrap();
        record.extend_from_slice(name);
        record.resize(record.len().next_multiple_of(2), 0);
        record[0] = u8::try_from(record.len()).unwrap();
        record
    }
    let mut image = vec![0; 20 * SECTOR];
    let mut put = |sector: usize, offset: usize, bytes: &[u8]| {
        let at = sector * SECTOR + offset;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(16, 0, b"\x01CD001\x01");
    put(16, 128, &2048u16.to_le_bytes());
    put(16, 156, &record(b"\0", 18, SECTOR, 2));
    let own = |block| {
        [
            record(b"\0", block, SECTOR, 2),
            record(b"\x01", 18, SECTOR, 2),
        ]
        .concat()
    };
    put(18, 0, &[own(18), record(b"BOOT", 19, SECTOR, 2)].concat());
    put(
        19,
        0,
        &[own(19), record(name.as_bytes(), 20, content.len(), 0)].concat(),
    );
    image.extend_from_slice(content);
    image.resize(image.len().next_multiple_of(SECTOR), 0);
    image
}

fn agent_on(image: &[u8]) -> Result<Agent, AgentError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boot.iso");
    std::fs::write(&path, image).unwrap();
    Agent::from_iso(&path)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A frame of literals only: what any encoder may make of bytes that do not compress.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![0xF0];
    let mut more = bytes.len() - 15;
    while more >= 255 {
        block.push(255);
        more -= 255;
    }
    block.push(u8::try_from(more).unwrap());
    block.extend_from_slice(bytes);
    let length = u32::try_from(block.len()).unwrap().to_le_bytes();
    [&lz4::LEGACY_MAGIC[..], &length, &block].concat()
}

#[test]
fn the_note_is_found_in_a_segment_and_in_a_section() {
    for in_segment in [true, false] {
        let found = elf_note::backdoor(&elf("VMwBdoor", &two_addresses(), 2, in_segment)).unwrap();
        assert_eq!(found.instructions, BTreeSet::from([0x40_1000, 0x40_1003]));
        assert_eq!(found.bell, None);
    }
}

#[test]
fn a_bell_is_a_note_of_its_own() {
    let notes = [
        note("VMwBdoor", 1, &two_addresses()),
        note("GNU", 2, b"else"),
        note("VMwBdoor", 2, &0x40_3000u64.to_le_bytes()),
    ];
    let found = elf_note::backdoor(&elf_with(&notes.concat(), 2, false)).unwrap();
    assert_eq!(found.bell, Some(0x40_3000));
    assert_eq!(found.instructions.len(), 2);
    // Alone it says nothing: there is no instruction to answer.
    assert_eq!(
        elf_note::backdoor(&elf_with(&notes[2], 2, true)),
        Err(NoteError::NoNote)
    );
}

#[test]
fn what_cannot_be_used_is_refused_by_its_reason() {
    let cases = [
        (b"#!/bin/sh\n".to_vec(), NoteError::NotElf),
        (b"\x7fELF\x02\x01".to_vec(), NoteError::NotElf),
        (elf("GNU", &two_addresses(), 2, true), NoteError::NoNote),
        (
            elf("VMwBdoor", &two_addresses(), 3, true),
            NoteError::PositionIndependent,
        ),
    ];
    for (file, error) in cases {
        assert_eq!(elf_note::backdoor(&file), Err(error));
    }
    for description in [&[][..], &[1; 7], &[0; 8]] {
        assert!(matches!(
            elf_note::backdoor(&elf("VMwBdoor", description, 2, true)),
            Err(NoteError::Damaged(_))
        ));
    }
}

#[test]
fn a_cut_elf_file_is_survived() {
    let elf = agent_elf();
    for length in 0..elf.len() {
        assert!(elf_note::backdoor(&elf[..length]).is_err());
    }
}

#[test]
fn init_is_found_in_every_compression_and_behind_an_early_archive() {
    let main = cpio(&[("init", 0o100_755, &agent_elf())]);
    let early = cpio(&[("kernel/x86/microcode/AuthenticAMD.bin", 0o100_644, b"xx")]);
    let padded = [&early[..], &[0; 512], &gzip(&main)].concat();
    for image in [main.clone(), gzip(&main), zstd(&main), lz4(&main), padded] {
        let agent = agent_on(&iso("INITRD.IMG;1", &image)).unwrap();
        assert_eq!(
            agent.backdoor.instructions,
            BTreeSet::from([0x40_1000, 0x40_1003])
        );
        assert!(
            agent.source.starts_with("init in /BOOT/INITRD.IMG on "),
            "{}",
            agent.source
        );
    }
}

#[test]
fn init_may_be_a_symbolic_link_or_another_program_may_have_the_note() {
    let link = cpio(&[
        ("sbin/tether", 0o100_755, &agent_elf()),
        ("sbin/init", 0o120_777, b"tether"),
        ("init", 0o120_777, b"/sbin/../sbin/init"),
    ]);
    let script = cpio(&[
        ("init", 0o100_755, b"#!/bin/sh\nexec /bin/agent\n"),
        ("bin/agent", 0o100_755, &agent_elf()),
    ]);
    for (archive, name) in [(link, "sbin/tether"), (script, "bin/agent")] {
        let agent = agent_on(&iso("I", &archive)).unwrap();
        assert!(agent.source.starts_with(name), "{}", agent.source);
    }
}

#[test]
fn links_in_a_circle_lead_nowhere() {
    let archive = cpio(&[("init", 0o120_777, b"a"), ("a", 0o120_777, b"init")]);
    let entries = initramfs::entries(&archive).unwrap();
    assert_eq!(initramfs::resolve(&entries, "init"), None);
}

#[test]
fn when_there_is_no_note_the_error_names_what_was_looked_at() {
    let archive = cpio(&[("init", 0o100_755, b"#!/bin/sh\n")]);
    let message = agent_on(&iso("I", &archive)).unwrap_err().to_string();
    for part in ["/I: init: is not a 64-bit", "--agent", "--no-backdoor"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let xz = agent_on(&iso("I", b"\xfd7zXZ\0rest")).unwrap_err();
    assert!(xz.to_string().contains("xz"), "{xz}");
    let nothing = agent_on(&iso("README", b"text")).unwrap_err();
    assert!(
        nothing
            .to_string()
            .contains("no file on it is an initramfs"),
        "{nothing}"
    );
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    for image in [&b""[..], &[0; 40_000]] {
        assert!(matches!(
            agent_on(image),
            Err(AgentError::Iso {
                source: IsoError::NotIso,
                ..
            })
        ));
    }
}

#[test]
fn a_cut_image_and_a_cut_archive_are_errors() {
    let archive = cpio(&[("init", 0o100_755, &agent_elf())]);
    for length in 1..archive.len() - 1 {
        let cut = initramfs::entries(&archive[..length]);
        assert!(cut.is_err() || length >= archive.len() - 4, "{length}");
    }
    let image = iso("I", &archive);
    let mut iso = Iso::open(Cursor::new(&image[..20 * 2048])).unwrap();
    let files = iso.files().unwrap();
    assert_eq!(files.len(), 1);
    assert!(iso.read(&files[0], 1024).is_err());
}

#[test]
fn lz4_matches_that_overlap_themselves_are_unpacked() {
    // Made by `lz4 -l -9`.
    let frame = b"\x02\x21\x4c\x18\x1d\0\0\0\x6dhello \x06\0\xbb, initramfs\n\0\x50ramfs";
    assert_eq!(
        lz4::unpack(frame, 1000).unwrap(),
        b"hello hello hello hello, initramfs initramfs initramfs"
    );
    for length in 9..frame.len() {
        assert!(lz4::unpack(&frame[..length], 1000).is_err());
    }
}
