//! What a containerVM is told: one model, and the codecs that read and write it.
//!
//! [`model`] is the only vocabulary past this room: no string key exists beyond it.
//! [`guestinfo`] reads and writes both generations of the original system's keys, [`json`] the
//! JSON document of plain QEMU machines.

pub mod model;
