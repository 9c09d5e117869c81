//! Places of the log as sets and as spans: what was seen, what is missing, what of it is accepted.
//!
//! Recovery and the offline tool count with them; nothing here reads a file.
//!
//! INVARIANT: memory grows with the places that were seen, never with the numbers they have.

use std::collections::BTreeMap;

use crate::format::pack::Places;
use crate::format::payload::LsnSpan;
use crate::limits;
use crate::types::Lsn;

/// Places of one word.
const WORD: u64 = 64;
/// Words of one part: what one entry of the map holds.
const WORDS: usize = 64;
/// Places of one part.
const PART: u64 = WORD * WORDS as u64;

/// A set of places, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsnSet(BTreeMap<u64, Box<[u64; WORDS]>>);

/// Where a place's bit is: part, word of it, and the bit.
fn bit_of(lsn: Lsn) -> (u64, usize, u64) {
    let word = usize::try_from(lsn.0 % PART / WORD).unwrap_or(0);
    (lsn.0 / PART, word, 1 << (lsn.0 % WORD))
}

impl LsnSet {
    /// Adds one.
    pub fn insert(&mut self, lsn: Lsn) {
        let (part, word, bit) = bit_of(lsn);
        let part = self.0.entry(part).or_insert_with(|| Box::new([0; WORDS]));
        if let Some(word) = part.get_mut(word) {
            *word |= bit;
        }
    }

    /// True if it holds this one.
    #[must_use]
    pub fn has(&self, lsn: Lsn) -> bool {
        let (part, word, bit) = bit_of(lsn);
        let word = self.0.get(&part).and_then(|part| part.get(word));
        word.is_some_and(|word| word & bit != 0)
    }

    /// Adds every place of these.
    pub fn insert_all(&mut self, places: &Places) {
        for span in &places.0 {
            let mut at = span.first.0;
            while at <= span.last.0 {
                let (part, word, _) = bit_of(Lsn(at));
                // As many as stand in one word.
                let end = (at | (WORD - 1)).min(span.last.0);
                let bits = u64::MAX >> (WORD - 1 - (end - at)) << (at % WORD);
                let part = self.0.entry(part).or_insert_with(|| Box::new([0; WORDS]));
                if let Some(word) = part.get_mut(word) {
                    *word |= bits;
                }
                let Some(next) = end.checked_add(1) else { break };
                at = next;
            }
        }
    }

    /// Its places as spans.
    #[must_use]
    pub fn places(&self) -> Places {
        let mut spans: Vec<LsnSpan> = Vec::new();
        for lsn in self.from(Lsn::ZERO) {
            match spans.last_mut() {
                Some(last) if last.last.next() == lsn => last.last = lsn,
                _ => spans.push(LsnSpan { first: lsn, last: lsn }),
            }
        }
        Places(spans)
    }

    /// Adds what another holds.
    pub fn absorb(&mut self, other: &Self) {
        for (part, theirs) in &other.0 {
            let own = self.0.entry(*part).or_insert_with(|| Box::new([0; WORDS]));
            for (word, theirs) in own.iter_mut().zip(theirs.iter()) {
                *word |= theirs;
            }
        }
    }

