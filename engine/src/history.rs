//! Reads of one room: pages, single entries, changes by rev.
//!
//! A reader takes the tail first and then looks into the packs for what is before it; a seal writes
//! its runs' rows before it drops the tail, so nothing falls between. Damage and missing entries
//! become gaps: a read never fails for them and never shows them as history.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::CatalogStore;
use crate::catalog::rows::{HeadRow, PastRow};
use crate::error::{Error, Result};
use crate::format::cached::CachedBlock;
use crate::format::payload::Payload;
use crate::format::record::{Outline, Record};
use crate::format::run::Run;
use crate::limits;
use crate::lists::RunLists;
use crate::pack::Packs;
use crate::reads::{Anchor, Changes, Entries, EntryList, Gap, GapReason, Page};
use crate::tail::{TailEntry, TailStart, Tails};
use crate::types::{Rev, RoomId, Seq, TimeUs};
use crate::views::Views;

/// Answers reads of one room.
pub(crate) struct History {
    pub store: Arc<dyn CatalogStore>,
    pub tails: Arc<Tails>,
    pub packs: Arc<Packs>,
    pub runs: RunLists,
    pub views: Views,
    /// Something is missing for which nothing stands: an accepted loss, or a pack without an index.
    pub holed: bool,
}

/// What a page gathers of timeline entries: those that cannot be read are left out.
pub(crate) trait Gather: Default {
    /// Makes room for so many.
    fn reserve(&mut self, count: usize);

    /// Record `at` of a block.
    fn take_of(&mut self, seq: Seq, block: &Arc<CachedBlock>, at: usize);

    /// An entry of a tail.
    fn take(&mut self, entry: TailEntry);

    /// The entries that [`Tails::before`] shows, and what it says.
    fn take_before(
        &mut self,
        tails: &Tails,
        room: RoomId,
        seq: Seq,
        most: usize,
    ) -> Option<TailStart>;

    /// How many there are.
    fn len(&self) -> usize;

    /// The place of one in the timeline.
    fn seq(&self, at: usize) -> Option<Seq>;

    fn truncate(&mut self, count: usize);

    fn retain(&mut self, stays: impl Fn(Seq) -> bool);

    fn reverse(&mut self);

    /// Adds others behind these.
    fn append(&mut self, other: Self);

    /// The places of all in the timeline.
    fn seqs(&self) -> impl Iterator<Item = Seq> {
        (0..self.len()).map_while(|at| self.seq(at))
    }

    /// The place of the last.
    fn last_seq(&self) -> Option<Seq> {
        self.seq(self.len().checked_sub(1)?)
    }
}

impl Gather for Vec<Record> {
    fn reserve(&mut self, count: usize) {
        Self::reserve(self, count);
    }

    fn take_of(&mut self, _: Seq, block: &Arc<CachedBlock>, at: usize) {
        self.extend(post_of(block, at));
    }

    fn take(&mut self, found: TailEntry) {
        self.extend(entry(&found.bytes));
    }

    fn take_before(
        &mut self,
        tails: &Tails,
        room: RoomId,
        seq: Seq,
        most: usize,
    ) -> Option<TailStart> {
        // Decoding is not quick.
        let mut shown = Vec::with_capacity(most);
        let start = tails.before(room, seq, most, |entry| shown.push(entry.bytes.clone()));
        self.extend(shown.iter().filter_map(|bytes| entry(bytes)));
        start
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn seq(&self, at: usize) -> Option<Seq> {
        self.get(at).map(|record| record.seq)
    }

    fn truncate(&mut self, count: usize) {
        Self::truncate(self, count);
    }

    fn retain(&mut self, stays: impl Fn(Seq) -> bool) {
        Self::retain(self, |record| stays(record.seq));
    }

    fn reverse(&mut self) {
        <[Record]>::reverse(self);
    }

    fn append(&mut self, other: Self) {
        self.extend(other);
    }
}

impl Gather for EntryList {
    fn reserve(&mut self, count: usize) {
        Self::reserve(self, count);
    }

