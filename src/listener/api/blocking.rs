//! Bodies for code that waits for them: one that is read, one that is written, each on a thread of its own.

use std::io::{self, Read, Write};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use super::body::Pieces;

/// Pieces that wait for their reader.
const PIECES_AHEAD: usize = 4;
/// Bytes of a piece that is written.
const PIECE: usize = 64 << 10;

/// Reads a request's body.
#[derive(Debug)]
pub struct Reader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Reader {
    /// The body is taken as fast as it is read. A client that goes away in the middle is an error, no end.
    pub fn new(mut body: Body) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame.map_err(io::Error::other) {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        Err(_trailers) => continue,
                    },
                    Err(error) => Err(error),
                };
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        let piece = Bytes::new();
        Self { pieces, piece }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Writes an answer's body.
#[derive(Debug)]
pub struct Writer {
    pieces: Pieces,
    piece: Vec<u8>,
}

impl Writer {
    /// Into the body that these are the pieces of.
    pub fn new(pieces: Pieces) -> Self {
        let piece = Vec::with_capacity(PIECE);
        Self { pieces, piece }
    }

    /// Breaks the body off, so that its reader can tell that from its end.
    pub fn fail(self, error: io::Error) {
        // Whoever has gone needs no word.
        let _ = self.pieces.blocking_send(Err(error));
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let sent = self.pieces.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
