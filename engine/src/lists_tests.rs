//! Lists of runs: what is kept is what the rows say, also when it is read ahead.
//!
//! Rows are written past the lists here, so that a test sees which of both it is given.

use super::*;
use crate::catalog::Change;
use crate::catalog::memory::MemoryCatalog;
use crate::format::run::BlockRef;
use crate::format::wire::to_bytes;
use crate::types::{Lsn, Seq};

const ROOM: RoomId = RoomId(7);
const CATEGORY: CategoryId = CategoryId(3);

fn run(first: u64, last: u64) -> Run {
    let (seq_base, last_seq) = (Seq(first - 1), Seq(last));
    let (first_time, last_time) = (TimeUs(10), TimeUs(20));
    let block = BlockRef {
        offset: 0,
        bytes: 1,
        crc: 0,
        share: 0,
        records: 1,
        first_rev: Rev(first),
        seq_base,
        time_base: first_time,
    };
    Run {
        pack: 1,
        room: ROOM,
        category: CATEGORY,
        first_rev: Rev(first),
        last_rev: Rev(last),
        seq_base,
        last_seq,
        first_time,
        last_time,
        first_lsn: Lsn(first),
        last_lsn: Lsn(last),
        amended_from: Seq::ZERO,
        amended_to: Seq::ZERO,
        blocks: vec![block],
        nodes: Vec::new(),
    }
}

fn rows(run: &Run) -> [Change; 2] {
    let put = |key, value| Change { family: Family::Index, key, value: Some(value) };
    let place = keys::dyadic(run.first_time, run.last_time);
    let by_time = keys::category_run(CATEGORY, place, ROOM, run.first_rev);
    [
        put(keys::run(ROOM, run.first_rev), to_bytes(run)),
        put(by_time, crate::category::span_value(run)),
    ]
}

fn lasts(lists: &RunLists) -> Vec<u64> {
    lists.get(ROOM).unwrap().runs.iter().map(|run| run.last_rev.0).collect()
}

#[test]
fn an_old_list_is_never_met_with_the_stamp_of_new_rows() {
    let store = Arc::new(MemoryCatalog::default());
    let lists = RunLists::new(Arc::clone(&store) as Arc<dyn CatalogStore>, 1 << 20, false);
    let (one, two) = (run(1, 5), run(6, 9));
    store.write(&[rows(&one), rows(&two)].concat()).unwrap();
    assert_eq!(lasts(&lists), [5, 9]);
    let known = lists.whereabouts(CATEGORY).unwrap();
    assert_eq!(known.runs.as_ref().map(Vec::len), Some(2));
    let before = lists.stamp().unwrap();
    let rooms = std::iter::once(ROOM).inspect(|_| assert_eq!(lists.stamp(), None));
    lists.replace(rooms, || {
        assert_eq!(lists.stamp(), None);
        let gone = rows(&two).map(|row| Change { value: None, ..row });
        store.write(&[rows(&run(1, 9)), gone].concat()).unwrap();
        assert_eq!(lasts(&lists), [5, 9], "it is forgotten behind the rows");
    });
    assert!(lists.stamp().is_some_and(|after| after != before));
    assert_eq!(lasts(&lists), [9]);
    assert_eq!(lists.whereabouts(CATEGORY).unwrap().runs.as_ref().map(Vec::len), Some(1));
}

