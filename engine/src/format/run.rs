//! A run: consecutive blocks of one room in one pack, with a fence for each block.
//!
//! A run says where a room's records stand and what they span, so that a reader touches only the
//! blocks it needs. It stands in the pack's run index and, as a row, in the catalog. A run without
//! blocks says that its records stood there and were dropped: nobody may read them any more.
//!
//! Its bytes say each number as what it differs from one before, and leave out what most runs have
//! not. Runs of format 1 are read too (`run_before`): they begin with their pack's number, which is
//! never zero.
//!
//! INVARIANT: a block's checksum stands here, outside the block, so a misdirected read is seen.

use super::codec::{DecodeError, Reader, put_signed, put_varint};
use super::run_before;
use super::wire::{Fields, Wire};
use crate::proof::tree::{Hash, Nodes};
use crate::types::{CategoryId, Lsn, Rev, RoomId, Seq, TimeUs};

/// The first byte of a run.
const FORM: u8 = 0;
/// Edits or redactions are in it.
const HAS_CHANGES: u8 = 1;
/// It has nodes.
const HAS_NODES: u8 = 2;
/// It has one block, which begins where the run begins and has all its records.
const ONE_BLOCK: u8 = 4;
/// A block of it is in a bundle.
const BUNDLED: u8 = 8;

/// One block's place and fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Where in the pack it starts, or the bundle that it is in.
    pub offset: u64,
    /// The bytes there, header included.
    pub bytes: u32,
    /// CRC-32 of those bytes.
    pub crc: u32,
    /// What the block takes of those bytes: all of them, or its part of a bundle, so that the parts
    /// of a bundle's blocks are its bytes together.
    pub share: u32,
    /// Its records.
    pub records: u32,
    /// The rev of its first record; revs in a block are dense.
    pub first_rev: Rev,
    /// The room's seq before its first record.
    pub seq_base: Seq,
    /// The room's entry time before its first record: no entry here is earlier.
    pub time_base: TimeUs,
}

/// Consecutive blocks of one room in one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The pack, from 1 on.
    pub pack: u64,
    /// The room.
    pub room: RoomId,
    /// The category it was in when sealed: a hint, never a right.
    pub category: CategoryId,
    /// Its first record's rev.
    pub first_rev: Rev,
    /// Its last record's rev.
    pub last_rev: Rev,
    /// The room's seq before the run.
    pub seq_base: Seq,
    /// The room's seq at its end.
    pub last_seq: Seq,
    /// The time of its first entry; above `last_time` if it has none.
    pub first_time: TimeUs,
    /// The time of its last entry.
    pub last_time: TimeUs,
    /// The smallest place in the log.
    pub first_lsn: Lsn,
    /// The largest place in the log.
    pub last_lsn: Lsn,
    /// The smallest entry that an edit or a redaction in it is of; zero if it has none.
    pub amended_from: Seq,
    /// The greatest one.
    pub amended_to: Seq,
    /// Its blocks in order of rev; none if its records were dropped.
    pub blocks: Vec<BlockRef>,
    /// What of its room's tree the records stand for that were dropped: see *Proofs*.
    pub nodes: Vec<Hash>,
}

impl Run {
    /// True if it holds a timeline entry.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.last_seq > self.seq_base && !self.is_dropped()
    }

    /// True if its records were dropped.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.blocks.is_empty()
    }

    /// True if it holds as many nodes of its room's tree as it must.
    #[must_use]
    pub fn has_its_nodes(&self) -> bool {
        let start = self.first_rev.0.saturating_sub(1);
        let count = if self.is_dropped() { Nodes::count(start, self.last_rev.0) } else { 0 };
        self.nodes.len() as u64 == count
    }

    /// The last rev of block `index`.
    #[must_use]
    pub fn block_last_rev(&self, index: usize) -> Rev {
        match self.blocks.get(index + 1) {
            Some(next) => Rev(next.first_rev.0.saturating_sub(1)),
            None => self.last_rev,
        }
    }

    /// The room's seq after block `index`.
    #[must_use]
    pub fn block_last_seq(&self, index: usize) -> Seq {
        self.blocks.get(index + 1).map_or(self.last_seq, |next| next.seq_base)
    }

    /// The room's entry time after block `index`: no entry there is later.
    #[must_use]
    pub fn block_last_time(&self, index: usize) -> TimeUs {
        self.blocks.get(index + 1).map_or(self.last_time, |next| next.time_base)
    }
}

/// Bits of an id that say where in the log it was made; those above are of the epoch.
const ID_BITS: u32 = 48;

fn put_id(out: &mut Vec<u8>, id: u64) {
    put_varint(out, id & ((1 << ID_BITS) - 1));
    put_varint(out, id >> ID_BITS);
}

