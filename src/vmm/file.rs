//! A .vmx file: `name = "value"` lines, read and written so that whatever was not asked to change
//! stays byte for byte as it was.
//!
//! The grammar is that of open-vm-tools' `lib/dict/dictll.c`, which VMware's own programs share:
//! blanks around everything, `#` starts a comment, a value is quoted or one word, names know no
//! case. Bytes 0x80 to 0xFF stand for themselves and a backslash is nothing special.
//!
//! | where | `|` means |
//! |---|---|
//! | value | `|XX` with two hexadecimal digits is that byte; any other `|` is itself |
//! | name | itself, as VMware writes it (`guestinfo./sessions|2cf7…`, where `|2c` is no comma); only the exact spelling `|7C` is accepted as an escaped `|` |
//!
//! `|7C` in upper case cannot be a lower-case container ID behind a bare `|`, so both spellings of
//! a name are the same name here.
//!
//! A name that comes twice: VMware refuses the file. Here the last one counts, and
//! [`VmxFile::problems`] tells.

mod escape;

use std::fmt;

use escape::{decode_name, encode_name, quote, unescape};

/// Some editors put one in front.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A name that cannot stand in a .vmx file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name {name:?} cannot stand in a .vmx file: it is empty, or has a blank, `=`, `#` or a control character"
)]
pub struct NameError {
    /// The name.
    pub name: String,
}

/// Something in the file that VMware refuses and we live with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Neither `name = "value"` nor a comment nor blank.
    Malformed {
        /// Counted from 1.
        line: usize,
        /// As it stands.
        text: String,
    },
    /// The name has been there before; the last one counts.
    Duplicate {
        /// Counted from 1.
        line: usize,
        /// As it stands.
        name: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { line, text } => write!(
                f,
                "line {line} is not `name = \"value\"`, and VMware refuses such a file: {text}"
            ),
            Self::Duplicate { line, name } => write!(
                f,
                "line {line}: {name} has been set before, and VMware refuses such a file; the last one counts here"
            ),
        }
    }
}

/// How lines end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    /// The last line of a file whose last byte is not a line feed.
    None,
    Unix,
    Dos,
}

impl LineEnd {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Unix => b"\n",
            Self::Dos => b"\r\n",
        }
    }
}

#[derive(Clone, Debug)]
struct Line {
    /// Without its end.
    text: Vec<u8>,
    end: LineEnd,
    entry: Option<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Decoded, case kept.
    name: Vec<u8>,
    /// Decoded.
    value: Vec<u8>,
    /// The value's place in the line, quotes included.
    place: std::ops::Range<usize>,
}

