//! Rooms' trees, from packs and journal alone: records in order of rev, salts, nodes, heads.
//!
//! INVARIANT: the catalog is not asked. What cannot be read is a step of its own; nobody guesses.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hansard_engine::error::{Error, Result};
use hansard_engine::format::payload::{Payload, RoomHead, SignedHead};
use hansard_engine::format::record::Record;
use hansard_engine::format::run::Run;
use hansard_engine::format::runs::Runs;
use hansard_engine::notary::HeadLog;
use hansard_engine::pack::Packs;
use hansard_engine::proof::Tree;
use hansard_engine::proof::leaf::record_leaf;
use hansard_engine::proof::salts::{PlaceSalts, Salts};
use hansard_engine::proof::tree::{
    Hash, KEPT_LEAVES, KEPT_LEVEL, node_hash, span_level, unknown_leaf,
};
use hansard_engine::stats::Stats;
use hansard_engine::types::{Lsn, Rev, RoomId, Seq};

use super::salts::LogSalts;
use crate::dump::Journal;
use crate::open::Directory;

/// Bytes of decoded blocks in memory.
const CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Runs of one share of all rooms, but that a room is in one share only.
const SHARE_RUNS: usize = 256 * 1024;
/// Shares at most, as each reads every index anew.
const SHARES_MAX: usize = 16;

/// What comes next in a room.
pub(crate) enum Step<'a> {
    /// A record.
    Record(Box<Record>),
    /// Records that were dropped.
    Dropped(&'a Run),
    /// Records up to this one that cannot be read.
    Missing(Rev),
}

/// Where a room's head is listed.
#[derive(Clone, Debug)]
pub(crate) struct HeadList {
    /// The record, by its rev in the room of heads.
    rev: Rev,
    /// Which of its heads.
    index: usize,
}

/// What the room of heads says of one room.
#[derive(Debug, Default)]
pub(crate) struct HeadRecords {
    /// Keys, and the newest signed head.
    pub log: HeadLog,
    /// The newest listed head of the room that is under a signature.
    pub newest: Option<HeadList>,
}

/// Where a run stands, in the order in which a room is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    room: RoomId,
    first_rev: Rev,
    last_rev: Rev,
    at: usize,
}

/// The runs of some rooms.
#[derive(Default)]
struct Part {
    runs: Runs,
    /// Where they stand, in order of room and rev.
    places: Vec<Place>,
}

impl Part {
    fn push(&mut self, run: &Run) {
        let Run { room, first_rev, last_rev, .. } = *run;
        self.places.push(Place { room, first_rev, last_rev, at: self.runs.push(run) });
    }

    /// Those of a room that end at a rev or behind it.
    fn of(&self, room: RoomId, from: Rev) -> impl Iterator<Item = Run> + '_ {
        let begin = self.places.partition_point(|place| place.room < room);
        let places = self.places.get(begin..).unwrap_or_default();
        let end = places.partition_point(|place| place.room == room);
        let places = places.get(..end).unwrap_or_default();
        let first = places.partition_point(|place| place.last_rev < from);
        let places = places.get(first..).unwrap_or_default();
        places.iter().filter_map(|place| self.runs.at(place.at))
    }

    fn rooms(&self) -> impl Iterator<Item = RoomId> + '_ {
        let rooms = self.places.chunk_by(|a, b| a.room == b.room);
        rooms.filter_map(<[Place]>::first).map(|place| place.room)
    }
}

/// Everything that trees are made of. There may be a run a room of millions, so it holds the runs
/// of one share of all rooms at a time, and always those of the system's own.
pub(crate) struct Trees<'a> {
    packs: Packs,
    /// Packs whose index can be read.
    sound: Vec<u64>,
    own: Part,
    /// The runs of the share that was taken last.
    share: Part,
    /// Where all rooms are cut into shares: the first room of each but the first.
    cuts: Vec<RoomId>,
    /// Bytes of all blocks, and their records.
    bytes: u64,
    records: u64,
    journal: Journal,
    salts: LogSalts,
    /// What of it cannot be read.
    pub damage: Vec<String>,
    _directory: PhantomData<&'a Directory>,
}

