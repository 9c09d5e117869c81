//! Which packs are merged, and that it ends.
//!
//! What merges do to packs, rows and readers is in `engine/tests/merge.rs`.

use super::*;

fn pack(id: u64, day: i64, level: u32, mib: u64) -> PackMeta {
    PackMeta {
        id,
        bytes: mib << 20,
        sha256: [0; 32],
        class: 0,
        level,
        day: TimeUs(day * TimeUs::DAY_US),
        first_lsn: Lsn(id * 10),
        last_lsn: Lsn(id * 10 + 9),
        records: 10,
        runs: 1,
        min_time: TimeUs(0),
        max_time: TimeUs(0),
        plain_bytes: 1,
        dropped: 0,
    }
}

fn known(packs: &[PackMeta]) -> BTreeMap<u64, PackMeta> {
    packs.iter().map(|meta| (meta.id, meta.clone())).collect()
}

/// A day on which no key is remembered.
fn due(today: i64) -> Due {
    Due { today, first_key: Lsn(u64::MAX) }
}

/// The packs chosen, and as what.
fn picked(packs: &[PackMeta], today: i64) -> Option<(Vec<u64>, u32, i64)> {
    picked_with(packs, today, Lsn(u64::MAX))
}

/// The same while idempotency keys from here on are remembered.
fn picked_with(packs: &[PackMeta], today: i64, first_key: Lsn) -> Option<(Vec<u64>, u32, i64)> {
    let job = pick(&known(packs), Due { today, first_key }, &BTreeSet::new())?;
    let ids = job.inputs.iter().map(|meta| meta.id).collect();
    Some((ids, job.kind.level, job.kind.day))
}

#[test]
fn months_and_years_follow_the_calendar() {
    for (day, expected) in [
        (0, (1970, 1)),
        (30, (1970, 1)),
        (31, (1970, 2)),
        (-1, (1969, 12)),
        (11_016, (2000, 2)),
        (11_017, (2000, 3)),
        (19_782, (2024, 2)),
        (19_783, (2024, 3)),
        (20_780, (2026, 11)),
        (-719_468, (0, 3)),
    ] {
        assert_eq!(month_of(day), expected, "{day}");
    }
}

#[test]
fn parts_of_a_day_merge_when_there_are_enough_of_them() {
    let today = 20_780;
    let mut packs: Vec<PackMeta> = (1..8).map(|id| pack(id, today, 0, 1)).collect();
    assert_eq!(picked(&packs, today), None);
    packs.push(pack(8, today, 0, 1));
    assert_eq!(picked(&packs, today), Some(((1..=8).collect(), 1, today)));
    packs[3].level = 1;
    assert_eq!(picked(&packs, today), None, "only such as were sealed");
    packs.push(pack(9, today, 0, 64));
    assert_eq!(picked(&packs, today), None, "a large pack is left alone");
    packs[8].bytes = 57 << 20;
    assert_eq!(picked(&packs, today), None, "and none is made before the day's merge");
    packs[8].bytes -= 1;
    assert_eq!(picked(&packs, today), Some((vec![1, 2, 3, 5, 6, 7, 8, 9], 1, today)));
}

#[test]
fn a_period_waits_until_none_of_its_keys_is_remembered() {
    // The first of December: the day before, its month, and a month before that.
    let today = 20_788;
    let day = [pack(1, today - 1, 0, 1), pack(2, today - 1, 0, 1)];
    assert_eq!(picked_with(&day, today, Lsn(29)), None, "a key of the second pack");
    assert_eq!(picked_with(&day, today, Lsn(11)), None, "and one of the first");
    assert_eq!(picked_with(&day, today, Lsn(30)), Some((vec![1, 2], 2, today - 1)));
    let month = [pack(1, today - 9, 2, 1), pack(2, today - 1, 2, 1)];
    assert_eq!(picked_with(&month, today, Lsn(29)), None);
    assert_eq!(picked_with(&month, today, Lsn(30)), Some((vec![1, 2], 3, today - 9)));
    // A period whose keys are gone does not wait for another one's.
    let both = [
        pack(1, today - 2, 0, 1),
        pack(2, today - 2, 0, 1),
        pack(3, today - 1, 0, 1),
        pack(4, today - 1, 0, 1),
    ];
    assert_eq!(picked_with(&both, today, Lsn(35)), Some((vec![1, 2], 2, today - 2)));
    // Parts of a day do not wait: their keys leave with the day.
    let parts: Vec<PackMeta> = (1..=8).map(|id| pack(id, today, 0, 1)).collect();
    assert_eq!(picked_with(&parts, today, Lsn(11)), Some(((1..=8).collect(), 1, today)));
}

