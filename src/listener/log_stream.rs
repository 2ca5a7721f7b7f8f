//! A client's view of a container's log: where it begins, what it shows, whether it follows. Each
//! view has its own position in the log, so a client that does not read costs nobody anything.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::container::{Container, Ordered, Outcome, Progress, RunWatch};
use super::lines::{Lines, Selection};
use super::store::{LogError, Reader, Whose, segment_starts};

/// Bytes behind the end of the log up to which it is read in place: they have just been written,
/// so they are in memory. Further back the disk may have to be waited for, on another thread.
const NEAR_BYTES: u64 = 1 << 20;

/// Where a view begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the first byte that is still there.
    Start,
    /// At the last so many lines.
    Tail(u64),
    /// At what comes next.
    Now,
}

/// A view that yields pieces to send.
#[derive(Debug)]
pub struct LogStream {
    container: Arc<Container>,
    progress: watch::Receiver<Progress>,
    run: RunWatch,
    source: Option<Box<Source>>,
    follow: bool,
    /// Where a view that does not follow ends.
    until: u64,
}

#[derive(Debug)]
struct Source {
    reader: Reader,
    lines: Lines,
}

impl LogStream {
    /// Opens a view. What is logged after this call is seen by one that follows.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn open(
        container: Arc<Container>,
        selection: Selection,
        from: Begin,
        follow: bool,
    ) -> Result<Self, LogError> {
        let progress = container.watch();
        let run = container.run(Whose::Primary);
        let until = container.snapshot().end;
        let dir = container.log_dir();
        let source = match from {
            Begin::Now | Begin::Tail(0) => {
                let (reader, positions) = container.reader_at_end(Whose::Primary);
                Source {
                    reader,
                    lines: Lines::from_here(selection, &positions),
                }
            }
            Begin::Start => Source {
                reader: Reader::from_start(&dir, Whose::Primary)?,
                lines: Lines::new(selection, 0),
            },
            Begin::Tail(count) => blocking(move || tail(&dir, until, count, selection)).await?,
        };
        Ok(Self {
            container,
            progress,
            run,
            source: Some(Box::new(source)),
            follow,
            until,
        })
    }

    /// The same view, to the end of the next run where none goes on.
    pub fn through_next_run(mut self) -> Self {
        self.run = self.container.next_run();
        self
    }

    /// A view of an added session's output, from its first byte to its end.
    pub fn of(container: Arc<Container>, ordered: Ordered, selection: Selection) -> Self {
        let Ordered {
            reader,
            positions,
            run,
        } = ordered;
        let until = reader.position();
        let lines = Lines::from_here(selection, &positions);
        Self {
            progress: container.watch(),
            run,
            container,
            source: Some(Box::new(Source { reader, lines })),
            follow: true,
            until,
        }
    }

    /// The next bytes for the client; `None` at the end: of the log as it was when it does not
    /// follow, else of the run.
    ///
    /// # Errors
    /// The log cannot be read, or is damaged.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        loop {
            let Some(source) = self.source.take() else {
                return Ok(None);
            };
            // In this order: output stored before the outcome was settled is below this end.
            let outcome = self.run.outcome(&self.container);
            let published = self.progress.borrow_and_update().end;
            let end = if self.follow { published } else { self.until };
            let position = source.reader.position();
            if position < end {
                let (source, out) = if published - position <= NEAR_BYTES {
                    source.read(end)?
                } else {
                    blocking(move || source.read(end)).await?
                };
                self.source = Some(source);
                if out.is_empty() {
                    continue;
                }
                return Ok(Some(out));
            }
            if outcome.is_some() || !self.follow {
                let added = self.run.is_added();
                return Ok(last_words(outcome, added, &source.lines));
            }
            self.source = Some(source);
            if self.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

impl Source {
    fn read(mut self: Box<Self>, end: u64) -> Result<(Box<Self>, Vec<u8>), LogError> {
        let mut out = Vec::new();
        let lines = &mut self.lines;
        self.reader
            .read(end, |record| lines.record(record, &mut out))?;
        let skipped = self.reader.skipped();
        if skipped > 0 {
            self.lines.skipped(skipped, &mut out);
        }
        Ok((self, out))
    }
}

/// What the client should know that the log does not say.
fn last_words(outcome: Option<Outcome>, added: bool, lines: &Lines) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let text = match outcome? {
        Outcome::Exited(exit) if exit.missing > 0 => {
            format!(
                "the VM went away before {} bytes of output came",
                exit.missing
            )
        }
        // The container's own reason stands in its record; an exec's client has nothing but this.
        Outcome::Exited(exit) if added && !exit.record.reason.is_empty() => {
            lines.reason(&exit.record.reason, &mut out);
            return Some(out);
        }
        Outcome::Lost(reason) => reason,
        Outcome::Exited(_) | Outcome::Removed(_) => return None,
    };
    lines.note(&text, &mut out);
    (!out.is_empty()).then_some(out)
}

/// Finds the last `count` lines: segments are counted from the newest back until there are enough.
fn tail(dir: &Path, end: u64, count: u64, selection: Selection) -> Result<Source, LogError> {
    let starts = segment_starts(dir).map_err(|source| LogError::Io {
        action: "read",
        path: dir.to_owned(),
        source,
    })?;
    let mut stop = end;
    let mut total = 0;
    let mut begin = 0;
    for start in starts.into_iter().rev().filter(|start| *start < end) {
        let mut reader = Reader::new(dir, start, Whose::Primary, None);
        let mut lines = Lines::new(selection.clone(), u64::MAX);
        while reader.position() < stop {
            reader.read(stop, |record| lines.record(record, &mut Vec::new()))?;
        }
        total += lines.begun();
        begin = start;
        if total >= count {
            break;
        }
        stop = start;
    }
    let lines = Lines::new(selection, total.saturating_sub(count));
    Ok(Source {
        reader: Reader::new(dir, begin, Whose::Primary, None),
        lines,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(gone) => match gone.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels: nobody reads on.
            Err(_) => std::future::pending().await,
        },
    }
}
