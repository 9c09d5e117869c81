//! Leaves: what is in them.
//!
//! Everything of a record but its key is, in clear or under a commitment.

use super::*;
use crate::format::payload::{EntryKind, Post, RoomHeads};
use crate::format::record::Idempotency;

fn record() -> Record {
    Record {
        epoch: Epoch(2),
        lsn: Lsn(77),
        recorded: TimeUs(1_767_268_800_000_000),
        time: TimeUs(1_767_268_700_000_000),
        room: RoomId(1 << 48 | 9),
        seq: Seq(4),
        rev: Rev(6),
        actor: Actor {
            id: PrincipalId(1 << 48 | 3),
            name: "ann".into(),
            door: Door::Http,
            address: "192.0.2.7".into(),
            session: TokenId(12),
        },
        policy: Lsn(70),
        idempotency: None,
        payload: Payload::Post(Post {
            kind: EntryKind::Text,
            body: "héllo".into(),
            reply_to: Seq::ZERO,
            import: None,
        }),
    }
}

const SALTS: PlaceSalts = PlaceSalts { said: [1; 16], origin: [2; 16] };

#[test]
fn a_leaf_says_what_the_record_says_and_commits_to_the_rest() {
    let record = record();
    let leaf = Leaf::of(&record, &SALTS);
    assert_eq!(Leaf::from_bytes(&leaf.to_bytes()), Ok(leaf.clone()));
    assert_eq!((leaf.lsn, leaf.rev, &*leaf.name), (Lsn(77), Rev(6), "ann"));
    assert_eq!(leaf.said, said_hash(&SALTS.said, &said_bytes(&record.payload)));
    let origin = origin_bytes(&record.actor, record.policy);
    assert_eq!(leaf.origin, origin_hash(&SALTS.origin, &origin));
    assert_eq!(origin_of(&origin), Ok(("192.0.2.7".into(), TokenId(12), Lsn(70))));
    assert_eq!(record_leaf(&record, Some(&SALTS)), leaf_hash(&leaf.to_bytes()));
    let bytes = leaf.to_bytes();
    assert!(!bytes.windows(5).any(|w| w == b"llo\0\0" || w == b"192.0"), "nothing in clear");
    assert!(Leaf::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(origin_of(&[&origin[..], &[0]].concat()).is_err());
}

#[test]
fn every_field_but_the_key_is_in_the_leaf() {
    let plain = record_leaf(&record(), Some(&SALTS));
    let changes: Vec<fn(&mut Record)> = vec![
        |r| r.epoch = Epoch(3),
        |r| r.lsn = Lsn(78),
        |r| r.recorded = TimeUs(1),
        |r| r.time = TimeUs(1),
        |r| r.room = RoomId(5),
        |r| r.seq = Seq(5),
        |r| r.rev = Rev(7),
        |r| r.actor.id = PrincipalId(4),
        |r| r.actor.name = "eve".into(),
        |r| r.actor.door = Door::Irc,
        |r| r.actor.address = "192.0.2.8".into(),
        |r| r.actor.session = TokenId(13),
        |r| r.policy = Lsn(71),
        |r| {
            if let Payload::Post(post) = &mut r.payload {
                post.body.push('!');
            }
        },
        |r| {
            r.payload =
                Payload::Edited(crate::format::payload::Edited { seq: Seq(1), body: "x".into() });
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut other = record();
        change(&mut other);
        assert_ne!(record_leaf(&other, Some(&SALTS)), plain, "change {n}");
    }
    let mut keyed = record();
    keyed.idempotency = Some(Idempotency { key: b"k".to_vec(), digest: [0; 16] });
    assert_eq!(record_leaf(&keyed, Some(&SALTS)), plain, "a key leaves with its window");
    assert_eq!(record_leaf(&record(), None), unknown_leaf());
    assert_ne!(
        record_leaf(&record(), Some(&PlaceSalts { said: [3; 16], ..SALTS })),
        plain,
        "another salt"
    );
}

#[test]
fn one_head_among_many_is_shown_without_the_others() {
    for count in [1, 2, 5, 64, 100] {
        let head = |n| RoomHead {
            room: RoomId(n + 70),
            size: n + 1,
            root: [u8::try_from(n).unwrap(); 32],
        };
        let heads: Vec<RoomHead> = (0..count).map(head).collect();
        let root = heads_root(&heads);
        let said = said_bytes(&Payload::RoomHeads(RoomHeads { heads: heads.clone() }));
        assert_eq!(said, root);
        for index in [0, count / 2, count - 1] {
            let path = heads_path(&heads, index);
            let leaf = head_leaf(&heads[usize::try_from(index).unwrap()]);
            assert_eq!(super::super::tree::root_of(leaf, index, count, &path), Some(root));
        }
    }
}
