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
use crate::catalog::rows::RoomRow;
use crate::catalog::{Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::payload::Payload;
use crate::format::record::Record;
use crate::format::run::Run;
use crate::history::{History, block_has_entries, decode_record};
use crate::limits;
use crate::reads::{Anchor, CategoryCursor, CategoryPage, CategoryRequest, Gap, GapReason, Order};
use crate::types::{CategoryId, RoomId, Seq, TimeUs};

/// Rooms with a tail up to which each is looked for in the category, instead of the other way.
const FEW_ROOMS: usize = 1024;

/// A block that may hold entries of the span.
#[derive(Clone, Debug)]
struct Candidate {
    run: Arc<Run>,
    index: usize,
}

/// Something that stands at a place in the merge.
enum Item {
    /// A block not yet decoded; its place is the bound of what it can hold.
    Block(Candidate),
    /// An entry.
    Entry(Box<Record>),
    /// Places of a room that are lost; nobody knows when between its neighbours they were said.
    Hole(Gap),
}

struct Placed {
    /// Smaller comes first, whatever the order asked for.
    key: (i128, i128, i128),
    item: Item,
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        // A heap gives the largest, and the smallest key must come first; a block comes before an
        // entry at the same place, because it may hold one that is equal or smaller.
        let rank = |item: &Item| u8::from(!matches!(item, Item::Block(_)));
        other.key.cmp(&self.key).then_with(|| rank(&other.item).cmp(&rank(&self.item)))
    }
}

/// The place of (time, room, seq) in the order asked for.
fn key_of(order: Order, time: TimeUs, room: RoomId, seq: Seq) -> (i128, i128, i128) {
    let key = (i128::from(time.0), i128::from(room.0), i128::from(seq.0));
    match order {
        Order::Ascending => key,
        Order::Descending => (-key.0, -key.1, -key.2),
    }
}

struct Merge<'a> {
    history: &'a History,
    request: &'a CategoryRequest,
    heap: BinaryHeap<Placed>,
    page: CategoryPage,
    after: Option<(i128, i128, i128)>,
    /// The entry given out last.
    given: Option<(RoomId, Seq)>,
    /// How far retention took the rooms that were met.
    floors: BTreeMap<RoomId, Seq>,
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

    fn rooms_of(&self, category: CategoryId) -> Result<Vec<RoomId>> {
        let mut rooms = Vec::new();
        let prefix = keys::category_room(category, RoomId::NONE);
        let prefix = prefix.get(..9).unwrap_or(&prefix);
        walk_prefix(&*self.store, Family::State, prefix, &mut |key, _| {
            rooms.push(RoomId(keys::number_at(key, 9)));
            Ok(Go::On)
        })?;
        Ok(rooms)
    }

    /// Those of a category's rooms that have a tail: looked for where there are fewer.
    fn rooms_with_tails(&self, category: CategoryId) -> Result<Vec<RoomId>> {
        let Some(mut rooms) = self.tails.some_rooms(FEW_ROOMS) else {
            let mut rooms = self.rooms_of(category)?;
            rooms.retain(|room| self.tails.has(*room));
            return Ok(rooms);
        };
        let mut failed = None;
        rooms.retain(|room| {
            let row = self.store.get(Family::State, &keys::category_room(category, *room));
            row.map_err(|error| failed = Some(error)).is_ok_and(|row| row.is_some())
        });
        failed.map_or(Ok(rooms), Err)
    }

    fn is_in(&self, room: RoomId, category: CategoryId) -> Result<bool> {
        let Some(bytes) = self.store.get(Family::State, &keys::room(room))? else {
            return Ok(false);
        };
        let row: RoomRow = decode_row(&bytes, "room row")?;
        Ok(row.settings.category == category && !row.deleted)
    }
}

type Seen = BTreeMap<RoomId, bool>;

impl<'a> Merge<'a> {
    fn new(history: &'a History, request: &'a CategoryRequest) -> Self {
        let after = request.cursor.map(|c| key_of(request.order, c.time, c.room, c.seq));
        let (heap, page) = (BinaryHeap::new(), CategoryPage::default());
        Self { history, request, heap, page, after, given: None, floors: BTreeMap::new() }
    }

    /// The last entry of a room that retention took.
    fn floor(&mut self, room: RoomId) -> Result<Seq> {
        if let Some(floor) = self.floors.get(&room) {
            return Ok(*floor);
        }
        let floor = self.history.past(room)?.floor;
        self.floors.insert(room, floor);
        Ok(floor)
    }

