//! Bytes on disk, and nothing else: pure functions from values to bytes and back.
//!
//! Only this module knows an offset inside a frame, a block or a row. It does no I/O.
//! `engine/FORMAT.md` is its document; a test compares the two.

pub mod block;
pub mod codec;
pub mod frame;
pub mod manifest;
pub mod pack;
pub mod payload;
pub mod record;
pub mod run;
pub mod wire;
pub mod witness;

/// The layout number: raised with each change of bytes until version 1 is frozen.
pub const LAYOUT: u32 = 2;
/// The unit of padding in the journal, in bytes.
pub const SECTOR_BYTES: usize = 4096;
