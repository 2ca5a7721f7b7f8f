//! Where every stream of the current run stands, as the log itself tells it.
//!
//! The writer, the repair at start and every reader walk the same records through the same
//! function: what is acknowledged to a VM can never differ from what the log holds.

use serde::{Deserialize, Serialize};

use super::record::{Header, Kind, Record};
use crate::link::{Channel, Stream};

/// One stream of the current run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// Channel of its session.
    pub channel: Channel,
    /// Which of the session's streams.
    pub stream: Stream,
    /// Bytes in the log; the offset of the next one.
    pub length: u64,
    /// The stream is complete at this length.
    pub ended: bool,
    /// The last byte was not the end of a line.
    pub mid_line: bool,
}

impl StreamPosition {
    /// What the listener has of this stream, the end counted as one: the number that the link
    /// resumes from.
    pub fn next(&self) -> u64 {
        self.length + u64::from(self.ended)
    }
}

/// Which session a channel carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMark {
    /// The channel.
    pub channel: Channel,
    /// ID of the session.
    pub id: String,
    /// Its end is the end of the VM: its output is the container's.
    pub primary: bool,
    /// It is over: the channel is free for another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// Everything that the next record's meaning depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// Boot epoch of the run; `None`: nothing has been logged yet.
    pub epoch: Option<u64>,
    /// Sessions of the run.
    pub sessions: Vec<SessionMark>,
    /// Streams of the run that have brought anything.
    pub streams: Vec<StreamPosition>,
}

/// A record that does not follow from those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfPlace {
    /// Offset is not where the stream stands.
    #[error(
        "{stream:?} of channel {} stands at {length}{}, the record says {offset}",
        .channel.0,
        if *.ended { " (ended)" } else { "" }
    )]
    Offset {
        /// Channel of the stream.
        channel: Channel,
        /// The stream.
        stream: Stream,
        /// Where it stands.
        length: u64,
        /// Whether it is complete.
        ended: bool,
        /// What the record said.
        offset: u64,
    },
    /// A gap that ends before it begins.
    #[error("a gap from {from} to {to}")]
    Gap {
        /// Where the stream stands.
        from: u64,
        /// Where it would go on.
        to: u64,
    },
    /// A payload that should be JSON of this version.
    #[error("{kind:?} record: {reason}")]
    Payload {
        /// Kind of the record.
        kind: Kind,
        /// What the decoder said.
        reason: String,
    },
    /// Nothing can stand before the first checkpoint.
    #[error("a {0:?} record before the first checkpoint")]
    NoCheckpoint(Kind),
}

impl Positions {
    /// A new run of a VM: every offset begins at 0.
    pub fn new_run(epoch: u64) -> Self {
        Self {
            epoch: Some(epoch),
            ..Self::default()
        }
    }

    /// What the link resumes from: every stream of every session that is open.
    pub fn resume(&self) -> Vec<(Channel, Stream, u64)> {
        let outputs = [Stream::Stdout, Stream::Stderr];
        let open = self.sessions.iter().flat_map(|session| {
            outputs.map(|stream| {
                (
                    session.channel,
                    stream,
                    self.stream(session.channel, stream),
                )
            })
        });
        open.map(|(channel, stream, position)| (channel, stream, position.next()))
            .collect()
    }

    /// Position of one stream; a stream without any record stands at 0.
    pub fn stream(&self, channel: Channel, stream: Stream) -> StreamPosition {
        find(&self.streams, channel, stream)
            .copied()
            .unwrap_or_else(|| start_of(channel, stream))
    }

    /// Channel of the primary session, once it has been announced.
    pub fn primary(&self) -> Option<Channel> {
        self.sessions.iter().find(|s| s.primary).map(|s| s.channel)
    }

    /// Takes one record into account.
    ///
    /// # Errors
    /// The record does not follow; nothing has changed.
    pub fn apply(&mut self, record: &Record<'_>) -> Result<(), OutOfPlace> {
        let kind = record.header.kind;
        let payload = |e: serde_json::Error| OutOfPlace::Payload {
            kind,
            reason: e.to_string(),
        };
        if self.epoch.is_none() && kind != Kind::Checkpoint {
            return Err(OutOfPlace::NoCheckpoint(kind));
        }
        match kind {
            Kind::Checkpoint => *self = serde_json::from_slice(record.payload).map_err(payload)?,
            Kind::Session => {
                let mark: SessionMark = serde_json::from_slice(record.payload).map_err(payload)?;
                self.mark(mark);
            }
            Kind::Data | Kind::End | Kind::Gap => {
                advance(&mut self.streams, &record.header, record.payload)?;
            }
        }
        Ok(())
    }

