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

/// What the server runs with, and so every engine here that is written in Rust; with the feature
/// `malloc` those in C and C++ as well.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
