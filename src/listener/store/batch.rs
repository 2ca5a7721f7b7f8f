//! What one read from a VM brought, as records ready to be written with one system call.

use super::positions::SessionMark;
use super::record::{self, HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES};
use crate::link::{Channel, Stream};

/// Records that are written together or not at all.
///
/// Bytes that continue the same stream are joined into one record, so that a frame on the wire is
/// not a record in the log.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    index: Vec<(usize, Header)>,
    time_ns: u64,
    /// The last record may still grow: its length and checksum are not written yet.
    open: bool,
}

impl Batch {
    /// Forgets everything; records added from now on carry this time.
    pub fn restart(&mut self, time_ns: u64) {
        self.bytes.clear();
        self.index.clear();
        self.time_ns = time_ns;
        self.open = false;
    }

    /// True when there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of a stream.
    pub fn data(&mut self, channel: Channel, stream: Stream, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let room = self.room_in_open(channel, stream, offset);
            let room = if room == 0 {
                self.begin(Kind::Data, channel, stream, offset);
                self.open = true;
                MAX_PAYLOAD_BYTES
            } else {
                room
            };
            let (now, later) = data.split_at(room.min(data.len()));
            self.bytes.extend_from_slice(now);
            offset += now.len() as u64;
            data = later;
        }
    }

    /// The stream is complete at this length.
    pub fn end(&mut self, channel: Channel, stream: Stream, length: u64) {
        self.begin(Kind::End, channel, stream, length);
        self.close();
    }

    /// The guest had to drop the bytes from `from` to `to`.
    pub fn gap(&mut self, channel: Channel, stream: Stream, from: u64, to: u64) {
        self.begin(Kind::Gap, channel, stream, from);
        self.bytes.extend_from_slice(&to.to_le_bytes());
        self.close();
    }

    /// A channel got its session.
    ///
    /// # Errors
    /// The ID is longer than a record may be.
    pub fn session(&mut self, mark: SessionMark) -> Result<(), serde_json::Error> {
        let json = serde_json::to_vec(&mark)?;
        if json.len() > MAX_PAYLOAD_BYTES {
            return Err(serde::ser::Error::custom("session ID is too long"));
        }
        self.begin(Kind::Session, mark.channel, Stream::Stdin, 0);
        self.bytes.extend_from_slice(&json);
        self.close();
        Ok(())
    }

    /// The bytes to write.
    pub fn sealed(&mut self) -> &[u8] {
        self.close();
        &self.bytes
    }

    /// The time that its records carry.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Headers and payloads, in order.
    pub fn records(&self) -> impl Iterator<Item = (&Header, &[u8])> {
        let ends = self
            .index
            .iter()
            .skip(1)
            .map(|(at, _)| *at)
            .chain([self.bytes.len()]);
        self.index
            .iter()
            .zip(ends)
            .filter_map(|((at, header), end)| {
                Some((header, self.bytes.get(at + HEADER_BYTES..end)?))
            })
    }

    fn room_in_open(&self, channel: Channel, stream: Stream, offset: u64) -> usize {
        let Some((at, header)) = self.index.last().filter(|_| self.open) else {
            return 0;
        };
        let length = self.bytes.len() - at - HEADER_BYTES;
        let continues = header.channel == channel
            && header.stream == stream
            && header.offset + length as u64 == offset;
        if continues {
            MAX_PAYLOAD_BYTES - length
        } else {
            0
        }
    }

    fn begin(&mut self, kind: Kind, channel: Channel, stream: Stream, offset: u64) {
        self.close();
        let header = Header {
            kind,
            channel,
            stream,
            time_ns: self.time_ns,
            offset,
        };
        let at = record::begin(&mut self.bytes, &header);
        self.index.push((at, header));
        self.open = true;
    }

    fn close(&mut self) {
        if let Some((at, _)) = self.index.last().filter(|_| self.open) {
            record::seal(&mut self.bytes, *at);
        }
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(batch: &mut Batch) -> Vec<(Kind, u64, Vec<u8>)> {
        let mut rest = batch.sealed();
        let mut out = Vec::new();
        while !rest.is_empty() {
            let record = record::decode(rest).expect("a whole record");
            out.push((
                record.header.kind,
                record.header.offset,
                record.payload.to_vec(),
            ));
            rest = &rest[record.size()..];
        }
        out
    }

    #[test]
    fn frames_of_one_stream_become_one_record() {
        let mut batch = Batch::default();
        batch.restart(5);
        batch.data(Channel(1), Stream::Stdout, 10, b"ab");
        batch.data(Channel(1), Stream::Stdout, 12, b"cd");
        batch.data(Channel(1), Stream::Stderr, 0, b"e");
        batch.end(Channel(1), Stream::Stdout, 14);
        let steps: Vec<_> = batch.records().map(|(h, p)| (h.offset, p.len())).collect();
        assert_eq!(steps, [(10, 4), (0, 1), (14, 0)]);
        assert_eq!(
            records(&mut batch),
            [
                (Kind::Data, 10, b"abcd".to_vec()),
                (Kind::Data, 0, b"e".to_vec()),
                (Kind::End, 14, vec![])
            ]
        );
    }

    #[test]
    fn more_than_a_record_holds_is_split() {
        let mut batch = Batch::default();
        batch.restart(5);
        let data: Vec<u8> = (0..MAX_PAYLOAD_BYTES * 2 + 5).map(|i| i as u8).collect();
        batch.data(Channel(1), Stream::Stdout, 0, &data[..7]);
        batch.data(Channel(1), Stream::Stdout, 7, &data[7..]);
        let records = records(&mut batch);
        assert_eq!(records.len(), 3);
        let joined: Vec<u8> = records.into_iter().flat_map(|(_, _, p)| p).collect();
        assert_eq!(joined, data);
    }

    #[test]
    fn a_restarted_batch_is_empty() {
        let mut batch = Batch::default();
        batch.restart(5);
        batch.data(Channel(1), Stream::Stdout, 0, b"x");
        batch.restart(6);
        assert!(batch.is_empty());
        assert_eq!(batch.sealed(), b"");
    }
}
