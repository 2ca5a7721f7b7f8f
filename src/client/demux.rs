//! Takes docker's multiplexed stream apart: 8 bytes of header, then that many bytes of a stream.

/// Where a piece belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Words of the listener.
    System,
}

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 8;

/// A stream that is no multiplexed one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("frame of stream {0}: expected 1 (stdout), 2 (stderr) or 3 (the listener)")]
pub(super) struct UnknownStream(u8);

/// Keeps what is between two pieces: a header in part, or what is left of a frame.
#[derive(Debug, Default)]
pub(super) struct Demux {
    header: Vec<u8>,
    current: Option<(Target, usize)>,
}

impl Demux {
    /// Hands on what these bytes bring.
    pub(super) fn feed<'a>(
        &mut self,
        mut bytes: &'a [u8],
        mut take: impl FnMut(Target, &'a [u8]),
    ) -> Result<(), UnknownStream> {
        while !bytes.is_empty() {
            if let Some((target, left)) = self.current {
                let (now, later) = bytes.split_at(left.min(bytes.len()));
                take(target, now);
                bytes = later;
                let left = left - now.len();
                self.current = (left > 0).then_some((target, left));
                continue;
            }
            let missing = HEADER_BYTES - self.header.len();
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.header.extend_from_slice(now);
            bytes = later;
            if let [stream, _, _, _, a, b, c, d] = self.header[..] {
                self.header.clear();
                let target = match stream {
                    1 => Target::Stdout,
                    2 => Target::Stderr,
                    3 => Target::System,
                    other => return Err(UnknownStream(other)),
                };
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                self.current = (length > 0).then_some((target, length));
            }
        }
        Ok(())
    }

    /// True between two frames: a stream that ends elsewhere was cut.
    pub(super) fn is_whole(&self) -> bool {
        self.header.is_empty() && self.current.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x02er\
        \x03\0\0\0\0\0\0\x01!";

    fn parts(splits: impl Iterator<Item = &'static [u8]>) -> (Vec<u8>, Vec<u8>, Vec<u8>, bool) {
        let (mut out, mut err, mut system) = (Vec::new(), Vec::new(), Vec::new());
        let mut demux = Demux::default();
        for part in splits {
            demux
                .feed(part, |target, bytes| match target {
                    Target::Stdout => out.extend_from_slice(bytes),
                    Target::Stderr => err.extend_from_slice(bytes),
                    Target::System => system.extend_from_slice(bytes),
                })
                .expect("a multiplexed stream");
        }
        (out, err, system, demux.is_whole())
    }

    #[test]
    fn any_split_gives_the_same() {
        let expected = (b"out".to_vec(), b"er".to_vec(), b"!".to_vec(), true);
        for size in 1..=STREAM.len() {
            assert_eq!(parts(STREAM.chunks(size)), expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_cut_stream_is_not_whole() {
        assert!(!parts([&STREAM[..5]].into_iter()).3);
        assert!(!parts([&STREAM[..9]].into_iter()).3);
    }

    #[test]
    fn another_stream_is_refused() {
        let fed = Demux::default().feed(b"HTTP/1.1", |_, _| {});
        assert_eq!(fed, Err(UnknownStream(b'H')));
    }
}