    fn take_of(&mut self, seq: Seq, block: &Arc<CachedBlock>, at: usize) {
        self.push_of(seq, block, at);
    }

    fn take(&mut self, entry: TailEntry) {
        self.push(entry.seq_at, entry.bytes, entry.words);
    }

    fn take_before(
        &mut self,
        tails: &Tails,
        room: RoomId,
        seq: Seq,
        most: usize,
    ) -> Option<TailStart> {
        tails.before(room, seq, most, |entry| {
            self.push(entry.seq_at, entry.bytes.clone(), entry.words);
        })
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn seq(&self, at: usize) -> Option<Seq> {
        Self::seq(self, at)
    }

    fn truncate(&mut self, count: usize) {
        Self::truncate(self, count);
    }

    fn retain(&mut self, stays: impl Fn(Seq) -> bool) {
        Self::retain(self, stays);
    }

    fn reverse(&mut self) {
        Self::reverse(self);
    }

    fn append(&mut self, other: Self) {
        Self::append(self, other);
    }
}

/// Entries gathered for a page, with what was seen on the way.
#[derive(Default)]
struct Gathered<G> {
    records: G,
    gaps: Vec<Gap>,
    blocks: u64,
}

/// What was gathered, between which places, and the room's newest.
struct Span<G> {
    found: Gathered<G>,
    low: Seq,
    high: Seq,
    head: Seq,
}

impl<G> Span<G> {
    /// Where the entries before it end, if there are any.
    fn older(&self) -> Option<Seq> {
        (self.low > Seq(1)).then_some(self.low)
    }

    /// Behind which the entries after it begin, if there are any.
    fn newer(&self) -> Option<Seq> {
        (self.high < self.head).then_some(self.high)
    }
}

/// The entries of a room that there are to read.
#[derive(Clone, Copy)]
struct Live {
    /// The last that retention took.
    floor: Seq,
    /// The newest.
    head: Seq,
}

fn damaged(room: RoomId, from: Seq, to: Seq) -> Gap {
    Gap { room, from_seq: from, to_seq: to, reason: GapReason::Damaged }
}

fn expired(room: RoomId, from: Seq, to: Seq) -> Gap {
    Gap { room, from_seq: from, to_seq: to, reason: GapReason::Expired }
}

/// Gaps in order of room and seq, neighbours of one reason made one.
pub(crate) fn joined(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.sort_by_key(|gap| (gap.room, gap.from_seq));
    gaps.dedup_by(|next, before| {
        let neighbours = (before.room, before.reason) == (next.room, next.reason)
            && next.from_seq <= before.to_seq.next();
        if neighbours {
            before.to_seq = before.to_seq.max(next.to_seq);
        }
        neighbours
    });
    gaps
}

/// A stored record's value; bytes that passed their checksum and do not decode are damage.
pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record> {
    Record::from_bytes(bytes).map_err(Error::undecodable)
}

/// The same, and only where it stands and what it is.
pub(crate) fn decode_outline(bytes: &[u8]) -> Result<Outline> {
    Outline::from_bytes(bytes).map_err(Error::undecodable)
}

/// Record `at` of a block if it is a timeline entry.
pub(crate) fn post_of(block: &CachedBlock, at: usize) -> Option<Record> {
    let found = block.post(at).map_err(Error::undecodable);
    found.inspect_err(|error| tracing::error!(%error, "record cannot be decoded")).ok().flatten()
}

/// A timeline entry, or nothing.
pub(crate) fn entry(bytes: &[u8]) -> Option<Record> {
    match decode_record(bytes) {
        Ok(record) if matches!(record.payload, Payload::Post(_)) => Some(record),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(%error, "record cannot be decoded");
            None
        }
    }
}

impl History {
    /// How far a room has come, committed records included.
    pub(crate) fn head(&self, room: RoomId) -> Result<HeadRow> {
        // ORDERING: the tail first: a room's list is forgotten before its tail goes.
        let Some(tail) = self.tails.head(room) else {
            return Ok(self.runs.get(room)?.head.clone());
        };
        // Where records were lost a row may say more than those that are left.
        if !self.holed && tail.time > TimeUs::MIN {
            return Ok(tail);
        }
        let mut head = self.runs.head(room)?;
        head.seq = head.seq.max(tail.seq);
        head.rev = head.rev.max(tail.rev);
        head.time = head.time.max(tail.time);
        Ok(head)
    }

