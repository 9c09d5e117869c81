//! Proofs: what shows that a record was taken, in which place, and that nothing before it changed.
//!
//! Every room, system rooms too, has a Merkle tree over its records in order of rev (`tree`). A
//! record's leaf is of its metadata and of two commitments, to what was said and to where it came
//! from (`leaf`), salted so that a commitment says nothing once its salt is gone (`salts`; `book`
//! finds them in the catalog's rows). Heads leave the machine as signed notes (`note`). Nothing
//! here reads or writes a file, and nothing here knows of packs or blocks: those change no tree.
//!
//! INVARIANT: two copies with the same records have the same trees.

pub(crate) mod book;
pub mod leaf;
pub mod note;
pub mod salts;
pub mod tree;

pub use tree::{Hash, Tree};
