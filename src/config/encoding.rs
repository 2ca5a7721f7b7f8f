//! How a document was packed: plain, base64, or gzip and then base64, under the names that cloud-init has for
//! `guestinfo.userdata.encoding`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How long a document may be when it is unpacked, bytes.
const UNPACKED_MOST: usize = 1 << 20;
/// So few bytes are no packed object, and say better what they are as they stand.
const SHORTEST: usize = 8;
/// What JSON that is no number may begin with.
const JSON: &[u8] = b"{[\"";
/// What gzip begins with (RFC 1952): the magic number, and deflate.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
/// Bytes behind the data: checksum and length.
const TRAILER: usize = 8;

/// A packing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As its first bytes say.
    #[default]
    Unsaid,
    /// JSON as it stands.
    Plain,
    /// Base64, of JSON or of gzip.
    Base64,
}

/// Why a document cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// A name that no packing has.
    #[error("the encoding {0:?} is not known: expected base64 or gzip+base64, or none")]
    Unknown(String),
    /// Not base64.
    #[error("the document is neither JSON nor base64: {0}")]
    Base64(base64::DecodeError),
    /// Not gzip, or damaged.
    #[error("the document is damaged: its gzip {0}")]
    Gzip(&'static str),
}

impl Encoding {
    /// By its name.
    ///
    /// # Errors
    /// No packing has it.
    pub fn from_name(name: &str) -> Result<Self, EncodingError> {
        match name.trim() {
            "" => Ok(Self::Unsaid),
            "plain" | "none" => Ok(Self::Plain),
            "base64" | "b64" | "gzip+base64" | "gz+b64" => Ok(Self::Base64),
            other => Err(EncodingError::Unknown(other.to_owned())),
        }
    }

    /// The document as it was before it was packed.
    ///
    /// # Errors
    /// It is damaged, or packed in another way.
    pub fn unpack(self, document: &[u8]) -> Result<Cow<'_, [u8]>, EncodingError> {
        let trimmed = document.trim_ascii();
        let is_packed = match self {
            Self::Plain => false,
            Self::Base64 => true,
            Self::Unsaid => {
                trimmed.len() > SHORTEST
                    && !trimmed.first().is_some_and(|first| JSON.contains(first))
            }
        };
        if trimmed.starts_with(GZIP) {
            return gunzip(trimmed).map(Cow::Owned);
        }
        if !is_packed {
            return Ok(Cow::Borrowed(document));
        }
        let letters: Vec<u8> = trimmed
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        let unpacked = STANDARD.decode(letters).map_err(EncodingError::Base64)?;
        if unpacked.starts_with(GZIP) {
            return gunzip(&unpacked).map(Cow::Owned);
        }
        Ok(Cow::Owned(unpacked))
    }
}

/// RFC 1952, one member.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, EncodingError> {
    let damaged = EncodingError::Gzip;
    let body = skip_header(packed).ok_or(damaged("has no whole header"))?;
    let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(body, UNPACKED_MOST)
        .map_err(|_| damaged("does not unpack, or to more than 1 MiB"))?;
    let trailer = packed
        .len()
        .checked_sub(TRAILER)
        .and_then(|at| packed.get(at..));
    let length = trailer.and_then(|trailer| trailer.last_chunk::<4>());
    let length = length.map(|bytes| u32::from_le_bytes(*bytes));
    if length.map(u64::from) != Some(unpacked.len() as u64) {
        return Err(damaged("says another length"));
    }
    Ok(unpacked)
}

fn skip_header(packed: &[u8]) -> Option<&[u8]> {
    const FIXED: usize = 10;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CHECKSUM: u8 = 2;
    let flags = *packed.get(3)?;
    let mut rest = packed.get(FIXED..)?;
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::GzBuilder;

    use super::*;

    const DOCUMENT: &[u8] = b"{ \"id\": \"a1\" }";

    fn zipped(name: &str) -> Vec<u8> {
        let mut builder = GzBuilder::new().comment("made by a test").extra("xyz");
        if !name.is_empty() {
            builder = builder.filename(name);
        }
        let mut writer = builder.write(Vec::new(), flate2::Compression::best());
        writer.write_all(DOCUMENT).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn each_packing_is_undone() {
        let lines = |text: String| format!("{}\n{}\n", &text[..8], &text[8..]);
        for packed in [
            DOCUMENT.to_vec(),
            STANDARD.encode(DOCUMENT).into_bytes(),
            lines(STANDARD.encode(DOCUMENT)).into_bytes(),
            zipped("config.json"),
            STANDARD.encode(zipped("")).into_bytes(),
        ] {
            let unpacked = Encoding::Unsaid.unpack(&packed).expect("whole");
            assert_eq!(unpacked, DOCUMENT);
        }
        let packed = STANDARD.encode(zipped("x"));
        let said = Encoding::from_name("gzip+base64").expect("known");
        assert_eq!(said.unpack(packed.as_bytes()).expect("whole"), DOCUMENT);
    }

    #[test]
    fn damage_is_told() {
        let whole = zipped("config.json");
        for length in [5, 12, whole.len() - 9, whole.len() - 1] {
            let cut = STANDARD.encode(&whole[..length]);
            assert!(Encoding::Base64.unpack(cut.as_bytes()).is_err(), "{length}");
        }
        assert!(Encoding::Unsaid.unpack(b"hello, world").is_err());
        assert!(Encoding::from_name("zstd").is_err());
        assert!(Encoding::Base64.unpack(DOCUMENT).is_err());
    }

    #[test]
    fn what_unpacks_without_end_is_not_taken() {
        let mut writer = GzBuilder::new().write(Vec::new(), flate2::Compression::best());
        writer.write_all(&vec![b' '; UNPACKED_MOST + 1]).unwrap();
        let bomb = STANDARD.encode(writer.finish().unwrap());
        assert!(Encoding::Unsaid.unpack(bomb.as_bytes()).is_err());
    }
}
