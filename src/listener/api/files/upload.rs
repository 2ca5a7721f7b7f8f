//! An archive that a client sends, as entries.

use std::io::{self, BufReader, Read};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::files::{Entry, Kind};
use crate::image::layer;

/// Entries and their contents as bytes; or what is wrong with the archive.
pub(super) type Piece = Result<Vec<u8>, String>;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;
/// What nobody wants any more is taken for so long.
const DRAIN_MOST: Duration = Duration::from_secs(10);

/// Reads an archive to its end, packed or not.
pub(super) fn unpack(mut archive: impl Read, to: &mpsc::Sender<Piece>) {
    if let Err(Some(text)) = entries(&mut archive, to) {
        // Nobody waits for it any more.
        let _ = to.blocking_send(Err(text));
    }
    let until = Instant::now() + DRAIN_MOST;
    let mut piece = vec![0; PIECE];
    while Instant::now() < until && matches!(archive.read(&mut piece), Ok(count) if count > 0) {}
}

/// `None`: nobody takes them.
fn entries(archive: &mut impl Read, to: &mpsc::Sender<Piece>) -> Result<(), Option<String>> {
    let broken = |error: io::Error| Some(format!("archive: {error}"));
    let plain = layer::decompressed(BufReader::with_capacity(PIECE, archive)).map_err(broken)?;
    let mut archive = tar::Archive::new(plain);
    let mut waiting = Vec::with_capacity(2 * PIECE);
    let send = |waiting: &mut Vec<u8>, least: usize| {
        if waiting.len() < least || waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(waiting, Vec::with_capacity(2 * PIECE));
        to.blocking_send(Ok(piece)).map_err(|_| None)
    };
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let Some(told) = told(&mut entry).map_err(Some)? else {
            continue;
        };
        told.write(&mut waiting);
        let mut left = told.contents();
        while left > 0 {
            send(&mut waiting, PIECE)?;
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let start = waiting.len();
            waiting.resize(start + most, 0);
            let count = entry.read(&mut waiting[start..]).map_err(broken)?;
            if count == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            waiting.truncate(start + count);
            left -= count as u64;
        }
        send(&mut waiting, PIECE)?;
    }
    send(&mut waiting, 0)
}

/// `None`: it is none.
fn told(entry: &mut tar::Entry<'_, impl Read>) -> Result<Option<Entry>, String> {
    use tar::EntryType as Type;
    let broken = |error: io::Error| format!("archive: {error}");
    let kind = match entry.header().entry_type() {
        Type::Regular | Type::Continuous | Type::GNUSparse => Kind::File,
        Type::Directory => Kind::Folder,
        Type::Symlink => Kind::Symlink,
        Type::Link => Kind::HardLink,
        Type::Char => Kind::Character,
        Type::Block => Kind::Block,
        Type::Fifo => Kind::Fifo,
        Type::XGlobalHeader => return Ok(None),
        other => {
            let path = entry.path().map_err(broken)?.display().to_string();
            let kind = char::from(other.as_byte());
            return Err(format!("{path}: an entry of type {kind:?} is not known"));
        }
    };
    let path = below(&entry.path().map_err(broken)?)?;
    let link = entry.link_name().map_err(broken)?.unwrap_or_default();
    let link = match kind {
        Kind::HardLink => below(&link)?,
        _ => std::os::unix::ffi::OsStrExt::as_bytes(link.as_os_str()).to_vec(),
    };
    let size = entry.size();
    let header = entry.header();
    // Whoever is none often leaves the fields empty.
    let device = match kind {
        Kind::Character | Kind::Block => (
            header.device_major().map_err(broken)?.unwrap_or_default(),
            header.device_minor().map_err(broken)?.unwrap_or_default(),
        ),
        _ => (0, 0),
    };
    let meta = layer::meta(entry).map_err(broken)?;
    let xattrs = meta
        .xattrs
        .into_iter()
        .map(|(name, value)| (name.into_bytes(), value));
    Ok(Some(Entry {
        kind,
        path,
        link,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        size,
        device,
        xattrs: xattrs.collect(),
        ..Entry::default()
    }))
}

/// A path from the folder on, as docker takes it: from the root is from the folder.
fn below(path: &Path) -> Result<Vec<u8>, String> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(std::os::unix::ffi::OsStrExt::as_bytes(name)),
            Component::ParentDir => {
                if parts.pop().is_none() {
                    return Err(format!("{}: it leads out of the folder", path.display()));
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Decoder, Event};

    fn unpacked(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, String> {
        let (sender, mut pieces) = mpsc::channel(64);
        unpack(archive, &sender);
        drop(sender);
        let (mut decoder, mut all) = (Decoder::default(), Vec::<(Entry, Vec<u8>)>::new());
        while let Some(piece) = pieces.blocking_recv() {
            let piece = piece?;
            let mut input = &piece[..];
            while let Some(event) = decoder.next(&mut input).expect("good") {
                match event {
                    Event::Entry(entry) => all.push((entry, Vec::new())),
                    Event::Data(data) => all.last_mut().expect("a file").1.extend(data),
                    Event::End(_) => {}
                }
            }
        }
        Ok(all)
    }

    fn archive(path: &str, contents: &[u8]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o4755);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        archive.append(&header, contents).expect("memory");
        archive.into_inner().expect("memory")
    }

    #[test]
    fn entries_are_those_of_the_archive() {
        let large = vec![7; 300_000];
        for (path, expected) in [("a/./b", "a/b"), ("/x", "x"), ("a/../c", "c"), ("./", "")] {
            let all = unpacked(&archive(path, &large)).expect("an archive");
            let [(entry, contents)] = &all[..] else {
                panic!("{all:?}");
            };
            assert_eq!(entry.path, expected.as_bytes());
            assert_eq!((entry.kind, entry.mode), (Kind::File, 0o4755));
            assert!(*contents == large);
        }
    }

    #[test]
    fn what_leads_out_or_is_cut_off_is_told() {
        let told = unpacked(&archive("../x", b"x")).expect_err("out");
        assert!(told.contains("leads out"), "{told}");
        let cut = archive("x", &[1; 2000]);
        let told = unpacked(&cut[..1000]).expect_err("cut off");
        assert!(told.contains("archive"), "{told}");
        assert!(unpacked(b"nothing of the kind, and rather long for a header").is_err());
    }
}
