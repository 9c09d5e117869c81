//! What a look at packs and journal saw: which places of the log, and which parts of each room.
//!
//! `repair` needs it to say exactly what is missing; `verify` alone collects none of it.
//!
//! INVARIANT: memory grows with the records seen, never with the numbers they state.

use std::collections::BTreeMap;

use hansard_engine::format::payload::{Kind, LsnSpan, Payload};
use hansard_engine::format::record::{Outline, Record};
use hansard_engine::format::run::Run;
use hansard_engine::limits;
use hansard_engine::types::{Epoch, Lsn, Rev, RoomId, Seq};

/// Places of one word of a set.
const WORD: u64 = 64;

/// A set of places in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LsnSet(BTreeMap<u64, u64>);

impl LsnSet {
    /// Adds one.
    pub(crate) fn insert(&mut self, lsn: Lsn) {
        *self.0.entry(lsn.0 / WORD).or_default() |= 1 << (lsn.0 % WORD);
    }

    /// True if it holds this one.
    pub(crate) fn has(&self, lsn: Lsn) -> bool {
        self.0.get(&(lsn.0 / WORD)).is_some_and(|word| word & (1 << (lsn.0 % WORD)) != 0)
    }

    /// Adds what another holds.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (at, theirs) in &other.0 {
            *self.0.entry(*at).or_default() |= theirs;
        }
    }

    /// Everything it holds from `first` on, in order.
    pub(crate) fn from(&self, first: Lsn) -> impl Iterator<Item = Lsn> + '_ {
        let words = self.0.range(first.0 / WORD..);
        let all = words.flat_map(|(at, word)| {
            let bits = (0..WORD).filter(move |bit| word & (1 << bit) != 0);
            bits.map(move |bit| Lsn(at * WORD + bit))
        });
        all.skip_while(move |lsn| *lsn < first)
    }

    /// The greatest it holds; zero if it is empty.
    pub(crate) fn last(&self) -> Lsn {
        let last = self.0.last_key_value();
        last.map_or(Lsn::ZERO, |(at, word)| Lsn(at * WORD + u64::from(word.max(&1).ilog2())))
    }

    /// What of `first..=last` it does not hold, as spans; the last of too many reaches to the end.
    pub(crate) fn missing(&self, first: Lsn, last: Lsn) -> Vec<LsnSpan> {
        let mut spans = Vec::new();
        let mut next = first;
        for lsn in self.from(first).take_while(|lsn| *lsn <= last) {
            if next < lsn && spans.len() + 1 >= limits::HOLES_MAX {
                break;
            }
            if next < lsn {
                spans.push(LsnSpan { first: next, last: Lsn(lsn.0 - 1) });
            }
            next = lsn.next();
        }
        if next <= last {
            spans.push(LsnSpan { first: next, last });
        }
        spans
    }
}

/// A part of a room's history that stands somewhere, be it readable or known to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomSpan {
    pub room: RoomId,
    pub first_rev: Rev,
    pub last_rev: Rev,
    /// The room's seq before it and at its end.
    pub seq_base: Seq,
    pub last_seq: Seq,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
}

impl From<&Run> for RoomSpan {
    fn from(run: &Run) -> Self {
        let Run { room, first_rev, last_rev, seq_base, last_seq, first_lsn, last_lsn, .. } = *run;
        Self { room, first_rev, last_rev, seq_base, last_seq, first_lsn, last_lsn }
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Places of the log whose records can be read.
    pub lsns: LsnSet,
    /// Parts of rooms.
    pub spans: Vec<RoomSpan>,
    /// Losses that were accepted before.
    pub accepted: Vec<LsnSpan>,
    /// The greatest epoch of a record.
    pub epoch: Option<Epoch>,
}

impl Seen {
    /// Notes a record that can be read.
    pub(crate) fn take(&mut self, outline: &Outline, bytes: &[u8]) {
        self.lsns.insert(outline.lsn);
        self.epoch = self.epoch.max(Some(outline.epoch));
        if outline.kind == Kind::LossAccepted
            && let Ok(Record { payload: Payload::LossAccepted(accepted), .. }) =
                Record::from_bytes(bytes)
        {
            self.accepted.extend(accepted.holes);
        }
    }

    /// Adds what another look saw.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.lsns.absorb(&other.lsns);
        self.spans.append(&mut other.spans);
        self.accepted.append(&mut other.accepted);
        self.epoch = self.epoch.max(other.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> LsnSpan {
        LsnSpan { first: Lsn(first), last: Lsn(last) }
    }

    #[test]
    fn a_set_names_what_it_lacks() {
        let mut set = LsnSet::default();
        assert_eq!((set.last(), set.missing(Lsn(1), Lsn(3))), (Lsn::ZERO, vec![span(1, 3)]));
        for lsn in [2, 3, 63, 64, 65, 700] {
            set.insert(Lsn(lsn));
        }
        assert!(set.has(Lsn(64)) && !set.has(Lsn(66)) && !set.has(Lsn(u64::MAX)));
        assert_eq!(set.last(), Lsn(700));
        let missing = set.missing(Lsn(1), Lsn(701));
        assert_eq!(missing, [span(1, 1), span(4, 62), span(66, 699), span(701, 701)]);
        assert_eq!(set.missing(Lsn(3), Lsn(3)), []);
        assert_eq!(set.from(Lsn(64)).collect::<Vec<_>>(), [64, 65, 700].map(Lsn));
        let mut other = LsnSet::default();
        other.insert(Lsn(u64::MAX));
        set.absorb(&other);
        assert_eq!(set.last(), Lsn(u64::MAX));
    }

    #[test]
    fn too_many_holes_become_one_that_reaches_to_the_end() {
        let mut set = LsnSet::default();
        (0..20_000).step_by(2).for_each(|lsn| set.insert(Lsn(lsn)));
        let missing = set.missing(Lsn(1), Lsn(30_000));
        assert_eq!(missing.len(), limits::HOLES_MAX);
        assert_eq!(missing.last().map(|s| s.last), Some(Lsn(30_000)));
        assert!(missing.windows(2).all(|pair| pair[0].last < pair[1].first));
    }
}
