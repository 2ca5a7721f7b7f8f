//! A reader's end of a container's log: its own position, its own file, no lock shared with the
//! writer.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::log::{LogError, read_at};
use super::positions::{Positions, SessionMark};
use super::record::{self, HEADER_BYTES, Kind, MAX_PAYLOAD_BYTES, Record};
use super::segments;
use crate::link::Channel;

/// Bytes read at a time: at least one whole record.
pub const CHUNK_BYTES: usize = 128 * 1024;
const _: () = assert!(CHUNK_BYTES >= HEADER_BYTES + MAX_PAYLOAD_BYTES);

/// Whose output is read: one session's of all that a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The container's own.
    Primary,
    /// That of the session with this ID.
    Session(String),
}

impl Whose {
    /// Channel of the session, where it has one now.
    pub fn channel(&self, positions: &Positions) -> Option<Channel> {
        let sessions = &positions.sessions;
        sessions.iter().find(|s| self.means(s)).map(|s| s.channel)
    }

    fn means(&self, mark: &SessionMark) -> bool {
        match self {
            Self::Primary => mark.primary,
            Self::Session(id) => mark.id == *id,
        }
    }
}

thread_local! {
    /// Reading never waits between filling and emptying the chunk, so all readers of a thread
    /// share one, and a reader that waits for its client holds none.
    static CHUNK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads the records of one session in order.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    position: u64,
    segment: Option<(File, u64)>,
    whose: Whose,
    /// The session's channel, once it is known.
    selected: Option<Channel>,
    /// Bytes of the log that were deleted before they were read.
    skipped: u64,
}

impl Reader {
    /// A reader at a record's position: a segment's first, or where the streams stand so.
    pub fn new(dir: &Path, position: u64, whose: Whose, positions: Option<&Positions>) -> Self {
        let selected = positions.and_then(|positions| whose.channel(positions));
        Self {
            dir: dir.to_owned(),
            position,
            segment: None,
            whose,
            selected,
            skipped: 0,
        }
    }

    /// A reader at the oldest byte that is still there.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn from_start(dir: &Path, whose: Whose) -> Result<Self, LogError> {
        let starts = segments::list(dir).map_err(|source| LogError::Io {
            action: "read",
            path: dir.to_owned(),
            source,
        })?;
        let start = starts.first().copied().unwrap_or(0);
        Ok(Self::new(dir, start, whose, None))
    }

    /// Position of the next record.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the log, the records' own included, that were deleted before this reader came to
    /// them, since it was last asked.
    pub fn skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Hands the next records to `take`, at most one chunk of them, none at or past `end` (the
    /// writer's published end). Checkpoints are handed over too: a run, or a segment, begins.
    ///
    /// # Errors
    /// The log cannot be read, or is damaged here.
    pub fn read(&mut self, end: u64, mut take: impl FnMut(&Record<'_>)) -> Result<(), LogError> {
        while self.position < end {
            let before = self.position;
            CHUNK.with_borrow_mut(|chunk| {
                chunk.resize(CHUNK_BYTES, 0);
                self.read_chunk(end, chunk, &mut take)
            })?;
            if self.position > before {
                break;
            }
        }
        Ok(())
    }

    fn read_chunk(
        &mut self,
        end: u64,
        chunk: &mut [u8],
        take: &mut impl FnMut(&Record<'_>),
    ) -> Result<(), LogError> {
        let io = |dir: &Path, source| LogError::Io {
            action: "read",
            path: dir.to_owned(),
            source,
        };
        if self.segment.is_none() {
            self.segment =
                segments::open_at(&self.dir, self.position).map_err(|e| io(&self.dir, e))?;
        }
        let Some((file, start)) = &self.segment else {
            return self.skip_to_oldest();
        };
        let start = *start;
        let room = usize::try_from(end - self.position).map_or(chunk.len(), |n| n.min(chunk.len()));
        let got = read_at(file, &mut chunk[..room], self.position - start)
            .map_err(|e| io(&self.dir, e))?;
        if got == 0 {
            // This segment is at its end; the next begins exactly here.
            self.segment = None;
            if segments::path(&self.dir, self.position).exists() {
                return Ok(());
            }
            return self.skip_to_oldest();
        }
        let mut rest = &chunk[..got];
        while let Ok(record) = record::decode(rest) {
            self.position += record.size() as u64;
            rest = &rest[record.size()..];
            self.hand_over(&record, take);
        }
        if rest.len() == got {
            return Err(self.damaged(start));
        }
        Ok(())
    }

    fn hand_over(&mut self, record: &Record<'_>, take: &mut impl FnMut(&Record<'_>)) {
        match record.header.kind {
            Kind::Checkpoint => {
                if let Ok(positions) = serde_json::from_slice::<Positions>(record.payload) {
                    self.selected = self.whose.channel(&positions);
                }
                take(record);
            }
            Kind::Session => {
                let mark = serde_json::from_slice::<SessionMark>(record.payload);
                match mark {
                    Ok(mark) if mark.closed && self.selected == Some(mark.channel) => {
                        self.selected = None;
                    }
                    Ok(mark) if self.whose.means(&mark) => self.selected = Some(mark.channel),
                    Ok(_) | Err(_) => {}
                }
            }
            Kind::Data | Kind::End | Kind::Gap => {
                if self.selected == Some(record.header.channel) {
                    take(record);
                }
            }
        }
    }

    /// The segment was deleted while we stood in it: go on with the oldest that is left.
    fn skip_to_oldest(&mut self) -> Result<(), LogError> {
        let starts = segments::list(&self.dir).map_err(|source| LogError::Io {
            action: "read",
            path: self.dir.clone(),
            source,
        })?;
        match starts.into_iter().find(|start| *start > self.position) {
            Some(start) => {
                self.skipped += start - self.position;
                self.position = start;
                Ok(())
            }
            None => Err(self.damaged(self.position)),
        }
    }

    fn damaged(&self, segment: u64) -> LogError {
        LogError::Damaged {
            path: self.dir.clone(),
            segment,
            at: self.position.saturating_sub(segment),
        }
    }
}