fn id(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    let wrong = reader.error(field);
    let (low, high) = (reader.varint(field)?, reader.varint(field)?);
    let fits = low >> ID_BITS == 0 && high >> (u64::BITS - ID_BITS) == 0;
    if fits { Ok(high << ID_BITS | low) } else { Err(wrong) }
}

/// Appends how far a number is from another, whatever the two are.
fn put_step(out: &mut Vec<u8>, to: u64, from: u64) {
    put_signed(out, to.wrapping_sub(from).cast_signed());
}

fn step(reader: &mut Reader<'_>, from: u64, field: &'static str) -> Result<u64, DecodeError> {
    reader.signed(field).map(|by| from.wrapping_add(by.cast_unsigned()))
}

fn put_time(out: &mut Vec<u8>, to: TimeUs, from: TimeUs) {
    put_signed(out, to.0.wrapping_sub(from.0));
}

fn time(reader: &mut Reader<'_>, from: TimeUs, field: &'static str) -> Result<TimeUs, DecodeError> {
    reader.signed(field).map(|by| TimeUs(from.0.wrapping_add(by)))
}

impl BlockRef {
    /// A block before the first of a run, as it were: what that differs from.
    const fn before(run: &Run) -> Self {
        Self {
            offset: 0,
            bytes: 0,
            crc: 0,
            share: 0,
            records: 0,
            first_rev: run.first_rev,
            seq_base: run.seq_base,
            time_base: run.first_time,
        }
    }

    const fn end(&self) -> u64 {
        self.offset.wrapping_add(self.bytes as u64)
    }

    const fn next_rev(&self) -> u64 {
        self.first_rev.0.wrapping_add(self.records as u64)
    }

    /// Appends where it stands.
    fn put_place(&self, before: &Self, flags: u8, out: &mut Vec<u8>) {
        put_step(out, self.offset, before.end());
        self.bytes.put(out);
        out.extend_from_slice(&self.crc.to_le_bytes());
        if flags & BUNDLED != 0 {
            self.share.put(out);
        }
    }

    /// What [`Self::put_place`] put; the rest is that of the block before.
    fn get_place(reader: &mut Reader<'_>, before: &Self, flags: u8) -> Result<Self, DecodeError> {
        let offset = step(reader, before.end(), "BlockRef.offset")?;
        let bytes = u32::get(reader, "BlockRef.bytes")?;
        let crc = reader.u32("BlockRef.crc")?;
        let wrong = reader.error("BlockRef.share");
        let share = match flags & BUNDLED {
            0 => bytes,
            _ => u32::get(reader, "BlockRef.share")?,
        };
        let block = Self { offset, bytes, crc, share, ..before.clone() };
        if share <= bytes { Ok(block) } else { Err(wrong) }
    }
}

impl Run {
    /// The one block that needs no more than its place.
    fn only_block(&self) -> Option<&BlockRef> {
        let [block] = &*self.blocks else { return None };
        let records = self.last_rev.0.wrapping_sub(self.first_rev.0).wrapping_add(1);
        let begins = (block.first_rev, block.seq_base, block.time_base)
            == (self.first_rev, self.seq_base, self.first_time);
        (begins && u64::from(block.records) == records).then_some(block)
    }

    fn flags(&self) -> u8 {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        flag((self.amended_from, self.amended_to) != (Seq::ZERO, Seq::ZERO), HAS_CHANGES)
            | flag(!self.nodes.is_empty(), HAS_NODES)
            | flag(self.only_block().is_some(), ONE_BLOCK)
            | flag(self.blocks.iter().any(|block| block.share != block.bytes), BUNDLED)
    }
}

impl Wire for Run {
    const SHAPE: &'static str = "Run";

