//! What the appliance keeps: one folder per container.
//!
//! ```text
//! DIR/containers/<id>/record.json      names, state, sessions, exit: replaced as a whole
//! DIR/containers/<id>/log/<position>   segments of the append-only log
//! ```
//! [`Log`] writes, [`Reader`] reads; they share the files and the writer's published end, nothing
//! else, so that no reader can ever hold up the writer. The log alone says what is acknowledged.

mod batch;
mod log;
mod positions;
mod reader;
pub mod record;
mod record_file;
mod segments;
pub mod state;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use log::{Log, LogError, Rotation};
pub use positions::{Positions, SessionMark, StreamPosition};
pub use reader::{CHUNK_BYTES, Reader, Whose};
pub use record_file::StateError;
pub use segments::list as segment_starts;