    /// What readers must know of a room beside its entries.
    pub(crate) fn past(&self, room: RoomId) -> Result<PastRow> {
        self.runs.past(room)
    }

    /// A page of a room, as people see it now.
    pub(crate) fn page(&self, room: RoomId, anchor: Anchor, limit: usize) -> Result<Page> {
        let _view = self.views.newest();
        let mut page = self.page_as_said(room, anchor, limit)?;
        self.name_erased(room, &mut page.gaps)?;
        page.amended = self.amend(&mut page.records, &mut page.gaps)?;
        page.gaps = joined(page.gaps);
        Ok(page)
    }

    /// A page of a room as it was said. The caller holds a view.
    pub(crate) fn page_as_said(&self, room: RoomId, anchor: Anchor, limit: usize) -> Result<Page> {
        let span = self.span::<Vec<Record>>(room, anchor, limit)?;
        let (older, newer) = (span.older(), span.newer());
        let Gathered { records, gaps, blocks } = span.found;
        Ok(Page { records, amended: Vec::new(), gaps: joined(gaps), older, newer, blocks })
    }

    /// A page of a room as its bytes, as people see it now.
    pub(crate) fn entries(&self, room: RoomId, anchor: Anchor, limit: usize) -> Result<Entries> {
        let view = self.views.newest();
        if self.past(room)?.amended > 0 {
            drop(view);
            return self.page(room, anchor, limit).map(Entries::of);
        }
        let span = self.span::<EntryList>(room, anchor, limit)?;
        let (older, newer) = (span.older(), span.newer());
        let Gathered { records: entries, gaps, blocks } = span.found;
        Ok(Entries { entries, amended: Vec::new(), gaps: joined(gaps), older, newer, blocks })
    }

    fn span<G: Gather>(&self, room: RoomId, anchor: Anchor, limit: usize) -> Result<Span<G>> {
        let limit = limit.clamp(1, limits::PAGE_MESSAGES_MAX);
        let head = self.head(room)?.seq;
        let live = Live { floor: self.past(room)?.floor, head };
        let (found, low, high) = match anchor {
            Anchor::Last => self.before(room, head.next(), limit, live)?,
            Anchor::Before(seq) => self.before(room, seq.min(head.next()), limit, live)?,
            Anchor::After(seq) => self.from(room, seq.next(), limit, live)?,
            Anchor::At(seq) => self.from(room, seq, limit, live)?,
            Anchor::AtTime(time) => self.from(room, self.seek(room, time)?, limit, live)?,
            Anchor::Around(seq) => self.around(room, seq, limit, live)?,
            Anchor::AroundTime(time) => self.around(room, self.seek(room, time)?, limit, live)?,
            Anchor::Between(from, to) => {
                self.from(room, from, limit, Live { head: head.min(to), ..live })?
            }
        };
        Ok(Span { found, low, high, head })
    }

    /// One entry as people see it now, or none if it does not exist or is damaged.
    pub(crate) fn entry(&self, room: RoomId, seq: Seq) -> Result<Option<Record>> {
        if seq == Seq::ZERO {
            return Ok(None);
        }
        let page = self.page(room, Anchor::Between(seq, seq), 1)?;
        Ok(page.records.into_iter().find(|r| r.seq == seq))
    }