    /// What it holds from `first` on, in order.
    pub fn from(&self, first: Lsn) -> impl Iterator<Item = Lsn> + '_ {
        self.since_part(first.0 / PART).skip_while(move |lsn| *lsn < first)
    }

    fn since_part(&self, first: u64) -> impl Iterator<Item = Lsn> + '_ {
        let words = self.0.range(first..).flat_map(|(part, words)| {
            let places = (0..).map(move |at| part * PART + at * WORD);
            words.iter().zip(places).filter(|(word, _)| **word != 0)
        });
        words.flat_map(|(word, place)| {
            let set = (0..WORD).filter(move |bit| word & (1 << bit) != 0);
            set.map(move |bit| Lsn(place + bit))
        })
    }

    /// The greatest it holds; zero if it is empty.
    #[must_use]
    pub fn last(&self) -> Lsn {
        let last = self.0.last_key_value();
        last.and_then(|(part, _)| self.since_part(*part).last()).unwrap_or(Lsn::ZERO)
    }

    /// What of `first..=last` it does not hold, in order. Of more than `HOLES_MAX` spans the last
    /// one reaches to the end.
    #[must_use]
    pub fn missing(&self, first: Lsn, last: Lsn) -> Vec<LsnSpan> {
        let mut spans = Vec::new();
        let mut next = first;
        for lsn in self.from(first).take_while(|lsn| *lsn <= last) {
            if next < lsn {
                if spans.len() + 1 >= limits::HOLES_MAX {
                    break;
                }
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

/// Overlapping and neighbouring spans made one, in order.
#[must_use]
pub fn union(mut spans: Vec<LsnSpan>) -> Vec<LsnSpan> {
    spans.sort_by_key(|span| span.first);
    spans.dedup_by(|next, before| {
        let joins = next.first <= before.last.next();
        if joins {
            before.last = before.last.max(next.last);
        }
        joins
    });
    spans
}

/// What of `spans` no span of `taken` covers. Each stays in its place; those cut in two stand one
/// behind the other.
#[must_use]
pub fn without(spans: &[LsnSpan], taken: &[LsnSpan]) -> Vec<LsnSpan> {
    let mut rest = spans.to_vec();
    for taken in taken {
        let cut = |span: LsnSpan| {
            let before = LsnSpan {
                first: span.first,
                last: span.last.min(Lsn(taken.first.0.saturating_sub(1))),
            };
            let behind = LsnSpan { first: span.first.max(taken.last.next()), last: span.last };
            [before, behind].into_iter().filter(|s| s.first <= s.last)
        };
        rest = rest.into_iter().flat_map(cut).collect();
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(list: &[(u64, u64)]) -> Vec<LsnSpan> {
        list.iter().map(|(first, last)| LsnSpan { first: Lsn(*first), last: Lsn(*last) }).collect()
    }

    fn set(places: impl IntoIterator<Item = u64>) -> LsnSet {
        let mut set = LsnSet::default();
        places.into_iter().for_each(|lsn| set.insert(Lsn(lsn)));
        set
    }

    fn missing(first: u64, last: u64, seen: impl IntoIterator<Item = u64>) -> Vec<LsnSpan> {
        set(seen).missing(Lsn(first), Lsn(last))
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut some = set([2, 3, 63, 64, 65, 700, 4095, 4096, 8192]);
        assert!(some.has(Lsn(64)) && !some.has(Lsn(66)) && !some.has(Lsn(u64::MAX)));
        assert_eq!((some.last(), LsnSet::default().last()), (Lsn(8192), Lsn::ZERO));
        assert_eq!(some.from(Lsn(66)).collect::<Vec<_>>(), [700, 4095, 4096, 8192].map(Lsn));
        some.absorb(&set([1, 3, 5000, u64::MAX]));
        let all = [1, 2, 3, 63, 64, 65, 700, 4095, 4096, 5000, 8192, u64::MAX];
        assert_eq!(some.from(Lsn::ZERO).collect::<Vec<_>>(), all.map(Lsn));
        assert_eq!(some.last(), Lsn(u64::MAX));
    }

    #[test]
    fn spans_go_in_and_come_out() {
        let list =
            [(1, 1), (3, 62), (64, 64), (66, 127), (129, 4096), (5000, 9000), (12_300, 12_301)];
        let places = Places(spans(&list));
        let mut all = set([64, 130]);
        all.insert_all(&places);
        assert_eq!(all.places(), places);
        assert_eq!(all, set(list.iter().flat_map(|(first, last)| *first..=*last)));
        assert_eq!(places.count(), 1 + 60 + 1 + 62 + 3968 + 4001 + 2);
    }

    #[test]
    fn what_was_not_seen_is_missing_place_by_place() {
        assert_eq!(missing(11, 20, 11..=20), []);
        assert_eq!(missing(11, 20, []), spans(&[(11, 20)]));
        assert_eq!(missing(11, 20, [11, 13, 14, 19]), spans(&[(12, 12), (15, 18), (20, 20)]));
        // What is outside counts as little as what is seen twice.
        assert_eq!(missing(11, 20, (0..=10).chain(12..=30).chain(12..=15)), spans(&[(11, 11)]));
        assert_eq!(missing(11, 20, [5]), spans(&[(11, 20)]));
        assert_eq!(missing(11, 20, [25]), spans(&[(11, 20)]));
        // Across words and parts, and with parts in which nothing was seen.
        let seen = (1..=63).chain(65..=4095).chain(4097..=8191).chain([3 * PART]);
        let expected = [(64, 64), (4096, 4096), (8192, 3 * PART - 1), (12_289, 20_000)];
        assert_eq!(missing(1, 20_000, seen), spans(&expected));
    }

    #[test]
    fn the_last_of_too_many_spans_reaches_to_the_end() {
        let holes = limits::HOLES_MAX as u64;
        let every_other = |holes: u64| (1..=holes).map(|n| 2 * n);
        let exact = missing(1, 2 * holes, every_other(holes));
        assert_eq!(exact.len(), limits::HOLES_MAX);
        let more = missing(1, 2 * holes + 900, every_other(holes + 9));
        assert_eq!(more.len(), limits::HOLES_MAX);
        assert_eq!(more[..more.len() - 1], exact[..exact.len() - 1]);
        assert_eq!(more.last(), spans(&[(2 * holes - 1, 2 * holes + 900)]).first());
    }

    #[test]
    fn spans_are_joined_and_taken_away() {
        assert_eq!(union(Vec::new()), []);
        let joined = union(spans(&[(30, 40), (1, 3), (4, 5), (8, 9), (2, 2), (35, 36)]));
        assert_eq!(joined, spans(&[(1, 5), (8, 9), (30, 40)]));
        let rest = without(&joined, &spans(&[(35, 35), (2, 2), (5, 31)]));
        assert_eq!(rest, spans(&[(1, 1), (3, 4), (32, 34), (36, 40)]));
        assert_eq!(without(&spans(&[(1, 9)]), &spans(&[(1, 9)])), []);
        assert_eq!(without(&spans(&[(1, 9)]), &[]), spans(&[(1, 9)]));
    }
}
