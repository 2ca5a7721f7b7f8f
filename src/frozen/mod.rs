//! What a process leaves for the one that takes its place, which may be of another version: records of numbered
//! fields. A field that is not there has its default, one that nobody knows counts for nothing.
//!
//! On the wire a field is its number (1 byte), its length (4 bytes, little endian) and so many bytes; a number is
//! 8 of them.

/// Bytes before a field's own.
const HEADER: usize = 5;

/// Writes a record.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// A field of bytes that are in several pieces.
    pub fn pieces(&mut self, field: u8, pieces: &[&[u8]]) {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.header(field, length);
        for piece in pieces {
            self.0.extend_from_slice(piece);
        }
    }

    /// A field of bytes.
    pub fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.pieces(field, &[bytes]);
    }

    /// A number, which is 0 where it is not written.
    pub fn number(&mut self, field: u8, number: impl Into<u64>) {
        let number = number.into();
        if number != 0 {
            self.bytes(field, &number.to_le_bytes());
        }
    }

    /// A time, in nanoseconds.
    pub fn time(&mut self, field: u8, time: std::time::Duration) {
        self.number(field, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A record within this one.
    pub fn record(&mut self, field: u8, write: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.header(field, 0);
        write(self);
        let length = self.0.len().saturating_sub(start).saturating_sub(HEADER);
        let place = start.saturating_add(1)..start.saturating_add(HEADER);
        if let Some(place) = self.0.get_mut(place) {
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    fn header(&mut self, field: u8, length: usize) {
        self.0.push(field);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
    }

    /// The record's bytes.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A record that was read. What is cut off or damaged ends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// The record of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The fields of this number, in their order.
    pub fn all(self, field: u8) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        let fields = std::iter::from_fn(move || {
            let (header, behind) = rest.split_first_chunk::<HEADER>()?;
            let [number, length @ ..] = *header;
            let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
            let (bytes, behind) = behind.split_at_checked(length)?;
            rest = behind;
            Some((number, bytes))
        });
        fields.filter_map(move |(number, bytes)| (number == field).then_some(bytes))
    }

    /// The last field of this number.
    pub fn get(self, field: u8) -> Option<&'a [u8]> {
        self.all(field).last()
    }

    /// Bytes, none where there is no such field.
    pub fn bytes(self, field: u8) -> &'a [u8] {
        self.get(field).unwrap_or_default()
    }

    /// A text; what is no UTF-8 in it is replaced.
    pub fn text(self, field: u8) -> String {
        String::from_utf8_lossy(self.bytes(field)).into_owned()
    }

    /// A number, 0 where there is no such field or it is too large.
    pub fn number<T: TryFrom<u64> + Default>(self, field: u8) -> T {
        self.maybe(field).unwrap_or_default()
    }

    /// A number that may not be there.
    pub fn maybe<T: TryFrom<u64>>(self, field: u8) -> Option<T> {
        let bytes = self.get(field)?.first_chunk()?;
        T::try_from(u64::from_le_bytes(*bytes)).ok()
    }

    /// Yes or no.
    pub fn flag(self, field: u8) -> bool {
        self.number::<u64>(field) != 0
    }

    /// A time.
    pub fn time(self, field: u8) -> std::time::Duration {
        std::time::Duration::from_nanos(self.number(field))
    }

    /// The records of this number within this one.
    pub fn records(self, field: u8) -> impl Iterator<Item = Record<'a>> {
        self.all(field).map(Record)
    }

    /// The last of them.
    pub fn record(self, field: u8) -> Option<Record<'a>> {
        self.get(field).map(Record)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(1, 7u32);
        writer.number(2, 0u32);
        writer.record(3, |inner| {
            inner.bytes(1, b"one");
            inner.record(4, |inner| inner.time(1, Duration::from_millis(5)));
        });
        writer.record(3, |inner| inner.pieces(1, &[b"t", b"", b"wo"]));
        writer.bytes(200, b"of a later version");
        writer.number(5, u64::MAX);
        writer.done()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written();
        let record = Record::new(&bytes);
        assert_eq!((record.number::<u8>(1), record.maybe::<u8>(2)), (7, None));
        assert_eq!((record.number::<u32>(5), record.number(5)), (0, u64::MAX));
        let texts: Vec<String> = record.records(3).map(|inner| inner.text(1)).collect();
        assert_eq!(texts, ["one", "two"]);
        let inner = record.records(3).next().and_then(|inner| inner.record(4));
        let time = inner.map(|inner| inner.time(1));
        assert_eq!(time, Some(Duration::from_millis(5)));
        assert!(record.flag(1) && !record.flag(2) && record.bytes(9).is_empty());
    }

    #[test]
    fn what_is_cut_off_ends_a_record() {
        let bytes = written();
        for length in 0..bytes.len() {
            let record = Record::new(bytes.get(..length).expect("shorter"));
            assert!(record.records(3).count() <= 2 && record.maybe::<u64>(5).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record(bytes: Vec<u8>, field: u8) {
            let record = Record::new(&bytes);
            let length: usize = record.all(field).map(|bytes| bytes.len() + HEADER).sum();
            prop_assert!(length <= bytes.len());
        }
    }
}