    /// An entry as it was said, also one that retention took and the disk still has. The caller
    /// holds a view.
    pub(crate) fn stored(&self, room: RoomId, seq: Seq) -> Result<Option<Record>> {
        let live = Live { floor: Seq::ZERO, head: self.head(room)?.seq.min(seq) };
        let (found, ..) = self.from::<Vec<Record>>(room, seq, 1, live)?;
        Ok(found.records.into_iter().find(|record| record.seq == seq))
    }

    /// Every stored change of an entry, found without its rows, and how many blocks that may have
    /// one cannot be read. The caller holds a view.
    pub(crate) fn stored_changes(&self, room: RoomId, seq: Seq) -> Result<(Vec<Record>, u64)> {
        // ORDERING: the tail first, as in every read of history.
        let tail = self.tails.after_rev(room, Rev::ZERO, usize::MAX / 2);
        let (mut found, mut damaged) = (BTreeMap::new(), 0);
        let mut take = |bytes: &[u8]| {
            let record = decode_record(bytes).ok();
            let change = record.filter(|record| record.payload.amends() == Some(seq));
            found.extend(change.map(|record| (record.rev, record)));
        };
        let list = self.runs.get(room)?;
        let may = |run: &&Run| run.amended_from <= seq && seq <= run.amended_to;
        for run in list.runs.iter().filter(may) {
            for fence in &run.blocks {
                match self.packs.block(run, fence) {
                    Ok(block) => block.records().for_each(|bytes| take(&bytes)),
                    Err(_) => damaged += 1,
                }
            }
        }
        tail.entries.iter().filter(|entry| entry.kind.is_amendment()).for_each(|e| take(&e.bytes));
        Ok((found.into_values().collect(), damaged))
    }

    fn around<G: Gather>(
        &self,
        room: RoomId,
        seq: Seq,
        limit: usize,
        live: Live,
    ) -> Result<(Gathered<G>, Seq, Seq)> {
        let seq = seq.max(Seq(1)).min(live.head.next());
        let half = limit / 2;
        let (mut older, low, _): (Gathered<G>, _, _) = if half == 0 {
            (Gathered::default(), seq, seq)
        } else {
            self.before(room, seq, half, live)?
        };
        let rest = limit - older.records.len();
        let (newer, _, high) = self.from(room, seq, rest, live)?;
        older.records.append(newer.records);
        older.gaps.extend(newer.gaps);
        older.blocks += newer.blocks;
        Ok((older, low, high.max(Seq(seq.0.saturating_sub(1)))))
    }

    /// The newest entries before `seq`: with them the lowest seq covered and the highest.
    fn before<G: Gather>(
        &self,
        room: RoomId,
        seq: Seq,
        limit: usize,
        live: Live,
    ) -> Result<(Gathered<G>, Seq, Seq)> {
        let high = Seq(seq.0.saturating_sub(1));
        let mut taken = G::default();
        taken.reserve(limit);
        let tail = taken.take_before(&self.tails, room, seq, limit);
        let mut blocks = 0;
        if taken.len() < limit {
            let list = self.runs.get(room)?;
            let runs = &list.runs;
            let below = tail.map_or(seq, |tail| seq.min(tail.seq_before.next()));
            let mut at = runs.partition_point(|r| r.seq_base < below);
            'runs: while at > 0 {
                at -= 1;
                let Some(run) = runs.get(at) else { break };
                if run.last_seq <= live.floor {
                    break;
                }
                for index in (0..run.blocks.len()).rev() {
                    let Some(fence) = run.blocks.get(index) else { continue };
                    if run.block_last_seq(index) <= live.floor {
                        break 'runs;
                    }
                    if fence.seq_base.next() >= below || !block_has_entries(run, index) {
                        continue;
                    }
                    blocks += 1;
                    let Ok(block) = self.packs.block(run, fence) else { continue };
                    let last = run.block_last_seq(index);
                    push_down(&block, last, below, limit, &mut taken);
                    if taken.len() >= limit {
                        break 'runs;
                    }
                }
            }
        }
        taken.truncate(limit);
        taken.retain(|seq| seq > live.floor);
        let mut gaps = Vec::new();
        let mut expected = high;
        for seq in taken.seqs() {
            if seq < expected {
                gaps.push(damaged(room, seq.next(), expected));
            }
            expected = Seq(seq.0.saturating_sub(1));
        }
        let full = taken.len() >= limit;
        if !full && expected > live.floor {
            gaps.push(damaged(room, live.floor.next(), expected));
        }
        if !full && live.floor.min(high) > Seq::ZERO {
            gaps.push(expired(room, Seq(1), live.floor.min(high)));
        }
        let low = if full { taken.last_seq().unwrap_or(seq) } else { Seq(1) };
        taken.reverse();
        Ok((Gathered { records: taken, gaps, blocks }, low, high))
    }

