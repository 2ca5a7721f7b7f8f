//! Files on their way into a container or out of it: what process 1 and the appliance say to each other on the streams of
//! a session that is neither's program. The appliance makes tar of it, and makes it of tar: the guest knows no archives.
//!
//! ```text
//!  ┌ length, 4 bytes, little endian ┐┌ entry: a record of fields ┐┌ so many bytes of contents ┐ …  ┌ end ┐
//! ```

use crate::frozen::{Record, Writer};

/// Bytes of an entry without its contents, at most.
const HEAD_MOST: usize = 1 << 20;
/// Bytes before an entry.
const LENGTH: usize = 4;

/// Fields of an entry.
const KIND: u8 = 1;
const PATH: u8 = 2;
const LINK: u8 = 3;
const MODE: u8 = 4;
const UID: u8 = 5;
const GID: u8 = 6;
const SECONDS: u8 = 7;
const NANOS: u8 = 8;
const SIZE: u8 = 9;
const MAJOR: u8 = 10;
const MINOR: u8 = 11;
const XATTR: u8 = 12;
const TROUBLE: u8 = 13;
const ABOUT: u8 = 14;
const MOUNT: u8 = 15;
/// Fields of an attribute.
const NAME: u8 = 1;
const VALUE: u8 = 2;
/// The number of the kind that ends it all.
const END: u8 = 255;

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A file; its contents follow.
    #[default]
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Another name of a file that came before, `link`.
    HardLink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// A socket; it is told of, and never copied.
    Socket,
}

const KINDS: [Kind; 8] = [
    Kind::File,
    Kind::Folder,
    Kind::Symlink,
    Kind::HardLink,
    Kind::Character,
    Kind::Block,
    Kind::Fifo,
    Kind::Socket,
];

/// One file, folder or whatever has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name from where the copy begins.
    pub path: Vec<u8>,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Permissions, with set-ID and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Changed last: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of a file.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// It is told of, and no contents follow.
    pub about: bool,
    /// It is of another file system than the folder that it is in.
    pub mount: bool,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why it did not go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Something of ours.
    #[default]
    Failed,
    /// There is nothing at the path.
    NotFound,
    /// What is asked for cannot be.
    Bad,
    /// The place cannot be written to.
    ReadOnly,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Failed,
    Trouble::NotFound,
    Trouble::Bad,
    Trouble::ReadOnly,
];

/// A [`Trouble`], and the words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// Its kind.
    pub trouble: Trouble,
    /// What to tell.
    pub text: String,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry. As many bytes as it has in [`Entry::size`] follow where it is a file.
    Entry(Entry),
    /// Contents of the file before.
    Data(&'a [u8]),
    /// All has been done, or it went wrong.
    End(Result<(), Failure>),
}

/// What no other end of ours says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what has come are no files: {0}")]
pub struct Malformed(&'static str);

fn place<T: PartialEq>(all: &[T], one: &T) -> u64 {
    let before = all.iter().take_while(|other| *other != one);
    u64::try_from(before.count()).unwrap_or_default()
}

impl Entry {
    /// Bytes that follow it.
    pub fn contents(&self) -> u64 {
        if self.kind == Kind::File && !self.about {
            self.size
        } else {
            0
        }
    }

    /// Writes it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut to = Writer::default();
        to.number(KIND, place(&KINDS, &self.kind));
        to.bytes(PATH, &self.path);
        to.bytes(LINK, &self.link);
        to.number(MODE, self.mode);
        to.number(UID, self.uid);
        to.number(GID, self.gid);
        to.number(SECONDS, self.mtime.0.cast_unsigned());
        to.number(NANOS, self.mtime.1);
        to.number(SIZE, self.size);
        to.number(MAJOR, self.device.0);
        to.number(MINOR, self.device.1);
        to.number(ABOUT, self.about);
        to.number(MOUNT, self.mount);
        for (name, value) in &self.xattrs {
            to.record(XATTR, |to| {
                to.bytes(NAME, name);
                to.bytes(VALUE, value);
            });
        }
        write_record(to, out);
    }

    fn read(from: Record<'_>) -> Result<Self, Malformed> {
        let kind = from.number::<usize>(KIND);
        let xattrs = from.records(XATTR);
        Ok(Self {
            kind: *KINDS.get(kind).ok_or(Malformed("an unknown kind"))?,
            path: from.bytes(PATH).to_vec(),
            link: from.bytes(LINK).to_vec(),
            mode: from.number(MODE),
            uid: from.number(UID),
            gid: from.number(GID),
            mtime: (
                from.number::<u64>(SECONDS).cast_signed(),
                from.number(NANOS),
            ),
            size: from.number(SIZE),
            device: (from.number(MAJOR), from.number(MINOR)),
            about: from.flag(ABOUT),
            mount: from.flag(MOUNT),
            xattrs: xattrs
                .map(|one| (one.bytes(NAME).to_vec(), one.bytes(VALUE).to_vec()))
                .collect(),
        })
    }
}

