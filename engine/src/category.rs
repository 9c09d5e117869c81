//! A category's entries by time, both ways.
//!
//! Rows per run, never per message: a run stands in the catalog under the category it was sealed in
//! and the smallest dyadic span of time around it. That placement is a hint: rooms are filtered by
//! the category they have now, and rooms moved in are added. A merge by (time, room, seq) decodes a
//! block only when everything before it has been given out.

mod stream;

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap, hash_map};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;

use self::stream::{Key, Place, Span, Stream};
use crate::apply::decode_row;
use crate::catalog::rows::HeadRow;
use crate::catalog::{Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::cached::CachedBlock;
use crate::format::record::Record;
use crate::format::run::Run;
use crate::history::{History, block_has_entries, entry, joined, post_of};
use crate::limits;
use crate::lists::{Placed, RoomList};
use crate::reads::{
    Anchor, CategoryEntries, CategoryEntry, CategoryPage, CategoryRequest, Entry, Gap, GapReason,
    Order,
};
use crate::types::{CategoryId, Rev, RoomId, Seq, TimeUs};

/// Rooms with a tail up to which each is looked for in the category, instead of the other way.
const FEW_ROOMS: usize = 1024;

/// What a reader gets of an entry.
trait Give: Sized {
    /// Of record `at` of a block; none if it cannot be read.
    fn of_block(place: Place, block: &Arc<CachedBlock>, at: usize) -> Option<Self>;

    /// Of its stored bytes; none if they cannot be read. Where its words begin in them, if that is
    /// known.
    fn of_bytes(place: Place, bytes: &Bytes, words: u32) -> Option<Self>;
}

impl Give for Record {
    fn of_block(_: Place, block: &Arc<CachedBlock>, at: usize) -> Option<Self> {
        post_of(block, at)
    }

    fn of_bytes(_: Place, bytes: &Bytes, _: u32) -> Option<Self> {
        entry(bytes)
    }
}

impl Give for CategoryEntry {
    fn of_block(place: Place, block: &Arc<CachedBlock>, at: usize) -> Option<Self> {
        let Place { time, room, seq } = place;
        Some(Self { room, time, entry: Entry::of_block(seq, block, at)? })
    }

    fn of_bytes(place: Place, bytes: &Bytes, words: u32) -> Option<Self> {
        let Place { time, room, seq } = place;
        Some(Self { room, time, entry: Entry::new(seq, bytes.clone(), words)? })
    }
}

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
    /// The last entry of its room that retention took.
    floor: Seq,
    /// All of its entries are in the span, as far as times go.
    within: bool,
}

/// Something that stands at a place in the merge: a number in a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// A block not yet decoded; its place is the bound of what it can hold.
    Block(usize),
    /// Entries of a room; the place is that of the next of them.
    Stream(usize),
    /// Places of a room that are lost; nobody knows when between its neighbours they were said.
    Hole(usize),
}

#[derive(Debug, PartialEq, Eq)]
struct InOrder {
    key: Key,
    item: Item,
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        // A heap gives the largest, and the smallest key must come first; a block comes before an
        // entry at the same place, because it may hold one that is equal or smaller.
        let rank = |item: &Item| match item {
            Item::Block(at) => (0, *at),
            Item::Stream(at) => (1, *at),
            Item::Hole(at) => (2, *at),
        };
        other.key.cmp(&self.key).then_with(|| rank(&other.item).cmp(&rank(&self.item)))
    }
}

/// What was gathered for a page.
struct Gathered<T> {
    entries: Vec<T>,
    gaps: Vec<Gap>,
    next: Option<Place>,
    blocks: u64,
    blocks_overlapping: u64,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), gaps: Vec::new(), next: None, blocks: 0, blocks_overlapping: 0 }
    }
}

struct Merge<'a, T> {
    history: &'a History,
    request: &'a CategoryRequest,
    span: Span,
    see: &'a mut dyn FnMut(RoomId) -> bool,
    /// Of rooms that were asked about the last entry that retention took; none of those that the
    /// caller may not see.
    rooms: HashMap<RoomId, Option<Seq>, RandomState>,
    heap: BinaryHeap<InOrder>,
    blocks: Vec<Candidate>,
    streams: Vec<Stream>,
    holes: Vec<Gap>,
    page: Gathered<T>,
    /// The entry given out last.
    given: Option<Place>,
}

