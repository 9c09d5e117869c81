//! Salts: the same from a root, a chunk or what is left.
//!
//! And none of a forgotten place.

use std::collections::BTreeSet;

use super::*;

fn all(spans: &[Salts], first: u64, end: u64) -> Vec<Option<PlaceSalts>> {
    let of = |place| spans.iter().find_map(|span| span.of(Lsn(place)));
    (first..end).map(of).collect()
}

#[test]
fn salts_differ_and_follow_from_the_seed_alone() {
    let span = Salts::rooted(Lsn(1 << 20), SPAN_LEVEL, [7; 16]);
    assert!(span.is_sound());
    assert_eq!((span.first, span.end()), (Lsn(1 << 20), Lsn(2 << 20)));
    let salts: Vec<_> = (1 << 20..(1 << 20) + 2000).map(|n| span.of(Lsn(n)).unwrap()).collect();
    let different: BTreeSet<_> = salts.iter().flat_map(|s| [s.said, s.origin]).collect();
    assert_eq!(different.len(), 4000);
    assert_eq!(span.of(Lsn((1 << 20) - 1)), None);
    assert_eq!(span.of(Lsn(2 << 20)), None);
    let other = Salts::rooted(Lsn(1 << 20), SPAN_LEVEL, [8; 16]);
    assert_ne!(other.of(Lsn(1 << 20)), span.of(Lsn(1 << 20)));
    // As a second implementation computes it: FORMAT.md.
    let hash = |seed: &[u8]| Sha256::new().chain_update(DOMAIN).chain_update(seed).finalize();
    let tiny = Salts::rooted(Lsn(4), 2, [3; 16]);
    let upper = hash(&[3; 16]);
    let own = hash(&hash(&upper[16..])[..16]);
    let salts =
        PlaceSalts { said: own[..16].try_into().unwrap(), origin: own[16..].try_into().unwrap() };
    assert_eq!(tiny.of(Lsn(6)), Some(salts));
}

#[test]
fn a_chunk_gives_what_its_spans_give() {
    let root = Salts::rooted(Lsn(0), SPAN_LEVEL, [1; 16]);
    let small: Vec<Salts> = (0..40).map(|n| Salts::rooted(Lsn(n * 64), 6, [9; 16])).collect();
    let cut = root.without(&[Lsn(1025), Lsn(1500), Lsn(9000)]);
    for spans in [vec![root], small, cut] {
        for place in [0, 1000, 1024, 1025, 1500, 2047, 2048, 8999, 9000] {
            let mut chunk = Chunk::of(Chunk::first_of(Lsn(place)), &spans);
            assert!(chunk.has(Lsn(place)));
            let expected = all(&spans, place, place + 1);
            assert_eq!(vec![chunk.get(Lsn(place))], expected, "place {place}");
            for level in [0, 3, 10, 60] {
                let steps = Steps::of(Chunk::first_of(Lsn(place)), &spans, level);
                assert_eq!(vec![steps.get(Lsn(place))], expected, "place {place} level {level}");
            }
        }
        // Whatever was asked before, in any order: what one place needs does not change another.
        let expected = all(&spans, 1024, 2048);
        for step in [1, 1023, 385] {
            let mut chunk = Chunk::of(Lsn(1024), &spans);
            for nth in 0..2048 {
                let at = usize::try_from(nth * step % 1024).unwrap();
                assert_eq!(chunk.get(Lsn(1024 + at as u64)), expected[at], "{at} by {step}");
            }
            assert_eq!((chunk.get(Lsn(1023)), chunk.get(Lsn(2048))), (None, None));
        }
        for level in 0..=CHUNK_LEVEL {
            let steps = Steps::of(Lsn(1024), &spans, level);
            let found: Vec<_> = (1024..2048).map(|place| steps.get(Lsn(place))).collect();
            assert_eq!(found, expected, "level {level}");
            assert_eq!((steps.get(Lsn(1023)), steps.get(Lsn(2048))), (None, None));
            assert_eq!((steps.get(Lsn(0)), steps.get(Lsn(u64::MAX))), (None, None));
        }
    }
    assert!(!Chunk::default().has(Lsn(0)));
}

