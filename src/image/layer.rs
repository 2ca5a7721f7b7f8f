//! One layer's archive, as it was pulled, into the tree; files' contents go into a folder beside, a file each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::tree::{Kind, Meta, Tree, TreeError};

/// First bytes of what gzip and zstd make.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Prefix of a PAX record that is an extended attribute.
const XATTR: &str = "SCHILY.xattr.";
/// Entries of all layers, at most: each takes some hundred bytes of memory.
const ENTRIES_MOST: u64 = 4_000_000;
/// Bytes of a piece that is copied.
const PIECE: usize = 256 << 10;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An entry of it.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// What no container needs.
    #[error("{}: an entry of type {kind:?} is not known", path.display())]
    Type {
        /// Which.
        path: PathBuf,
        /// Its letter in the archive.
        kind: char,
    },
    /// More than the disk holds.
    #[error("the image has more than {0} bytes of files")]
    TooLarge(u64),
    /// More than can be kept in mind.
    #[error("the image has more than {ENTRIES_MOST} entries")]
    TooMany,
    /// Cut off, damaged, or the disk is full.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Layers on their way into a tree.
#[derive(Debug)]
pub struct Unpacking {
    tree: Tree,
    /// Where contents are, by their numbers; none: nobody wants them.
    contents: Option<PathBuf>,
    next: u64,
    entries: u64,
    bytes: u64,
    bytes_most: u64,
}

impl Unpacking {
    /// Contents go into this empty folder, `bytes_most` of them at most.
    pub fn into(contents: PathBuf, bytes_most: u64) -> Self {
        Self {
            tree: Tree::default(),
            contents: Some(contents),
            next: 0,
            entries: 0,
            bytes: 0,
            bytes_most,
        }
    }

    /// Nobody wants the contents: of a file the number is its size.
    pub fn without_contents() -> Self {
        Self {
            contents: None,
            ..Self::into(PathBuf::new(), u64::MAX)
        }
    }

    /// The next layer, from the lowest on; `moved` is told how many bytes of the archive have been read.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn layer(&mut self, archive: &Path, moved: &mut dyn FnMut(u64)) -> Result<(), LayerError> {
        let file = Counted {
            file: File::open(archive)?,
            moved,
            read: 0,
        };
        self.tree.next_layer();
        self.archive(decompressed(BufReader::with_capacity(PIECE, file))?)
    }

    /// What the layers have made, the folder of the contents, and how many bytes they are.
    pub fn done(self) -> (Tree, PathBuf, u64) {
        (self.tree, self.contents.unwrap_or_default(), self.bytes)
    }

    fn archive(&mut self, bytes: impl Read) -> Result<(), LayerError> {
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries()? {
            self.entries += 1;
            if self.entries > ENTRIES_MOST {
                return Err(LayerError::TooMany);
            }
            self.entry(&mut entry?)?;
        }
        // What follows the archive's end is a part of the layer: a stream that is cut off shows there.
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        Ok(())
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), LayerError> {
        use tar::EntryType as Type;
        let path = entry.path()?.into_owned();
        let meta = meta(entry)?;
        if entry.header().entry_type() != Type::Directory && self.tree.whiteout(&path)? {
            return Ok(());
        }
        let header = entry.header();
        let device = || -> io::Result<(u32, u32)> {
            let major = header.device_major()?.unwrap_or_default();
            Ok((major, header.device_minor()?.unwrap_or_default()))
        };
        let kind = match header.entry_type() {
            Type::Directory => return Ok(self.tree.folder(&path, meta)?),
            Type::Link => {
                let target = entry.link_name()?.unwrap_or_default();
                return Ok(self.tree.hard_link(&path, &target)?);
            }
            Type::XGlobalHeader => return Ok(()),
            Type::Regular | Type::Continuous | Type::GNUSparse => {
                Kind::File(self.contents_of(entry)?)
            }
            Type::Symlink => Kind::Symlink(entry.link_name()?.unwrap_or_default().into_owned()),
            Type::Char => {
                let (major, minor) = device()?;
                Kind::Character(major, minor)
            }
            Type::Block => {
                let (major, minor) = device()?;
                Kind::Block(major, minor)
            }
            Type::Fifo => Kind::Fifo,
            other => {
                let kind = char::from(other.as_byte());
                return Err(LayerError::Type { path, kind });
            }
        };
        Ok(self.tree.leaf(&path, meta, kind)?)
    }

    fn contents_of(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<u64, LayerError> {
        let number = self.next;
        self.next += 1;
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > self.bytes_most {
            return Err(LayerError::TooLarge(self.bytes_most));
        }
        let (copied, number) = match &self.contents {
            Some(folder) => {
                let mut file = File::create_new(folder.join(number.to_string()))?;
                let copied = io::copy(entry, &mut file)?;
                file.flush()?;
                (copied, number)
            }
            None => (io::copy(entry, &mut io::sink())?, entry.size()),
        };
        if copied == entry.size() {
            Ok(number)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}

/// What is packed, in whatever way layers are.
pub fn decompressed<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let first = packed.fill_buf()?;
    Ok(if first.starts_with(&GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(packed))
    } else if first.starts_with(&ZSTD) {
        Box::new(ZstdFrames::new(packed))
    } else {
        Box::new(packed)
    })
}