impl Entry {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// A .vmx file in memory.
#[derive(Clone, Debug, Default)]
pub struct VmxFile {
    lines: Vec<Line>,
}

impl VmxFile {
    /// Reads any bytes: what makes no sense is kept and skipped.
    pub fn parse(bytes: &[u8]) -> VmxFile {
        let lines = bytes
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
            .map(|(number, line)| {
                let (text, end) = match line {
                    [text @ .., b'\r', b'\n'] => (text, LineEnd::Dos),
                    [text @ .., b'\n'] => (text, LineEnd::Unix),
                    text => (text, LineEnd::None),
                };
                let mark = if number == 0 && text.starts_with(BYTE_ORDER_MARK) {
                    BYTE_ORDER_MARK.len()
                } else {
                    0
                };
                Line {
                    text: text.to_vec(),
                    end,
                    entry: parse_entry(text, mark),
                }
            })
            .collect();
        VmxFile { lines }
    }

    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        for line in &self.lines {
            bytes.extend_from_slice(&line.text);
            bytes.extend_from_slice(line.end.bytes());
        }
        bytes
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line.text.len() + line.end.bytes().len())
            .sum()
    }

    /// The value of a name, decoded.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.lines
            .iter()
            .rev()
            .filter_map(|line| line.entry.as_ref())
            .find(|entry| entry.is(name))
            .map(|entry| entry.value.as_slice())
    }

    /// The value of a name as text; what is not UTF-8 in it is replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Every name and value, decoded, in the order of the file; of duplicates only the last.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut seen = std::collections::HashSet::new();
        let mut entries: Vec<_> = self
            .lines
            .iter()
            .rev()
            .filter_map(|line| line.entry.as_ref())
            .filter(|entry| seen.insert(entry.name.to_ascii_lowercase()))
            .map(|entry| (entry.name.as_slice(), entry.value.as_slice()))
            .collect();
        entries.reverse();
        entries.into_iter()
    }

    /// What VMware would refuse.
    pub fn problems(&self) -> Vec<Problem> {
        let mut seen = std::collections::HashSet::new();
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(&self.lines) {
            match &line.entry {
                Some(entry) if !seen.insert(entry.name.to_ascii_lowercase()) => {
                    problems.push(Problem::Duplicate {
                        line: number,
                        name: String::from_utf8_lossy(&entry.name).into_owned(),
                    });
                }
                None if !is_silent(&line.text) => problems.push(Problem::Malformed {
                    line: number,
                    text: String::from_utf8_lossy(&line.text).into_owned(),
                }),
                _ => {}
            }
        }
        problems
    }

    /// Gives a name a value: in its own line, which keeps its spelling and comment, or in a new
    /// last line. Whether anything has changed.
    ///
    /// # Errors
    /// When the name cannot stand in a .vmx file.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<bool, NameError> {
        if !is_name(name.as_bytes()) {
            return Err(NameError {
                name: name.to_owned(),
            });
        }
        let own = self
            .lines
            .iter_mut()
            .rev()
            .find(|line| line.entry.as_ref().is_some_and(|entry| entry.is(name)));
        if let Some(line) = own {
            return Ok(line.replace(value));
        }
        let end = match self.lines.first().map(|line| line.end) {
            Some(LineEnd::Dos) => LineEnd::Dos,
            _ => LineEnd::Unix,
        };
        if let Some(last) = self.lines.last_mut()
            && last.end == LineEnd::None
        {
            last.end = end;
        }
        let text = [&encode_name(name), b" = ".as_slice(), &quote(value)].concat();
        let entry = parse_entry(&text, 0);
        self.lines.push(Line { text, end, entry });
        Ok(true)
    }

    /// Takes a name out, every line of it. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.lines.len();
        self.lines
            .retain(|line| !line.entry.as_ref().is_some_and(|entry| entry.is(name)));
        self.lines.len() != before
    }
}

impl Line {
    /// Puts another value into the line's place for it.
    fn replace(&mut self, value: &[u8]) -> bool {
        let Some(entry) = &mut self.entry else {
            return false;
        };
        if entry.value == value {
            return false;
        }
        let quoted = quote(value);
        let end = entry.place.start + quoted.len();
        self.text.splice(entry.place.clone(), quoted);
        entry.place.end = end;
        entry.value = value.to_vec();
        true
    }
}

/// `name = "value"` with each part escaped as it must be: one line, without its end.
pub fn line(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, b" = ", &quote(value)].concat()
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether a line without an entry says nothing: blank, or a comment.
fn is_silent(text: &[u8]) -> bool {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    matches!(text.iter().find(|byte| !is_blank(byte)), None | Some(b'#'))
}

/// Whether a name would be read back as it was written.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.starts_with(BYTE_ORDER_MARK)
        && !name
            .iter()
            .any(|byte| matches!(byte, 0..=b' ' | b'=' | b'#' | 0x7F))
}

/// The entry of a line whose first `skip` bytes do not count.
fn parse_entry(text: &[u8], skip: usize) -> Option<Entry> {
    let walk = |from: usize, inside: &dyn Fn(&u8) -> bool| {
        from + text
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| inside(byte))
            .count()
    };
    if text.contains(&0) {
        return None;
    }
    let name_start = walk(skip, &is_blank);
    let name_end = walk(name_start, &|byte| {
        !is_blank(byte) && !matches!(byte, b'#' | b'=')
    });
    let equals = walk(name_end, &is_blank);
    if name_start == name_end || text.get(equals) != Some(&b'=') {
        return None;
    }
    let start = walk(equals + 1, &is_blank);
    let (value, end) = if text.get(start) == Some(&b'"') {
        let close = walk(start + 1, &|byte| *byte != b'"');
        text.get(close)?;
        (start + 1..close, close + 1)
    } else {
        let end = walk(start, &|byte| !is_blank(byte) && *byte != b'#');
        (start..end, end)
    };
    let rest = walk(end, &is_blank);
    if !matches!(text.get(rest), None | Some(b'#')) {
        return None;
    }
    Some(Entry {
        name: decode_name(text.get(name_start..name_end)?),
        value: unescape(text.get(value)?),
        place: start..end,
    })
}

#[cfg(test)]
mod tests;