    /// The entries from `seq` on: with them the lowest seq covered and the highest.
    fn from<G: Gather>(
        &self,
        room: RoomId,
        seq: Seq,
        limit: usize,
        live: Live,
    ) -> Result<(Gathered<G>, Seq, Seq)> {
        let low = seq.max(Seq(1));
        let seq = low.max(live.floor.next());
        let tail = self.tails.from(room, seq, limit);
        let mut records = G::default();
        let mut blocks = 0;
        if tail.start.is_none_or(|tail| seq <= tail.seq_before) {
            let below = tail.start.map_or(live.head, |tail| tail.seq_before);
            let list = self.runs.get(room)?;
            let runs = &list.runs;
            let start = runs.partition_point(|r| r.last_seq < seq);
            'runs: for run in runs.get(start..).unwrap_or_default() {
                let first = run.blocks.partition_point(|b| b.seq_base < seq).saturating_sub(1);
                for index in first..run.blocks.len() {
                    let Some(fence) = run.blocks.get(index) else { continue };
                    if run.block_last_seq(index) < seq || !block_has_entries(run, index) {
                        continue;
                    }
                    if fence.seq_base >= below {
                        break 'runs;
                    }
                    blocks += 1;
                    let Ok(block) = self.packs.block(run, fence) else { continue };
                    push_up(&block, fence.seq_base, (seq, below), limit, &mut records);
                    if records.len() >= limit {
                        break 'runs;
                    }
                }
            }
        }
        for entry in tail.entries {
            if records.len() >= limit {
                break;
            }
            records.take(entry);
        }
        records.retain(|seq| seq <= live.head);
        let mut gaps = Vec::new();
        if low < seq && low <= live.head {
            gaps.push(expired(room, low, live.floor.min(live.head)));
        }
        let mut expected = seq;
        for seq in records.seqs() {
            if seq > expected {
                gaps.push(damaged(room, expected, Seq(seq.0 - 1)));
            }
            expected = seq.next();
        }
        let full = records.len() >= limit;
        if !full && expected <= live.head {
            gaps.push(damaged(room, expected, live.head));
        }
        let high = if full { Seq(expected.0 - 1) } else { live.head };
        Ok((Gathered { records, gaps, blocks }, low, high))
    }

    /// The seq of the first entry at or after `time`: one past the head if there is none. Where the
    /// block that would tell is damaged, its first place.
    pub(crate) fn seek(&self, room: RoomId, time: TimeUs) -> Result<Seq> {
        let found = self.seek_all(room, time)?;
        Ok(found.max(self.past(room)?.floor.next()))
    }

    /// The time of an entry behind which a run ends, as the run says; none of any other.
    pub(crate) fn time_of_last(&self, room: RoomId, seq: Seq) -> Result<Option<TimeUs>> {
        let list = self.runs.get(room)?;
        let run = list.runs.iter().find(|run| run.has_entries() && run.last_seq == seq);
        Ok(run.map(|run| run.last_time))
    }

    fn seek_all(&self, room: RoomId, time: TimeUs) -> Result<Seq> {
        let head = self.head(room)?;
        let in_tail = self.tails.seek_time(room, time);
        let list = self.runs.get(room)?;
        // Runs without entries say nothing about time; times of the others never fall.
        let found = list.runs.iter().filter(|r| r.has_entries()).find(|r| r.last_time >= time);
        if let Some(run) = found {
            if run.first_time >= time {
                // Its first entry: the run says so, and no block need be read.
                return Ok(run.seq_base.next());
            }
            // Where the next block begins this one ends.
            let behind_first = run.blocks.get(1..).unwrap_or_default();
            let earlier = behind_first.partition_point(|next| next.time_base < time);
            let mut rest = earlier..run.blocks.len();
            if let Some(index) = rest.find(|index| block_has_entries(run, *index)) {
                return self.seek_block(run, index, time);
            }
        }
        Ok(in_tail.unwrap_or(head.seq.next()))
    }

    fn seek_block(&self, run: &Run, index: usize, time: TimeUs) -> Result<Seq> {
        let Some(fence) = run.blocks.get(index) else { return Ok(run.last_seq.next()) };
        let Ok(block) = self.packs.block(run, fence) else {
            return Ok(fence.seq_base.next());
        };
        // Times of entries never fall; of what stands between them nothing is known.
        let said = |at| block.place(at).ok().flatten();
        let (mut low, mut high) = (0, block.len());
        let mut found = run.block_last_seq(index).next();
        while low < high {
            let middle = low + (high - low) / 2;
            match (middle..high).find_map(|at| Some((at, said(at)?))) {
                Some((at, (_, said))) if said < time => low = at + 1,
                Some((_, (seq, _))) => (high, found) = (middle, seq),
                None => high = middle,
            }
        }
        Ok(found)
    }

    /// Everything that happened to a room after `after`, without the words of what is redacted.
    pub(crate) fn changes(&self, room: RoomId, after: Rev, limit: usize) -> Result<Changes> {
        let _view = self.views.newest();
        let past = self.past(room)?;
        let mut changes = self.recorded(room, after, limit)?;
        let expired = &mut changes.expired;
        changes.records.retain(|record| {
            let entry = record.payload.amends().unwrap_or(record.seq);
            let gone = entry > Seq::ZERO && entry <= past.floor;
            expired.extend(gone.then_some((record.rev, record.rev)));
            !gone
        });
        changes.redacted = self.silence(room, &mut changes.records, expired)?;
        expired.sort_unstable();
        expired.dedup_by(|next, before| {
            let joins = next.0 <= before.1.next();
            before.1 = if joins { before.1.max(next.1) } else { before.1 };
            joins
        });
        Ok(changes)
    }

    /// Everything that happened to a room after `after`, as it was recorded: history joined to the
    /// tail. The caller holds a view.
    pub(crate) fn recorded(&self, room: RoomId, after: Rev, limit: usize) -> Result<Changes> {
        let limit = limit.clamp(1, limits::PAGE_MESSAGES_MAX);
        // ORDERING: the head first: what is committed between the two reads is news, not a hole.
        let head = self.head(room)?;
        let tail = self.tails.after_rev(room, after, limit);
        let (mut records, mut expired) = (Vec::new(), Vec::new());
        if tail.start.is_none_or(|tail| tail.rev > after.next()) {
            let end = tail.start.map_or(head.rev.next(), |tail| tail.rev);
            self.changes_from_packs(room, (after, end), limit, (&mut records, &mut expired))?;
        }
        let room_left = limit.saturating_sub(records.len());
        for entry in tail.entries.iter().take(room_left) {
            records.extend(decode_record(&entry.bytes).ok());
        }
        let full = records.len() >= limit;
        let through = match records.last() {
            Some(last) if full => last.rev,
            Some(last) => head.rev.max(last.rev),
            None => head.rev.max(after),
        };
        records.retain(|r| !matches!(r.payload, Payload::Lost(_)));
        let mut holes = Vec::new();
        let mut expected = after.next();
        for record in &records {
            if record.rev > expected {
                holes.push((expected, Rev(record.rev.0 - 1)));
            }
            expected = record.rev.next();
        }
        if expected <= through {
            holes.push((expected, through));
        }
        expired.retain(|(first, _)| *first <= through);
        let holes = holes.into_iter().flat_map(|hole| outside(hole, &expired)).collect();
        let head = head.rev.max(through);
        Ok(Changes { records, holes, expired, through, head, ..Changes::default() })
    }

    fn changes_from_packs(
        &self,
        room: RoomId,
        (after, end): (Rev, Rev),
        limit: usize,
        (records, dropped): (&mut Vec<Record>, &mut Vec<(Rev, Rev)>),
    ) -> Result<()> {
        let list = self.runs.get(room)?;
        let start = list.runs.partition_point(|r| r.last_rev <= after);
        for run in list.runs.get(start..).unwrap_or_default() {
            if run.is_dropped() && run.first_rev < end {
                let last = run.last_rev.min(Rev(end.0.saturating_sub(1)));
                dropped.push((run.first_rev.max(after.next()), last));
            }
            let first = run.blocks.partition_point(|b| b.first_rev <= after).saturating_sub(1);
            for index in first..run.blocks.len() {
                let Some(fence) = run.blocks.get(index) else { continue };
                if run.block_last_rev(index) <= after || fence.first_rev >= end {
                    continue;
                }
                let Ok(block) = self.packs.block(run, fence) else { continue };
                for at in 0..block.len() {
                    let Some(Ok(record)) = block.record(at).map(|b| decode_record(&b)) else {
                        continue;
                    };
                    if record.rev > after && record.rev < end {
                        records.push(record);
                    }
                    if records.len() >= limit {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// What of a span none of the spans takes, which stand in order.
fn outside((first, last): (Rev, Rev), taken: &[(Rev, Rev)]) -> Vec<(Rev, Rev)> {
    let (mut rest, mut next) = (Vec::new(), first);
    for (from, to) in taken.iter().filter(|(from, to)| *to >= first && *from <= last) {
        rest.extend((next < *from).then(|| (next, Rev(from.0 - 1))));
        next = to.next();
    }
    rest.extend((next <= last).then_some((next, last)));
    rest
}

/// True if block `index` of a run holds a place of the timeline.
pub(crate) fn block_has_entries(run: &Run, index: usize) -> bool {
    run.blocks.get(index).is_some_and(|b| run.block_last_seq(index) > b.seq_base)
}

/// Takes entries below `below` from a block, newest first. `last` is the room's seq at its end.
fn push_down(
    block: &Arc<CachedBlock>,
    last: Seq,
    below: Seq,
    limit: usize,
    taken: &mut impl Gather,
) {
    let mut seq = last;
    for at in (0..block.len()).rev() {
        if taken.len() >= limit {
            return;
        }
        if !block.takes_seq(at) {
            continue;
        }
        if seq < below {
            taken.take_of(seq, block, at);
        }
        seq = Seq(seq.0.saturating_sub(1));
    }
}

/// Takes entries between two places, both included, from a block, oldest first. `base` is the
/// room's seq before it.
fn push_up(
    block: &Arc<CachedBlock>,
    base: Seq,
    (from, upto): (Seq, Seq),
    limit: usize,
    taken: &mut impl Gather,
) {
    let mut seq = base;
    for at in (0..block.len()).filter(|at| block.takes_seq(*at)) {
        if taken.len() >= limit {
            return;
        }
        seq = seq.next();
        if seq >= from && seq <= upto {
            taken.take_of(seq, block, at);
        }
    }
}
