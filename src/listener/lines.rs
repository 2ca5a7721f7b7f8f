//! From records of the log to what a client wants to see: which streams, which lines, with times,
//! framed as docker frames them. Pure.

use super::store::record::{Kind, Record};
use super::store::{Positions, StreamPosition};
use crate::link::Stream;

/// The stream number of docker's frames for words of the server itself.
const SYSTEM_FRAME: u8 = 3;

/// What a client wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Standard output, and what a terminal shows.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// RFC 3339 time and a space before each line.
    pub timestamps: bool,
    /// Lines that begin before this time are left out; nanoseconds since 1970.
    pub since_ns: u64,
    /// Lines that begin at or after this time are left out.
    pub until_ns: u64,
    /// An 8-byte header before each piece; false: raw, as of a terminal.
    pub framed: bool,
}

impl Selection {
    /// Both streams, everything.
    pub fn all(framed: bool) -> Self {
        Self {
            stdout: true,
            stderr: true,
            timestamps: false,
            since_ns: 0,
            until_ns: u64::MAX,
            framed,
        }
    }

    fn takes(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdin => false,
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }

    /// Bytes pass as they are: no line needs to be looked at.
    fn is_plain(&self) -> bool {
        !self.timestamps && self.since_ns == 0 && self.until_ns == u64::MAX
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// The last byte was not the end of a line.
    open: bool,
    /// The open line is shown.
    shown: bool,
}

/// Formats the records of one session in the order of the log.
#[derive(Debug)]
pub struct Lines {
    selection: Selection,
    /// Lines to leave out before the first one shown.
    skip: u64,
    /// Lines that have begun.
    begun: u64,
    lines: [Line; 3],
    epoch: Option<u64>,
}

impl Lines {
    /// Begins at a segment's first record, which tells of lines that are open there: their rest
    /// is not shown. Of the lines that begin later, `skip` are left out.
    pub fn new(selection: Selection, skip: u64) -> Self {
        Self {
            selection,
            skip,
            begun: 0,
            lines: [Line::default(); 3],
            epoch: None,
        }
    }

    /// Begins in the middle of a segment, where the streams stand so: the rest of an open line is
    /// shown.
    pub fn from_here(selection: Selection, positions: &Positions) -> Self {
        let mut lines = Self::new(selection, 0);
        lines.epoch = positions.epoch;
        lines.open_lines(&positions.streams, true);
        lines
    }

    /// Lines that have begun so far.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Takes the next record; what it shows is appended.
    pub fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let stream = record.header.stream;
        match record.header.kind {
            Kind::Checkpoint => self.checkpoint(record),
            Kind::Data if !self.selection.takes(stream) => {}
            Kind::Data if self.selection.is_plain() && self.skip == 0 => {
                self.frame(stream.number(), record.payload, out);
            }
            Kind::Data => self.data(record, out),
            Kind::Gap => {
                let to = record
                    .payload
                    .first_chunk()
                    .map_or(0, |to| u64::from_le_bytes(*to));
                let lost = to.saturating_sub(record.header.offset);
                let name = if stream == Stream::Stderr {
                    "stderr"
                } else {
                    "stdout"
                };
                let note = format!("[{lost} bytes of {name} are missing here]\n");
                self.frame(Stream::Stderr.number(), note.as_bytes(), out);
            }
            Kind::End | Kind::Session => {}
        }
    }

    /// So many bytes of the log were deleted before they were read; a segment's first record comes
    /// next.
    pub fn skipped(&mut self, bytes: u64, out: &mut Vec<u8>) {
        self.epoch = None;
        let note = format!("[{bytes} bytes of the log were deleted here before they were read]\n");
        self.frame(Stream::Stderr.number(), note.as_bytes(), out);
    }

    /// Words of the listener itself, where the client can tell them from the container's.
    pub fn note(&self, text: &str, out: &mut Vec<u8>) {
        if self.selection.framed {
            self.frame(SYSTEM_FRAME, text.as_bytes(), out);
        }
    }

    /// Why a process did not run, where its own words would stand.
    pub fn reason(&self, text: &str, out: &mut Vec<u8>) {
        let end = if self.selection.framed { "\n" } else { "\r\n" };
        self.frame(
            Stream::Stderr.number(),
            format!("{text}{end}").as_bytes(),
            out,
        );
    }

