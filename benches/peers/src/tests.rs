//! Every embedded peer answers as a naive model does, twice opened. PostgreSQL needs a server, so
//! the suites themselves compare it with the others.

use crate::{Budget, CacheState, Durability, Message, Quiet, Slice, Store, Sum, all};

const ROOMS: u32 = 5;

fn messages() -> Vec<Message<'static>> {
    let bodies = ["hello", "is anyone here?", "yes", "a longer line, as some people write them"];
    let mut heads = [0; ROOMS as usize];
    (0..400_u32)
        .map(|n| {
            let room = n * n % ROOMS;
            heads[room as usize] += 1;
            let mut key = *b"key-000000000000";
            key[4..8].copy_from_slice(format!("{n:04}").as_bytes());
            Message {
                room,
                seq: heads[room as usize],
                category: room % 2,
                time_us: 1_700_000_000_000_000 + i64::from(n) * 1000,
                author: n % 7,
                nick: "ann",
                key,
                digest: [7; 16],
                body: bodies[n as usize % bodies.len()],
            }
        })
        .collect()
}

fn sum<'a>(found: impl Iterator<Item = &'a Message<'a>>) -> Sum {
    let mut sum = Sum::default();
    found.for_each(|message| sum.add(message.body.as_bytes()));
    sum
}

fn compare(store: &dyn Store, all: &[Message<'_>], has_categories: bool) {
    for room in 0..ROOMS {
        let of_room = || all.iter().rev().filter(move |m| m.room == room);
        assert_eq!(store.last(room, 50).unwrap(), sum(of_room().take(50)));
        let below = of_room().filter(|m| m.seq < 30).take(10);
        assert_eq!(store.before(room, 30, 10).unwrap(), sum(below));
        for at in [0, 1, 137, 399, 1000] {
            let time_us = 1_700_000_000_000_000 + at * 1000;
            let earlier = of_room().filter(|m| m.time_us < time_us).take(50);
            assert_eq!(store.before_time(room, time_us, 50).unwrap(), sum(earlier), "{at}");
        }
    }
    let slice = Slice { category: 1, from_us: 1_700_000_000_100_000, to_us: 1_700_000_000_300_000 };
    let within = all
        .iter()
        .filter(|m| m.category == 1 && m.time_us >= slice.from_us && m.time_us < slice.to_us);
    assert_eq!(store.category(slice).unwrap(), has_categories.then(|| sum(within)));
}

#[test]
fn every_embedded_peer_answers_as_a_naive_model() {
    let all_messages = messages();
    for peer in all().iter().filter(|peer| peer.name != "postgres") {
        let dir = tempfile::tempdir().unwrap();
        let budget = Budget::of(CacheState::Warm);
        if peer.name == "rocksdb" && cfg!(not(feature = "lz4")) {
            assert!(peer.open(dir.path(), budget).is_err(), "it must not measure something else");
            continue;
        }
        let store = peer.open(dir.path(), budget).unwrap();
        let (first, second) = all_messages.split_at(300);
        let tally = store.commit(first, Durability::Settle).unwrap();
        assert_eq!((tally.stored, tally.repeated), (300, 0), "{}", peer.name);
        let tally = store.commit(&all_messages[290..301], Durability::Group).unwrap();
        assert_eq!((tally.stored, tally.repeated), (1, 10), "{}", peer.name);
        for message in &second[1..] {
            store.commit(&[*message], Durability::Group).unwrap();
        }
        let has_categories = peer.kind == crate::Kind::Full;
        for quiet in [Quiet::Applied, Quiet::Settled, Quiet::Compacted] {
            store.rest(quiet).unwrap();
            compare(&*store, &all_messages, has_categories);
        }
        store.close().unwrap();
        let again = peer.open(dir.path(), Budget::of(CacheState::Starved)).unwrap();
        compare(&*again, &all_messages, has_categories);
        let late = Message { seq: 1000, ..all_messages[0] };
        assert_eq!(again.commit(&[late], Durability::Group).unwrap().repeated, 1, "{}", peer.name);
        if again.forget_keys().unwrap() {
            again.rest(Quiet::Compacted).unwrap();
            compare(&*again, &all_messages, has_categories);
            assert_eq!(again.commit(&[late], Durability::Group).unwrap().stored, 1);
        }
        again.close().unwrap();
    }
}

#[test]
fn names_are_unique_and_lead_back() {
    for peer in all() {
        assert_eq!(crate::by_name(peer.name).unwrap().settings, peer.settings);
    }
    assert!(crate::by_name("nobody").is_err());
}
