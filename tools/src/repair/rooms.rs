//! Which entries of which rooms are lost, told by what stands before and behind them.
//!
//! A room's changes are numbered without a gap. Where the numbers jump something is missing; it is
//! this repair's business if a record is missing there that nobody accepted as lost before.

use std::collections::BTreeMap;

use hansard_engine::catalog::rows::{HeadRow, head_of};
use hansard_engine::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use hansard_engine::error::Result;
use hansard_engine::format::payload::LsnSpan;
use hansard_engine::types::{Lsn, Rev, RoomId, Seq};

use crate::verify::RoomSpan;

/// What a room lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub room: RoomId,
    /// Its entries; none if only changes that are no entries are missing.
    pub seqs: Option<(u64, u64)>,
    /// Between which places of the log they stood.
    pub lsns: LsnSpan,
}

/// How far each room has come, by the catalog.
///
/// # Errors
/// `Io`.
pub(super) fn heads(catalog: &dyn CatalogStore) -> Result<BTreeMap<RoomId, HeadRow>> {
    let mut heads = BTreeMap::new();
    walk_prefix(catalog, Family::State, keys::TIPS, &mut |key, value| {
        if let Ok(head) = head_of(value) {
            heads.insert(RoomId(keys::number_at(key, 1)), head);
        }
        Ok(Go::On)
    })?;
    Ok(heads)
}

/// How far one room was followed.
struct Walk {
    room: RoomId,
    rev: Rev,
    seq: Seq,
    lsn: Lsn,
}

impl Walk {
    const fn at_start(room: RoomId) -> Self {
        Self { room, rev: Rev::ZERO, seq: Seq::ZERO, lsn: Lsn::ZERO }
    }

    /// What is missing between here and a change behind it that begins after `seq`.
    fn gap(&self, rev: Rev, seq: Seq, lsn: Lsn, holes: &[LsnSpan]) -> Option<Gap> {
        let lsns = LsnSpan { first: self.lsn.next(), last: Lsn(lsn.0.saturating_sub(1)) };
        let lost = holes.iter().any(|hole| hole.first <= lsns.last && hole.last >= lsns.first);
        let seqs = (self.seq < seq).then_some((self.seq.0 + 1, seq.0));
        (rev > self.rev.next() && lost).then_some(Gap { room: self.room, seqs, lsns })
    }

    fn pass(&mut self, span: &RoomSpan) {
        self.rev = self.rev.max(span.last_rev);
        self.seq = self.seq.max(span.last_seq);
        self.lsn = self.lsn.max(span.last_lsn);
    }
}

/// The gaps of all rooms that have to do with these holes in the log.
pub(super) fn gaps(
    mut spans: Vec<RoomSpan>,
    mut heads: BTreeMap<RoomId, HeadRow>,
    holes: &[LsnSpan],
) -> Vec<Gap> {
    spans.sort_by_key(|span| (span.room, span.first_rev));
    let mut gaps = Vec::new();
    for of_room in spans.chunk_by(|one, two| one.room == two.room) {
        let Some(first) = of_room.first() else { continue };
        let mut walk = Walk::at_start(first.room);
        for span in of_room {
            gaps.extend(walk.gap(span.first_rev, span.seq_base, span.first_lsn, holes));
            walk.pass(span);
        }
        if let Some(head) = heads.remove(&first.room) {
            gaps.extend(walk.gap(head.rev.next(), head.seq, Lsn(u64::MAX), holes));
        }
    }
    for (room, head) in heads {
        gaps.extend(Walk::at_start(room).gap(head.rev.next(), head.seq, Lsn(u64::MAX), holes));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use hansard_engine::types::TimeUs;

    use super::*;

    fn span(room: u64, revs: (u64, u64), seqs: (u64, u64), lsns: (u64, u64)) -> RoomSpan {
        RoomSpan {
            room: RoomId(room),
            first_rev: Rev(revs.0),
            last_rev: Rev(revs.1),
            seq_base: Seq(seqs.0),
            last_seq: Seq(seqs.1),
            first_lsn: Lsn(lsns.0),
            last_lsn: Lsn(lsns.1),
        }
    }

    fn hole(first: u64, last: u64) -> LsnSpan {
        LsnSpan { first: Lsn(first), last: Lsn(last) }
    }

    fn gap(room: u64, seqs: Option<(u64, u64)>, lsns: (u64, u64)) -> Gap {
        Gap { room: RoomId(room), seqs, lsns: hole(lsns.0, lsns.1) }
    }

    #[test]
    fn gaps_are_found_before_between_and_behind_what_is_there() {
        let spans = vec![
            span(1, (11, 20), (10, 19), (40, 60)),
            span(1, (1, 5), (0, 4), (1, 9)),
            span(2, (3, 4), (1, 3), (30, 31)),
        ];
        let head = |rev, seq| HeadRow { rev: Rev(rev), seq: Seq(seq), time: TimeUs(0) };
        let heads = BTreeMap::from([(RoomId(1), head(25, 22)), (RoomId(3), head(1, 0))]);
        let found = gaps(spans.clone(), heads.clone(), &[hole(10, 80)]);
        let last = u64::MAX - 1;
        let expected = [
            gap(1, Some((5, 10)), (10, 39)),
            gap(1, Some((20, 22)), (61, last)),
            gap(2, Some((1, 1)), (1, 29)),
            gap(3, None, (1, last)),
        ];
        assert_eq!(found, expected);
        // What was lost before, and accepted, is no hole of this repair.
        assert_eq!(gaps(spans, heads, &[hole(12, 13)]).len(), 3);
    }

    #[test]
    fn parts_that_overlap_are_no_gap() {
        let spans = vec![span(1, (1, 9), (0, 8), (1, 9)), span(1, (4, 4), (2, 3), (4, 4))];
        assert_eq!(gaps(spans, BTreeMap::new(), &[hole(1, 100)]), []);
    }
}
