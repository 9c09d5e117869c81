//! Writing a pack, record by record.
//!
//! Records come in order of category, room and rev. Blocks, runs and the index follow from limits
//! alone, so the same records give the same bytes. Memory holds blocks on their way to bytes (see
//! `press`), one buffer and the run index.
//!
//! INVARIANT: a pack has its name only when all of it is durable. A run holds revs and places of
//! its room's timeline without a hole, whatever was lost before it was written.

use std::collections::VecDeque;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::DIR;
use super::press::{Press, Pressed};
use crate::error::{Error, Result};
use crate::format::LAYOUT;
use crate::format::block::BlockBuilder;
use crate::format::dictionary::{Compressor, Dictionary};
use crate::format::pack::{
    DictionaryMark, Footer, PackMeta, Places, encode_runs, header, pack_name,
};
use crate::format::run::{BlockRef, Run};
use crate::format::runs::Runs;
use crate::history::decode_record;
use crate::limits;
use crate::merge::LEVEL_DAY;
use crate::proof::tree::{Hash, Nodes};
use crate::spans::LsnSet;
use crate::storage::{Disk, DiskFile, Mode, join};
use crate::sync::give_way;
use crate::tail::TailEntry;
use crate::types::{CategoryId, Lsn, Rev, RoomId, Seq, TimeUs};

/// zstd's level for blocks.
const LEVEL: i32 = 3;
/// The same in packs that stay: of days that are over and what becomes of them. It takes twice the
/// time, once, and saves 2% of the bytes for as long as they are kept.
const LEVEL_THAT_STAYS: i32 = 6;
/// What a seal writes, a merge writes again: there fewer words than these bytes are not compressed.
/// Of many small rooms a seal has a block for each record, and zstd takes longer over its tables
/// than over the words.
const SEALED_WORDS_LEAST: usize = 192;
/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What a pack is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackKind {
    /// Its retention class.
    pub class: u32,
    /// How far it was merged.
    pub level: u32,
    /// The first UTC day of `recorded`, in days since 1970.
    pub day: i64,
}

/// Writes one pack.
pub struct PackWriter {
    disk: Disk,
    file: DiskFile,
    name: String,
    press: Press,
    /// The block being filled.
    block: BlockBuilder,
    /// Blocks that are filled and not yet in the index, and runs that wait for theirs.
    awaited: VecDeque<Awaited>,
    /// The number of the first of those.
    first_awaited: u64,
    /// Blocks of the oldest run that is awaited.
    blocks: Vec<BlockRef>,
    /// Its own dictionary.
    dictionary: Option<Arc<Dictionary>>,
    hasher: Sha256,
    buffer: Vec<u8>,
    written: u64,
    open: Option<OpenRun>,
    /// A run of records that are dropped, and what their room's tree needs of them.
    dropping: Option<(Run, Nodes)>,
    dropped: LsnSet,
    runs: Runs,
    /// Where the run before stands in the index.
    last: (CategoryId, RoomId, Rev),
    meta: PackMeta,
}

impl std::fmt::Debug for PackWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackWriter({:?} bytes={})", self.name, self.bytes())
    }
}

/// A pack that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What the manifest is to say of it.
    pub meta: PackMeta,
    /// Its runs.
    pub runs: Runs,
    /// The places in the log of the records that were dropped.
    pub dropped: Places,
}

/// What becomes a part of the index once blocks are bytes.
#[derive(Debug)]
enum Awaited {
    /// A block; before it is placed nobody knows where its bytes stand.
    Block { fence: BlockRef, placed: bool },
    /// The end of a run, whose blocks are not in it yet, and the time of its first entry.
    End(Run, TimeUs),
}

/// A run that is being written.
struct OpenRun {
    run: Run,
    /// Its blocks that are filled.
    blocks: usize,
    /// The time of its first entry.
    first_time: TimeUs,
    first_rev: Rev,
    seq_base: Seq,
    time_base: TimeUs,
}