/// The first room of each share but the first, for shares of about `runs`; `rooms` are those of all
/// runs, in order.
fn cut(rooms: &[RoomId], runs: usize) -> Vec<RoomId> {
    let mut cuts: Vec<RoomId> =
        rooms.chunks(runs.max(1)).skip(1).filter_map(|share| share.first().copied()).collect();
    cuts.dedup();
    cuts
}

/// The shares between these cuts: together all rooms there may be.
fn shares(cuts: &[RoomId]) -> Vec<RangeInclusive<RoomId>> {
    let firsts = std::iter::once(RoomId(0)).chain(cuts.iter().copied());
    let lasts = cuts.iter().map(|cut| RoomId(cut.0.saturating_sub(1)));
    let lasts = lasts.chain(std::iter::once(RoomId(u64::MAX)));
    firsts.zip(lasts).map(|(first, last)| first..=last).collect()
}

/// Gives the runs of a pack one by one: they count only if it returns well.
fn visit(packs: &Packs, pack: u64, each: &mut dyn FnMut(Run)) -> Result<()> {
    packs.file(pack)?.visit_index(each).map(drop)
}

impl<'a> Trees<'a> {
    /// Looks at the indexes of all packs, and reads the journal and the seeds of salts.
    ///
    /// # Errors
    /// `Io` of the journal.
    pub(crate) fn open(directory: &'a Directory) -> Result<Self> {
        let packs = Packs::new(&directory.disk, CACHE_BYTES, Arc::new(Stats::default()));
        let (mut own, mut sound, mut damage) = (Part::default(), Vec::new(), Vec::new());
        let (mut rooms, mut bytes, mut records) = (Vec::new(), 0, 0);
        for meta in directory.manifest.state.packs.values() {
            let (mut systems, others) = (Vec::new(), rooms.len());
            let visited = visit(&packs, meta.id, &mut |run| {
                for block in &run.blocks {
                    bytes += u64::from(block.share);
                    records += u64::from(block.records);
                }
                match run.room.is_system() {
                    true => systems.push(run),
                    false => rooms.push(run.room),
                }
            });
            match visited {
                Ok(()) => {
                    systems.iter().for_each(|run| own.push(run));
                    sound.push(meta.id);
                }
                Err(error) => {
                    damage.push(error.to_string());
                    rooms.truncate(others);
                }
            }
        }
        own.places.sort_unstable();
        rooms.sort_unstable();
        let cuts = cut(&rooms, SHARE_RUNS.max(rooms.len().div_ceil(SHARES_MAX)));
        let journal = Journal::read(directory)?;
        damage.extend(journal.said.iter().cloned());
        let (share, salts, _directory) = (Part::default(), LogSalts::default(), PhantomData);
        let mut trees = Self {
            packs,
            sound,
            own,
            share,
            cuts,
            bytes,
            records,
            journal,
            salts,
            damage,
            _directory,
        };
        let mut newest: BTreeMap<(Lsn, u8), (Lsn, Salts)> = BTreeMap::new();
        trees.each(RoomId::SYSTEM_SALTS, &mut |step| {
            if let Step::Record(record) = step
                && let Payload::Salts(salts) = record.payload
                && salts.is_sound()
            {
                newest.insert((salts.first, salts.level), (record.lsn, salts));
            }
            Ok(())
        })?;
        let newest = newest.into_values().map(|(_, salts)| salts).collect();
        trees.salts = LogSalts::new(newest, records);
        Ok(trees)
    }

    /// All rooms, cut into shares. The system's own are in the first.
    pub(crate) fn shares(&self) -> Vec<RangeInclusive<RoomId>> {
        shares(&self.cuts)
    }

