//! Round trips of every kind of record, and of their mutations.
//!
//! A kind that is added without a sample here fails the first test.

use super::*;
use crate::format::payload::*;
use crate::proof::salts::Salts;
use crate::types::{CategoryId, HoldId};

fn erased() -> Erased {
    let (lsn, recorded, actor, key) = (Lsn(80), TimeUs(5), PrincipalId(9), "a key".into());
    Erased {
        seq: Seq(7),
        time: TimeUs(-4),
        author: PrincipalId(9),
        reason: "asked to".into(),
        records: vec![ErasedRecord { lsn, recorded, actor, key }],
    }
}

const fn room_head() -> RoomHead {
    RoomHead { room: RoomId(70), size: 300, root: [9; 32] }
}

const fn signed_head() -> SignedHead {
    let (size, root, upto, key, signature) = (2, [3; 32], Lsn(500), Rev(1), [4; 64]);
    SignedHead { size, root, upto, time: TimeUs(1_767_268_800_000_000), key, signature }
}

/// One record of every kind, with every optional part present once and absent once.
pub(crate) fn samples() -> Vec<Record> {
    let settings = RoomSettings {
        category: CategoryId(5),
        name: "Ops".into(),
        description: String::new(),
        topic: "night shift".into(),
        kind: RoomKind::Auditorium,
        privacy: Privacy::Secret,
        invitations: Invitations::Off,
        disabled: true,
        continues: RoomId(900),
        retention: Some(Retention { days: 0, entries: 7, bytes: 0 }),
    };
    let category = CategorySettings {
        name: "Desk".into(),
        description: "d".into(),
        allowed: vec![PrincipalId::EVERYONE],
        denied: vec![PrincipalId(77), PrincipalId(78)],
        creators: vec![],
        invitations: true,
        uploads: false,
        history: true,
        retention: Retention { days: 365, entries: 1000, bytes: 1 << 33 },
        edit: ChangePolicy::Nobody,
        redact: ChangePolicy::Authors,
        read_audit: true,
    };
    let principal = PrincipalSettings {
        kind: PrincipalKind::User,
        name: "ann".into(),
        source: String::new(),
        password: Some("$argon2id$".into()),
        administrator: true,
        disabled: false,
    };
    let mark =
        ImportMark { source: "a.log".into(), format: "irc-log".into(), importer: PrincipalId(3) };
    let span = LsnSpan { first: Lsn(4), last: Lsn(9) };
    let hold = HoldSettings {
        name: "Case 7".into(),
        reason: "asked for".into(),
        room: RoomId(900),
        category: CategoryId::NONE,
        principal: PrincipalId(3),
        from: TimeUs::MIN,
        to: TimeUs(99),
    };
    let payloads = vec![
        Payload::Post(Post {
            kind: EntryKind::Text,
            body: "grüße".into(),
            reply_to: Seq(3),
            import: Some(mark),
        }),
        Payload::Post(Post {
            kind: EntryKind::Event,
            body: String::new(),
            reply_to: Seq::ZERO,
            import: None,
        }),
        Payload::Lost(Lost { kind: 1 }),
        Payload::ImportProgress(ImportProgress {
            format: "irc-log".into(),
            source: "a.log".into(),
            from: 1 << 39,
            bytes: 1 << 40,
            digest: [9; 32],
            done: true,
        }),
        Payload::Edited(Edited { seq: Seq(3), body: "not that".into() }),
        Payload::Redacted(Redacted { seq: Seq(3), reason: "a slip".into() }),
        Payload::Expired(Expired { floor: Seq(900), time: TimeUs(-4) }),
        Payload::Erased(erased()),
        Payload::HoldPlaced(HoldPlaced { settings: hold.clone() }),
        Payload::HoldReleased(HoldReleased { hold: HoldId(9), settings: hold }),
        Payload::ComplianceExpired(ComplianceExpired { upto: Lsn(1 << 40) }),
        Payload::Salts(Salts::rooted(Lsn(1 << 20), 20, [7; 16])),
        Payload::SigningKey(SigningKey { public: [1; 32], endorsed: [0; 64] }),
        Payload::RoomHeads(RoomHeads { heads: vec![room_head()] }),
        Payload::SignedHead(signed_head()),
        Payload::RoomCreated(RoomCreated { settings: settings.clone() }),
        Payload::RoomChanged(RoomChanged { settings: settings.clone() }),
        Payload::RoomDeleted(RoomDeleted { settings }),
        Payload::MemberSet(MemberSet { principal: PrincipalId(8), roles: Roles::MANAGER }),
        Payload::MemberRemoved(MemberRemoved { principal: PrincipalId(8) }),
        Payload::CategoryCreated(CategoryCreated { settings: category.clone() }),
        Payload::CategoryChanged(CategoryChanged { category: CategoryId(4), settings: category }),
        Payload::CategoryDeleted(CategoryDeleted { category: CategoryId(4), name: "x".into() }),
        Payload::PrincipalCreated(PrincipalCreated { settings: principal.clone() }),
        Payload::PrincipalChanged(PrincipalChanged {
            principal: PrincipalId(4),
            settings: principal,
        }),
        Payload::TokenCreated(TokenCreated {
            principal: PrincipalId(4),
            name: "laptop".into(),
            sha256: [1; 32],
            expires: TimeUs(99),
            session: true,
            one_use: false,
        }),
        Payload::TokenRevoked(TokenRevoked {
            token: TokenId(4),
            principal: PrincipalId(4),
            sha256: [1; 32],
        }),
        Payload::Audit(Audit {
            what: AuditKind::SignIn,
            principal: PrincipalId(4),
            room: RoomId::NONE,
            detail: "x".into(),
        }),
        Payload::Setting(Setting { key: "compliance".into(), value: "on".into() }),
        Payload::LossAccepted(LossAccepted { holes: vec![span] }),
    ];
    in_envelopes(payloads)
}

