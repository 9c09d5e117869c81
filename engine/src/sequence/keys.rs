//! Idempotency keys that were sequenced and stand in no run yet.
//!
//! What is remembered of them stands in the order of the log; maps of a few bytes each say where.
//! Nearly every key is new, and there are tens of thousands, so that each is another place in
//! memory, for which a processor waits if it is asked for alone: those of the group that is
//! sequenced stand in a small map, and go into the large one together. The maps go by eight bytes
//! of a name, which a register holds: what is copied by way of memory waits for what was put into
//! memory before it.
//!
//! INVARIANT: what `take_back` takes back is what was put since `keep`, and before it was put is
//! how it is again.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use crate::catalog::keys::KeyName;
use crate::remembered::First;
use crate::types::Lsn;

/// A key.
#[derive(Debug)]
struct Entry {
    name: KeyName,
    /// Of the record that says so.
    lsn: Lsn,
    /// None if it was erased with its record.
    first: Option<First>,
    /// The one that its part of a name led to before: perhaps an older one of the name.
    before: Option<u32>,
}

/// Numbers of entries by part of a name.
type Places = HashMap<u64, u32, RandomState>;

/// Keys in the order of the log.
#[derive(Debug, Default)]
pub(super) struct NewKeys {
    /// The number of the youngest entry; numbers go around.
    youngest: Places,
    /// The same of those put since `settle`.
    fresh: Places,
    entries: VecDeque<Entry>,
    /// The number of the oldest entry.
    oldest: u32,
    /// Entries put since `keep`.
    loose: usize,
}

/// The part of a name that maps go by. Names are bytes of a hash.
fn part(KeyName([a, b, c, d, e, f, g, h, ..]): &KeyName) -> u64 {
    u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
}

impl NewKeys {
    /// The youngest entry of a part of a name.
    fn place(&self, part: u64) -> Option<u32> {
        self.fresh.get(&part).or_else(|| self.youngest.get(&part)).copied()
    }

