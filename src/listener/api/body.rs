//! An answer's body that is made while it is sent, one piece ahead of the client at most.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

/// Pieces made ahead of what the client has taken.
const PIECES_AHEAD: usize = 1;

/// The end that makes the pieces. An error breaks the answer off, so that the client can tell it
/// from the end.
pub type Pieces = mpsc::Sender<io::Result<Bytes>>;

struct Piecewise(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Piecewise {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A body and the end that fills it.
pub fn piecewise() -> (Pieces, Body) {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    (pieces, Body::new(Piecewise(receiver)))
}