    fn put(&self, out: &mut Vec<u8>) {
        let flags = self.flags();
        out.extend_from_slice(&[FORM, flags]);
        put_varint(out, self.pack);
        put_id(out, self.room.0);
        put_id(out, self.category.0);
        self.first_rev.put(out);
        put_step(out, self.last_rev.0, self.first_rev.0);
        self.seq_base.put(out);
        put_step(out, self.last_seq.0, self.seq_base.0);
        self.first_time.put(out);
        put_time(out, self.last_time, self.first_time);
        self.first_lsn.put(out);
        put_step(out, self.last_lsn.0, self.first_lsn.0);
        if flags & HAS_CHANGES != 0 {
            self.amended_from.put(out);
            put_step(out, self.amended_to.0, self.amended_from.0);
        }
        let mut before = &BlockRef::before(self);
        if let Some(block) = self.only_block() {
            block.put_place(before, flags, out);
        } else {
            put_varint(out, self.blocks.len() as u64);
            for block in &self.blocks {
                block.put_place(before, flags, out);
                block.records.put(out);
                put_step(out, block.first_rev.0, before.next_rev());
                put_step(out, block.seq_base.0, before.seq_base.0);
                put_time(out, block.time_base, before.time_base);
                before = block;
            }
        }
        if flags & HAS_NODES != 0 {
            self.nodes.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>, _: &'static str) -> Result<Self, DecodeError> {
        if reader.rest().first() != Some(&FORM) {
            return run_before::get(reader);
        }
        reader.u8("Run.form")?;
        let wrong = reader.error("Run.flags");
        let flags = reader.u8("Run.flags")?;
        let pack = reader.varint("Run.pack")?;
        let room = RoomId(id(reader, "Run.room")?);
        let category = CategoryId(id(reader, "Run.category")?);
        let first_rev = Rev::get(reader, "Run.first_rev")?;
        let last_rev = Rev(step(reader, first_rev.0, "Run.last_rev")?);
        let seq_base = Seq::get(reader, "Run.seq_base")?;
        let last_seq = Seq(step(reader, seq_base.0, "Run.last_seq")?);
        let first_time = TimeUs::get(reader, "Run.first_time")?;
        let last_time = time(reader, first_time, "Run.last_time")?;
        let first_lsn = Lsn::get(reader, "Run.first_lsn")?;
        let last_lsn = Lsn(step(reader, first_lsn.0, "Run.last_lsn")?);
        let (mut amended_from, mut amended_to) = (Seq::ZERO, Seq::ZERO);
        if flags & HAS_CHANGES != 0 {
            amended_from = Seq::get(reader, "Run.amended_from")?;
            amended_to = Seq(step(reader, amended_from.0, "Run.amended_to")?);
        }
        let mut run = Self {
            pack,
            room,
            category,
            first_rev,
            last_rev,
            seq_base,
            last_seq,
            first_time,
            last_time,
            first_lsn,
            last_lsn,
            amended_from,
            amended_to,
            blocks: Vec::new(),
            nodes: Vec::new(),
        };
        run.blocks = run.get_blocks(reader, flags)?;
        if flags & HAS_NODES != 0 {
            run.nodes = Vec::get(reader, "Run.nodes")?;
        }
        // A run has one form: what need not be said is not.
        if run.flags() == flags { Ok(run) } else { Err(wrong) }
    }
}

impl Run {
    fn get_blocks(&self, reader: &mut Reader<'_>, flags: u8) -> Result<Vec<BlockRef>, DecodeError> {
        let mut before = BlockRef::before(self);
        if flags & ONE_BLOCK != 0 {
            let wrong = reader.error("Run.last_rev");
            let records = self.last_rev.0.wrapping_sub(self.first_rev.0).wrapping_add(1);
            let records = u32::try_from(records).map_err(|_| wrong)?;
            let place = BlockRef::get_place(reader, &before, flags)?;
            return Ok(vec![BlockRef { records, ..place }]);
        }
        // A block takes at least one byte, so the input's length bounds the count.
        let count = reader.count(reader.remaining(), "Run.blocks")?;
        let mut blocks = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let place = BlockRef::get_place(reader, &before, flags)?;
            let block = BlockRef {
                records: u32::get(reader, "BlockRef.records")?,
                first_rev: Rev(step(reader, before.next_rev(), "BlockRef.first_rev")?),
                seq_base: Seq(step(reader, before.seq_base.0, "BlockRef.seq_base")?),
                time_base: time(reader, before.time_base, "BlockRef.time_base")?,
                ..place
            };
            blocks.push(block.clone());
            before = block;
        }
        Ok(blocks)
    }
}

impl Fields for Run {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("form", "u8 0"),
        ("flags", "u8, a sum: 1 changes, 2 nodes, 4 one block, 8 bundled"),
        ("pack", "varint"),
        ("room", "varint of the low 48 bits, varint of the others"),
        ("category", "the same"),
        ("first_rev", "varint"),
        ("last_rev", "difference to first_rev"),
        ("seq_base", "varint"),
        ("last_seq", "difference to seq_base"),
        ("first_time", "zigzag varint, microseconds since 1970 UTC"),
        ("last_time", "difference to first_time"),
        ("first_lsn", "varint"),
        ("last_lsn", "difference to first_lsn"),
        ("amended_from", "with changes: varint"),
        ("amended_to", "with changes: difference to amended_from"),
        ("blocks", "with one block: its BlockRef up to share; else varint count, the items"),
        ("nodes", "with nodes: varint count, the items"),
    ];
}

impl Fields for BlockRef {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("offset", "difference to the end of the block before, of the first to 0"),
        ("bytes", "varint, at most 2^32-1"),
        ("crc", "u32, little-endian"),
        ("share", "if bundled: varint, at most bytes; else it is bytes"),
        ("records", "varint, at most 2^32-1"),
        ("first_rev", "difference to the rev behind the block before, of the first to the run's"),
        ("seq_base", "difference to the block before, of the first to the run's"),
        ("time_base", "difference to the block before, of the first to the run's first_time"),
    ];
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
