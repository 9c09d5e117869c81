//! A category's entries by time, both ways.
//!
//! Rows per run, never per message: a run stands in the catalog under the category it was sealed in
//! and the smallest dyadic span of time around it. That placement is a hint: rooms are filtered by
//! the category they have now, and rooms moved in are added. A merge by (time, room, seq) decodes a
//! block only when everything before it has been given out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;

use crate::apply::decode_row;
use crate::catalog::rows::HeadRow;
use crate::catalog::{Family, Go, keys, walk_prefix};
use crate::error::{Error, Result};
use crate::format::block::Block;
use crate::format::record::{Outline, Record, is_post};
use crate::format::run::Run;
use crate::history::{History, block_has_entries};
use crate::limits;
use crate::lists::{Placed, RoomList};
use crate::reads::{Anchor, CategoryCursor, CategoryPage, CategoryRequest, Gap, GapReason, Order};
use crate::types::{CategoryId, Rev, RoomId, Seq, TimeUs};

/// Rooms with a tail up to which each is looked for in the category, instead of the other way.
const FEW_ROOMS: usize = 1024;

/// A run in the list of its room.
#[derive(Clone, Debug)]
struct Listed {
    list: Arc<RoomList>,
    at: usize,
}

impl Listed {
    fn run(&self) -> Option<&Run> {
        self.list.runs.get(self.at)
    }
}

/// A block that may hold entries of the span.
#[derive(Clone, Debug)]
struct Candidate {
    run: Listed,
    index: usize,
}

/// Something that stands at a place in the merge.
enum Item {
    /// A block not yet decoded; its place is the bound of what it can hold.
    Block(Candidate),
    /// An entry: its bytes are decoded when it is given out.
    Entry(Bytes, RoomId, Seq),
    /// Places of a room that are lost; nobody knows when between its neighbours they were said.
    Hole(Gap),
}

/// A place in the order asked for: smaller comes first.
type Key = (i64, u64, u64);

struct InOrder {
    key: Key,
    item: Item,
}

impl PartialEq for InOrder {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for InOrder {}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        // A heap gives the largest, and the smallest key must come first; a block comes before an
        // entry at the same place, because it may hold one that is equal or smaller.
        let rank = |item: &Item| u8::from(!matches!(item, Item::Block(_)));
        other.key.cmp(&self.key).then_with(|| rank(&other.item).cmp(&rank(&self.item)))
    }
}

/// The place of (time, room, seq) in the order asked for.
const fn key_of(order: Order, time: TimeUs, room: RoomId, seq: Seq) -> Key {
    match order {
        Order::Ascending => (time.0, room.0, seq.0),
        // The complement of a number is the smaller the greater it is.
        Order::Descending => (!time.0, !room.0, !seq.0),
    }
}

/// The first entry of a block from record `at` on: where it stands, and its outline.
fn entry_from(block: &Block, at: usize) -> Option<(usize, Bytes, Outline)> {
    (at..block.len()).find_map(|at| {
        let bytes = block.record(at).filter(|bytes| is_post(bytes))?;
        let outline = outline_of(&bytes)?;
        Some((at, bytes, outline))
    })
}

/// Where an entry stands by its stored bytes; damage that no checksum showed is told of.
fn outline_of(bytes: &Bytes) -> Option<Outline> {
    Outline::peek(bytes).map_err(|e| undecodable(e.what, e.at)).ok()
}

fn undecodable(what: &'static str, at: usize) {
    let error = Error::corrupt(what, std::path::Path::new("record"), at as u64, 0, 0);
    tracing::error!(%error, "record cannot be decoded");
}

/// The first record of a block behind all entries before `time`: a room's entries are in order of
/// time.
fn first_at(block: &Block, time: TimeUs) -> usize {
    let (mut low, mut high) = (0, block.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match entry_from(block, middle) {
            Some((at, _, outline)) if outline.time < time => low = at + 1,
            _ => high = middle,
        }
    }
    low
}

struct Merge<'a> {
    history: &'a History,
    request: &'a CategoryRequest,
    heap: BinaryHeap<InOrder>,
    page: CategoryPage,
    after: Option<Key>,
    /// The entry given out last.
    given: Option<(RoomId, Seq)>,
}

