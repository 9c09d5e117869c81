//! Reading the log back out of packs: what a catalog that is gone, or far behind, is rebuilt from.
//!
//! `survey` looks at everything and writes nothing, so that what is lost is known before the
//! judgement; `replay` hands out the records in log order. Neither applies anything: that is the
//! applier's, through the same function as ever, so a rebuilt row equals a row that was kept.
//!
//! INVARIANT: a record missing from the packs is named, unless a pack says that it was dropped, or
//! nothing but messages can be missing. A change of an entry that was dropped is named too where
//! the record that let it go may itself be missing: the entry may be there, as it was first said.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::catalog::rows::HeadRow;
use crate::format::block::Block;
use crate::format::pack::PackMeta;
use crate::format::payload::{LsnSpan, Payload};
use crate::format::record::Record;
use crate::format::run::{BlockRef, Run};
use crate::history::decode_record;
use crate::pack::Packs;
use crate::proof::salts::Salts;
use crate::spans::{LsnSet, union};
use crate::types::{Lsn, RoomId, Seq, TimeUs};

/// What the packs can and cannot give back.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Places of the log that no readable block holds.
    pub missing: Vec<LsnSpan>,
    /// Losses that records in the packs say were accepted.
    pub accepted: Vec<LsnSpan>,
    /// True if nothing but messages of rooms can be missing.
    pub only_messages: bool,
    /// Runs whose records were dropped.
    pub dropped: Vec<Run>,
    /// Seeds of salts, with the places of their records.
    pub salts: Vec<(Lsn, Salts)>,
    /// Where rooms stood after blocks that cannot be read, after records that were dropped, and
    /// after runs in which no record takes a place.
    pub heads: Vec<(RoomId, HeadRow)>,
}

/// Reads every record of the packs with `after < lsn <= upto`, and says which are not there.
pub(crate) fn survey<'a>(
    packs: &Packs,
    metas: impl Iterator<Item = &'a PackMeta>,
    after: Lsn,
    upto: Lsn,
) -> Survey {
    let (mut seen, mut dropped, mut gone) = (LsnSet::default(), LsnSet::default(), Gone::default());
    let mut survey = Survey { only_messages: true, ..Survey::default() };
    let mut lost: Vec<LsnSpan> = Vec::new();
    for meta in metas.filter(|m| m.last_lsn > after && m.first_lsn <= upto) {
        let runs = match packs.index(meta) {
            Ok(index) => {
                dropped.insert_all(&index.dropped);
                index.runs
            }
            Err(error) => {
                tracing::error!(%error, pack = meta.id, "run index cannot be read");
                survey.only_messages = false;
                continue;
            }
        };
        for run in runs.iter().filter(|r| r.last_lsn > after && r.first_lsn <= upto) {
            if run.is_dropped() {
                // What was dropped may have been the room's last.
                let time = run.last_time.max(TimeUs::FLOOR);
                let (seq, rev) = (run.last_seq, run.last_rev);
                survey.heads.push((run.room, HeadRow { seq, rev, time }));
                survey.dropped.push(run.clone());
            }
            // Records that take no place say not behind which they stand, if those before are lost.
            if !run.is_dropped() && !run.has_entries() && run.last_seq > Seq::ZERO {
                let (seq, rev, time) = (run.last_seq, run.last_rev, TimeUs::FLOOR);
                survey.heads.push((run.room, HeadRow { seq, rev, time }));
            }
            for (index, fence) in run.blocks.iter().enumerate() {
                match packs.whole(run, fence) {
                    Ok(block) => survey.take(&block, &mut seen, &mut gone),
                    Err(_) => {
                        survey.only_messages &= holds_only_messages(run, index, fence);
                        lost.push(LsnSpan { first: run.first_lsn, last: run.last_lsn });
                        survey.heads.push((run.room, head_after(run, index)));
                    }
                }
            }
        }
    }
    let missing = |but_for: &[LsnSpan]| {
        let mut known = seen.clone();
        let doubted = |lsn: &Lsn| {
            let at = but_for.partition_point(|span| span.last < *lsn);
            but_for.get(at).is_some_and(|span| span.first <= *lsn) && !gone.erased.has(*lsn)
        };
        dropped.from(Lsn::ZERO).filter(|lsn| !doubted(lsn)).for_each(|lsn| known.insert(lsn));
        known.missing(after.next(), upto)
    };
    survey.missing = missing(&[]);
    let lost = union(lost);
    let explained =
        |span: &LsnSpan| lost.iter().any(|l| l.first <= span.first && span.last <= l.last);
    survey.only_messages = survey.only_messages && survey.missing.iter().all(explained);
    if !survey.only_messages && !survey.missing.is_empty() {
        let runs = survey.dropped.iter().filter(|run| gone.leaves_open(run));
        let spans = runs.map(|run| LsnSpan { first: run.first_lsn, last: run.last_lsn });
        survey.missing = missing(&union(spans.collect()));
    }
    survey
}

/// What records say that they let go.
#[derive(Debug, Default)]
struct Gone {
    /// The last entry of a room that retention took.
    floors: BTreeMap<RoomId, Seq>,
    /// Records of entries that were erased, their changes among them.
    erased: LsnSet,
}

impl Gone {
    /// True if changes of entries were dropped with a run and no record that is there says that
    /// retention took these. Only entries and their changes are dropped in a room.
    fn leaves_open(&self, run: &Run) -> bool {
        let records = run.last_rev.next().0.saturating_sub(run.first_rev.0);
        let entries = run.last_seq.0.saturating_sub(run.seq_base.0);
        let floor = self.floors.get(&run.room).copied().unwrap_or_default();
        !run.room.is_system() && entries < records && floor < run.last_seq
    }
}