/// A run that begins with this record and holds nothing yet.
fn run_before(pack: u64, room: RoomId, category: CategoryId, first: &TailEntry) -> Run {
    let seq_base = Seq(first.seq_at.0.saturating_sub(u64::from(first.kind.takes_seq())));
    Run {
        pack,
        room,
        category,
        first_rev: first.rev,
        last_rev: first.rev,
        seq_base,
        last_seq: seq_base,
        first_time: TimeUs::MAX,
        last_time: TimeUs::MIN,
        first_lsn: first.lsn,
        last_lsn: first.lsn,
        amended_from: Seq::ZERO,
        amended_to: Seq::ZERO,
        blocks: Vec::new(),
        nodes: Vec::new(),
    }
}

impl OpenRun {
    /// A run that begins with this record.
    fn before(pack: u64, room: RoomId, category: CategoryId, first: &TailEntry) -> Self {
        let run = run_before(pack, room, category, first);
        let (first_time, time_base) = (TimeUs::MIN, TimeUs::MIN);
        let (seq_base, first_rev) = (run.seq_base, first.rev);
        Self { run, blocks: 0, first_time, first_rev, seq_base, time_base }
    }

    /// True if a record can stand in this run.
    fn takes(&self, room: RoomId, next: &TailEntry) -> bool {
        let Run { room: own, last_rev, last_seq, last_time, .. } = &self.run;
        // So that a reader of a day reads little else, a run that is long enough ends with it.
        let another_day = *last_time > TimeUs::MIN
            && next.kind.is_entry()
            && self.blocks >= limits::RUN_DAY_BLOCKS
            && last_time.day() != next.time_at.day();
        // Readers count places from where a run begins: it holds them without a hole.
        let place = last_seq.0.saturating_add(u64::from(next.kind.takes_seq()));
        let follows = next.rev == last_rev.next() && next.seq_at == Seq(place);
        *own == room && follows && !another_day
    }

    fn push(&mut self, block: &mut BlockBuilder, entry: &TailEntry) -> Result<()> {
        let run = &mut self.run;
        if entry.kind.is_amendment() {
            let of = decode_record(&entry.bytes)?.payload.amends().unwrap_or_default();
            let none = run.amended_to == Seq::ZERO;
            run.amended_from = if none { of } else { run.amended_from.min(of) };
            run.amended_to = run.amended_to.max(of);
        }
        if block.is_empty() {
            (self.first_rev, self.seq_base) = (entry.rev, run.last_seq);
            self.time_base = run.last_time;
        }
        block.push(&entry.bytes);
        (run.last_rev, run.last_seq) = (entry.rev, entry.seq_at);
        run.first_lsn = run.first_lsn.min(entry.lsn);
        run.last_lsn = run.last_lsn.max(entry.lsn);
        if entry.kind.is_entry() {
            if run.last_time == TimeUs::MIN {
                (self.first_time, self.time_base) = (entry.time_at, entry.time_at);
            }
            run.first_time = run.first_time.min(entry.time_at);
            run.last_time = run.last_time.max(entry.time_at);
        }
        Ok(())
    }
}