fn write_record(record: Writer, out: &mut Vec<u8>) {
    let bytes = record.done();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Writes the end.
pub fn write_end(end: &Result<(), Failure>, out: &mut Vec<u8>) {
    let mut to = Writer::default();
    to.number(KIND, END);
    if let Err(failure) = end {
        to.number(
            TROUBLE,
            place(&TROUBLES, &failure.trouble).saturating_add(1),
        );
        to.bytes(PATH, failure.text.as_bytes());
    }
    write_record(to, out);
}

/// Reads what the other end has written, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Decoder {
    head: Vec<u8>,
    /// Bytes of contents that are still to come.
    left: u64,
    over: bool,
}

impl Decoder {
    /// What comes next of `input`, which is used up as far; `None`: all of it is, and more is needed.
    ///
    /// # Errors
    /// It is not what the other end writes.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, Malformed> {
        if self.left > 0 {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let piece = take(input, most);
            self.left = self.left.saturating_sub(piece.len() as u64);
            return Ok(Some(Event::Data(piece)).filter(|_| !piece.is_empty()));
        }
        if self.over && !input.is_empty() {
            return Err(Malformed("something behind the end"));
        }
        let missing = LENGTH.saturating_sub(self.head.len());
        self.head.extend_from_slice(take(input, missing));
        let Some((length, record)) = self.head.split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > HEAD_MOST {
            return Err(Malformed("an entry that is too long"));
        }
        let missing = length.saturating_sub(record.len());
        let piece = take(input, missing);
        self.head.extend_from_slice(piece);
        if piece.len() < missing {
            return Ok(None);
        }
        let head = std::mem::take(&mut self.head);
        let record = Record::new(head.get(LENGTH..).unwrap_or_default());
        if record.number::<u64>(KIND) == u64::from(END) {
            self.over = true;
            return Ok(Some(Event::End(end(record))));
        }
        let entry = Entry::read(record)?;
        self.left = entry.contents();
        Ok(Some(Event::Entry(entry)))
    }

    /// The end has come.
    pub fn is_over(&self) -> bool {
        self.over
    }
}

fn end(record: Record<'_>) -> Result<(), Failure> {
    match record.number::<usize>(TROUBLE) {
        0 => Ok(()),
        number => Err(Failure {
            trouble: TROUBLES
                .get(number.saturating_sub(1))
                .copied()
                .unwrap_or_default(),
            text: record.text(PATH),
        }),
    }
}

fn take<'i>(input: &mut &'i [u8], most: usize) -> &'i [u8] {
    let (piece, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    piece
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of bytes in pieces of such a length, data joined.
    fn read(bytes: &[u8], piece: usize) -> Result<Vec<(Entry, Vec<u8>)>, Malformed> {
        let (mut decoder, mut read) = (Decoder::default(), Vec::<(Entry, Vec<u8>)>::new());
        for mut input in bytes.chunks(piece.max(1)) {
            while let Some(event) = decoder.next(&mut input)? {
                match event {
                    Event::Entry(entry) => read.push((entry, Vec::new())),
                    Event::Data(data) => {
                        if let Some((_, contents)) = read.last_mut() {
                            contents.extend_from_slice(data);
                        }
                    }
                    Event::End(_) => {}
                }
            }
        }
        Ok(read)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_any_pieces(
            paths in proptest::collection::vec(any::<Vec<u8>>(), 0..4),
            contents in proptest::collection::vec(any::<u8>(), 0..300),
            seconds: i64,
            piece in 1_usize..50,
        ) {
            let mut bytes = Vec::new();
            let mut written = Vec::new();
            for (number, path) in paths.into_iter().enumerate() {
                let kind = *KINDS.get(number).expect("eight");
                let entry = Entry {
                    kind,
                    link: path.clone(),
                    path,
                    mtime: (seconds, 5),
                    size: contents.len() as u64,
                    xattrs: vec![(b"user.a".to_vec(), contents.clone())],
                    ..Entry::default()
                };
                entry.write(&mut bytes);
                let own = if kind == Kind::File { contents.clone() } else { Vec::new() };
                bytes.extend_from_slice(&own);
                written.push((entry, own));
            }
            write_end(&Ok(()), &mut bytes);
            prop_assert_eq!(read(&bytes, piece), Ok(written));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, piece in 1_usize..20) {
            let _ = read(&bytes, piece);
        }
    }

    #[test]
    fn an_end_tells_what_went_wrong_and_nothing_follows_it() {
        for trouble in TROUBLES {
            let failure = Failure {
                trouble,
                text: "no".into(),
            };
            let mut bytes = Vec::new();
            write_end(&Err(failure.clone()), &mut bytes);
            let mut decoder = Decoder::default();
            let mut input = &*bytes;
            let event = decoder.next(&mut input);
            assert_eq!(event, Ok(Some(Event::End(Err(failure)))));
            assert_eq!(decoder.next(&mut input), Ok(None));
            assert!(decoder.is_over() && decoder.next(&mut &b"x"[..]).is_err());
        }
        let long = [0xff; 8];
        assert!(Decoder::default().next(&mut &long[..]).is_err());
    }
}
