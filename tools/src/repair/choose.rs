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
    let seen = |id: &u64| packs.get(id).and_then(|(_, seen)| seen.as_ref());
    for id in twice(&kept, |id| manifest.is_some() && named(id), seen) {
        kept.remove(&id);
        unneeded.insert(id);
    }
    sealed = kept.values().map(|meta| meta.last_lsn).fold(sealed, Lsn::max);
    let mut again = BTreeSet::new();
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

/// Of packs and the one that they were merged into, those that do not count: a merge was cut off
/// before the packs that it read were removed, or before the one that it wrote was named.
fn twice<'a>(
    kept: &BTreeMap<u64, &PackMeta>,
    named: impl Fn(&u64) -> bool,
    seen: impl Fn(&u64) -> Option<&'a Seen>,
) -> BTreeSet<u64> {
    let anew = |meta: &&PackMeta| meta.level > 0 || meta.dropped > 0;
    let mut merged: Vec<&PackMeta> = kept.values().copied().filter(anew).collect();
    merged.sort_by_key(|meta| std::cmp::Reverse((meta.level, meta.id)));
    let mut gone = BTreeSet::new();
    let places = |set: &LsnSet| set.from(Lsn::ZERO).count();
    let has_all = |set: &LsnSet, of: &LsnSet| of.from(Lsn::ZERO).all(|lsn| set.has(lsn));
    for PackMeta { id, level, .. } in merged {
        let Some(own) = seen(id).filter(|_| !gone.contains(id)) else { continue };
        let meets = |low: &&PackMeta| {
            let shares = |seen: &Seen| seen.lsns.from(Lsn::ZERO).any(|lsn| own.lsns.has(lsn));
            // One of the same level and with a smaller number was written anew to drop records.
            let before = low.level < *level || low.level == *level && low.id < *id;
            before && !gone.contains(&low.id) && seen(&low.id).is_some_and(shares)
        };
        let lows: Vec<u64> = kept.values().copied().filter(meets).map(|low| low.id).collect();
        let mut union = LsnSet::default();
        lows.iter().filter_map(&seen).for_each(|seen| union.absorb(&seen.lsns));
        let (lows_do, own_does) = (has_all(&union, &own.lsns), has_all(&own.lsns, &union));
        let prefer_lows = match (lows_do, own_does) {
            (true, true) => lows.iter().any(&named),
            (false, false) => places(&union) > places(&own.lsns),
            (lows_do, _) => lows_do,
        };
        match prefer_lows {
            true => drop(gone.insert(*id)),
            false => gone.extend(lows),
        }
    }
    gone
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
#[path = "choose_tests.rs"]
mod tests;