    /// The entry of a number, if it is there still.
    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.wrapping_sub(self.oldest)).ok()?)
    }

    /// What is known of a key: within, that it was erased.
    pub(super) fn get(&self, name: &KeyName) -> Option<Option<&First>> {
        let mut next = self.place(part(name));
        while let Some(entry) = next.and_then(|number| self.entry(number)) {
            if entry.name == *name {
                return Some(entry.first.as_ref());
            }
            next = entry.before;
        }
        None
    }

    /// Puts a key of a record, not older than those before.
    pub(super) fn put(&mut self, name: KeyName, first: Option<First>, lsn: Lsn) {
        // Numbers are as many as entries there can never be.
        #[expect(clippy::cast_possible_truncation, reason = "it goes around")]
        let number = self.oldest.wrapping_add(self.entries.len() as u32);
        let part = part(&name);
        let before = self.place(part);
        self.fresh.insert(part, number);
        self.entries.push_back(Entry { name, lsn, first, before });
        self.loose += 1;
    }

    /// What was put stays.
    pub(super) const fn keep(&mut self) {
        self.loose = 0;
    }

    /// What was put since `keep` goes.
    pub(super) fn take_back(&mut self) {
        for _ in 0..std::mem::take(&mut self.loose) {
            let Some(Entry { name, before, .. }) = self.entries.pop_back() else { break };
            match before {
                Some(number) => self.fresh.insert(part(&name), number),
                None => self.fresh.remove(&part(&name)),
            };
        }
    }

    /// A group is sequenced: its keys go to the others.
    pub(super) fn settle(&mut self) {
        self.youngest.extend(self.fresh.drain());
    }

    /// Lets go of keys of records up to `kept`. Nothing may be loose or fresh.
    pub(super) fn forget(&mut self, kept: Lsn) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.lsn <= kept) {
            let part = part(&entry.name);
            if self.youngest.get(&part) == Some(&self.oldest) {
                self.youngest.remove(&part);
            }
            self.oldest = self.oldest.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::keys::KeySpan;
    use crate::catalog::rows::KeyRow;
    use crate::types::{PrincipalId, RoomId, TimeUs};

    fn name(n: u64) -> KeyName {
        KeyName::new(PrincipalId(1), RoomId(2), &n.to_be_bytes())
    }

    /// Another name of the same part.
    fn like(n: u64) -> KeyName {
        let mut like = name(n);
        like.0[11] ^= 1;
        like
    }

    fn first(lsn: u64) -> First {
        let row = KeyRow::at(TimeUs(5), TimeUs(5), &[7; 16]);
        First { span: KeySpan(9), row: KeyRow { lsn: Lsn(lsn), ..row } }
    }

    fn put(keys: &mut NewKeys, n: u64, lsn: u64) {
        keys.put(name(n), Some(first(lsn)), Lsn(lsn));
    }

    /// The record of a key; zero if it was erased, none if nothing is known of it.
    fn known(keys: &NewKeys, n: u64) -> Option<u64> {
        keys.get(&name(n)).map(|first| first.map_or(0, |first| first.row.lsn.0))
    }

    /// Also where numbers go around.
    fn near_the_end() -> NewKeys {
        NewKeys { oldest: u32::MAX - 1, ..NewKeys::default() }
    }

    #[test]
    fn the_youngest_of_a_name_counts_until_its_record_is_kept_wherever_groups_end() {
        // A bit for each put: whether a group ends there.
        for groups in 0..64_u32 {
            let mut keys = near_the_end();
            let end = |keys: &mut NewKeys, at: u32| {
                keys.keep();
                if groups >> at & 1 == 1 {
                    keys.settle();
                }
            };
            for (at, (n, lsn)) in (0..).zip([(1, 10), (2, 20), (1, 30), (3, 40)]) {
                put(&mut keys, n, lsn);
                end(&mut keys, at);
            }
            keys.put(name(3), None, Lsn(50));
            end(&mut keys, 4);
            let all = |keys: &NewKeys| [1, 2, 3, 4].map(|n| known(keys, n));
            assert_eq!(all(&keys), [Some(30), Some(20), Some(0), None]);
            keys.settle();
            assert_eq!(all(&keys), [Some(30), Some(20), Some(0), None]);
            keys.forget(Lsn(9));
            assert_eq!(keys.entries.len(), 5, "none is kept");
            keys.forget(Lsn(20));
            assert_eq!(all(&keys), [Some(30), None, Some(0), None], "the younger of two stays");
            keys.forget(Lsn(49));
            assert_eq!(all(&keys), [None, None, Some(0), None]);
            put(&mut keys, 1, 60);
            end(&mut keys, 5);
            assert_eq!(all(&keys), [Some(60), None, Some(0), None]);
            keys.settle();
            keys.forget(Lsn(60));
            let left = (keys.entries.len(), keys.youngest.len(), keys.fresh.len(), keys.oldest);
            assert_eq!(left, (0, 0, 0, 4));
        }
    }

    /// With the first key, of this group or of one before.
    fn with_one(settled: bool) -> NewKeys {
        let mut keys = near_the_end();
        put(&mut keys, 1, 10);
        keys.keep();
        if settled {
            keys.settle();
        }
        keys
    }

    #[test]
    fn names_that_maps_take_for_one_are_two() {
        for settled in [false, true] {
            let mut keys = with_one(settled);
            assert_eq!(keys.get(&like(1)), None);
            keys.put(like(1), None, Lsn(20));
            assert_eq!((known(&keys, 1), keys.get(&like(1))), (Some(10), Some(None)));
            put(&mut keys, 1, 30);
            assert_eq!((known(&keys, 1), keys.get(&like(1))), (Some(30), Some(None)));
            keys.keep();
            keys.settle();
            keys.forget(Lsn(20));
            assert_eq!((known(&keys, 1), keys.get(&like(1))), (Some(30), None));
            keys.forget(Lsn(30));
            assert_eq!((keys.youngest.len(), keys.entries.len()), (0, 0));
        }
    }

    #[test]
    fn what_is_taken_back_is_as_it_was() {
        for settled in [false, true] {
            let mut keys = with_one(settled);
            put(&mut keys, 1, 20);
            keys.put(name(1), None, Lsn(21));
            put(&mut keys, 2, 22);
            assert_eq!((known(&keys, 1), known(&keys, 2)), (Some(0), Some(22)));
            keys.take_back();
            assert_eq!((known(&keys, 1), known(&keys, 2)), (Some(10), None));
            assert_eq!((keys.entries.len(), keys.place(part(&name(2)))), (1, None));
            keys.take_back();
            assert_eq!(known(&keys, 1), Some(10), "nothing is loose");
        }
    }
}
