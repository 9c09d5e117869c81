//! Measurements of Hansard beside its peers, and the long trials of its reliability.
//!
//! What several programs of `src/bin` share. Nothing here is shipped.

pub mod chat;
pub mod compression;
pub mod powercut;
pub mod scale;
pub mod soak;
pub mod suite;
pub mod tournament;
