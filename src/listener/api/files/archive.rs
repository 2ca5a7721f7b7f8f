//! Entries as a tar archive (POSIX.1-2017, pax): what does not fit into a header's fields is a record before it.

use crate::files::{Entry, Kind};

/// A header's length, and what contents are filled up to.
const BLOCK: usize = 512;
/// Bytes of a name in a header.
const NAME_MOST: usize = 100;
/// Before an attribute's name in a record, as GNU tar has it.
const XATTR: &str = "SCHILY.xattr.";

/// An archive that is written.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// Names are those below the root, without the slash.
    of_root: bool,
    /// Bytes of contents so far.
    contents: u64,
}

impl Archive {
    /// Of a whole tree.
    pub(super) fn of_root() -> Self {
        Self {
            of_root: true,
            ..Self::default()
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        self.fill(out);
        let (mut path, mut link) = (entry.path.clone(), entry.link.clone());
        if self.of_root {
            let below = |path: &mut Vec<u8>| {
                if path.first() == Some(&b'/') {
                    path.remove(0);
                }
            };
            below(&mut path);
            if entry.kind == Kind::HardLink {
                below(&mut link);
            }
            if path.is_empty() {
                return;
            }
        }
        if entry.kind == Kind::Folder && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        let mut records = Vec::new();
        for (key, text) in [("path", &path), ("linkpath", &link)] {
            if text.len() > NAME_MOST || !text.is_ascii() {
                record(key, text, &mut records);
            }
        }
        for (name, value) in &entry.xattrs {
            let name = String::from_utf8_lossy(name);
            record(&format!("{XATTR}{name}"), value, &mut records);
        }
        if !records.is_empty() {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_size(records.len() as u64);
            header.set_mode(0o644);
            finish(&mut header, b"PaxHeaders/entry", b"", out);
            out.extend_from_slice(&records);
            pad(records.len() as u64, out);
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(match entry.kind {
            Kind::File | Kind::Socket => tar::EntryType::Regular,
            Kind::Folder => tar::EntryType::Directory,
            Kind::Symlink => tar::EntryType::Symlink,
            Kind::HardLink => tar::EntryType::Link,
            Kind::Character => tar::EntryType::Char,
            Kind::Block => tar::EntryType::Block,
            Kind::Fifo => tar::EntryType::Fifo,
        });
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or_default());
        header.set_size(entry.contents());
        let (major, minor) = entry.device;
        // A header of this kind has the fields.
        let _ = header
            .set_device_major(major)
            .and_then(|()| header.set_device_minor(minor));
        finish(&mut header, &path, &link, out);
        self.contents = 0;
    }

    pub(super) fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.contents += bytes.len() as u64;
        out.extend_from_slice(bytes);
    }

    pub(super) fn end(mut self, out: &mut Vec<u8>) {
        self.fill(out);
        out.extend_from_slice(&[0; 2 * BLOCK]);
    }

    fn fill(&mut self, out: &mut Vec<u8>) {
        pad(std::mem::take(&mut self.contents), out);
    }
}

fn pad(length: u64, out: &mut Vec<u8>) {
    let over = usize::try_from(length % BLOCK as u64).unwrap_or_default();
    if over > 0 {
        out.resize(out.len() + BLOCK - over, 0);
    }
}

/// Names as they are; where they are too long, their records count.
fn finish(header: &mut tar::Header, path: &[u8], link: &[u8], out: &mut Vec<u8>) {
    let fields = header.as_old_mut();
    for (field, text) in [(&mut fields.name, path), (&mut fields.linkname, link)] {
        let length = text.len().min(NAME_MOST);
        field[..length].copy_from_slice(&text[..length]);
    }
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}

/// `LENGTH KEY=VALUE\n`, the length counted as a part of it.
fn record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn written(entries: &[(Entry, &[u8])], mut archive: Archive) -> Vec<u8> {
        let mut out = Vec::new();
        for (entry, contents) in entries {
            archive.entry(entry, &mut out);
            archive.data(contents, &mut out);
        }
        archive.end(&mut out);
        out
    }

    #[test]
    fn what_is_written_is_read_by_others() {
        let long = [b"d/".as_slice(), &[b'x'; 300]].concat();
        let entries: Vec<(Entry, &[u8])> = vec![
            (
                Entry {
                    kind: Kind::Folder,
                    path: b"d".to_vec(),
                    mode: 0o1755,
                    ..Entry::default()
                },
                b"",
            ),
            (
                Entry {
                    path: long.clone(),
                    size: 3,
                    mode: 0o4711,
                    uid: 3_000_000,
                    gid: 7,
                    mtime: (1_700_000_000, 9),
                    xattrs: vec![(b"user.a".to_vec(), b"v=w".to_vec())],
                    ..Entry::default()
                },
                b"abc",
            ),
            (
                Entry {
                    kind: Kind::HardLink,
                    path: "d/\u{e4}".into(),
                    link: long.clone(),
                    ..Entry::default()
                },
                b"",
            ),
            (
                Entry {
                    kind: Kind::Character,
                    path: b"d/c".to_vec(),
                    device: (5, 1),
                    ..Entry::default()
                },
                b"",
            ),
        ];
        let bytes = written(&entries, Archive::default());
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(&*bytes);
        let mut read = archive.entries().expect("an archive");
        let mut next = || read.next().expect("one more").expect("whole");
        let folder = next();
        assert_eq!(&*folder.path_bytes(), b"d/");
        assert_eq!(folder.header().mode().expect("a mode"), 0o1755);
        let mut file = next();
        assert_eq!(&*file.path_bytes(), &*long);
        assert_eq!(file.header().uid().expect("an owner"), 3_000_000);
        assert_eq!(file.header().mtime().expect("a time"), 1_700_000_000);
        let records = file.pax_extensions().expect("records").expect("some");
        let records: Vec<_> = records.map(|one| one.expect("good")).collect();
        let xattr = records
            .iter()
            .find(|one| one.key_bytes() == b"SCHILY.xattr.user.a");
        assert_eq!(xattr.expect("it").value_bytes(), b"v=w");
        let mut contents = String::new();
        file.read_to_string(&mut contents).expect("contents");
        assert_eq!(contents, "abc");
        let link = next();
        assert_eq!(&*link.link_name_bytes().expect("a link"), &*long);
        let device = next();
        assert_eq!(device.header().device_major().expect("one"), Some(5));
        assert!(read.next().is_none());
    }

    #[test]
    fn a_whole_tree_begins_below_its_root() {
        let folder = |path: &str| Entry {
            kind: Kind::Folder,
            path: path.into(),
            ..Entry::default()
        };
        let entries = [(folder("/"), &b""[..]), (folder("/etc"), b"")];
        let bytes = written(&entries, Archive::of_root());
        let mut archive = tar::Archive::new(&*bytes);
        let names = archive.entries().expect("an archive");
        let names: Vec<_> = names
            .map(|e| e.expect("one").path_bytes().into_owned())
            .collect();
        assert_eq!(names, [b"etc/"]);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in 0..200 {
            let mut out = Vec::new();
            record("k", &vec![b'v'; length], &mut out);
            let told = out.split(|byte| *byte == b' ').next().expect("a length");
            assert_eq!(
                std::str::from_utf8(told).expect("digits"),
                out.len().to_string()
            );
        }
    }
}
