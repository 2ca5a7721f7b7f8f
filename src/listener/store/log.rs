//! The writer's end of a container's log.
//!
//! # What an acknowledgement promises
//! A VM is told "stored" only after `pwrite(2)` has returned for the bytes: they are in the
//! kernel's page cache, so they survive every end of the listener (SIGKILL too), and not a power cut
//! or a kernel crash of the appliance, because nothing is synced. A record is whole or absent
//! (checksum); what a crash cut short is cut off by [`Log::open`].
//!
//! # Errors never advance anything
//! A failed write leaves positions and end where they were; the same batch may be tried again.
//! Bytes that a failed write left behind the end are overwritten or cut off, never read: readers
//! stop at the end that the writer has published.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::batch::Batch;
use super::positions::{OutOfPlace, Positions};
use super::record::{self, HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES, Record, Unreadable};
use super::segments;
use crate::link::{Channel, Stream};

/// A segment is closed and the next begun when it would grow past this, in bytes. The repair at
/// start reads one segment, so this bounds how long a restart takes.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// How much of a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A segment grows to this, in bytes.
    pub segment_bytes: u64,
    /// Segments that are kept; of more the oldest is deleted. `None`: all.
    pub segments_most: Option<NonZeroUsize>,
}

impl Default for Rotation {
    /// All, in segments of 64 MiB.
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            segments_most: None,
        }
    }
}

/// Bytes read at a time by the repair at start.
const REPAIR_CHUNK_BYTES: usize = 4 * (HEADER_BYTES + MAX_PAYLOAD_BYTES);

/// A log that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A system call failed.
    #[error("{action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record does not follow from those before it.
    #[error("log {}: {source}", .path.display())]
    OutOfPlace {
        /// The log's folder.
        path: PathBuf,
        /// What is wrong.
        source: OutOfPlace,
    },
    /// A record inside the log fails its checksum.
    #[error("log {} is damaged at byte {at} of segment {segment}", .path.display())]
    Damaged {
        /// The log's folder.
        path: PathBuf,
        /// Start of the segment.
        segment: u64,
        /// Byte inside it.
        at: u64,
    },
    /// Records were asked of a log without a run.
    #[error("log {} has no run yet", .0.display())]
    NoRun(PathBuf),
}

impl LogError {
    /// True when the file system has no room: it passes when somebody makes room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

#[derive(Debug)]
struct Segment {
    /// Open while it is being written: thousands of logs lie idle.
    file: Option<File>,
    path: PathBuf,
    /// Bytes of whole records.
    length: u64,
    /// A failed write may have left bytes behind `length`.
    dirty_tail: bool,
}

impl Segment {
    fn file(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().write(true).open(&self.path)?);
        }
        self.file
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Cuts off what a failed write may have left.
    fn cut(&mut self) -> io::Result<()> {
        let length = self.length;
        self.file()?.set_len(length)
    }
}

/// An append-only log: one writer, any number of [readers](super::Reader).
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    positions: Positions,
    /// Position after the last whole record.
    end: u64,
    segment: Option<Segment>,
    rotation: Rotation,
}

impl Log {
    /// Opens the log in this folder and repairs its end: a record that was cut short is cut off.
    /// Only the last segment is read.
    ///
    /// # Errors
    /// The folder or a segment cannot be read, or cannot be cut.
    pub fn open(dir: &Path, rotation: Rotation) -> Result<Self, LogError> {
        let mut log = Self {
            dir: dir.to_owned(),
            positions: Positions::default(),
            end: 0,
            segment: None,
            rotation,
        };
        let mut starts = segments::list(dir).map_err(|e| log.io("read", dir, e))?;
        while let Some(start) = starts.pop() {
            let path = segments::path(dir, start);
            if log.repair(start, &path)? {
                break;
            }
            // Not even its first record was whole: the listener ended while it began the segment.
            fs::remove_file(&path).map_err(|e| log.io("remove", &path, e))?;
        }
        Ok(log)
    }

    /// So much is kept from now on.
    pub fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// Position after the last record: readers may read up to here.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Where the streams of the current run stand.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Nothing is being written: no descriptor is held until something is.
    pub fn rest(&mut self) {
        if let Some(segment) = &mut self.segment {
            segment.file = None;
        }
    }

    /// The VM was booted: offsets begin at 0 again.
    ///
    /// # Errors
    /// The log cannot be written; nothing has changed.
    pub fn begin_run(&mut self, epoch: u64, time_ns: u64) -> Result<(), LogError> {
        let run = Positions::new_run(epoch);
        let bytes = self.checkpoint(&run, time_ns)?;
        if self.segment.is_none() {
            self.begin_segment(&bytes)?;
        } else {
            self.write(&bytes)?;
        }
        self.positions = run;
        Ok(())
    }