    fn checkpoint(&mut self, record: &Record<'_>) {
        let epoch = Some(record.header.offset);
        if self.epoch == epoch {
            return;
        }
        let first = self.epoch.is_none();
        self.epoch = epoch;
        self.lines = [Line::default(); 3];
        if first && let Ok(positions) = serde_json::from_slice::<Positions>(record.payload) {
            self.open_lines(&positions.streams, false);
        }
    }

    fn open_lines(&mut self, streams: &[StreamPosition], shown: bool) {
        // Sessions are not told apart: at worst the rest of one line is shown or not.
        for position in streams.iter().filter(|s| s.mid_line) {
            if let Some(line) = self.lines.get_mut(usize::from(position.stream.number())) {
                *line = Line { open: true, shown };
            }
        }
    }

    fn data(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let number = record.header.stream.number();
        let time_ns = record.header.time_ns;
        for piece in record.payload.split_inclusive(|b| *b == b'\n') {
            let line = &mut self.lines[usize::from(number)];
            let begins = !line.open;
            if begins {
                self.begun += 1;
                line.shown = self.begun > self.skip
                    && time_ns >= self.selection.since_ns
                    && time_ns < self.selection.until_ns;
            }
            line.open = piece.last() != Some(&b'\n');
            if !line.shown {
                continue;
            }
            if begins && self.selection.timestamps {
                let mut stamped = stamp(time_ns).into_bytes();
                stamped.extend_from_slice(piece);
                self.frame(number, &stamped, out);
            } else {
                self.frame(number, piece, out);
            }
        }
    }

    fn frame(&self, number: u8, payload: &[u8], out: &mut Vec<u8>) {
        if self.selection.framed {
            out.extend_from_slice(&[number, 0, 0, 0]);
            // A record's payload, at most a few bytes more.
            out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        }
        out.extend_from_slice(payload);
    }
}

fn stamp(time_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    format!("{time:.9} ")
}

#[cfg(test)]
mod tests {
    use super::super::store::record::Header;
    use super::*;
    use crate::link::Channel;

    fn show(lines: &mut Lines, pieces: &[(Stream, u64, &str)]) -> String {
        let mut out = Vec::new();
        for (stream, time_ns, text) in pieces {
            let header = Header {
                kind: Kind::Data,
                channel: Channel(1),
                stream: *stream,
                time_ns: *time_ns,
                offset: 0,
            };
            lines.record(
                &Record {
                    header,
                    payload: text.as_bytes(),
                },
                &mut out,
            );
        }
        String::from_utf8(out).expect("text")
    }

    const PIECES: &[(Stream, u64, &str)] = &[
        (Stream::Stdout, 1, "one\ntw"),
        (Stream::Stderr, 2, "err\n"),
        (Stream::Stdout, 3, "o\nthree"),
    ];

    #[test]
    fn everything_passes_as_it_is() {
        let mut lines = Lines::new(Selection::all(false), 0);
        assert_eq!(show(&mut lines, PIECES), "one\ntwerr\no\nthree");
    }

    #[test]
    fn a_frame_has_its_stream_and_length() {
        let mut lines = Lines::new(Selection::all(true), 0);
        let shown = show(&mut lines, &[(Stream::Stderr, 1, "abc")]);
        assert_eq!(shown.as_bytes(), b"\x02\0\0\0\0\0\0\x03abc");
    }

    #[test]
    fn skipped_lines_are_counted_where_they_begin() {
        // one, two, err, three: in the order of their first bytes.
        for (skip, expected) in [
            (1, "twerr\no\nthree"),
            (2, "err\nthree"),
            (3, "three"),
            (4, ""),
        ] {
            let mut lines = Lines::new(Selection::all(false), skip);
            assert_eq!(show(&mut lines, PIECES), expected, "skip {skip}");
            assert_eq!(lines.begun(), 4);
        }
    }

    #[test]
    fn a_line_has_the_time_of_its_first_byte() {
        let selection = Selection {
            timestamps: true,
            stderr: false,
            ..Selection::all(false)
        };
        let mut lines = Lines::new(selection, 0);
        assert_eq!(
            show(&mut lines, PIECES),
            "1970-01-01T00:00:00.000000001Z one\n\
             1970-01-01T00:00:00.000000001Z two\n\
             1970-01-01T00:00:00.000000003Z three"
        );
    }

    #[test]
    fn since_and_until_choose_whole_lines() {
        let selection = Selection {
            since_ns: 2,
            until_ns: 3,
            ..Selection::all(false)
        };
        let mut lines = Lines::new(selection, 0);
        assert_eq!(show(&mut lines, PIECES), "err\n");
    }
}
