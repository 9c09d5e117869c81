//! A map that remembers what was asked for of late, and forgets the rest.
//!
//! Two generations: what is asked for stands in the young one, which becomes the old one when it
//! has half of what may be remembered, and what was in the old one is gone. So a few questions
//! about everything do not cost what is asked for again and again, as a map that is cleared when it
//! is full does, and nothing is counted or linked for each question. (Blocks and lists of runs
//! stand in `quick_cache`, which many threads ask and which lets go whenever something comes; here
//! one thread asks, and what a batch has changed must stay until it is written.)
//!
//! INVARIANT: nothing goes but in `turn`, and behind it there is no more than may be.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// The map.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// Of at most so many.
    pub(crate) fn of(most: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), most }
    }

    /// What is remembered, and remembered longer for that.
    pub(crate) fn get(&mut self, key: K) -> Option<&mut V> {
        if let Some(value) = self.old.remove(&key) {
            self.young.insert(key, value);
        }
        self.young.get_mut(&key)
    }

    /// The same; what was not remembered is remembered from now on.
    pub(crate) fn get_or_new(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let old = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| old.unwrap_or_default())
    }

    /// What is remembered.
    pub(crate) fn peek(&self, key: K) -> Option<&V> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: K) {
        self.young.remove(&key);
        self.old.remove(&key);
    }

    /// Forgets what was not asked for since long, if there is too much.
    pub(crate) fn turn(&mut self) {
        if self.young.len() > self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        if self.old.len() + self.young.len() > self.most {
            self.old.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn len(recent: &Recent<u32, u32>) -> usize {
        recent.young.len() + recent.old.len()
    }

    #[test]
    fn what_is_asked_for_again_stays_and_there_is_never_more_than_may_be() {
        let mut recent = Recent::of(100);
        for n in 0..1_000 {
            recent.insert(n, n * 2);
            assert_eq!(recent.get(0).copied(), Some(0), "asked for each time");
            recent.turn();
            assert!(len(&recent) <= 100);
            assert_eq!(recent.peek(n), Some(&(n * 2)));
        }
        assert!(recent.peek(500).is_none() && recent.get(500).is_none());
        // The last half is always there.
        assert!((951..1_000).all(|n| recent.peek(n) == Some(&(n * 2))));
        (0..250).for_each(|n| recent.insert(n, 1));
        assert!((0..250).all(|n| recent.peek(n) == Some(&1)), "nothing goes before it turns");
        recent.turn();
        assert_eq!(len(&recent), 0, "more at once than may be");
    }

    #[test]
    fn one_value_a_key_in_whichever_generation_it_stands() {
        let mut recent = Recent::of(4);
        (0..3).for_each(|n| recent.insert(n, n));
        recent.turn();
        assert_eq!((recent.old.len(), recent.young.len()), (3, 0));
        recent.insert(1, 7);
        assert_eq!((recent.peek(1), len(&recent)), (Some(&7), 3));
        assert_eq!(recent.get(1), Some(&mut 7));
        assert_eq!((*recent.get_or_new(2), *recent.get_or_new(9), len(&recent)), (2, 0, 4));
        recent.remove(0);
        recent.remove(9);
        assert!(recent.get(0).is_none() && recent.peek(9).is_none() && len(&recent) == 2);
    }
}
