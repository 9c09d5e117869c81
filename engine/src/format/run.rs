//! A run: consecutive blocks of one room in one pack, with a fence for each block.
//!
//! A run says where a room's records stand and what they span, so that a reader touches only the
//! blocks it needs. It stands in the pack's run index and, as a row, in the catalog. A run without
//! blocks says that its records stood there and were dropped: nobody may read them any more.
//!
//! INVARIANT: a block's checksum stands here, outside the block, so a misdirected read is seen.

use super::wire::wire_struct;
use crate::proof::tree::{Hash, Nodes};
use crate::types::{CategoryId, Lsn, Rev, RoomId, Seq, TimeUs};

wire_struct! {
    /// One block's place and fence.
    pub struct BlockRef {
        /// Where in the pack it starts.
        pub offset: u64,
        /// Its bytes there, header included.
        pub bytes: u32,
        /// CRC-32 of those bytes.
        pub crc: u32,
        /// Its records.
        pub records: u32,
        /// The rev of its first record; revs in a block are dense.
        pub first_rev: Rev,
        /// The room's seq before its first record.
        pub seq_base: Seq,
        /// The room's entry time before its first record: no entry here is earlier.
        pub time_base: TimeUs,
    }
}

wire_struct! {
    /// Consecutive blocks of one room in one pack.
    pub struct Run {
        /// The pack.
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
