//! Measurements of Hansard beside its peers.
//!
//! What several programs of `src/bin` share. Nothing here is shipped.

pub mod tournament;
