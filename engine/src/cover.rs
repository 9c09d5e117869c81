//! Whether packs hold what another pack holds, told by run indexes and their rows alone.
//!
//! A start asks it of rows of packs that the manifest names no more: a merge replaced those packs,
//! or the manifest is an older one. Revs are dense within a run, so ranges of revs are enough; no
//! record is looked at.
//!
//! INVARIANT: a run counts as covered only if every one of its records stands in a named pack, was
//! dropped from one, or stood in one whose run index is lost and which held its places in the log.

use std::collections::BTreeMap;

use crate::apply::decode_row;
use crate::catalog::{CatalogStore, Family, Go, walk_prefix};
use crate::error::Result;
use crate::format::pack::PackMeta;
use crate::format::payload::LsnSpan;
use crate::format::run::Run;
use crate::pack::Packs;
use crate::types::{Rev, RoomId};

/// What packs hold whose rows the catalog lacks.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    rooms: BTreeMap<RoomId, Vec<(Rev, Rev)>>,
    /// The places of packs whose index cannot be read.
    unread: Vec<LsnSpan>,
}

type Packed = BTreeMap<u64, PackMeta>;

/// True if the ranges hold all of `first..=last`.
fn holds(mut ranges: Vec<(Rev, Rev)>, first: Rev, last: Rev) -> bool {
    ranges.sort_unstable();
    let reach = |next: Rev, (from, to): &(Rev, Rev)| {
        if *from <= next && *to >= next { to.next() } else { next }
    };
    ranges.iter().fold(first, reach) > last
}

impl Cover {
    /// Adds a pack whose rows the catalog lacks.
    pub(crate) fn add_pack(&mut self, packs: &Packs, meta: &PackMeta) {
        match packs.runs(meta) {
            Ok(runs) => {
                for run in runs {
                    self.rooms.entry(run.room).or_default().push((run.first_rev, run.last_rev));
                }
            }
            Err(_) => self.unread.push(LsnSpan { first: meta.first_lsn, last: meta.last_lsn }),
        }
    }

    fn has(&self, run: &Run, rows: &[(Rev, Rev)]) -> bool {
        let lost = |s: &LsnSpan| s.first <= run.first_lsn && run.last_lsn <= s.last;
        let own = self.rooms.get(&run.room).into_iter().flatten();
        let ranges = own.chain(rows).copied().collect();
        self.unread.iter().any(lost) || holds(ranges, run.first_rev, run.last_rev)
    }

    /// The first run whose row the catalog has, whose pack is not named, and that packs which are
    /// do not hold.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub(crate) fn first_bare(
        &self,
        store: &dyn CatalogStore,
        named: &Packed,
    ) -> Result<Option<Run>> {
        let mut bare = None;
        // A room's rows stand together.
        let (mut rows, mut stale): (Vec<(Rev, Rev)>, Vec<Run>) = Default::default();
        let mut judge = |rows: &mut Vec<(Rev, Rev)>, stale: &mut Vec<Run>| {
            bare = bare.take().or_else(|| stale.drain(..).find(|run| !self.has(run, rows)));
            rows.clear();
            stale.clear();
            bare.is_some()
        };
        let mut room = None;
        walk_prefix(store, Family::Index, b"R", &mut |_, value| {
            let row: Run = decode_row(value, "run row")?;
            if room.replace(row.room) != Some(row.room) && judge(&mut rows, &mut stale) {
                return Ok(Go::Stop);
            }
            match named.contains_key(&row.pack) {
                true => rows.push((row.first_rev, row.last_rev)),
                false => stale.push(row),
            }
            Ok(Go::On)
        })?;
        judge(&mut rows, &mut stale);
        Ok(bare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_join_to() {
        let ranges = |list: &[(u64, u64)]| list.iter().map(|(a, b)| (Rev(*a), Rev(*b))).collect();
        let joined: Vec<(Rev, Rev)> = ranges(&[(7, 9), (1, 3), (4, 6), (2, 5), (12, 20)]);
        for (first, last, held) in
            [(1, 9, true), (3, 8, true), (9, 9, true), (9, 10, false), (10, 10, false)]
        {
            assert_eq!(holds(joined.clone(), Rev(first), Rev(last)), held, "{first}..{last}");
        }
        assert!(!holds(joined, Rev(11), Rev(13)));
        assert!(!holds(Vec::new(), Rev(1), Rev(1)));
        assert!(holds(ranges(&[(1, 2), (1, 9)]), Rev(1), Rev(9)));
    }
}