impl History {
    /// A category's page. `see` is asked once for each room that has something in the span.
    pub(crate) fn category_page(
        &self,
        request: &CategoryRequest,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<CategoryPage> {
        if request.from >= request.to {
            return Ok(CategoryPage::default());
        }
        let _view = self.views.newest();
        let mut rooms = BTreeMap::new();
        // ORDERING: tails before runs, as in every read of history.
        let mut merge = Merge::new(self, request);
        merge.take_tails(&mut rooms, see)?;
        let stamp = self.runs.stamp();
        merge.take_runs(&mut rooms, see)?;
        if stamp.is_none() || self.runs.stamp() != stamp {
            // A merge replaced rows meanwhile: some may have been passed over. The rows of one room
            // are replaced at once, and a room's list is read at once.
            merge = Merge::new(self, request);
            merge.take_tails(&mut rooms, see)?;
            merge.take_rooms(&mut rooms, see)?;
        }
        merge.take_missing_runs(&mut rooms, see)?;
        merge.take_lost(&mut rooms, see)?;
        merge.run()?;
        let page = &mut merge.page;
        page.amended = self.amend(&mut page.records, &mut page.gaps)?;
        // What is gone on purpose is no gap here: once it has left the packs nothing tells when.
        page.gaps.retain(|gap| gap.reason != GapReason::Erased);
        page.gaps.sort_by_key(|gap| (gap.room, gap.from_seq));
        page.gaps.dedup_by(|next, before| {
            let joins = before.room == next.room && next.from_seq <= before.to_seq.next();
            if joins {
                before.to_seq = before.to_seq.max(next.to_seq);
            }
            joins
        });
        Ok(merge.page)
    }

    /// Those of a category's rooms that have a tail: looked for where there are fewer.
    fn rooms_with_tails(&self, category: CategoryId) -> Result<Vec<RoomId>> {
        let Some(mut rooms) = self.tails.some_rooms(FEW_ROOMS) else {
            let mut rooms = self.runs.rooms_of(category)?;
            rooms.retain(|room| self.tails.has(*room));
            return Ok(rooms);
        };
        let mut failed = None;
        rooms.retain(|room| {
            let is_here = self.runs.is_in(*room, category);
            is_here.map_err(|error| failed = Some(error)).unwrap_or(false)
        });
        failed.map_or(Ok(rooms), Err)
    }
}

type Seen = BTreeMap<RoomId, bool>;

impl<'a> Merge<'a> {
    fn new(history: &'a History, request: &'a CategoryRequest) -> Self {
        let after = request.cursor.map(|c| key_of(request.order, c.time, c.room, c.seq));
        let (heap, page) = (BinaryHeap::new(), CategoryPage::default());
        Self { history, request, heap, page, after, given: None }
    }

    /// The last entry of a room that retention took.
    fn floor(&self, room: RoomId) -> Result<Seq> {
        Ok(self.history.past(room)?.floor)
    }

    fn take_tails(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        for room in self.history.rooms_with_tails(self.request.category)? {
            let (from, to) = (self.request.from, self.request.to);
            let entries = self.history.tails.between_times(room, from, to);
            if entries.is_empty() || !*seen.entry(room).or_insert_with(|| see(room)) {
                continue;
            }
            let floor = self.floor(room)?;
            for entry in entries {
                if let Some(outline) = outline_of(&entry.bytes) {
                    self.take_entry(entry.bytes, &outline, floor);
                }
            }
        }
        Ok(())
    }

    /// A lost message has its place, but nobody knows when between its neighbours it was said.
    fn take_lost(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        if !self.history.holed {
            return Ok(());
        }
        let mut lost = Vec::new();
        walk_prefix(&*self.history.store, Family::State, keys::LOST, &mut |key, _| {
            lost.push((RoomId(keys::number_at(key, 1)), Seq(keys::number_at(key, 9))));
            Ok(if lost.len() < limits::HOLES_MAX { Go::On } else { Go::Stop })
        })?;
        for (room, seq) in lost {
            if !self.history.runs.is_in(room, self.request.category)?
                || !*seen.entry(room).or_insert_with(|| see(room))
            {
                continue;
            }
            let older = self.history.page_as_said(room, Anchor::Before(seq), 1)?;
            let newer = self.history.page_as_said(room, Anchor::After(seq), 1)?;
            let before = older.records.last().map_or(TimeUs::MIN, |r| r.time);
            let behind = newer.records.first().map_or(TimeUs::MAX, |r| r.time);
            self.take_hole(room, (Seq(seq.0.saturating_sub(1)), before), (seq.next(), behind))?;
        }
        Ok(())
    }

