//! What proofs cost: salts, leaves and trees of messages, made once more on a core that does
//! nothing else.
//!
//! It is what the applier does for each record, without the rows that it writes for it and without
//! signatures, which are one for all rooms. The engine has no switch that leaves proofs out, so
//! their share is this time over the processor time that taking the same messages took.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use hansard_engine::format::payload::{EntryKind, Payload, Post};
use hansard_engine::format::record::{Actor, Door, Record};
use hansard_engine::proof::Tree;
use hansard_engine::proof::leaf::record_leaf;
use hansard_engine::proof::salts::{Chunk, SEED_BYTES, SPAN_LEVEL, Salts};
use hansard_engine::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId};
use hansard_peers::Message;

use super::world::World;

/// Messages made at once, outside of the time.
const BATCH: u64 = 16 * 1024;

fn record(message: &Message<'_>, lsn: Lsn) -> Record {
    let author = u64::from(message.author);
    Record {
        epoch: Epoch::FIRST,
        lsn,
        recorded: TimeUs(message.time_us),
        time: TimeUs(message.time_us),
        room: RoomId::new(Epoch::FIRST, Lsn(u64::from(message.room) + 1)),
        seq: Seq(message.seq),
        rev: Rev(message.seq),
        actor: Actor {
            id: PrincipalId::new(Epoch::FIRST, Lsn(1_000_000 + author)),
            name: message.nick.to_owned(),
            door: Door::Http,
            address: "192.0.2.17".into(),
            session: TokenId::new(Epoch::FIRST, Lsn(2_000_000 + author)),
        },
        policy: lsn,
        idempotency: None,
        payload: Payload::Post(Post {
            kind: EntryKind::Text,
            body: message.body.to_owned(),
            reply_to: Seq::ZERO,
            import: None,
        }),
    }
}

/// How long the proofs of all messages take one core.
#[must_use]
pub fn time(world: &World) -> Duration {
    let (mut stream, mut left, mut took) = (world.stream(), world.messages, Duration::ZERO);
    let (mut trees, mut chunk, mut next) = (HashMap::<u32, Tree>::new(), Chunk::default(), 0);
    while left > 0 {
        let messages = stream.take(left.min(BATCH));
        left -= messages.len() as u64;
        let mut records = Vec::with_capacity(messages.len());
        for message in &messages {
            records.push((message.room, record(message, Lsn(next))));
            next += 1;
        }
        let begun = Instant::now();
        for (room, record) in &records {
            if !chunk.has(record.lsn) {
                let first = Lsn(record.lsn.0 >> SPAN_LEVEL << SPAN_LEVEL);
                let span = Salts::rooted(first, SPAN_LEVEL, [7; SEED_BYTES]);
                chunk = Chunk::of(Chunk::first_of(record.lsn), &[span]);
            }
            let leaf = record_leaf(record, chunk.get(record.lsn).as_ref());
            black_box(trees.entry(*room).or_default().push(leaf));
        }
        took += begun.elapsed();
    }
    took
}