impl PackWriter {
    /// Starts pack `id` under a temporary name, with a dictionary of its own if one is given.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn create(
        disk: &Disk,
        id: u64,
        kind: PackKind,
        dictionary: Option<Arc<Dictionary>>,
    ) -> Result<Self> {
        let name = pack_name(id);
        let path = join(DIR, &format!("{name}.tmp"));
        disk.remove_if_there(&path)?;
        let file = disk.open(&path, Mode::Create)?;
        let level = if kind.level < LEVEL_DAY { LEVEL } else { LEVEL_THAT_STAYS };
        let compressor = match &dictionary {
            Some(dictionary) => Compressor::own(level, dictionary),
            None => Compressor::generic(level),
        };
        let mut compressor =
            compressor.ok_or(Error::Unavailable { why: "memory for a pack is short" })?;
        if kind.level == 0 {
            compressor = compressor.from_bytes_on(SEALED_WORDS_LEAST);
        }
        let meta = PackMeta {
            id,
            bytes: 0,
            sha256: [0; 32],
            class: kind.class,
            level: kind.level,
            day: TimeUs(kind.day.saturating_mul(TimeUs::DAY_US)),
            first_lsn: Lsn(u64::MAX),
            last_lsn: Lsn::ZERO,
            records: 0,
            runs: 0,
            min_time: TimeUs::MAX,
            max_time: TimeUs::MIN,
            plain_bytes: 0,
            dropped: 0,
        };
        let mut writer = Self {
            disk: disk.clone(),
            file,
            name,
            press: Press::new(compressor),
            block: BlockBuilder::default(),
            awaited: VecDeque::new(),
            first_awaited: 0,
            blocks: Vec::new(),
            dictionary,
            hasher: Sha256::new(),
            buffer: Vec::with_capacity(BUFFER_BYTES * 2),
            written: 0,
            open: None,
            dropping: None,
            dropped: LsnSet::default(),
            runs: Runs::default(),
            last: (CategoryId::NONE, RoomId::NONE, Rev::ZERO),
            meta,
        };
        writer.buffer.extend(header(id, writer.mark()));
        writer.put_dictionary();
        Ok(writer)
    }

    fn mark(&self) -> DictionaryMark {
        self.dictionary
            .as_ref()
            .map_or_else(DictionaryMark::default, |d| DictionaryMark::of(d.bytes()))
    }

    fn put_dictionary(&mut self) {
        if let Some(dictionary) = &self.dictionary {
            self.buffer.extend_from_slice(dictionary.bytes());
        }
    }

    /// Bytes so far, but for the blocks being filled and on their way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds a record of a room, behind those of smaller revs.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn add(&mut self, room: RoomId, category: CategoryId, entry: &TailEntry) -> Result<()> {
        if self.dropping.is_some() || self.open.as_ref().is_some_and(|o| !o.takes(room, entry)) {
            self.end_run()?;
        }
        if self.open.is_some() && self.block.is_full_for(entry.bytes.len()) {
            self.end_block()?;
            if self.open.as_ref().is_some_and(|open| open.blocks >= limits::RUN_BLOCKS_MAX) {
                self.end_run()?;
            }
        }
        let id = self.meta.id;
        let open = self.open.get_or_insert_with(|| OpenRun::before(id, room, category, entry));
        open.push(&mut self.block, entry)
    }

    /// Notes that a record of a room is dropped, behind those of smaller revs; `leaf` is what its
    /// room's tree has of it.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn drop_record(
        &mut self,
        room: RoomId,
        category: CategoryId,
        entry: &TailEntry,
        leaf: Hash,
    ) -> Result<()> {
        self.dropped.insert(entry.lsn);
        let last_time = if entry.kind.is_entry() { entry.time_at } else { TimeUs::MIN };
        let before = run_before(self.meta.id, room, category, entry);
        let nodes = vec![leaf];
        let one = Run { last_seq: entry.seq_at, last_time, nodes, ..before };
        self.keep_dropped(one)
    }

    /// Takes over a run whose records are dropped; their places in the log `absorb` takes.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn keep_dropped(&mut self, run: Run) -> Result<()> {
        let joins = |(before, nodes): &(Run, Nodes)| {
            before.room == run.room
                && before.last_rev.next() == run.first_rev
                && nodes.len() < limits::RUN_NODES_MAX
        };
        if self.open.is_some() || self.dropping.as_ref().is_some_and(|before| !joins(before)) {
            self.end_run()?;
        }
        match &mut self.dropping {
            Some((before, nodes)) => {
                nodes.extend(run.last_rev.0, &run.nodes);
                (before.last_rev, before.last_seq) = (run.last_rev, run.last_seq);
                before.last_time = before.last_time.max(run.last_time);
                before.first_lsn = before.first_lsn.min(run.first_lsn);
                before.last_lsn = before.last_lsn.max(run.last_lsn);
            }
            none => {
                let mut nodes = Nodes::from(run.first_rev.0.saturating_sub(1));
                nodes.extend(run.last_rev.0, &run.nodes);
                let run = Run { pack: self.meta.id, nodes: Vec::new(), ..run };
                *none = Some((run, nodes));
            }
        }
        Ok(())
    }

    /// Takes over places in the log whose records are dropped.
    pub fn absorb(&mut self, dropped: &Places) {
        self.dropped.insert_all(dropped);
    }

    /// Ends the block being filled.
    fn end_block(&mut self) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|_| !self.block.is_empty()) else {
            return Ok(());
        };
        open.blocks += 1;
        self.meta.plain_bytes += self.block.record_bytes() as u64;
        let records = u32::try_from(self.block.records()).unwrap_or(u32::MAX);
        let number = self.first_awaited + self.awaited.len() as u64;
        self.meta.records += u64::from(records);
        let fence = BlockRef {
            offset: 0,
            bytes: 0,
            crc: 0,
            share: 0,
            records,
            first_rev: open.first_rev,
            seq_base: open.seq_base,
            time_base: open.time_base,
        };
        self.awaited.push_back(Awaited::Block { fence, placed: false });
        // What is lost of the system's own rooms restricts a server: no other room is with it.
        let bundled = !open.run.room.is_system();
        let pressed = self.press.push((number, bundled), &mut self.block);
        self.place(pressed)?;
        give_way();
        Ok(())
    }

    /// Puts blocks that became bytes into the file, and into the index what waited for them.
    fn place(&mut self, pressed: std::io::Result<Vec<Pressed>>) -> Result<()> {
        let pressed = pressed.map_err(|e| Error::io("zstd", self.file.path(), &e))?;
        for Pressed { blocks, bytes, crc } in pressed {
            let (offset, size) = (self.bytes(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            for (number, share) in blocks {
                let at = number.checked_sub(self.first_awaited);
                let at = at.and_then(|at| usize::try_from(at).ok());
                match at.and_then(|at| self.awaited.get_mut(at)) {
                    Some(Awaited::Block { fence, placed }) if !*placed => {
                        let place = BlockRef { offset, bytes: size, crc, share, ..fence.clone() };
                        (*fence, *placed) = (place, true);
                    }
                    _ => return Err(self.astray()),
                }
            }
            self.buffer.extend_from_slice(&bytes);
            if self.buffer.len() >= BUFFER_BYTES {
                self.spill()?;
            }
        }
        self.index_placed();
        Ok(())
    }

    fn astray(&self) -> Error {
        let what = "a block of a pack went astray on its way to bytes";
        Error::corrupt(what, self.file.path(), self.bytes(), 0, 0)
    }

    /// Takes what waits for nothing any more into the index, in order.
    fn index_placed(&mut self) {
        let ready =
            |awaited: &mut Awaited| !matches!(awaited, Awaited::Block { placed: false, .. });
        while let Some(awaited) = self.awaited.pop_front_if(ready) {
            self.first_awaited += 1;
            let (run, first_time) = match awaited {
                Awaited::Block { fence, .. } => {
                    self.blocks.push(fence);
                    continue;
                }
                Awaited::End(run, first_time) => (run, first_time),
            };
            // Nothing before the first entry of a run is earlier than it.
            let no_time_yet = |block: &&mut BlockRef| block.time_base == TimeUs::MIN;
            let blocks = &mut self.blocks;
            blocks.iter_mut().filter(no_time_yet).for_each(|block| block.time_base = first_time);
            self.runs.push(&Run { blocks: std::mem::take(blocks), ..run });
        }
    }

    /// Ends the run being written: the next record begins another.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn end_run(&mut self) -> Result<()> {
        self.end_block()?;
        let dropped = self.dropping.take().map(|(run, nodes)| Run { nodes: nodes.hashes(), ..run });
        // The blocks of a run that is written are not in it yet: it has some, and is not dropped.
        let open = self.open.take().map(|open| (open.run, Some(open.first_time)));
        let dropped = dropped.map(|run| (run, None));
        for (run, written) in open.into_iter().chain(dropped) {
            let meta = &mut self.meta;
            if written.is_some() {
                meta.min_time = meta.min_time.min(run.first_time);
                meta.max_time = meta.max_time.max(run.last_time);
            }
            meta.first_lsn = meta.first_lsn.min(run.first_lsn);
            meta.last_lsn = meta.last_lsn.max(run.last_lsn);
            let place = (run.category, run.room, run.first_rev);
            if place < self.last {
                let (expected, found) = (self.last.2.0, run.first_rev.0);
                let what = "records for a pack are out of order";
                return Err(Error::corrupt(what, self.file.path(), 0, expected, found));
            }
            self.last = place;
            self.awaited.push_back(Awaited::End(run, written.unwrap_or(TimeUs::MIN)));
        }
        self.index_placed();
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes run index and footer and makes the pack durable under its name.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; the temporary file is left for [`super::remove_unfinished`].
    pub fn finish(mut self) -> Result<Written> {
        self.end_run()?;
        let pressed = self.press.finish();
        self.place(pressed)?;
        // INVARIANT: a pack that has its name has every block in its index.
        if !self.awaited.is_empty() || !self.blocks.is_empty() {
            return Err(self.astray());
        }
        let dropped = self.dropped.places();
        self.meta.dropped = dropped.count();
        if let (Some(first), Some(last)) = (dropped.0.first(), dropped.0.last()) {
            self.meta.first_lsn = self.meta.first_lsn.min(first.first);
            self.meta.last_lsn = self.meta.last_lsn.max(last.last);
        }
        let runs = std::mem::take(&mut self.runs);
        let index = encode_runs(&runs, &dropped);
        self.put_dictionary();
        let footer = Footer {
            layout: LAYOUT,
            id: self.meta.id,
            index_offset: self.bytes(),
            index_bytes: index.len() as u64,
            index_crc: crc32fast::hash(&index),
            runs: runs.len(),
            records: self.meta.records,
            class: self.meta.class,
            level: self.meta.level,
            dictionary: self.mark(),
        };
        self.buffer.extend(index);
        self.buffer.extend(footer.to_bytes());
        self.spill()?;
        self.file.sync()?;
        self.meta.bytes = self.written;
        self.meta.runs = runs.len();
        self.meta.sha256.copy_from_slice(&self.hasher.finalize());
        // ORDERING: the pack is durable under its name before the manifest may name it.
        self.disk.rename_durably(DIR, &format!("{}.tmp", self.name), &self.name)?;
        Ok(Written { meta: self.meta, runs, dropped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::payload::{EntryKind, MemberSet, Payload, Post, Roles};
    use crate::format::record::Record;
    use crate::open::system_actor;
    use crate::storage::sim::SimStorage;
    use crate::types::{Epoch, PrincipalId};

    fn entry(rev: u64, seq: u64, seq_at: u64) -> TailEntry {
        let set = MemberSet { principal: PrincipalId(9), roles: Roles::MEMBER };
        let (kind, body) = (EntryKind::Text, format!("said {seq}"));
        let payload = match seq {
            0 => Payload::MemberSet(set),
            _ => Payload::Post(Post { kind, body, reply_to: Seq::ZERO, import: None }),
        };
        let record = Record {
            epoch: Epoch(1),
            lsn: Lsn(rev + 100),
            recorded: TimeUs(7),
            time: TimeUs(10 + i64::try_from(seq).unwrap()),
            room: RoomId(900),
            seq: Seq(seq),
            rev: Rev(rev),
            actor: system_actor(),
            policy: Lsn::ZERO,
            idempotency: None,
            payload,
        };
        TailEntry {
            lsn: record.lsn,
            rev: record.rev,
            seq_at: Seq(seq_at),
            time_at: record.time,
            kind: record.payload.kind(),
            bytes: record.to_bytes().into(),
            words: 0,
        }
    }

    /// As an earlier build left it in a pack, and a merge moves it: a change behind two messages
    /// that are lost stands behind the place before them.
    #[test]
    fn a_run_ends_where_a_place_is_missing() {
        let disk = Disk::new(Arc::new(SimStorage::new()));
        disk.create_dir(DIR).unwrap();
        let kind = PackKind { class: 0, level: 0, day: 0 };
        let mut writer = PackWriter::create(&disk, 1, kind, None).unwrap();
        let records = [(2, 1, 1), (3, 0, 1), (6, 0, 1), (7, 4, 4), (8, 0, 4), (9, 5, 5)];
        for (rev, seq, seq_at) in records {
            writer.add(RoomId(900), CategoryId(4), &entry(rev, seq, seq_at)).unwrap();
        }
        let Written { meta, runs, .. } = writer.finish().unwrap();
        let runs: Vec<Run> = runs.iter().collect();
        let places = runs.iter().map(|run| (run.first_rev.0, run.seq_base.0, run.last_seq.0));
        assert_eq!(places.collect::<Vec<_>>(), [(2, 0, 1), (6, 1, 1), (7, 3, 5)]);
        let times = runs.iter().map(|run| (run.first_time.0, run.last_time.0));
        let none = (i64::MAX, i64::MIN);
        assert_eq!((meta.min_time, meta.max_time), (TimeUs(11), TimeUs(15)));
        assert_eq!(times.collect::<Vec<_>>(), [(11, 11), none, (14, 15)]);
    }

    /// What the manifest says of a pack is what its index says, however many blocks were on their
    /// way when a run ended.
    #[test]
    fn the_manifest_is_told_what_the_index_says() {
        let disk = Disk::new(Arc::new(SimStorage::new()));
        disk.create_dir(DIR).unwrap();
        let kind = PackKind { class: 0, level: 0, day: 0 };
        for records in [1, 200, 20_000] {
            let mut writer = PackWriter::create(&disk, records, kind, None).unwrap();
            for rev in 1..=records {
                // The first messages of the room come behind many changes.
                let seq = rev.saturating_sub(records / 2);
                writer.add(RoomId(900), CategoryId(4), &entry(rev, seq, seq)).unwrap();
            }
            let Written { meta, runs, .. } = writer.finish().unwrap();
            let runs: Vec<Run> = runs.iter().collect();
            let all = |of: fn(&Run) -> i64| runs.iter().map(of).collect::<Vec<_>>();
            assert_eq!(meta.min_time.0, *all(|run| run.first_time.0).iter().min().unwrap());
            assert_eq!(meta.max_time.0, *all(|run| run.last_time.0).iter().max().unwrap());
            let newest = i64::try_from(10 + records - records / 2).unwrap();
            assert_eq!(meta.max_time, TimeUs(newest));
            assert_eq!((meta.first_lsn, meta.last_lsn), (Lsn(101), Lsn(100 + records)));
            let blocks = || runs.iter().flat_map(|run| &run.blocks);
            let counted: u64 = blocks().map(|block| u64::from(block.records)).sum();
            assert_eq!((meta.records, counted), (records, records));
            let first = |run: &Run| run.blocks.iter().map(|b| b.time_base).min().unwrap();
            // Of a run with messages no block says that nothing is known of when it begins.
            let timed = runs.iter().filter(|run| run.has_entries());
            assert!(timed.clone().count() > 0 && timed.clone().all(|r| first(r) == r.first_time));
            let ends = blocks().map(|block| block.offset + u64::from(block.bytes));
            let starts = blocks().skip(1).map(|block| block.offset);
            assert!(ends.zip(starts).all(|(end, start)| end == start), "{records}");
        }
    }
}