    /// Where losses were accepted, or a pack's index is gone, nothing stands in the place of what
    /// is missing: the runs of a room and its tail tell by the places they begin and end with.
    fn take_missing_runs(
        &mut self,
        seen: &mut Seen,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<()> {
        if !self.history.holed {
            return Ok(());
        }
        for room in self.history.runs.rooms_of(self.request.category)? {
            if !*seen.entry(room).or_insert_with(|| see(room)) {
                continue;
            }
            let mut last = (Seq::ZERO, TimeUs::MIN);
            for run in self.history.runs.get(room)?.runs.iter().filter(|run| run.has_entries()) {
                self.take_hole(room, last, (run.seq_base.next(), run.first_time))?;
                last = (run.last_seq, run.last_time);
            }
            let part = self.history.tails.from(room, last.0.next(), usize::MAX);
            for entry in part.entries {
                self.take_hole(room, last, (entry.seq_at, entry.time_at))?;
                last = (entry.seq_at, entry.time_at);
            }
            let head = self.history.head(room)?;
            self.take_hole(room, last, (head.seq.next(), TimeUs::MAX))?;
        }
        Ok(())
    }

    /// The places between two entries of a room, if there are any and the span may hold them.
    fn take_hole(
        &mut self,
        room: RoomId,
        before: (Seq, TimeUs),
        behind: (Seq, TimeUs),
    ) -> Result<()> {
        let first = before.0.max(self.floor(room)?).next();
        let last = Seq(behind.0.0.saturating_sub(1));
        let (from, to) = (self.request.from, self.request.to);
        if first > last || before.1 >= to || behind.1 < from {
            return Ok(());
        }
        let key = match self.request.order {
            Order::Ascending => key_of(Order::Ascending, before.1.max(from), room, first),
            Order::Descending => {
                key_of(Order::Descending, behind.1.min(TimeUs(to.0 - 1)), room, last)
            }
        };
        if self.after.is_none_or(|after| key > after) {
            let gap = Gap { room, from_seq: first, to_seq: last, reason: GapReason::Damaged };
            self.heap.push(InOrder { key, item: Item::Hole(gap) });
        }
        Ok(())
    }

    fn take_entry(&mut self, bytes: Bytes, of: &Outline, floor: Seq) {
        let Outline { time, room, seq, .. } = *of;
        let key = key_of(self.request.order, time, room, seq);
        let inside = time >= self.request.from && time < self.request.to && seq > floor;
        if inside && self.after.is_none_or(|after| key > after) {
            self.heap.push(InOrder { key, item: Item::Entry(bytes, room, seq) });
        }
    }

    fn take_runs(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        let category = self.request.category;
        // ORDERING: behind the look at the tails.
        let whereabouts = self.history.runs.whereabouts(category)?;
        let mut found = Vec::new();
        let meets = |run: &Placed| run.first < self.request.to && run.last >= self.request.from;
        match &whereabouts.runs {
            Some(runs) => found.extend(runs.iter().filter(|run| meets(run))),
            None => {
                for level in &whereabouts.levels {
                    self.runs_of_level(*level, &mut |run| found.extend(Some(run).filter(meets)))?;
                }
            }
        }
        for Placed { room, first_rev, .. } in found {
            let is_here = self.history.runs.is_in(room, category)?;
            if is_here
                && *seen.entry(room).or_insert_with(|| see(room))
                && let Some(run) = self.listed(room, first_rev)?
            {
                self.take_run(&run)?;
            }
        }
        for room in &whereabouts.moved {
            if !self.history.runs.is_in(*room, category)?
                || !*seen.entry(*room).or_insert_with(|| see(*room))
            {
                continue;
            }
            let list = self.history.runs.get(*room)?;
            for (at, run) in list.runs.iter().enumerate() {
                if run.category != category {
                    self.take_run(&Listed { list: Arc::clone(&list), at })?;
                }
            }
        }
        Ok(())
    }

    /// As `take_runs`, by the list of every room that is here now: slower, and never between rows.
    fn take_rooms(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        for room in self.history.runs.rooms_of(self.request.category)? {
            let list = self.history.runs.get(room)?;
            let (from, to) = (self.request.from, self.request.to);
            for (at, run) in list.runs.iter().enumerate() {
                let meets = run.first_time < to && run.last_time >= from;
                if run.has_entries() && meets && *seen.entry(room).or_insert_with(|| see(room)) {
                    self.take_run(&Listed { list: Arc::clone(&list), at })?;
                }
            }
        }
        Ok(())
    }

    fn runs_of_level(&self, level: u8, found: &mut dyn FnMut(Placed)) -> Result<()> {
        let category = self.request.category;
        let last = TimeUs(self.request.to.0 - 1);
        let (low, high) = keys::buckets(level, self.request.from, last);
        let from = keys::category_level(category, level, low);
        let to = keys::after_prefix(&keys::category_level(category, level, high));
        let store = &*self.history.store;
        store.range(Family::Index, &from, &to, crate::catalog::Walk::Up, &mut |key, value| {
            found(Placed::of(key, value));
            Ok(Go::On)
        })
    }

    /// A run by its place: in its room's list, or by its own row where the list knows it not, or
    /// no longer.
    fn listed(&self, room: RoomId, first_rev: Rev) -> Result<Option<Listed>> {
        let list = self.history.runs.get(room)?;
        if let Ok(at) = list.runs.binary_search_by_key(&first_rev, |run| run.first_rev) {
            return Ok(Some(Listed { list, at }));
        }
        let row = self.history.store.get(Family::Index, &keys::run(room, first_rev))?;
        let Some(row) = row else { return Ok(None) };
        let runs = vec![decode_row(&row, "run row")?];
        Ok(Some(Listed { list: Arc::new(RoomList { runs, head: HeadRow::EMPTY }), at: 0 }))
    }

    fn take_run(&mut self, listed: &Listed) -> Result<()> {
        let Some(run) = listed.run() else { return Ok(()) };
        let floor = self.floor(run.room)?;
        if !run.has_entries() || run.last_seq <= floor {
            return Ok(());
        }
        for index in 0..run.blocks.len() {
            let Some(fence) = run.blocks.get(index) else { continue };
            let (first, last) = (fence.time_base.max(run.first_time), run.block_last_time(index));
            let overlaps = first < self.request.to && last >= self.request.from;
            let gone = run.block_last_seq(index) <= floor;
            if !overlaps || gone || !block_has_entries(run, index) {
                continue;
            }
            self.page.blocks_overlapping += 1;
            // One that lies in the span as a whole has an entry there.
            let (from, to) = (self.request.from, self.request.to);
            let within = from <= first && last < to;
            if !within && !self.history.packs.may_hold(run.pack, fence, from, to) {
                continue;
            }
            // The bound of what the block can hold, in the order asked for.
            let (time, seq) = match self.request.order {
                Order::Ascending => (first, fence.seq_base.next()),
                Order::Descending => (last, run.block_last_seq(index)),
            };
            let key = key_of(self.request.order, time, run.room, seq);
            let far = match self.request.order {
                Order::Ascending => {
                    key_of(Order::Ascending, last, run.room, run.block_last_seq(index))
                }
                Order::Descending => {
                    key_of(Order::Descending, first, run.room, fence.seq_base.next())
                }
            };
            if self.after.is_some_and(|after| far <= after) {
                continue;
            }
            let item = Item::Block(Candidate { run: listed.clone(), index });
            self.heap.push(InOrder { key, item });
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let limit = self.request.limit.clamp(1, limits::PAGE_MESSAGES_MAX);
        while let Some(placed) = self.heap.pop() {
            match placed.item {
                // A busy room keeps its last page in memory although a pack has it too.
                Item::Entry(_, room, seq)
                    if self.given.replace((room, seq)) == Some((room, seq)) => {}
                Item::Entry(bytes, ..) => {
                    if self.page.records.len() >= limit {
                        self.page.next = self.page.records.last().map(|last| CategoryCursor {
                            time: last.time,
                            room: last.room,
                            seq: last.seq,
                        });
                        return Ok(());
                    }
                    match Record::from_bytes(&bytes) {
                        Ok(record) => self.page.records.push(record),
                        Err(e) => undecodable(e.what, e.at),
                    }
                }
                Item::Block(_) | Item::Hole(_) if self.page.records.len() >= limit => {
                    // Whether it holds more is for the next page to find out.
                    self.page.next = self.page.records.last().map(|last| CategoryCursor {
                        time: last.time,
                        room: last.room,
                        seq: last.seq,
                    });
                    return Ok(());
                }
                Item::Hole(gap) => self.page.gaps.push(gap),
                Item::Block(candidate) => self.open(&candidate)?,
            }
        }
        Ok(())
    }

    fn open(&mut self, candidate: &Candidate) -> Result<()> {
        let Candidate { run, index } = candidate;
        let Some(run) = run.run() else { return Ok(()) };
        let Some(fence) = run.blocks.get(*index) else { return Ok(()) };
        let floor = self.floor(run.room)?;
        self.page.blocks += 1;
        match self.history.packs.block(run.pack, fence) {
            Ok(block) => {
                self.history.packs.learn_times(run.pack, fence, &block);
                let mut next = first_at(&block, self.request.from);
                while let Some((at, bytes, outline)) = entry_from(&block, next) {
                    if outline.time >= self.request.to {
                        break;
                    }
                    self.take_entry(bytes, &outline, floor);
                    next = at + 1;
                }
            }
            Err(_) => self.page.gaps.push(Gap {
                room: run.room,
                from_seq: fence.seq_base.max(floor).next(),
                to_seq: run.block_last_seq(*index),
                reason: GapReason::Damaged,
            }),
        }
        Ok(())
    }
}

/// The value of a category's run row: its first and last time.
pub(crate) fn span_value(run: &Run) -> Vec<u8> {
    let mut value = run.first_time.0.to_le_bytes().to_vec();
    value.extend_from_slice(&run.last_time.0.to_le_bytes());
    value
}

/// What it says.
pub(crate) fn span_of(value: &[u8]) -> (TimeUs, TimeUs) {
    let number = |at: usize| value.get(at..at + 8).and_then(|b| b.try_into().ok());
    let time = |at| number(at).map_or(0, i64::from_le_bytes);
    (TimeUs(time(0)), TimeUs(time(8)))
}