#[test]
fn what_is_read_ahead_is_kept_as_if_it_had_been_asked_for() {
    let store = Arc::new(MemoryCatalog::default());
    let lists = RunLists::new(Arc::clone(&store) as Arc<dyn CatalogStore>, 1 << 20, false);
    let of = |room, last| Run { room: RoomId(room), ..run(1, last) };
    let write = |run: &Run| {
        let key = keys::run(run.room, run.first_rev);
        store.write(&[Change { value: Some(to_bytes(run)), key, ..rows(run)[0].clone() }])
    };
    let past = |floor| PastRow { floor: Seq(floor), ..PastRow::EMPTY };
    let write_past = |room, floor| {
        let (key, value) = (keys::past(RoomId(room)), Some(to_bytes(&past(floor))));
        store.write(&[Change { family: Family::State, key, value }])
    };
    let last = |room| {
        let list = lists.get(RoomId(room)).unwrap();
        (list.runs.last().map(|run| run.last_rev.0), list.head.seq.0)
    };
    [2, 5, 9].iter().for_each(|room| write(&of(*room, *room)).unwrap());
    write_past(5, 3).unwrap();
    assert_eq!(last(9), (Some(9), 9), "one is kept already");
    lists.read_ahead(&[9, 5, 2, 7, 5].map(RoomId)).unwrap();
    // Nobody says that rows are new, so what was read is what there is.
    [2, 5, 7, 9].iter().for_each(|room| write(&of(*room, 20)).unwrap());
    [2, 5].iter().for_each(|room| write_past(*room, 8).unwrap());
    let lasts = [2, 5, 7, 9, 11].map(last);
    assert_eq!(lasts, [(Some(2), 2), (Some(5), 5), (None, 0), (Some(9), 9), (None, 0)]);
    assert_eq!([2, 5].map(|room| lists.past(RoomId(room)).unwrap()), [past(0), past(3)]);
    lists.forget([2, 7].map(RoomId).into_iter());
    lists.forget_pasts(std::iter::once(RoomId(5)));
    lists.read_ahead(&[2, 5].map(RoomId)).unwrap();
    assert_eq!([2, 5, 7].map(last), [(Some(20), 20), (Some(5), 5), (Some(20), 20)]);
    assert_eq!([2, 5].map(|room| lists.past(RoomId(room)).unwrap()), [past(0), past(8)]);
}

#[test]
fn large_lists_are_not_read_ahead_and_none_is_cut_short() {
    let store = Arc::new(MemoryCatalog::default());
    // All of them fit one shard, whichever they fall into: what is not there was not read.
    let lists = RunLists::new(Arc::clone(&store) as Arc<dyn CatalogStore>, 16 << 30, false);
    let block = run(1, 1).blocks[0].clone();
    let large = |room, rev: u64| Run {
        room: RoomId(room),
        blocks: (0..60_000).map(|n| BlockRef { offset: n * 77, ..block.clone() }).collect(),
        ..run(rev, rev)
    };
    for room in 1..=4 {
        for run in (1..=2).map(|rev| large(room, rev)) {
            let key = keys::run(run.room, run.first_rev);
            let value = to_bytes(&run);
            assert!((AHEAD_BYTES_MAX / 8..AHEAD_BYTES_MAX / 2).contains(&value.len()));
            store.write(&[Change { family: Family::Index, key, value: Some(value) }]).unwrap();
        }
    }
    lists.read_ahead(&[1, 2, 3, 4].map(RoomId)).unwrap();
    let kept = [1, 2, 3, 4].map(|room| lists.cache.peek(&RoomId(room)).is_some());
    assert!(kept[0] && !kept[3] && kept.is_sorted_by(|a, b| a >= b), "{kept:?}");
    for room in 1..=4 {
        assert_eq!(lists.get(RoomId(room)).unwrap().runs, [large(room, 1), large(room, 2)]);
    }
}

#[test]
fn where_the_runs_of_a_large_category_stand_is_kept() {
    let store = Arc::new(MemoryCatalog::default());
    let lists = RunLists::new(Arc::clone(&store) as Arc<dyn CatalogStore>, 4 << 20, false);
    let all = (1..=PLACED_MAX as u64).flat_map(|rev| rows(&run(rev, rev)));
    store.write(&all.collect::<Vec<_>>()).unwrap();
    let known = lists.whereabouts(CATEGORY).unwrap();
    assert_eq!(known.runs.as_ref().map(Vec::len), Some(PLACED_MAX));
    assert!(Arc::ptr_eq(&known, &lists.whereabouts(CATEGORY).unwrap()));
    // What becomes of an entry is nothing to it; what becomes of a room is.
    lists.forget_pasts(std::iter::once(ROOM));
    assert!(Arc::ptr_eq(&known, &lists.whereabouts(CATEGORY).unwrap()));
    lists.forget_places(std::iter::once(ROOM));
    assert!(!Arc::ptr_eq(&known, &lists.whereabouts(CATEGORY).unwrap()));
    // One more, and it is told at which level they stand.
    let more = PLACED_MAX as u64 + 1;
    store.write(&rows(&run(more, more))).unwrap();
    lists.forget(std::iter::once(ROOM));
    let known = lists.whereabouts(CATEGORY).unwrap();
    let (level, _) = keys::dyadic(TimeUs(10), TimeUs(20));
    assert_eq!((known.runs.is_none(), known.levels.as_slice()), (true, &[level][..]));
}
