//! Which packs the result has, and how far they count as sealed.
//!
//! Records above that place are read from the journal and sealed again. So a pack that is lost
//! costs nothing while the journal still has its records: the place is set back behind it, and
//! packs above it step aside for what the journal gives.
//!
//! INVARIANT: no record that a kept or dropped pack holds is in neither the packs kept nor the
//! journal.

use std::collections::{BTreeMap, BTreeSet};

use hansard_engine::format::pack::PackMeta;
use hansard_engine::format::payload::LsnSpan;
use hansard_engine::manifest::ManifestState;
use hansard_engine::spans::LsnSet;
use hansard_engine::types::{Epoch, Lsn};

use crate::verify::Seen;

/// What there is to choose from.
pub(super) struct Options<'a> {
    /// What the manifest says, if a copy of it is sound.
    pub manifest: Option<&'a ManifestState>,
    /// Packs with a run index that can be read; their records if those were looked at.
    pub packs: &'a BTreeMap<u64, (PackMeta, Option<Seen>)>,
    /// Where packs that the manifest names have lost records.
    pub lost: &'a [LsnSpan],
    /// What the journal holds.
    pub journal: &'a Seen,
    /// A number above that of every pack that ever was.
    pub next_pack: u64,
}

/// What was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// What the manifest shall say.
    pub state: ManifestState,
    /// Packs that step aside because the journal has all they hold.
    pub again: BTreeSet<u64>,
    /// Packs that the manifest does not name, and that it need not.
    pub unneeded: BTreeSet<u64>,
}

/// Chooses. Without a manifest every pack with an index counts, as far as the packs reach.
pub(super) fn choose(options: &Options<'_>) -> Choice {
    let Options { manifest, packs, journal, .. } = *options;
    let mut kept: BTreeMap<u64, &PackMeta> = BTreeMap::new();
    let mut unneeded = BTreeSet::new();
    let named = |id: &u64| manifest.is_none_or(|state| state.packs.contains_key(id));
    kept.extend(packs.iter().filter(|(id, _)| named(id)).map(|(id, (meta, _))| (*id, meta)));
    let mut sealed = match manifest {
        Some(state) => state.sealed,
        None => kept.values().map(|meta| meta.last_lsn).max().unwrap_or(Lsn::ZERO),
    };
    let mut lost = options.lost.to_vec();
    if manifest.is_none() {
        lost.push(LsnSpan { first: Lsn(1), last: sealed });
    }
    // A pack below the next number was named once and is no longer, on purpose. One above comes
    // from a seal that the manifest does not know: needed if the journal lacks what it holds.
    let next = manifest.map_or(u64::MAX, |state| state.next_pack);
    let newer = packs.iter().filter(|(id, _)| !named(id) && **id >= next);
    let newer: BTreeMap<u64, &(PackMeta, Option<Seen>)> =
        newer.map(|(id, pack)| (*id, pack)).collect();
    let in_journal = |seen: &Seen| seen.lsns.from(Lsn::ZERO).all(|lsn| journal.lsns.has(lsn));
    let all_there = newer.values().all(|(_, seen)| seen.as_ref().is_some_and(in_journal));
    for (id, _) in packs.iter().filter(|(id, _)| !named(id)) {
        match newer.get(id) {
            Some((meta, _)) if !all_there => {
                lost.push(LsnSpan { first: sealed.next(), last: meta.last_lsn });
                kept.insert(*id, meta);
            }
            _ => drop(unneeded.insert(*id)),
        }
    }
    sealed = kept.values().map(|meta| meta.last_lsn).fold(sealed, Lsn::max);
    let mut again = BTreeSet::new();
    let seen = |id: &u64| packs.get(id).and_then(|(_, seen)| seen.as_ref());
    if let Some(back) = set_back(&kept, seen, &lost, journal, sealed) {
        sealed = back;
        again = kept.iter().filter(|(_, m)| m.last_lsn > back).map(|(id, _)| *id).collect();
        kept.retain(|id, _| !again.contains(id));
    }
    let epochs = packs.keys().filter_map(seen).map(|seen| seen.epoch);
    let epoch = epochs.chain([journal.epoch, manifest.map(|state| state.epoch)]).flatten().max();
    let state = ManifestState {
        packs: kept.into_iter().map(|(id, meta)| (id, meta.clone())).collect(),
        sealed,
        epoch: epoch.unwrap_or(Epoch::FIRST),
        next_pack: options.next_pack.max(manifest.map_or(1, |state| state.next_pack)),
    };
    Choice { state, again, unneeded }
}