    /// Reads the runs of these rooms, in place of those that were read before. Gives what is wrong
    /// with an index that could be read before; its runs do not count.
    pub(crate) fn take(&mut self, rooms: &RangeInclusive<RoomId>) -> Vec<Error> {
        self.share = Part::default();
        let mut unread = Vec::new();
        for pack in &self.sound {
            let mut part = Runs::default();
            let visited = visit(&self.packs, *pack, &mut |run| {
                if !run.room.is_system() && rooms.contains(&run.room) {
                    part.push(&run);
                }
            });
            match visited {
                Ok(()) => part.iter().for_each(|run| self.share.push(&run)),
                Err(error) => unread.push(error),
            }
        }
        self.share.places.sort_unstable();
        unread
    }

    /// Every room of these of which there is something. Their runs must have been taken.
    pub(crate) fn rooms(&self, of: &RangeInclusive<RoomId>) -> Vec<RoomId> {
        let known = self.own.rooms().chain(self.share.rooms()).chain(self.journal.rooms());
        let mut rooms: Vec<RoomId> = known.filter(|room| of.contains(room)).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// Bytes of all blocks.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that a record takes in them, in the mean.
    pub(crate) fn mean_bytes(&self) -> u64 {
        self.bytes / self.records.max(1)
    }

    /// The salts of a place, unless they are forgotten or lost.
    pub(crate) fn salts(&self, place: Lsn) -> Option<PlaceSalts> {
        self.salts.of(place)
    }

    /// A record's leaf.
    pub(crate) fn leaf(&self, record: &Record) -> Hash {
        record_leaf(record, self.salts(record.lsn).as_ref())
    }

    /// Everything of a room, in order of rev. Its runs must have been taken, unless it is one of
    /// the system's own.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub(crate) fn each(
        &self,
        room: RoomId,
        visit: &mut dyn FnMut(Step<'_>) -> Result<()>,
    ) -> Result<()> {
        self.between(room, (Rev(1), Rev(u64::MAX)), visit)
    }

    /// What stands between two revs of a room, both included. A run that was dropped is given
    /// whole.
    fn between(
        &self,
        room: RoomId,
        (from, to): (Rev, Rev),
        visit: &mut dyn FnMut(Step<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut next = from;
        let part = if room.is_system() { &self.own } else { &self.share };
        for run in part.of(room, from) {
            if run.first_rev > to {
                break;
            }
            if run.last_rev < next {
                continue;
            }
            if run.first_rev > next {
                visit(Step::Missing(Rev(run.first_rev.0 - 1)))?;
            }
            if run.is_dropped() {
                visit(Step::Dropped(&run))?;
                next = run.last_rev.next();
                continue;
            }
            next = next.max(run.first_rev);
            for (index, fence) in run.blocks.iter().enumerate() {
                let last = run.block_last_rev(index);
                if last < next || fence.first_rev > to {
                    continue;
                }
                let block = self.packs.block(&run, fence).ok();
                let found = block.iter().flat_map(|block| block.records());
                for record in found.filter_map(|bytes| Record::from_bytes(&bytes).ok()) {
                    if record.room == room && record.rev == next && record.rev <= to {
                        visit(Step::Record(Box::new(record)))?;
                        next = next.next();
                    }
                }
                if next <= last && next <= to {
                    visit(Step::Missing(last))?;
                    next = last.next();
                }
            }
        }
        for (rev, record) in self.journal.records(room, next) {
            if rev > to {
                break;
            }
            if rev < next {
                continue;
            }
            if rev > next {
                visit(Step::Missing(Rev(rev.0 - 1)))?;
            }
            visit(match record {
                Some(record) => Step::Record(Box::new(record)),
                None => Step::Missing(rev),
            })?;
            next = rev.next();
        }
        Ok(())
    }

    /// What the room of heads says of a room, as far as it is under a signature.
    ///
    /// # Errors
    /// None of its own.
    pub(crate) fn heads(&self, room: RoomId) -> Result<HeadRecords> {
        let mut heads = HeadRecords::default();
        let mut open: Option<HeadList> = None;
        self.each(RoomId::SYSTEM_HEADS, &mut |step| {
            let Step::Record(record) = step else { return Ok(()) };
            heads.log.take(&record);
            match &record.payload {
                Payload::RoomHeads(list) => {
                    let index = list.heads.iter().rposition(|head| head.room == room);
                    open = index.map(|index| HeadList { rev: record.rev, index }).or(open.take());
                }
                Payload::SignedHead(_) => heads.newest = open.take().or(heads.newest.take()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(heads)
    }

    /// Every listed head and every signature, in order.
    ///
    /// # Errors
    /// What `visit` fails with.
    pub(crate) fn each_head(
        &self,
        visit: &mut dyn FnMut(Rev, HeadEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        self.each(RoomId::SYSTEM_HEADS, &mut |step| match step {
            Step::Record(record) => match &record.payload {
                Payload::Lost(_) => visit(record.rev, HeadEvent::Lost),
                Payload::RoomHeads(list) => list
                    .heads
                    .iter()
                    .try_for_each(|head| visit(record.rev, HeadEvent::Listed(head))),
                Payload::SignedHead(head) => visit(record.rev, HeadEvent::Signed(head)),
                Payload::SigningKey(_) => visit(record.rev, HeadEvent::Key(&record)),
                _ => Ok(()),
            },
            Step::Missing(last) => visit(last, HeadEvent::Lost),
            Step::Dropped(_) => Ok(()),
        })
    }

    /// The record that lists a head, and which of its heads it is.
    ///
    /// # Errors
    /// None of its own.
    pub(crate) fn list_record(&self, list: &HeadList) -> Result<Option<(Record, usize)>> {
        let mut found = None;
        self.between(RoomId::SYSTEM_HEADS, (list.rev, list.rev), &mut |step| {
            if let Step::Record(record) = step {
                found = Some((*record, list.index));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The entries of a room that are redacted.
    ///
    /// # Errors
    /// None of its own.
    pub(crate) fn redacted(&self, room: RoomId) -> Result<BTreeSet<Seq>> {
        let mut redacted = BTreeSet::new();
        self.each(room, &mut |step| {
            if let Step::Record(record) = step
                && let Payload::Redacted(body) = &record.payload
            {
                redacted.insert(body.seq);
            }
            Ok(())
        })?;
        Ok(redacted)
    }

    /// The nodes of a room's tree.
    ///
    /// # Errors
    /// None of its own.
    pub(crate) fn nodes(&self, room: RoomId) -> Result<Nodes<'_>> {
        let (mut tree, mut known) = (Tree::default(), HashMap::new());
        self.each(room, &mut |step| {
            let kept = match step {
                Step::Record(record) => tree.push(self.leaf(&record)).into_iter().collect(),
                Step::Dropped(run) => tree.push_nodes(run.last_rev.0, &run.nodes).0,
                Step::Missing(last) => {
                    tree.push_unknown(last.0);
                    Vec::new()
                }
            };
            known.extend(kept.into_iter().map(|(index, node)| ((KEPT_LEVEL, index), node)));
            Ok(())
        })?;
        Ok(Nodes { trees: self, room, known, parts: VecDeque::new() })
    }
}

/// What stands in the room of heads.
pub(crate) enum HeadEvent<'a> {
    /// A room's head.
    Listed(&'a RoomHead),
    /// A signature.
    Signed(&'a SignedHead),
    /// A key.
    Key(&'a Record),
    /// Something that cannot be read.
    Lost,
}

/// The nodes of one room's tree: those of 64 leaves are in memory, and what is below them of one.
pub(crate) struct Nodes<'a> {
    trees: &'a Trees<'a>,
    room: RoomId,
    known: HashMap<(u32, u64), Hash>,
    /// What stands under some of the nodes that are kept, the newest last.
    parts: VecDeque<(u64, Parts)>,
}

/// Leaves, and roots of subtrees that were dropped, by their first leaf and level.
type Parts = BTreeMap<(u64, u32), Hash>;

/// Kept nodes whose parts are known at once: a path looks under its own and the last.
const PARTS_MAX: usize = 4;

impl Nodes<'_> {
    /// The root of a perfect subtree.
    ///
    /// # Errors
    /// `Invalid` if records that were dropped stand across its bounds.
    pub(crate) fn node(&mut self, level: u32, index: u64) -> Result<Hash> {
        if let Some(node) = self.known.get(&(level, index)) {
            return Ok(*node);
        }
        if level > KEPT_LEVEL {
            let left = self.node(level - 1, index * 2)?;
            let node = node_hash(&left, &self.node(level - 1, index * 2 + 1)?);
            self.known.insert((level, index), node);
            return Ok(node);
        }
        let kept = index >> (KEPT_LEVEL - level);
        if !self.parts.iter().any(|(at, _)| *at == kept) {
            let parts = self.read(kept)?;
            if self.parts.len() >= PARTS_MAX {
                self.parts.pop_front();
            }
            self.parts.push_back((kept, parts));
        }
        let parts = self.parts.iter().find(|(at, _)| *at == kept);
        parts.map_or_else(|| Ok(unknown_leaf()), |(_, parts)| below(parts, level, index))
    }

    /// What stands under a node that is kept.
    fn read(&mut self, kept: u64) -> Result<Parts> {
        let (first, end) = (kept * KEPT_LEAVES, (kept + 1) * KEPT_LEAVES);
        let mut parts = BTreeMap::new();
        self.trees.between(self.room, (Rev(first + 1), Rev(end)), &mut |step| {
            match step {
                Step::Record(record) => {
                    let leaf = self.trees.leaf(&record);
                    parts.insert((record.rev.0 - 1, 0), leaf);
                }
                Step::Dropped(run) => {
                    let mut at = run.first_rev.0.saturating_sub(1);
                    for node in &run.nodes {
                        let level = span_level(at, run.last_rev.0);
                        parts.insert((at, level), *node);
                        at = at.saturating_add(1 << level);
                    }
                }
                Step::Missing(_) => {}
            }
            Ok(())
        })?;
        parts.retain(|(at, _), _| (first..end).contains(at));
        Ok(parts)
    }
}

/// The root of a perfect subtree under a node that is kept.
fn below(parts: &Parts, level: u32, index: u64) -> Result<Hash> {
    if let Some(part) = parts.get(&(index << level, level)) {
        return Ok(*part);
    }
    let first = index << level;
    let across = |at: &u32| parts.contains_key(&(first >> at << at, *at));
    if (level + 1..=KEPT_LEVEL).any(|at| across(&at)) {
        let what = "records that were dropped cross the end of what was signed: sign again";
        return Err(Error::Invalid { what: what.to_owned() });
    }
    match level.checked_sub(1) {
        None => Ok(unknown_leaf()),
        Some(lower) => {
            let left = below(parts, lower, index * 2)?;
            Ok(node_hash(&left, &below(parts, lower, index * 2 + 1)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_is_in_one_share_and_few_runs_are_in_more_than_one() {
        let rooms: Vec<RoomId> = [3, 70, 70, 71, 90, 90, 90, 90, 90, 200].map(RoomId).to_vec();
        for runs in 0..12 {
            let shares = shares(&cut(&rooms, runs));
            assert_eq!(*shares[0].start(), RoomId(0));
            assert_eq!(*shares[shares.len() - 1].end(), RoomId(u64::MAX));
            for pair in shares.windows(2) {
                assert_eq!(pair[0].end().0 + 1, pair[1].start().0, "runs={runs}");
            }
            for share in &shares {
                let of_one = rooms.iter().filter(|room| share.contains(room)).count();
                let largest = 5;
                assert!(of_one <= runs.max(1) + largest, "runs={runs} {share:?} {of_one}");
            }
        }
        assert_eq!(shares(&cut(&[], 5)), [RoomId(0)..=RoomId(u64::MAX)]);
    }
}