    /// Remembers which session a channel carries. Another one than before begins at 0.
    fn mark(&mut self, mark: SessionMark) {
        let known = self.sessions.iter().position(|s| s.channel == mark.channel);
        let same = known.is_some_and(|at| self.sessions[at].id == mark.id);
        if mark.closed || (known.is_some() && !same) {
            self.streams.retain(|s| s.channel != mark.channel);
        }
        match known {
            Some(at) if mark.closed => drop(self.sessions.remove(at)),
            Some(at) => self.sessions[at] = mark,
            None if mark.closed => {}
            None => self.sessions.push(mark),
        }
    }
}

fn start_of(channel: Channel, stream: Stream) -> StreamPosition {
    StreamPosition {
        channel,
        stream,
        length: 0,
        ended: false,
        mid_line: false,
    }
}

fn find(streams: &[StreamPosition], channel: Channel, stream: Stream) -> Option<&StreamPosition> {
    streams
        .iter()
        .find(|s| s.channel == channel && s.stream == stream)
}

/// Moves one stream over a data, gap or end record.
///
/// # Errors
/// [`OutOfPlace`]; nothing has changed.
fn advance(
    streams: &mut Vec<StreamPosition>,
    header: &Header,
    payload: &[u8],
) -> Result<(), OutOfPlace> {
    let (channel, stream) = (header.channel, header.stream);
    let known = streams
        .iter()
        .position(|s| s.channel == channel && s.stream == stream);
    let mut position = known
        .and_then(|at| streams.get(at).copied())
        .unwrap_or_else(|| start_of(channel, stream));
    if position.ended || position.length != header.offset {
        return Err(OutOfPlace::Offset {
            channel,
            stream,
            length: position.length,
            ended: position.ended,
            offset: header.offset,
        });
    }
    if header.kind == Kind::End {
        position.ended = true;
    } else if header.kind == Kind::Gap {
        let to = payload
            .first_chunk()
            .map_or(0, |to| u64::from_le_bytes(*to));
        if to <= position.length {
            return Err(OutOfPlace::Gap {
                from: position.length,
                to,
            });
        }
        position.length = to;
    } else if let Some(last) = payload.last() {
        position.length += payload.len() as u64;
        position.mid_line = *last != b'\n';
    }
    match known {
        Some(at) => streams[at] = position,
        None => streams.push(position),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind, offset: u64) -> Header {
        Header {
            kind,
            channel: Channel(1),
            stream: Stream::Stdout,
            time_ns: 0,
            offset,
        }
    }

    fn step(positions: &mut Positions, kind: Kind, offset: u64, payload: &[u8]) -> bool {
        let header = header(kind, offset);
        positions.apply(&Record { header, payload }).is_ok()
    }

    #[test]
    fn a_stream_takes_only_what_follows() {
        let mut p = Positions::new_run(9);
        assert!(step(&mut p, Kind::Data, 0, b"abc"));
        assert!(!step(&mut p, Kind::Data, 0, b"abc"), "twice");
        assert!(!step(&mut p, Kind::Data, 4, b"d"), "a hole");
        assert!(!step(&mut p, Kind::End, 2, b""), "an end inside");
        assert!(step(&mut p, Kind::End, 3, b""));
        assert!(!step(&mut p, Kind::Data, 3, b"d"), "after the end");
        assert!(!step(&mut p, Kind::End, 3, b""), "two ends");
        let position = p.stream(Channel(1), Stream::Stdout);
        assert_eq!((position.length, position.next()), (3, 4));
        assert_eq!(p.stream(Channel(1), Stream::Stderr).next(), 0);
    }

    #[test]
    fn a_gap_moves_the_stream_forward_only() {
        let mut p = Positions::new_run(9);
        assert!(step(&mut p, Kind::Data, 0, b"abc"));
        assert!(
            !step(&mut p, Kind::Gap, 3, &3_u64.to_le_bytes()),
            "no bytes"
        );
        assert!(!step(&mut p, Kind::Gap, 3, b"short"), "no number");
        assert!(step(&mut p, Kind::Gap, 3, &10_u64.to_le_bytes()));
        assert!(step(&mut p, Kind::Data, 10, b"d"));
    }

    #[test]
    fn a_line_is_open_until_its_newline() {
        let mut p = Positions::new_run(9);
        assert!(step(&mut p, Kind::Data, 0, b"ab"));
        assert!(p.stream(Channel(1), Stream::Stdout).mid_line);
        assert!(step(&mut p, Kind::Data, 2, b"c\n"));
        assert!(!p.stream(Channel(1), Stream::Stdout).mid_line);
    }

    #[test]
    fn nothing_stands_before_the_first_checkpoint() {
        let mut p = Positions::default();
        assert!(!step(&mut p, Kind::Data, 0, b"abc"));
        let run = serde_json::to_vec(&Positions::new_run(4)).expect("JSON");
        assert!(step(&mut p, Kind::Checkpoint, 4, &run));
        assert_eq!(p.epoch, Some(4));
    }
}