/// How far the packs shall count as sealed, so that the journal gives what they lost; none if
/// nothing is gained, or if anything behind that place is not in the journal.
fn set_back<'a>(
    kept: &BTreeMap<u64, &PackMeta>,
    seen: impl Fn(&u64) -> Option<&'a Seen>,
    lost: &[LsnSpan],
    journal: &Seen,
    sealed: Lsn,
) -> Option<Lsn> {
    let mut in_packs = LsnSet::default();
    kept.keys().filter_map(seen).for_each(|seen| in_packs.absorb(&seen.lsns));
    let gained = |lsn: &Lsn| {
        !in_packs.has(*lsn) && lost.iter().any(|span| span.first <= *lsn && *lsn <= span.last)
    };
    let first = journal.lsns.from(Lsn(1)).take_while(|lsn| *lsn <= sealed).find(gained)?;
    let mut back = Lsn(first.0 - 1);
    // A pack counts as a whole or not at all.
    while let Some(across) = kept.values().find(|m| m.first_lsn <= back && m.last_lsn > back) {
        back = Lsn(across.first_lsn.0.saturating_sub(1));
    }
    journal.lsns.missing(back.next(), sealed).is_empty().then_some(back)
}

#[cfg(test)]
mod tests {
    use hansard_engine::types::TimeUs;

    use super::*;

    fn meta(id: u64, first: u64, last: u64) -> PackMeta {
        PackMeta {
            id,
            bytes: 1,
            sha256: [0; 32],
            class: 0,
            day: TimeUs(0),
            first_lsn: Lsn(first),
            last_lsn: Lsn(last),
            records: last - first + 1,
            runs: 1,
            min_time: TimeUs(0),
            max_time: TimeUs(0),
            plain_bytes: 1,
        }
    }

    fn seen(lsns: impl IntoIterator<Item = u64>) -> Seen {
        let mut seen = Seen { epoch: Some(Epoch(2)), ..Seen::default() };
        lsns.into_iter().for_each(|lsn| seen.lsns.insert(Lsn(lsn)));
        seen
    }

    /// Packs as (number, records).
    fn packs(
        list: &[(u64, std::ops::RangeInclusive<u64>)],
    ) -> BTreeMap<u64, (PackMeta, Option<Seen>)> {
        let pack = |(id, lsns): &(u64, std::ops::RangeInclusive<u64>)| {
            (*id, (meta(*id, *lsns.start(), *lsns.end()), Some(seen(lsns.clone()))))
        };
        list.iter().map(pack).collect()
    }

    fn manifest(list: &[(u64, std::ops::RangeInclusive<u64>)], sealed: u64) -> ManifestState {
        let packs = packs(list).into_iter().map(|(id, (meta, _))| (id, meta)).collect();
        ManifestState { packs, sealed: Lsn(sealed), epoch: Epoch(1), next_pack: 10 }
    }