/// What an entry says of itself beside its name and contents.
///
/// # Errors
/// A field of it is none, or the archive is cut off.
pub fn meta(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Meta> {
    let mut xattrs = Vec::new();
    let header = entry.header();
    let seconds = or_empty(&header.as_old().mtime, header.mtime())?;
    let mut mtime = (i64::try_from(seconds).unwrap_or_default(), 0);
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            let Ok(key) = record.key() else {
                continue;
            };
            if let Some(name) = key.strip_prefix(XATTR) {
                xattrs.push((name.to_owned(), record.value_bytes().to_vec()));
            } else if key == "mtime" {
                mtime = time(record.value().unwrap_or_default()).unwrap_or(mtime);
            }
        }
    }
    let header = entry.header();
    let old = header.as_old();
    let number = |id: u64| u32::try_from(id).map_err(io::Error::other);
    Ok(Meta {
        mode: number(or_empty(&old.mode, header.mode().map(u64::from))?)? & 0o7777,
        uid: number(or_empty(&old.uid, header.uid())?)?,
        gid: number(or_empty(&old.gid, header.gid())?)?,
        mtime,
        xattrs,
    })
}

/// Some archives leave a number out: it is 0, as with docker.
fn or_empty(field: &[u8], read: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    read
}

/// Seconds and nanoseconds of `1700000000.25`.
fn time(text: &str) -> Option<(i64, u32)> {
    let (seconds, digits) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = digits.chars().take(9).collect();
    let nanos = format!("{digits:0<9}").parse().ok()?;
    Some((seconds.parse().ok()?, nanos))
}

/// The frames of a zstd stream, one behind the other, without those that are to be skipped.
struct ZstdFrames<R: BufRead> {
    state: Option<Frame<R>>,
}

enum Frame<R: BufRead> {
    Between(R),
    In(Box<StreamingDecoder<R, FrameDecoder>>),
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(bytes: R) -> Self {
        let state = Some(Frame::Between(bytes));
        Self { state }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(Frame::In(mut decoder)) => match decoder.read(buffer)? {
                    0 if !buffer.is_empty() => {
                        self.state = Some(Frame::Between(decoder.into_inner()));
                    }
                    count => {
                        self.state = Some(Frame::In(decoder));
                        return Ok(count);
                    }
                },
                Some(Frame::Between(mut bytes)) => {
                    let head = bytes.fill_buf()?;
                    if head.is_empty() {
                        return Ok(0);
                    }
                    if let Some(length) = skippable(head) {
                        let skipped = io::copy(&mut (&mut bytes).take(length), &mut io::sink())?;
                        if skipped < length {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        self.state = Some(Frame::Between(bytes));
                    } else {
                        let decoder = StreamingDecoder::new(bytes).map_err(io::Error::other)?;
                        self.state = Some(Frame::In(Box::new(decoder)));
                    }
                }
            }
        }
    }
}

