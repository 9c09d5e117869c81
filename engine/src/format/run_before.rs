//! Runs as format 1 has them: every number as it is. Packs and catalogs of that format are read,
//! and an index of such a pack that is lost is made again.
//!
//! It knows nothing of bundles: what a block takes of its bytes is all of them.

use super::codec::{DecodeError, Reader, put_varint};
use super::run::{BlockRef, Run};
use super::wire::{Fields, Wire};

/// The bytes of a run in format 1, for FORMAT.md.
#[derive(Debug)]
pub struct RunOfFormat1;

/// The bytes of a block's place and fence in format 1, for FORMAT.md.
#[derive(Debug)]
pub struct BlockRefOfFormat1;

const TIME: &str = "zigzag varint, microseconds since 1970 UTC";

impl Fields for RunOfFormat1 {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("pack", "varint"),
        ("room", "varint"),
        ("category", "varint"),
        ("first_rev", "varint"),
        ("last_rev", "varint"),
        ("seq_base", "varint"),
        ("last_seq", "varint"),
        ("first_time", TIME),
        ("last_time", TIME),
        ("first_lsn", "varint"),
        ("last_lsn", "varint"),
        ("amended_from", "varint"),
        ("amended_to", "varint"),
        ("blocks", "varint count, the items"),
        ("nodes", "varint count, the items"),
    ];
}

impl Fields for BlockRefOfFormat1 {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("offset", "varint"),
        ("bytes", "varint, at most 2^32-1"),
        ("crc", "varint, at most 2^32-1"),
        ("records", "varint, at most 2^32-1"),
        ("first_rev", "varint"),
        ("seq_base", "varint"),
        ("time_base", TIME),
    ];
}

/// Appends a run.
pub fn put(run: &Run, out: &mut Vec<u8>) {
    run.pack.put(out);
    run.room.put(out);
    run.category.put(out);
    [run.first_rev, run.last_rev].iter().for_each(|rev| rev.put(out));
    [run.seq_base, run.last_seq].iter().for_each(|seq| seq.put(out));
    [run.first_time, run.last_time].iter().for_each(|time| time.put(out));
    [run.first_lsn, run.last_lsn].iter().for_each(|lsn| lsn.put(out));
    [run.amended_from, run.amended_to].iter().for_each(|seq| seq.put(out));
    put_varint(out, run.blocks.len() as u64);
    for block in &run.blocks {
        block.offset.put(out);
        [block.bytes, block.crc, block.records].iter().for_each(|number| number.put(out));
        block.first_rev.put(out);
        block.seq_base.put(out);
        block.time_base.put(out);
    }
    run.nodes.put(out);
}

/// Reads a run.
///
/// # Errors
/// If the bytes are not of this form.
pub(super) fn get(reader: &mut Reader<'_>) -> Result<Run, DecodeError> {
    let mut run = Run {
        pack: Wire::get(reader, "Run.pack")?,
        room: Wire::get(reader, "Run.room")?,
        category: Wire::get(reader, "Run.category")?,
        first_rev: Wire::get(reader, "Run.first_rev")?,
        last_rev: Wire::get(reader, "Run.last_rev")?,
        seq_base: Wire::get(reader, "Run.seq_base")?,
        last_seq: Wire::get(reader, "Run.last_seq")?,
        first_time: Wire::get(reader, "Run.first_time")?,
        last_time: Wire::get(reader, "Run.last_time")?,
        first_lsn: Wire::get(reader, "Run.first_lsn")?,
        last_lsn: Wire::get(reader, "Run.last_lsn")?,
        amended_from: Wire::get(reader, "Run.amended_from")?,
        amended_to: Wire::get(reader, "Run.amended_to")?,
        blocks: Vec::new(),
        nodes: Vec::new(),
    };
    // A block takes at least one byte, so the input's length bounds the count.
    let count = reader.count(reader.remaining(), "Run.blocks")?;
    run.blocks.reserve(count.min(1024));
    for _ in 0..count {
        let offset = Wire::get(reader, "BlockRef.offset")?;
        let bytes = Wire::get(reader, "BlockRef.bytes")?;
        run.blocks.push(BlockRef {
            offset,
            bytes,
            crc: Wire::get(reader, "BlockRef.crc")?,
            share: bytes,
            records: Wire::get(reader, "BlockRef.records")?,
            first_rev: Wire::get(reader, "BlockRef.first_rev")?,
            seq_base: Wire::get(reader, "BlockRef.seq_base")?,
            time_base: Wire::get(reader, "BlockRef.time_base")?,
        });
    }
    run.nodes = Wire::get(reader, "Run.nodes")?;
    Ok(run)
}
