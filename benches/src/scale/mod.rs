//! The trial of scale: a million rooms of three messages beside one of ten million, in one
//! directory.
//!
//! It goes through the engine's own door and through the offline tool, each phase in a process of
//! its own, so that what a phase holds in memory is its own. It measures and compares every message
//! it reads with what was posted; it judges no time. `bin/scale.rs` is the door.
//!
//! Reading order: `world` (what is posted), `gauge` and `catalog` (what is measured), `batches` and
//! `fill`, `reads`, `phase` (what a child does), `course` (which phases there are), `table`.

pub mod batches;
pub mod catalog;
pub mod course;
pub mod fill;
pub mod gauge;
pub mod phase;
pub mod reads;
pub mod table;
pub mod world;
