//! Writing packs anew: every record moved as it is, but for those that nobody may read any more,
//! and for idempotency keys that nobody remembers.
//!
//! It reads the packs of a job and writes those that take their place, a share of the rooms at a
//! time, so that memory holds the runs of one share. Nothing names these yet: the caller commits
//! them, or has them removed.
//!
//! INVARIANT: what was read is in what was written, byte for byte but for such keys, or stands
//! there as dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::purge::Purge;
use super::share::Share;
use super::{Job, learn};
use crate::catalog::CatalogStore;
use crate::error::{Error, Result};
use crate::format::dictionary::Dictionary;
use crate::format::pack::{PackMeta, Places};
use crate::format::record::Outline;
use crate::format::run::{BlockRef, Run};
use crate::format::runs::Runs;
use crate::limits;
use crate::pack::{self, PackKind, PackWriter, Packs, Written};
use crate::seal::{self, PackNumbers};
use crate::spans::LsnSet;
use crate::storage::Disk;
use crate::sync::give_way;
use crate::tail::TailEntry;
use crate::types::{CategoryId, Rev, RoomId, Seq, TimeUs};

/// Why packs could not be written anew, and the pack that cannot be read, if it is one.
pub(super) struct Failed {
    pub error: Error,
    pub pack: Option<u64>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, pack: None }
    }
}

/// What is needed to write packs anew.
pub(super) struct Tools<'a> {
    pub disk: &'a Disk,
    pub store: &'a dyn CatalogStore,
    pub numbers: &'a PackNumbers,
    pub purge: Purge<'a>,
    /// Told of bytes read; false ends the work.
    pub pace: &'a mut dyn FnMut(usize) -> bool,
}

/// A pack written in the place of others.
pub(super) struct MadePack {
    pub meta: PackMeta,
    /// The places in the log of the records that were dropped.
    pub dropped: Places,
    /// The rooms of which it holds any.
    pub share: Share,
}

/// Packs written in the place of others.
#[derive(Default)]
pub(super) struct Made {
    /// Those of a share stand together.
    pub packs: Vec<MadePack>,
    /// Records moved.
    pub records: u64,
    /// Records dropped.
    pub dropped: u64,
}

impl Made {
    pub(super) fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.meta.bytes).sum()
    }
}

/// Where a room stands in what is written.
#[derive(Clone, Copy)]
struct Part {
    category: CategoryId,
    bytes: u64,
    /// The retention class it is written to: what its room and category say now, or that of what is
    /// kept for ever if nothing of it is left that retention will take.
    class: u32,
}

/// A run that is written anew, and what puts it in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    category: CategoryId,
    room: RoomId,
    first_rev: Rev,
    /// Where it stands among the old runs.
    at: usize,
}

/// Rooms that are looked up at once.
const ROOMS_A_PIECE: usize = 256;

/// Packs being written anew.
pub(super) struct Rewrite<'a> {
    tools: Tools<'a>,
    /// Those that are read.
    pub packs: Packs,
    kind: PackKind,
    /// The rooms being written.
    share: Share,
    /// The dictionary of what is written.
    dictionary: Option<Arc<Dictionary>>,
    writer: Option<PackWriter>,
    made: Made,
    pub taken: Vec<u64>,
    /// Over every record in the order of writing.
    digest: crc32fast::Hasher,
    /// Places of records that were dropped before, until a pack has taken them over.
    carried: LsnSet,
    dropped_before: u64,
}