/// Length of a frame that is to be skipped, with its head (RFC 8878, 3.1.2).
fn skippable(head: &[u8]) -> Option<u64> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    let of_them = (0x184d_2a50..=0x184d_2a5f).contains(&u32::from_le_bytes(*magic));
    of_them.then(|| u64::from(u32::from_le_bytes(*length)) + 8)
}

/// Tells how much has been read.
struct Counted<'a> {
    file: File,
    moved: &'a mut dyn FnMut(u64),
    read: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        (self.moved)(self.read);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer with a folder, a file, a link, an attribute and a whiteout.
    fn archive() -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let header = |kind, mode, size| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size);
            header.set_uid(1000);
            header.set_gid(7);
            header.set_mtime(5);
            header
        };
        let mut add = |path: &str, kind, mode, bytes: &[u8]| {
            let mut header = header(kind, mode, bytes.len() as u64);
            archive
                .append_data(&mut header, path, bytes)
                .expect("memory");
        };
        add("d/", tar::EntryType::Directory, 0o750, b"");
        add("d/f", tar::EntryType::Regular, 0o4755, b"contents");
        add("d/.wh.gone", tar::EntryType::Regular, 0, b"");
        let mut link = header(tar::EntryType::Link, 0o644, 0);
        archive.append_link(&mut link, "g", "d/f").expect("memory");
        archive.into_inner().expect("memory")
    }

    fn unpacked(layer: &[u8]) -> Result<(Tree, PathBuf, tempfile::TempDir), LayerError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("layer");
        std::fs::write(&path, layer)?;
        let contents = folder.path().join("contents");
        std::fs::create_dir(&contents)?;
        let mut unpacking = Unpacking::into(contents, 1 << 20);
        let mut read = 0;
        unpacking.layer(&path, &mut |bytes| read = bytes)?;
        assert_eq!(read, layer.len() as u64);
        let (tree, contents, bytes) = unpacking.done();
        assert_eq!(bytes, 8);
        Ok((tree, contents, folder))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let (a, b) = bytes.split_at(bytes.len() / 2);
        let skipped = [
            &0x184d_2a50_u32.to_le_bytes()[..],
            &2_u32.to_le_bytes(),
            b"xx",
        ]
        .concat();
        let frame = |part: &[u8]| ruzstd::encoding::compress_to_vec(part, level);
        [frame(a), skipped, frame(b)].concat()
    }

    #[test]
    fn a_layer_is_the_same_in_every_packing() {
        for layer in [archive(), gzip(&archive()), zstd(&archive())] {
            let (tree, contents, _folder) = unpacked(&layer).expect("a layer");
            let super::super::tree::Node::Folder(_, root) = tree.root() else {
                panic!("the root is a folder");
            };
            let node = |name: &str| tree.node(root[std::ffi::OsStr::new(name)].node);
            let Some(super::super::tree::Node::Leaf(meta, Kind::File(number))) = node("g") else {
                panic!("no file: {:?}", node("g"));
            };
            assert_eq!((meta.mode, meta.uid, meta.gid), (0o4755, 1000, 7));
            let text = std::fs::read(contents.join(number.to_string())).expect("contents");
            assert_eq!(text, b"contents");
        }
    }

    #[test]
    fn a_layer_that_is_cut_off_is_no_layer() {
        for layer in [gzip(&archive()), zstd(&archive())] {
            for length in [layer.len() - 1, layer.len() / 2, 5] {
                let cut = unpacked(&layer[..length]);
                assert!(matches!(cut, Err(LayerError::Io(_))), "{length}: {cut:?}");
            }
        }
    }

    #[test]
    fn times_may_have_fractions() {
        assert_eq!(time("1700000000.25"), Some((1_700_000_000, 250_000_000)));
        assert_eq!(time("12"), Some((12, 0)));
        assert_eq!(time("x"), None);
    }
}
