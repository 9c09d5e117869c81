//! Which packs a result has, by what the manifest, the packs and the journal say.
//!
//! Packs are told by their numbers and the places of their records.

use hansard_engine::types::TimeUs;

use super::*;

fn meta(id: u64, first: u64, last: u64) -> PackMeta {
    PackMeta {
        id,
        bytes: 1,
        sha256: [0; 32],
        class: 0,
        level: 0,
        day: TimeUs(0),
        first_lsn: Lsn(first),
        last_lsn: Lsn(last),
        records: last - first + 1,
        runs: 1,
        min_time: TimeUs(0),
        max_time: TimeUs(0),
        plain_bytes: 1,
        dropped: 0,
    }
}

fn seen(lsns: impl IntoIterator<Item = u64>) -> Seen {
    let mut seen = Seen { epoch: Some(Epoch(2)), ..Seen::default() };
    lsns.into_iter().for_each(|lsn| seen.lsns.insert(Lsn(lsn)));
    seen
}

/// Packs as (number, records).
fn packs(list: &[(u64, std::ops::RangeInclusive<u64>)]) -> BTreeMap<u64, (PackMeta, Option<Seen>)> {
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
fn of_packs_and_the_one_that_they_were_merged_into_only_one_side_counts() {
    let merged = |there: &[(u64, std::ops::RangeInclusive<u64>)]| {
        let mut packs = packs(there);
        packs.get_mut(&3).expect("it is there").0.level = 2;
        packs
    };
    let kept = |packs: &BTreeMap<u64, (PackMeta, Option<Seen>)>, named| {
        let journal = seen(21..=30);
        let options =
            Options { manifest: named, packs, lost: &[], journal: &journal, next_pack: 20 };
        let choice = choose(&options);
        let kept: Vec<u64> = choice.state.packs.keys().copied().collect();
        (kept, choice.unneeded.into_iter().collect::<Vec<_>>(), choice.state.sealed)
    };
    let mut packs = merged(&[(1, 1..=10), (2, 11..=20), (3, 1..=20)]);
    assert_eq!(kept(&packs, None), (vec![3], vec![1, 2], Lsn(20)));
    // One of its blocks is damaged: the packs that it was made of have all.
    packs.get_mut(&3).expect("it is there").1 = Some(seen((1..=20).filter(|n| *n != 5)));
    assert_eq!(kept(&packs, None), (vec![1, 2], vec![3], Lsn(20)));
    // The manifest is from before the merge.
    let before = ManifestState { next_pack: 3, ..manifest(&[(1, 1..=10), (2, 11..=20)], 20) };
    let packs = merged(&[(1, 1..=10), (2, 11..=20), (3, 1..=20)]);
    assert_eq!(kept(&packs, Some(&before)), (vec![1, 2], vec![3], Lsn(20)));
    let packs = merged(&[(3, 1..=20)]);
    assert_eq!(kept(&packs, Some(&before)), (vec![3], vec![], Lsn(20)));
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