    fn take_tails(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        for room in self.history.rooms_with_tails(self.request.category)? {
            let (from, to) = (self.request.from, self.request.to);
            let entries = self.history.tails.between_times(room, from, to);
            if entries.is_empty() || !*seen.entry(room).or_insert_with(|| see(room)) {
                continue;
            }
            for entry in entries {
                self.take_entry(&entry.bytes)?;
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
            if !self.history.is_in(room, self.request.category)?
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
        for room in self.history.rooms_of(self.request.category)? {
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
            self.heap.push(Placed { key, item: Item::Hole(gap) });
        }
        Ok(())
    }

    fn take_entry(&mut self, bytes: &Bytes) -> Result<()> {
        match decode_record(bytes) {
            Ok(record) if matches!(record.payload, Payload::Post(_)) => {
                let key = key_of(self.request.order, record.time, record.room, record.seq);
                let inside = record.time >= self.request.from && record.time < self.request.to;
                if inside
                    && record.seq > self.floor(record.room)?
                    && self.after.is_none_or(|after| key > after)
                {
                    self.heap.push(Placed { key, item: Item::Entry(Box::new(record)) });
                }
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "record cannot be decoded"),
        }
        Ok(())
    }

    fn take_runs(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        let category = self.request.category;
        let mut found = Vec::new();
        for level in keys::MIN_LEVEL..=keys::MAX_LEVEL {
            self.runs_of_level(level, &mut found)?;
        }
        let mut here = BTreeMap::new();
        for (room, run) in found {
            let is_here = match here.get(&room) {
                Some(known) => *known,
                None => {
                    let known = self.history.is_in(room, category)?;
                    here.insert(room, known);
                    known
                }
            };
            if is_here && *seen.entry(room).or_insert_with(|| see(room)) {
                self.take_run(run)?;
            }
        }
        let mut moved = Vec::new();
        let prefix = keys::moved_in(category, RoomId::NONE);
        let prefix = prefix.get(..9).unwrap_or(&prefix);
        walk_prefix(&*self.history.store, Family::State, prefix, &mut |key, _| {
            moved.push(RoomId(keys::number_at(key, 9)));
            Ok(Go::On)
        })?;
        for room in moved {
            if !self.history.is_in(room, category)?
                || !*seen.entry(room).or_insert_with(|| see(room))
            {
                continue;
            }
            for run in self.history.runs.get(room)?.runs.iter().filter(|r| r.category != category) {
                self.take_run(Arc::new(run.clone()))?;
            }
        }
        Ok(())
    }

    /// As `take_runs`, by the list of every room that is here now: slower, and never between rows.
    fn take_rooms(&mut self, seen: &mut Seen, see: &mut dyn FnMut(RoomId) -> bool) -> Result<()> {
        for room in self.history.rooms_of(self.request.category)? {
            let list = self.history.runs.get(room)?;
            let (from, to) = (self.request.from, self.request.to);
            let meets = |run: &&Run| run.first_time < to && run.last_time >= from;
            for run in list.runs.iter().filter(|run| run.has_entries()).filter(meets) {
                if *seen.entry(room).or_insert_with(|| see(room)) {
                    self.take_run(Arc::new(run.clone()))?;
                }
            }
        }
        Ok(())
    }

    fn runs_of_level(&self, level: u8, found: &mut Vec<(RoomId, Arc<Run>)>) -> Result<()> {
        let category = self.request.category;
        let last = TimeUs(self.request.to.0 - 1);
        let (low, high) = keys::buckets(level, self.request.from, last);
        let from = keys::category_level(category, level, low);
        let to = keys::after_prefix(&keys::category_level(category, level, high));
        let store = &*self.history.store;
        store.range(Family::Index, &from, &to, crate::catalog::Walk::Up, &mut |key, value| {
            let room = RoomId(keys::number_at(key, keys::CATEGORY_RUN_ROOM_AT));
            // The row repeats the run's span, so most runs beside the span cost no second look-up.
            let (first, last) = span_of(value);
            if first < self.request.to && last >= self.request.from {
                let rev = key.get(keys::CATEGORY_RUN_ROOM_AT + 8..).unwrap_or_default();
                let row = [keys::runs(room).as_slice(), rev].concat();
                if let Some(bytes) = store.get(Family::Index, &row)? {
                    found.push((room, Arc::new(decode_row(&bytes, "run row")?)));
                }
            }
            Ok(Go::On)
        })
    }

    fn take_run(&mut self, run: Arc<Run>) -> Result<()> {
        let floor = self.floor(run.room)?;
        if !run.has_entries() || run.last_seq <= floor {
            return Ok(());
        }
        for index in 0..run.blocks.len() {
            let Some(fence) = run.blocks.get(index) else { continue };
            let (first, last) = (fence.time_base.max(run.first_time), run.block_last_time(index));
            let overlaps = first < self.request.to && last >= self.request.from;
            let gone = run.block_last_seq(index) <= floor;
            if !overlaps || gone || !block_has_entries(&run, index) {
                continue;
            }
            self.page.blocks_overlapping += 1;
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
            let item = Item::Block(Candidate { run: Arc::clone(&run), index });
            self.heap.push(Placed { key, item });
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let limit = self.request.limit.clamp(1, limits::PAGE_MESSAGES_MAX);
        while let Some(placed) = self.heap.pop() {
            match placed.item {
                // A busy room keeps its last page in memory although a pack has it too.
                Item::Entry(record)
                    if self.given.replace((record.room, record.seq))
                        == Some((record.room, record.seq)) => {}
                Item::Entry(record) => {
                    if self.page.records.len() >= limit {
                        self.page.next = self.page.records.last().map(|last| CategoryCursor {
                            time: last.time,
                            room: last.room,
                            seq: last.seq,
                        });
                        return Ok(());
                    }
                    self.page.records.push(*record);
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
        let Some(fence) = run.blocks.get(*index) else { return Ok(()) };
        let floor = self.floor(run.room)?;
        self.page.blocks += 1;
        match self.history.packs.block(run.pack, fence) {
            Ok(block) => {
                for at in 0..block.len() {
                    if let Some(bytes) = block.record(at) {
                        self.take_entry(&bytes)?;
                    }
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

fn span_of(value: &[u8]) -> (TimeUs, TimeUs) {
    let number = |at: usize| value.get(at..at + 8).and_then(|b| b.try_into().ok());
    let time = |at| number(at).map_or(0, i64::from_le_bytes);
    (TimeUs(time(0)), TimeUs(time(8)))
}