/// Every record of a block takes a place in a room's timeline if there are as many places.
fn holds_only_messages(run: &Run, index: usize, fence: &BlockRef) -> bool {
    let entries = run.block_last_seq(index).0.saturating_sub(fence.seq_base.0);
    !run.room.is_system() && entries == u64::from(fence.records)
}

fn head_after(run: &Run, index: usize) -> HeadRow {
    HeadRow {
        seq: run.block_last_seq(index),
        rev: run.block_last_rev(index),
        time: run.block_last_time(index),
    }
}

impl Survey {
    fn take(&mut self, block: &Block, seen: &mut LsnSet, gone: &mut Gone) {
        for at in 0..block.len() {
            match block.record(at).map(|bytes| decode_record(&bytes)) {
                Some(Ok(record)) => {
                    seen.insert(record.lsn);
                    match record.payload {
                        Payload::LossAccepted(accepted) => self.accepted.extend(accepted.holes),
                        Payload::Salts(salts) => self.salts.push((record.lsn, salts)),
                        Payload::Expired(expired) => {
                            let floor = gone.floors.entry(record.room).or_default();
                            *floor = expired.floor.max(*floor);
                        }
                        Payload::Erased(erased) => {
                            erased.records.iter().for_each(|it| gone.erased.insert(it.lsn));
                        }
                        _ => {}
                    }
                }
                // The block's checksum holds, so this is a record of a newer kind or a defect.
                Some(Err(error)) => {
                    tracing::error!(%error, "record in a sound block cannot be decoded");
                    self.only_messages = false;
                }
                None => {}
            }
        }
    }
}

/// A run being read, block by block; it always stands before a record.
struct Cursor {
    record: Record,
    bytes: Bytes,
    run: Run,
    block: usize,
    open: Block,
    at: usize,
}

impl Cursor {
    /// Stands before the first readable record at or behind (`block`, `at`), if there is one.
    fn find(packs: &Packs, run: Run, mut block: usize, mut at: usize) -> Option<Self> {
        while let Some(fence) = run.blocks.get(block) {
            if let Ok(open) = packs.whole(&run, fence) {
                while at < open.len() {
                    let bytes = open.record(at)?;
                    if let Ok(record) = decode_record(&bytes) {
                        return Some(Self { record, bytes, run, block, open, at });
                    }
                    at += 1;
                }
            }
            (block, at) = (block + 1, 0);
        }
        None
    }

    /// The record it stands before, and itself one further.
    fn advance(self, packs: &Packs) -> ((Record, Bytes), Option<Self>) {
        let Self { record, bytes, run, block, open, at } = self;
        let at = at + 1;
        let next = open.record(at).and_then(|b| Some((decode_record(&b).ok()?, b)));
        let further = match next {
            Some((record, bytes)) => Some(Self { record, bytes, run, block, open, at }),
            None => Self::find(packs, run, block, at),
        };
        ((record, bytes), further)
    }
}

/// The records of packs in log order. Runs are opened when the log reaches them, so memory is
/// bounded by the runs that overlap.
pub(crate) struct PackLog<'a> {
    packs: &'a Packs,
    after: Lsn,
    upto: Lsn,
    /// Packs not yet opened; the one that begins first is last.
    metas: Vec<PackMeta>,
    /// Runs not yet opened; the one that begins first is last.
    runs: Vec<Run>,
    /// Runs being read, by the record they stand before and their pack: one stands once in a pack.
    open: BTreeMap<(Lsn, u64), Cursor>,
}

impl<'a> PackLog<'a> {
    /// The records with `after < lsn <= upto`.
    pub(crate) fn new<'m>(
        packs: &'a Packs,
        metas: impl Iterator<Item = &'m PackMeta>,
        after: Lsn,
        upto: Lsn,
    ) -> Self {
        let mut metas: Vec<PackMeta> =
            metas.filter(|m| m.last_lsn > after && m.first_lsn <= upto).cloned().collect();
        metas.sort_by_key(|m| Reverse((m.first_lsn, m.id)));
        Self { packs, after, upto, metas, runs: Vec::new(), open: BTreeMap::new() }
    }

    fn stand(&mut self, cursor: Option<Cursor>) {
        self.open.extend(cursor.map(|cursor| ((cursor.record.lsn, cursor.run.pack), cursor)));
    }

    /// Opens every pack and run that may hold the next record.
    fn open_reached(&mut self) {
        loop {
            let next = self.open.first_key_value().map_or(Lsn(u64::MAX), |(at, _)| at.0);
            if let Some(meta) = self.metas.pop_if(|m| m.first_lsn <= next) {
                let runs = self.packs.runs(&meta).unwrap_or_default();
                self.runs.extend(runs.into_iter().filter(|r| r.last_lsn > self.after));
                self.runs.sort_by_key(|r| Reverse((r.first_lsn, r.room)));
            } else if let Some(run) = self.runs.pop_if(|r| r.first_lsn <= next) {
                self.stand(Cursor::find(self.packs, run, 0, 0));
            } else {
                return;
            }
        }
    }
}

impl Iterator for PackLog<'_> {
    type Item = (Record, Bytes);

    /// The next record that can be read, with its bytes.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.open_reached();
            let (_, cursor) = self.open.pop_first()?;
            let (found, further) = cursor.advance(self.packs);
            self.stand(further);
            let lsn = found.0.lsn;
            // A record stands in two packs only while one replaces the other.
            if lsn > self.after && lsn <= self.upto {
                self.after = lsn;
                return Some(found);
            }
        }
    }
}

#[cfg(test)]
#[path = "packs_tests.rs"]
mod tests;