    /// What is kept, what steps aside, what is not needed, and how far is sealed.
    #[track_caller]
    fn check(
        named: Option<ManifestState>,
        there: &[(u64, std::ops::RangeInclusive<u64>)],
        journal: impl IntoIterator<Item = u64>,
        expected: (&[u64], &[u64], &[u64], u64),
    ) {
        let packs = packs(there);
        let lost: Vec<LsnSpan> = named
            .iter()
            .flat_map(|state| state.packs.values())
            .filter(|meta| !packs.contains_key(&meta.id))
            .map(|meta| LsnSpan { first: meta.first_lsn, last: meta.last_lsn })
            .collect();
        let options = Options {
            manifest: named.as_ref(),
            packs: &packs,
            lost: &lost,
            journal: &seen(journal),
            next_pack: 20,
        };
        let choice = choose(&options);
        let kept: Vec<u64> = choice.state.packs.keys().copied().collect();
        let list = |set: &BTreeSet<u64>| set.iter().copied().collect::<Vec<_>>();
        let found = (kept, list(&choice.again), list(&choice.unneeded), choice.state.sealed.0);
        let (kept, again, unneeded, sealed) = expected;
        assert_eq!(found, (kept.to_vec(), again.to_vec(), unneeded.to_vec(), sealed));
        assert_eq!((choice.state.epoch, choice.state.next_pack), (Epoch(2), 20));
    }

    #[test]
    fn a_sound_manifest_with_all_its_packs_stays() {
        let three = [(1, 1..=10), (2, 11..=20)];
        check(Some(manifest(&three, 25)), &three, 15..=30, (&[1, 2], &[], &[], 25));
    }

    #[test]
    fn without_a_manifest_the_packs_say_how_far_is_sealed() {
        let there = [(1, 1..=10), (4, 11..=20)];
        check(None, &there, 21..=30, (&[1, 4], &[], &[], 20));
        check(None, &[], 1..=30, (&[], &[], &[], 0));
        // The journal has what a pack in the middle lost, but not all that is above.
        check(None, &[(1, 1..=10), (3, 21..=30)], 15..=25, (&[1, 3], &[], &[], 30));
    }

    #[test]
    fn a_lost_pack_whose_records_the_journal_has_is_sealed_again() {
        let named = manifest(&[(1, 1..=10), (2, 11..=20), (3, 21..=30)], 30);
        let there = [(1, 1..=10), (3, 21..=30)];
        check(Some(named.clone()), &there, 11..=40, (&[1], &[3], &[], 10));
        // Half of it is gone for good: the other half is worth as much.
        check(Some(named.clone()), &there, 16..=40, (&[1], &[3], &[], 15));
        // The journal has a hole behind it: nothing sealed may be given up.
        let holed = (11..=22).chain(24..=40);
        check(Some(named.clone()), &there, holed, (&[1, 3], &[], &[], 30));
        check(Some(named), &there, 31..=40, (&[1, 3], &[], &[], 30));
    }

    #[test]
    fn a_pack_across_the_place_steps_aside_as_a_whole() {
        let named = manifest(&[(1, 1..=10), (2, 11..=30), (3, 12..=29)], 30);
        let there = [(1, 1..=10), (2, 11..=30)];
        let mut packs = packs(&there);
        let holed = seen((11..=30).filter(|n| n % 2 == 0));
        packs.get_mut(&2).expect("it is there").1 = Some(holed);
        let lost = [LsnSpan { first: Lsn(12), last: Lsn(29) }];
        let journal = seen(11..=40);
        let options = Options {
            manifest: Some(&named),
            packs: &packs,
            lost: &lost,
            journal: &journal,
            next_pack: 1,
        };
        let choice = choose(&options);
        assert_eq!((choice.state.sealed, choice.again), (Lsn(10), BTreeSet::from([2])));
    }

    #[test]
    fn packs_that_the_manifest_does_not_name_count_only_if_the_journal_lacks_them() {
        let named = manifest(&[(1, 1..=10)], 10);
        // Below the next number: removed on purpose. Above: of a seal that was cut off.
        let there = [(1, 1..=10), (5, 3..=4), (10, 11..=20)];
        check(Some(named.clone()), &there, 11..=30, (&[1], &[], &[5, 10], 10));
        // The journal was trimmed after that seal: the manifest is an older one.
        check(Some(named.clone()), &there, 21..=30, (&[1, 10], &[], &[5], 20));
        // Half of a seal, of which the other half is gone.
        let half = [(1, 1..=10), (10, 11..=15), (11, 21..=30)];
        check(Some(named), &half, 28..=40, (&[1, 10, 11], &[], &[], 30));
    }
}