/// A record of each, with the envelope's optional parts now there and now not.
fn in_envelopes(payloads: Vec<Payload>) -> Vec<Record> {
    let mut records = Vec::new();
    for (index, payload) in payloads.into_iter().enumerate() {
        let n = index as u64 + 1;
        records.push(Record {
            epoch: Epoch(2),
            lsn: Lsn(n),
            recorded: TimeUs(1_700_000_000_000_000),
            time: TimeUs(if index % 2 == 0 { 1_700_000_000_000_000 } else { -5 }),
            room: RoomId::new(Epoch(1), Lsn(n)),
            seq: if payload.kind().is_entry() { Seq(n) } else { Seq::ZERO },
            rev: Rev(n + 3),
            actor: Actor {
                id: PrincipalId(3),
                name: "bob".into(),
                door: Door::Http,
                address: "127.0.0.1".into(),
                session: TokenId(12),
            },
            policy: Lsn(1),
            idempotency: (index % 3 == 0)
                .then(|| Idempotency { key: b"k-1".to_vec(), digest: [7; 16] }),
            payload,
        });
    }
    records
}

#[test]
fn every_kind_round_trips_and_every_kind_is_sampled() {
    let samples = samples();
    for record in &samples {
        let bytes = record.to_bytes();
        assert_eq!(Record::from_bytes(&bytes).as_ref(), Ok(record));
        assert!(Record::from_bytes(&bytes[..bytes.len() - 1]).is_err(), "cut short");
        let longer = [&bytes[..], &[0]].concat();
        assert!(Record::from_bytes(&longer).is_err(), "a byte too many");
    }
    for kind in Kind::ALL {
        assert!(samples.iter().any(|r| r.payload.kind() == *kind), "no sample of {kind:?}");
    }
}

fn outline_of(record: &Record) -> Outline {
    let Record { epoch, lsn, room, seq, rev, time, recorded, .. } = *record;
    Outline { kind: record.payload.kind(), epoch, lsn, room, seq, rev, time, recorded }
}

#[test]
fn no_mutation_of_a_record_panics_and_what_decodes_encodes_to_the_same_bytes() {
    for record in samples() {
        let bytes = record.to_bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut mutated = bytes.clone();
                mutated[at] ^= 1 << bit;
                let outline = Outline::from_bytes(&mutated);
                let whole = Record::from_bytes(&mutated);
                assert_eq!(outline, whole.as_ref().map(outline_of).map_err(|wrong| *wrong));
                if let Ok(other) = whole {
                    assert_eq!(other.to_bytes(), mutated, "byte {at} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn numbers_of_a_record_stand_together_as_they_would_alone() {
    for n in [0, 1, 127, 128, 1 << 40, u64::MAX] {
        for also in [false, true] {
            let (seq, time) = (also.then_some(n), also.then_some(!n.cast_signed()));
            let parts = Parts {
                head: b"head",
                kind: Kind::Post,
                lsn: n,
                room: n,
                rev: n,
                seq,
                recorded: n.cast_signed(),
                time,
                maker: b"maker",
                policy: n,
                key: also.then_some((b"key", [7; 16])),
                payload: b"",
            };
            let (mut together, mut alone) = (b"before".to_vec(), b"beforehead".to_vec());
            parts.put(&mut together);
            (0..3).for_each(|_| put_varint(&mut alone, n));
            seq.iter().for_each(|seq| put_varint(&mut alone, *seq));
            put_signed(&mut alone, n.cast_signed());
            time.iter().for_each(|time| put_signed(&mut alone, time.wrapping_sub(n.cast_signed())));
            alone.extend_from_slice(b"maker");
            put_varint(&mut alone, n);
            if also {
                put_bytes(&mut alone, b"key");
                alone.extend_from_slice(&[7; 16]);
            }
            assert_eq!(together, alone);
        }
    }
}