#[test]
fn days_months_and_years_merge_when_they_are_over() {
    // The first of December.
    let today = 20_788;
    let packs = [pack(1, today - 1, 0, 1), pack(2, today - 1, 1, 1)];
    assert_eq!(picked(&packs, today), Some((vec![1, 2], 2, today - 1)));
    assert_eq!(picked(&packs, today - 1), None, "the day is not over");
    // One alone once, for its keys.
    for (at, level) in [(0, 0), (1, 1)] {
        let job = Some((vec![packs[at].id], 2, today - 1));
        assert_eq!(picked(&packs[at..=at], today), job, "of level {level}");
        assert_eq!(picked_with(&packs[at..=at], today, Lsn(1)), None, "which are remembered");
    }
    assert_eq!(picked(&[pack(1, today - 1, 2, 1)], today), None, "one alone stays as it is");
    // Two days of November: a month, and not in November.
    let packs = [pack(1, today - 3, 2, 1), pack(2, today - 2, 2, 1)];
    assert_eq!(picked(&packs, today), Some((vec![1, 2], 3, today - 3)));
    assert_eq!(picked(&packs, today - 1), None);
    // What a seal wrote joins its day whatever its size; what was merged is left alone then.
    let large = [pack(1, today - 1, 0, 90), pack(2, today - 1, 1, 1), pack(3, today - 1, 2, 64)];
    assert_eq!(picked(&large, today), Some((vec![1, 2], 2, today - 1)));
    assert_eq!(picked(&large[2..], today), None);
    // A month that was merged waits for another of its year, and both for the year's end.
    let month = [pack(1, today - 3, 3, 1), pack(2, today - 40, 3, 1)];
    assert_eq!(picked(&month, today), None);
    assert_eq!(picked(&month, today + 31), Some((vec![1, 2], 4, today - 40)));
    let year = [pack(1, today - 3, 4, 1), pack(2, today - 40, 4, 1)];
    assert_eq!(picked(&year, today + 400), None, "merged as far as it goes");
    // What comes late joins its year.
    let mut late = [pack(1, today - 3, 4, 1), pack(2, today - 40, 4, 1), pack(3, today - 40, 0, 1)];
    assert_eq!(picked(&late, today + 400), Some((vec![3], 2, today - 40)));
    late[2].level = 2;
    assert_eq!(picked(&late, today + 400), Some((vec![3, 1, 2], 4, today - 40)));
    // Of another retention class.
    let mut apart = [pack(1, today - 3, 2, 1), pack(2, today - 2, 2, 1)];
    apart[1].class = 1;
    assert_eq!(picked(&apart, today), None);
}

#[test]
fn a_merge_reads_no_more_than_it_may_and_passes_over_what_is_damaged() {
    let today = 20_788;
    let many: Vec<PackMeta> = (1..=20).map(|id| pack(id, today - 1, 0, 60)).collect();
    let (first, ..) = picked(&many, today).unwrap();
    assert_eq!(first, (1..=17).collect::<Vec<_>>(), "1 GiB");
    let mut runs: Vec<PackMeta> = (1..=4).map(|id| pack(id, today - 1, 0, 1)).collect();
    runs.iter_mut().for_each(|meta| meta.runs = limits::MERGE_RUNS_MAX / 5 * 2);
    assert_eq!(picked(&runs, today).unwrap().0, [1, 2]);
    // One that is too large for any merge keeps no other from it.
    runs[0].runs = limits::MERGE_RUNS_MAX / 5 * 6;
    assert_eq!(picked(&runs, today).unwrap().0, [2, 3]);
    runs.iter_mut().for_each(|meta| meta.runs = limits::MERGE_RUNS_MAX / 5 * 3);
    assert_eq!(picked(&runs, today).unwrap().0, [1], "no two of them");
    runs.iter_mut().for_each(|meta| meta.level = 2);
    assert_eq!(picked(&runs, today), None);
    let packs = known(&[pack(1, 5, 0, 1), pack(2, 5, 0, 1), pack(3, 5, 0, 1)]);
    let job = pick(&packs, due(today), &BTreeSet::from([2])).unwrap();
    assert_eq!(job.inputs.iter().map(|meta| meta.id).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn merging_ends_and_leaves_few_packs() {
    // Two years of a pack every ten minutes of every seventh day.
    let (first, today) = (20_000, 20_730);
    let mut packs = BTreeMap::new();
    let mut next = 1;
    for day in (first..=today).step_by(7) {
        for _ in 0..144 {
            packs.insert(next, pack(next, day, 0, 1));
            next += 1;
        }
    }
    let all: u64 = packs.values().map(|meta| meta.bytes).sum();
    let mut written = 0;
    while let Some(Job { inputs, kind, .. }) = pick(&packs, due(today), &BTreeSet::new()) {
        packs.retain(|id, _| inputs.iter().all(|meta| meta.id != *id));
        let mut rest: u64 = inputs.iter().map(|meta| meta.bytes >> 20).sum();
        written += rest << 20;
        while rest > 0 {
            let mib = rest.min(limits::PACK_BYTES_TARGET >> 20);
            packs.insert(next, pack(next, kind.day, kind.level, mib));
            (next, rest) = (next + 1, rest - mib);
        }
    }
    assert_eq!(packs.values().map(|meta| meta.bytes).sum::<u64>(), all);
    assert!(packs.len() < 250, "{} of {} are left", packs.len(), 144 * 105);
    assert!(written < 4 * all, "{written} bytes were written for {all}");
}

#[test]
fn what_is_owed_is_what_merges_will_read() {
    let today = 20_780;
    let owes = |packs: &[PackMeta], first_key| {
        owed(known(packs), Due { today, first_key: Lsn(first_key) }, &BTreeSet::new()) >> 20
    };
    let mut packs: Vec<PackMeta> = (1..=8).map(|id| pack(id, today, 0, 1)).collect();
    assert_eq!((owes(&packs[1..], u64::MAX), owes(&packs, u64::MAX)), (0, 8));
    packs.extend([pack(11, today - 1, 0, 2), pack(12, today - 1, 1, 3)]);
    assert_eq!((owes(&packs, u64::MAX), owes(&packs, 1)), (13, 8), "keys are remembered");
    // Two days of a month that is over: each of them, and then both.
    packs =
        [(1, 40), (2, 40), (3, 41), (4, 41)].map(|(id, ago)| pack(id, today - ago, 0, 5)).into();
    assert_eq!(owes(&packs, u64::MAX), 40);
    let passed_over = BTreeSet::from([1, 3]);
    assert_eq!(owed(known(&packs), due(today), &passed_over) >> 20, 20, "only what can be read");
}
