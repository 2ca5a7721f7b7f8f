//! A machine's answer, part by part.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use super::error::ApiError;
use super::exec;
use crate::files::{Decoder, Entry, Event, Failure, Malformed, Trouble};
use crate::link::Exec;
use crate::link::control::service::PUT;
use crate::listener::container::{AskError, Asked, Container};

/// One part of it.
#[derive(Debug)]
pub(super) enum Part {
    /// A file, a folder, whatever.
    Entry(Entry),
    /// Contents of the file before.
    Data(Bytes),
    /// That was all, or it went wrong.
    End(Result<(), Failure>),
}

/// Why no more of it comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// The machine's fault.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// What it says makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<AnswerError> for ApiError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Ask(error) => error.into(),
            AnswerError::Malformed(error) => Self::server(error.to_string()),
        }
    }
}

/// Asks a machine's process 1 for a service.
pub(super) fn ask(
    machine: &Arc<Container>,
    service: &str,
    args: Vec<String>,
) -> Result<Asked, ApiError> {
    let order = Exec {
        id: exec::new_id()?,
        service: service.to_owned(),
        args,
        openstdin: service == PUT,
        ..Exec::default()
    };
    exec::fits(&order)?;
    Ok(machine.ask(&order)?)
}

/// What has come of something that has nothing to tell but that.
pub(super) async fn done(asked: Asked) -> Result<(), ApiError> {
    match Answer::new(asked).next().await? {
        Some(Part::End(Ok(()))) => Ok(()),
        Some(Part::End(Err(failure))) => Err(failure.into()),
        _ => Err(ApiError::server(
            "its machine does not say what has come of it",
        )),
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure.trouble {
            Trouble::NotFound => Self::not_found(failure.text),
            Trouble::Bad => Self::bad_request(failure.text),
            Trouble::ReadOnly => Self::forbidden(failure.text),
            Trouble::Failed => Self::server(failure.text),
        }
    }
}

/// What is asked, and what has come.
#[derive(Debug)]
pub(super) struct Answer {
    asked: Asked,
    decoder: Decoder,
    piece: Bytes,
}

impl Answer {
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            asked,
            decoder: Decoder::default(),
            piece: Bytes::new(),
        }
    }

    /// `None`: it has ended, whether its end was told or not.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, AnswerError> {
        loop {
            let mut input = &self.piece[..];
            let event = self.decoder.next(&mut input);
            let used = self.piece.len() - input.len();
            let part = match event? {
                Some(Event::Entry(entry)) => Some(Part::Entry(entry)),
                Some(Event::Data(data)) => Some(Part::Data(self.piece.slice_ref(data))),
                Some(Event::End(end)) => Some(Part::End(end)),
                None => None,
            };
            self.piece.advance(used);
            if part.is_some() {
                return Ok(part);
            }
            match self.asked.next().await? {
                Some(piece) => self.piece = piece,
                None => return Ok(None),
            }
        }
    }
}
