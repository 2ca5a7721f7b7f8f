//! The appliance's side.
pub mod store;