impl History {
    /// A category's page. `see` is asked once for each room that has something in the span.
    pub(crate) fn category_page(
        &self,
        request: &CategoryRequest,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<CategoryPage> {
        let _view = self.views.newest();
        let Gathered { entries: mut records, mut gaps, next, blocks, blocks_overlapping } =
            self.gather::<Record>(request, see)?;
        let amended = self.amend(&mut records, &mut gaps)?;
        let gaps = without_erased(gaps);
        Ok(CategoryPage { records, amended, gaps, next, blocks, blocks_overlapping })
    }

    /// The same as bytes.
    pub(crate) fn category_entries(
        &self,
        request: &CategoryRequest,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<CategoryEntries> {
        let _view = self.views.newest();
        let Gathered { mut entries, mut gaps, next, blocks, blocks_overlapping } =
            self.gather::<CategoryEntry>(request, see)?;
        let amended = self.amend_bytes(&mut entries, &mut gaps)?;
        let gaps = without_erased(gaps);
        Ok(CategoryEntries { entries, amended, gaps, next, blocks, blocks_overlapping })
    }

    fn gather<T: Give>(
        &self,
        request: &CategoryRequest,
        see: &mut dyn FnMut(RoomId) -> bool,
    ) -> Result<Gathered<T>> {
        // ORDERING: tails before runs, as in every read of history.
        let mut merge = Merge::new(self, request, see);
        if merge.span.from >= merge.span.to {
            // Nothing was asked for, or the cursor, which anybody can make up, stands behind it.
            return Ok(merge.page);
        }
        merge.take_tails()?;
        let stamp = self.runs.stamp();
        merge.take_runs()?;
        if stamp.is_none() || self.runs.stamp() != stamp {
            // A merge replaced rows meanwhile: some may have been passed over. The rows of one room
            // are replaced at once, and a room's list is read at once.
            merge.begin_anew();
            merge.take_tails()?;
            merge.take_rooms()?;
        }
        merge.take_missing_runs()?;
        merge.take_lost()?;
        merge.run()?;
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

/// What is gone on purpose is no gap here: once it has left the packs nothing tells when it was
/// said.
fn without_erased(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.retain(|gap| gap.reason != GapReason::Erased);
    joined(gaps)
}

impl<'a, T: Give> Merge<'a, T> {
    fn new(
        history: &'a History,
        request: &'a CategoryRequest,
        see: &'a mut dyn FnMut(RoomId) -> bool,
    ) -> Self {
        Self {
            history,
            request,
            span: Span::of(request),
            see,
            rooms: HashMap::default(),
            heap: BinaryHeap::new(),
            blocks: Vec::new(),
            streams: Vec::new(),
            holes: Vec::new(),
            page: Gathered::default(),
            given: None,
        }
    }

    /// Forgets what was found, and nothing of what was asked.
    fn begin_anew(&mut self) {
        self.heap.clear();
        self.blocks.clear();
        self.streams.clear();
        self.holes.clear();
        self.page = Gathered::default();
    }

    /// The last entry of a room that retention took; none if the caller may not see the room.
    fn floor(&mut self, room: RoomId) -> Result<Option<Seq>> {
        match self.rooms.entry(room) {
            hash_map::Entry::Occupied(known) => Ok(*known.get()),
            hash_map::Entry::Vacant(unknown) => {
                let floor = match (self.see)(room) {
                    true => Some(self.history.past(room)?.floor),
                    false => None,
                };
                Ok(*unknown.insert(floor))
            }
        }
    }

    fn take_tails(&mut self) -> Result<()> {
        for room in self.history.rooms_with_tails(self.request.category)? {
            let entries = self.history.tails.between_times(room, self.span.from, self.span.to);
            if !entries.is_empty()
                && let Some(floor) = self.floor(room)?
            {
                self.take_stream(Stream::of_tail((room, floor), entries));
            }
        }
        Ok(())
    }

    fn take_stream(&mut self, mut stream: Stream) {
        if let Some(place) = stream.advance(&self.span) {
            let item = Item::Stream(self.streams.len());
            self.heap.push(InOrder { key: self.span.key(place), item });
            self.streams.push(stream);
        }
    }

    /// A lost message has its place, but nobody knows when between its neighbours it was said.
    fn take_lost(&mut self) -> Result<()> {
        if !self.history.holed {
            return Ok(());
        }
        let mut lost = Vec::new();
        walk_prefix(&*self.history.store, Family::State, keys::LOST, &mut |key, _| {
            lost.push((RoomId(keys::number_at(key, 1)), Seq(keys::number_at(key, 9))));
            Ok(if lost.len() < limits::HOLES_MAX { Go::On } else { Go::Stop })
        })?;
        for (room, seq) in lost {
            if !self.history.runs.is_in(room, self.request.category)? {
                continue;
            }
            let Some(floor) = self.floor(room)? else { continue };
            let older = self.history.page_as_said(room, Anchor::Before(seq), 1)?;
            let newer = self.history.page_as_said(room, Anchor::After(seq), 1)?;
            let before = older.records.last().map_or(TimeUs::MIN, |r| r.time);
            let behind = newer.records.first().map_or(TimeUs::MAX, |r| r.time);
            let last = Seq(seq.0.saturating_sub(1));
            self.take_hole((room, floor), (last, before), (seq.next(), behind));
        }
        Ok(())
    }

    /// Where losses were accepted, or a pack's index is gone, nothing stands in the place of what
    /// is missing: the runs of a room and its tail tell by the places they begin and end with.
    fn take_missing_runs(&mut self) -> Result<()> {
        if !self.history.holed {
            return Ok(());
        }
        for room in self.history.runs.rooms_of(self.request.category)? {
            let Some(floor) = self.floor(room)? else { continue };
            let room = (room, floor);
            let mut last = (Seq::ZERO, TimeUs::MIN);
            for run in self.history.runs.get(room.0)?.runs.iter().filter(|run| run.has_entries()) {
                self.take_hole(room, last, (run.seq_base.next(), run.first_time));
                last = (run.last_seq, run.last_time);
            }
            let part = self.history.tails.from(room.0, last.0.next(), usize::MAX);
            for entry in part.entries {
                self.take_hole(room, last, (entry.seq_at, entry.time_at));
                last = (entry.seq_at, entry.time_at);
            }
            let head = self.history.head(room.0)?;
            self.take_hole(room, last, (head.seq.next(), TimeUs::MAX));
        }
        Ok(())
    }

    /// The places between two entries of a room, if there are any and the span may hold them. The
    /// span as it was asked for: a hole stands where it begins, wherever the cursor is.
    fn take_hole(
        &mut self,
        (room, floor): (RoomId, Seq),
        before: (Seq, TimeUs),
        behind: (Seq, TimeUs),
    ) {
        let first = before.0.max(floor).next();
        let last = Seq(behind.0.0.saturating_sub(1));
        let (from, to) = (self.request.from, self.request.to);
        if first > last || before.1 >= to || behind.1 < from {
            return;
        }
        let place = match self.request.order {
            Order::Ascending => Place { time: before.1.max(from), room, seq: first },
            Order::Descending => Place { time: behind.1.min(TimeUs(to.0 - 1)), room, seq: last },
        };
        let key = self.span.key(place);
        if self.span.is_after(key) {
            let gap = Gap { room, from_seq: first, to_seq: last, reason: GapReason::Damaged };
            self.heap.push(InOrder { key, item: Item::Hole(self.holes.len()) });
            self.holes.push(gap);
        }
    }

    fn take_runs(&mut self) -> Result<()> {
        let category = self.request.category;
        // ORDERING: behind the look at the tails.
        let whereabouts = self.history.runs.whereabouts(category)?;
        let mut found = Vec::new();
        let Span { from, to, .. } = self.span;
        let meets = |run: &Placed| run.first < to && run.last >= from;
        match &whereabouts.runs {
            Some(runs) => found.extend(runs.iter().filter(|run| meets(run))),
            None => {
                for level in &whereabouts.levels {
                    self.runs_of_level(*level, &mut |run| found.extend(Some(run).filter(meets)))?;
                }
            }
        }
        for Placed { room, first_rev, .. } in found {
            if self.history.runs.is_in(room, category)?
                && let Some(floor) = self.floor(room)?
                && let Some(run) = self.listed(room, first_rev)?
            {
                self.take_run(&run, floor);
            }
        }
        for room in &whereabouts.moved {
            if !self.history.runs.is_in(*room, category)? {
                continue;
            }
            let Some(floor) = self.floor(*room)? else { continue };
            let list = self.history.runs.get(*room)?;
            for (at, run) in list.runs.iter().enumerate() {
                if run.category != category {
                    self.take_run(&Listed { list: Arc::clone(&list), at }, floor);
                }
            }
        }
        Ok(())
    }

    /// As `take_runs`, by the list of every room that is here now: slower, and never between rows.
    fn take_rooms(&mut self) -> Result<()> {
        for room in self.history.runs.rooms_of(self.request.category)? {
            let list = self.history.runs.get(room)?;
            for (at, run) in list.runs.iter().enumerate() {
                let meets = run.first_time < self.span.to && run.last_time >= self.span.from;
                if run.has_entries()
                    && meets
                    && let Some(floor) = self.floor(room)?
                {
                    self.take_run(&Listed { list: Arc::clone(&list), at }, floor);
                }
            }
        }
        Ok(())
    }

    fn runs_of_level(&self, level: u8, found: &mut dyn FnMut(Placed)) -> Result<()> {
        let category = self.request.category;
        let (low, high) = keys::buckets(level, self.span.from, TimeUs(self.span.to.0 - 1));
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

    fn take_run(&mut self, listed: &Listed, floor: Seq) {
        let Some(run) = listed.run() else { return };
        if !run.has_entries() || run.last_seq <= floor {
            return;
        }
        let Span { from, to, order, .. } = self.span;
        for (index, fence) in run.blocks.iter().enumerate() {
            let (first, last) = (fence.time_base.max(run.first_time), run.block_last_time(index));
            let last_seq = run.block_last_seq(index);
            let overlaps = first < to && last >= from;
            if !overlaps || last_seq <= floor || !block_has_entries(run, index) {
                continue;
            }
            self.page.blocks_overlapping += 1;
            // One that lies in the span as a whole has an entry there.
            let within = from <= first && last < to;
            if !within && !self.history.packs.may_hold(run, fence, from, to) {
                continue;
            }
            // The bounds of what the block can hold, in the order asked for.
            let room = run.room;
            let oldest = Place { time: first, room, seq: fence.seq_base.next() };
            let newest = Place { time: last, room, seq: last_seq };
            let (near, far) = match order {
                Order::Ascending => (oldest, newest),
                Order::Descending => (newest, oldest),
            };
            if !self.span.is_after(self.span.key(far)) {
                continue;
            }
            let key = self.span.key(near);
            self.heap.push(InOrder { key, item: Item::Block(self.blocks.len()) });
            self.blocks.push(Candidate { run: listed.clone(), index, floor, within });
        }
    }

    fn run(&mut self) -> Result<()> {
        let limit = self.request.limit.clamp(1, limits::PAGE_MESSAGES_MAX);
        self.page.entries.reserve(limit.min(self.streams.len() + self.blocks.len()));
        while let Some(top) = self.heap.peek() {
            let item = top.item;
            if self.page.entries.len() >= limit && !self.is_given(item) {
                // Whether a block holds more is for the next page to find out.
                self.page.next = self.given;
                return Ok(());
            }
            match item {
                Item::Stream(at) => self.give(at),
                Item::Hole(at) => {
                    self.heap.pop();
                    self.page.gaps.extend(self.holes.get(at).cloned());
                }
                Item::Block(at) => {
                    self.heap.pop();
                    self.open(at);
                }
            }
        }
        Ok(())
    }

    /// True of an entry that was given out a moment ago: a busy room keeps its last page in memory
    /// although a pack has it too.
    fn is_given(&self, item: Item) -> bool {
        let Item::Stream(at) = item else { return false };
        self.given.is_some() && self.streams.get(at).and_then(Stream::place) == self.given
    }

    /// Gives out the entry that comes first, of this stream, which then stands at its next.
    fn give(&mut self, at: usize) {
        let is_given = self.is_given(Item::Stream(at));
        let (Some(stream), Some(mut top)) = (self.streams.get_mut(at), self.heap.peek_mut()) else {
            return;
        };
        if let Some(place) = stream.place()
            && !is_given
        {
            self.given = Some(place);
            self.page.entries.extend(stream.give::<T>(place));
        }
        match stream.advance(&self.span) {
            Some(place) => top.key = self.span.key(place),
            None => drop(PeekMut::pop(top)),
        }
    }

    fn open(&mut self, at: usize) {
        let Some(candidate) = self.blocks.get(at).cloned() else { return };
        let Candidate { run, index, floor, within } = candidate;
        let Some(run) = run.run() else { return };
        let Some(fence) = run.blocks.get(index) else { return };
        let room = (run.room, floor);
        self.page.blocks += 1;
        match self.history.packs.block(run, fence) {
            Ok(block) => {
                self.history.packs.learn_times(run, fence, &block);
                self.take_stream(Stream::of_block(room, block, within, &self.span));
            }
            Err(_) => self.page.gaps.push(Gap {
                room: run.room,
                from_seq: fence.seq_base.max(floor).next(),
                to_seq: run.block_last_seq(index),
                reason: GapReason::Damaged,
            }),
        }
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