#[test]
fn a_forgotten_place_has_no_salt_and_all_others_keep_theirs() {
    let root = Salts::rooted(Lsn(1 << 20), SPAN_LEVEL, [5; 16]);
    let (first, end) = (1_u64 << 20, (1 << 20) + 4096);
    let before = all(std::slice::from_ref(&root), first, end);
    let gone = [first, first + 1, first + 1000, first + 3000];
    let mut spans = root.without(&gone.map(Lsn));
    assert_eq!(spans.len(), 3, "what is left of the span, and two chunks");
    // Once more, in a chunk that lost places already and in one that did not.
    let more = [first + 2, first + 3500];
    let again = spans[0].without(&[Lsn(more[0])]);
    assert_eq!(again.len(), 1);
    spans[0] = again[0].clone();
    let again = spans[2].without(&[Lsn(more[1])]);
    assert_eq!(again.len(), 2);
    spans[2] = again[1].clone();
    spans.push(again[0].clone());
    assert!(spans.iter().all(Salts::is_sound), "{spans:?}");
    let gone: BTreeSet<u64> = gone.into_iter().chain(more).collect();
    for (place, (after, before)) in (first..end).zip(all(&spans, first, end).iter().zip(&before)) {
        let expected = if gone.contains(&place) { &None } else { before };
        assert_eq!(after, expected, "place {place}");
    }
    // No seed that is left stands above a forgotten place.
    for node in spans.iter().flat_map(|span| &span.nodes) {
        assert!(gone.iter().all(|place| !node.covers(*place)), "{node:?}");
    }
    assert_eq!(spans[2].without(&[Lsn(first)]), Vec::new(), "it is forgotten");
    assert_eq!(spans[2].without(&[Lsn(0)]), Vec::new(), "another span's");
}

#[test]
fn so_many_seeds_at_most_stand_in_one_record() {
    let root = Salts::rooted(Lsn(0), SPAN_LEVEL, [5; 16]);
    let every_other: Vec<Lsn> = (0..1 << 10).step_by(2).map(Lsn).collect();
    let spans = root.without(&every_other);
    assert_eq!((spans.len(), spans[0].nodes.len()), (2, 512));
    let a_place_of_each: Vec<Lsn> = (0..1 << 10).map(|n| Lsn(n << 10)).collect();
    let spans = root.without(&a_place_of_each);
    assert_eq!((spans.len(), spans[1024].nodes.len()), (1025, 0));
    assert!(spans.iter().all(Salts::is_sound));
}

#[test]
fn unsound_seeds_are_told() {
    let sound = Salts::rooted(Lsn(64), 6, [1; 16]);
    assert!(sound.is_sound());
    let node = |level, index| SaltNode { level, index, seed: [0; 16] };
    for (first, level, nodes) in [
        (65, 6, vec![]),
        (0, 21, vec![]),
        (0, 255, vec![]),
        (64, 6, vec![node(6, 0)]),
        (64, 6, vec![node(6, 2)]),
        (64, 6, vec![node(7, 0)]),
        (64, 6, vec![node(0, 65), node(0, 65)]),
        (64, 6, vec![node(0, 66), node(0, 65)]),
        (64, 6, vec![node(5, 2), node(0, 70)]),
        (64, 6, vec![node(200, 0)]),
        (64, 6, vec![node(5, u64::MAX)]),
    ] {
        let salts = Salts { first: Lsn(first), level, nodes };
        assert!(!salts.is_sound(), "{salts:?}");
    }
    let many = (0..1025).map(|n| node(0, n)).collect();
    assert!(!Salts { first: Lsn(0), level: 20, nodes: many }.is_sound());
}

/// A catalog may have both for a while: what is left of a chunk is written before what is left of
/// its span.
#[test]
fn of_two_seeds_for_a_place_the_one_for_fewer_counts() {
    let whole = Salts::rooted(Lsn(0), SPAN_LEVEL, [1; 16]);
    let half = Salts::rooted(Lsn(1024), CHUNK_LEVEL - 1, [2; 16]);
    let tiny = Salts::rooted(Lsn(1032), 1, [3; 16]);
    let spans = [whole.clone(), tiny.clone(), half.clone()];
    for level in 0..=CHUNK_LEVEL {
        let steps = Steps::of(Lsn(1024), &spans, level);
        for (place, of) in [(1024, &half), (1032, &tiny), (1033, &tiny), (1535, &half)] {
            let mut found = Chunk::of(Lsn(1024), &spans);
            assert_eq!(found.get(Lsn(place)), of.of(Lsn(place)));
            assert_eq!(steps.get(Lsn(place)), of.of(Lsn(place)), "{place} level {level}");
        }
        assert_eq!(steps.get(Lsn(1536)), whole.of(Lsn(1536)));
        let before = Steps::of(Lsn(0), &spans, level);
        assert_eq!(before.get(Lsn(7)), whole.of(Lsn(7)));
    }
}

/// As fuzzing found it: the second place's seed was taken to be under the first one's.
#[test]
fn seeds_below_a_chunk_in_a_wider_span_are_forgotten_too() {
    let node = |level, index| SaltNode { level, index, seed: [7; 16] };
    let nodes = vec![node(0, 0), node(0, 8), node(4, 1)];
    let salts = Salts { first: Lsn(0), level: 20, nodes };
    assert!(salts.is_sound());
    let gone = [Lsn(0), Lsn(8), Lsn(20)];
    let left = salts.without(&gone);
    assert!(left.iter().all(Salts::is_sound));
    for span in &left {
        assert!(gone.iter().all(|place| span.of(*place).is_none()), "{span:?}");
    }
    assert_eq!(left.last().and_then(|span| span.of(Lsn(21))), salts.of(Lsn(21)));
}