/// Where the room of these runs stands; `parts` is in order of room.
fn part_of(parts: &[(RoomId, Part)], places: &[Place]) -> Option<Part> {
    let room = places.first()?.room;
    let found = parts.binary_search_by_key(&room, |(room, _)| *room).ok()?;
    parts.get(found).map(|(_, part)| *part)
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(tools: Tools<'a>, kind: PackKind) -> Self {
        Self {
            packs: Packs::aside(tools.disk),
            tools,
            kind,
            share: Share::ALL,
            dictionary: None,
            writer: None,
            made: Made::default(),
            taken: Vec::new(),
            digest: crc32fast::Hasher::new(),
            carried: LsnSet::default(),
            dropped_before: 0,
        }
    }

    /// Writes the packs, and reads them back; about so many runs are in memory at once.
    pub(super) fn run(&mut self, job: &Job, runs_max: u64) -> std::result::Result<Made, Failed> {
        for share in Share::of(&job.inputs, runs_max) {
            self.share = share;
            let (old, places) = self.runs(job)?;
            if share.is_first() {
                let packs = &self.packs;
                self.dictionary = learn::dictionary(&mut self.tools, packs, job, (share, &old))?;
            }
            self.rooms(job, &old, places)?;
        }
        self.check()?;
        Ok(std::mem::take(&mut self.made))
    }

    /// The runs of this share; with the first, what all packs say was dropped before is noted.
    fn runs(&mut self, job: &Job) -> std::result::Result<(Runs, Vec<Place>), Failed> {
        let (mut old, mut places) = (Runs::default(), Vec::new());
        for meta in &job.inputs {
            let dropped = self.share.visit(&self.packs, meta, &mut |run| {
                let (category, room, first_rev) = (CategoryId::NONE, run.room, run.first_rev);
                places.push(Place { category, room, first_rev, at: old.push(&run) });
            });
            let bad = |error| Failed { error, pack: Some(meta.id) };
            let dropped = dropped.map_err(bad)?;
            let read = self.packs.index_bytes(meta.id).map_err(bad)?;
            self.told(read)?;
            if self.share.is_first() {
                self.carried.insert_all(&dropped);
                self.dropped_before += dropped.count();
            }
        }
        Ok((old, places))
    }

    /// Moves the rooms of this share.
    fn rooms(
        &mut self,
        job: &Job,
        old: &Runs,
        mut places: Vec<Place>,
    ) -> std::result::Result<(), Failed> {
        places.sort_unstable();
        let parts = self.parts(old, &mut places)?;
        // Rooms in order of the category they are in now, as in a seal.
        places.sort_unstable();
        let classes: BTreeSet<u32> = parts.iter().map(|(_, part)| part.class).collect();
        for class in classes {
            self.kind = PackKind { class, ..job.kind };
            for room in places.chunk_by(|a, b| a.room == b.room) {
                let Some(part) = part_of(&parts, room).filter(|part| part.class == class) else {
                    continue;
                };
                self.part(part, old, room)?;
            }
            self.end_pack()?;
        }
        Ok(())
    }

    /// The rooms of these runs, which stand in order of room; each place gets the category that its
    /// room is in now.
    fn parts(&mut self, old: &Runs, places: &mut [Place]) -> Result<Vec<(RoomId, Part)>> {
        let mut classes = seal::Classes::new(self.tools.store)?;
        let mut of_rooms: Vec<&mut [Place]> =
            places.chunk_by_mut(|a, b| a.room == b.room).collect();
        let mut parts = Vec::with_capacity(of_rooms.len());
        for some in of_rooms.chunks_mut(ROOMS_A_PIECE) {
            give_way();
            let rooms: Vec<RoomId> =
                some.iter().filter_map(|of| of.first()).map(|place| place.room).collect();
            let found = classes.places(&rooms)?;
            for ((of_room, room), found) in some.iter_mut().zip(rooms).zip(found) {
                let seal::Place { category, class: due } = found;
                let mut part = Part { category, bytes: 0, class: seal::CLASS_KEPT };
                for place in of_room.iter_mut() {
                    place.category = category;
                    let Some(run) = old.at(place.at) else { continue };
                    part.bytes += run.blocks.iter().map(|b| u64::from(b.share)).sum::<u64>();
                    if !self.tools.purge.settles(&run)? {
                        part.class = due;
                    }
                }
                parts.push((room, part));
            }
        }
        Ok(parts)
    }

    fn part(
        &mut self,
        part: Part,
        old: &Runs,
        places: &[Place],
    ) -> std::result::Result<(), Failed> {
        // A big room fills packs alone.
        let alone = part.bytes >= limits::PACK_BYTES_TARGET;
        if alone {
            self.end_pack()?;
        }
        self.room(part.category, places.iter().filter_map(|place| old.at(place.at)))?;
        if alone {
            self.end_pack()?;
        }
        Ok(())
    }

    /// Moves the records of a room.
    fn room(
        &mut self,
        category: CategoryId,
        runs: impl Iterator<Item = Run>,
    ) -> std::result::Result<(), Failed> {
        let mut at = (TimeUs::FLOOR, None);
        for run in runs {
            if run.is_dropped() {
                self.next(&run, run.first_rev, &mut at.1)?;
                at.1 = Some(run.last_rev);
                self.open()?.keep_dropped(Run { category, ..run })?;
                continue;
            }
            let mut seq_at = run.seq_base;
            for fence in &run.blocks {
                self.block(category, &run, fence, (&mut seq_at, &mut at.0, &mut at.1))?;
            }
        }
        Ok(())
    }

    /// Beside the order of the work itself, what stands twice must be looked at by people.
    fn next(&self, run: &Run, rev: Rev, last: &mut Option<Rev>) -> std::result::Result<(), Failed> {
        if last.is_some_and(|last| rev <= last) {
            let file = self.tools.disk.full(pack::DIR);
            let error = Error::corrupt("record stands in two packs", &file, 0, run.room.0, rev.0);
            return Err(Failed { error, pack: Some(run.pack) });
        }
        *last = Some(rev);
        Ok(())
    }

    /// Moves the records of a block. `seq_at`, `time_at` and `last` go along with them.
    fn block(
        &mut self,
        category: CategoryId,
        run: &Run,
        fence: &BlockRef,
        (seq_at, time_at, last): (&mut Seq, &mut TimeUs, &mut Option<Rev>),
    ) -> std::result::Result<(), Failed> {
        let bad = |error| Failed { error, pack: Some(run.pack) };
        let block = self.packs.whole(run, fence).map_err(bad)?;
        self.told(u64::from(fence.share))?;
        for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
            let wrong = |what, at| {
                let file = self.tools.disk.full(pack::DIR);
                bad(Error::corrupt(what, &file, fence.offset + at, run.room.0, 0))
            };
            let found = Outline::from_bytes(&bytes);
            let outline = found.map_err(|e| wrong(e.what, e.at as u64))?;
            if outline.room != run.room {
                return Err(wrong("record of another room", 0));
            }
            self.next(run, outline.rev, last)?;
            if outline.kind.takes_seq() {
                *seq_at = outline.seq;
            }
            if outline.kind.is_entry() {
                *time_at = outline.time;
            }
            let (lsn, rev, kind) = (outline.lsn, outline.rev, outline.kind);
            let leaf = match self.tools.purge.takes(&outline, &bytes)? {
                true => Some(self.tools.purge.leaf(&bytes)?),
                false => None,
            };
            let (seq_at, time_at) = (*seq_at, *time_at);
            let mut entry = TailEntry { lsn, rev, seq_at, time_at, kind, bytes, words: 0 };
            if let Some(leaf) = leaf {
                self.open()?.drop_record(run.room, category, &entry, leaf)?;
                self.made.dropped += 1;
            } else {
                if let Some(bytes) = self.tools.purge.without_old_key(&outline, &entry.bytes) {
                    entry.bytes = bytes.into();
                }
                let open = self.open()?;
                open.add(run.room, category, &entry)?;
                self.digest.update(&entry.bytes);
                self.made.records += 1;
            }
        }
        Ok(())
    }

    /// The pack being written, with room for more.
    fn open(&mut self) -> Result<&mut PackWriter> {
        if self.writer.as_ref().is_some_and(|open| open.bytes() >= limits::PACK_BYTES_TARGET) {
            self.end_pack()?;
        }
        match &mut self.writer {
            Some(open) => Ok(open),
            none => {
                let id = self.tools.numbers.take(self.tools.disk)?;
                self.taken.push(id);
                let mut writer =
                    PackWriter::create(self.tools.disk, id, self.kind, self.dictionary.clone())?;
                writer.absorb(&std::mem::take(&mut self.carried).places());
                Ok(none.insert(writer))
            }
        }
    }

    /// Tells of bytes that were read.
    fn told(&mut self, bytes: u64) -> Result<()> {
        give_way();
        let ended = Error::Unavailable { why: "the merge was ended" };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if (self.tools.pace)(bytes) { Ok(()) } else { Err(ended) }
    }

    fn end_pack(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            let (share, Written { meta, dropped, .. }) = (self.share, writer.finish()?);
            self.made.packs.push(MadePack { meta, dropped, share });
        }
        Ok(())
    }

    /// Reads what was written, from the file: the same records in the same order.
    fn check(&mut self) -> Result<()> {
        let packs = Packs::aside(self.tools.disk);
        let (mut digest, mut records, mut dropped) = (crc32fast::Hasher::new(), 0, 0);
        let metas: Vec<PackMeta> = self.made.packs.iter().map(|pack| pack.meta.clone()).collect();
        for meta in &metas {
            let mut runs = Runs::default();
            let index = packs.visit_index(meta, &mut |run| {
                runs.push(&run);
            })?;
            self.told(packs.index_bytes(meta.id)?)?;
            dropped += index.count();
            for run in runs.iter() {
                for fence in &run.blocks {
                    let block = packs.whole(&run, fence)?;
                    self.told(u64::from(fence.share))?;
                    for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
                        digest.update(&bytes);
                        records += 1;
                    }
                }
            }
        }
        let (expected, found) = (self.digest.clone().finalize(), digest.finalize());
        let sums = (expected, self.made.records, self.dropped_before + self.made.dropped);
        if sums == (found, records, dropped) {
            return Ok(());
        }
        let (expected, found) = (u64::from(expected), u64::from(found));
        let what = "merged packs do not hold what was merged";
        Err(Error::corrupt(what, &self.tools.disk.full(pack::DIR), 0, expected, found))
    }
}