    /// Appends a batch with one write.
    ///
    /// # Errors
    /// The log cannot be written, or the batch does not follow: nothing has changed.
    pub fn append(&mut self, batch: &mut Batch) -> Result<(), LogError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.positions.epoch.is_none() {
            return Err(LogError::NoRun(self.dir.clone()));
        }
        let mut positions = self.positions.clone();
        for (header, payload) in batch.records() {
            let record = Record {
                header: *header,
                payload,
            };
            positions.apply(&record).map_err(|e| self.out_of_place(e))?;
        }
        let time_ns = batch.time_ns();
        let bytes = batch.sealed();
        let full = self
            .segment
            .as_ref()
            .is_none_or(|s| s.length + bytes.len() as u64 > self.rotation.segment_bytes);
        if full {
            self.rotate(time_ns)?;
        }
        self.write(bytes)?;
        self.positions = positions;
        Ok(())
    }

    /// Begins a new segment with a checkpoint of where everything stands.
    fn rotate(&mut self, time_ns: u64) -> Result<(), LogError> {
        if let Some(segment) = self.segment.as_mut().filter(|s| s.dirty_tail) {
            let cut = segment.cut();
            segment.dirty_tail = cut.is_err();
            let path = segment.path.clone();
            cut.map_err(|e| self.io("truncate", &path, e))?;
        }
        match self.checkpoint(&self.positions, time_ns) {
            Ok(bytes) => {
                self.begin_segment(&bytes)?;
                self.delete_oldest();
                Ok(())
            }
            // More sessions than one record can hold: this segment grows on.
            Err(LogError::OutOfPlace { .. }) if self.segment.is_some() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Deletes what is more than is to be kept. What cannot be deleted now is the next time.
    fn delete_oldest(&self) {
        let Some(most) = self.rotation.segments_most else {
            return;
        };
        let starts = segments::list(&self.dir).unwrap_or_default();
        let surplus = starts.len().saturating_sub(most.get());
        for start in &starts[..surplus] {
            let path = segments::path(&self.dir, *start);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an old part of a log stays");
            }
        }
    }

    fn checkpoint(&self, positions: &Positions, time_ns: u64) -> Result<Vec<u8>, LogError> {
        let payload = serde_json::to_vec(positions)
            .map_err(|e| e.to_string())
            .and_then(|json| {
                if json.len() > MAX_PAYLOAD_BYTES {
                    Err(format!("{} bytes do not fit into a record", json.len()))
                } else {
                    Ok(json)
                }
            })
            .map_err(|reason| {
                self.out_of_place(OutOfPlace::Payload {
                    kind: Kind::Checkpoint,
                    reason,
                })
            })?;
        let header = Header {
            kind: Kind::Checkpoint,
            channel: Channel(0),
            stream: Stream::Stdin,
            time_ns,
            offset: positions.epoch.unwrap_or(0),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        record::encode(&mut bytes, &header, &payload);
        Ok(bytes)
    }

    fn begin_segment(&mut self, first: &[u8]) -> Result<(), LogError> {
        fs::create_dir_all(&self.dir).map_err(|e| self.io("create folder", &self.dir, e))?;
        let path = segments::path(&self.dir, self.end);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|e| self.io("create", &path, e))?;
        if let Err(e) = file.write_all_at(first, 0) {
            // An unfinished segment would hide the end of the one before it until the next start.
            let removed = fs::remove_file(&path);
            let error = self.io("write", &path, e);
            removed.map_err(|e| self.io("remove", &path, e))?;
            return Err(error);
        }
        self.segment = Some(Segment {
            file: Some(file),
            path,
            length: first.len() as u64,
            dirty_tail: false,
        });
        self.end += first.len() as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let Some(segment) = self.segment.as_mut() else {
            return Err(LogError::NoRun(self.dir.clone()));
        };
        let length = segment.length;
        let written = segment.file().and_then(|f| f.write_all_at(bytes, length));
        if let Err(e) = written {
            segment.dirty_tail = segment.cut().is_err();
            let path = segment.path.clone();
            return Err(self.io("write", &path, e));
        }
        segment.length += bytes.len() as u64;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Walks one segment and cuts off what is not whole. False: not even the checkpoint is.
    fn repair(&mut self, start: u64, path: &Path) -> Result<bool, LogError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|e| self.io("open", path, e))?;
        let size = file.metadata().map_err(|e| self.io("stat", path, e))?.len();
        let mut positions = Positions::default();
        let mut length = 0;
        let mut chunk = vec![0; REPAIR_CHUNK_BYTES];
        'segment: while length < size {
            let got = read_at(&file, &mut chunk, length).map_err(|e| self.io("read", path, e))?;
            let mut rest = &chunk[..got];
            let mut moved = false;
            loop {
                match record::decode(rest) {
                    Ok(record) if positions.apply(&record).is_ok() => {
                        length += record.size() as u64;
                        rest = &rest[record.size()..];
                        moved = true;
                    }
                    // The next chunk begins with this record.
                    Err(Unreadable::Short) if moved => break,
                    Ok(_) | Err(_) => break 'segment,
                }
            }
        }
        if positions.epoch.is_none() {
            return Ok(false);
        }
        if length < size {
            file.set_len(length)
                .map_err(|e| self.io("truncate", path, e))?;
        }
        self.positions = positions;
        self.end = start + length;
        self.segment = Some(Segment {
            file: None,
            path: path.to_owned(),
            length,
            dirty_tail: false,
        });
        Ok(true)
    }

    fn io(&self, action: &'static str, path: &Path, source: io::Error) -> LogError {
        LogError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    fn out_of_place(&self, source: OutOfPlace) -> LogError {
        LogError::OutOfPlace {
            path: self.dir.clone(),
            source,
        }
    }
}

/// Fills as much of the buffer as the file has.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
