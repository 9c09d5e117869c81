//! Blocks: no bytes panic the decoder or make it allocate beyond its bound. Sections are also put
//! behind a header that agrees with them, so that the fuzzer gets behind zstd, and records are put
//! into a block, as rows and as columns, and into a bundle: they come back byte for byte.
#![no_main]

use hansard_engine::format::block::{BLOCK_MAGIC, Block, BlockBuilder};
use hansard_engine::format::bundle::{self, BUNDLE_MAGIC, Bundle};
use hansard_engine::format::cached::CachedBlock;
use hansard_engine::format::codec::put_varint;
use hansard_engine::format::dictionary::{Compressor, Decompressor};
use hansard_engine::format::payload::{Edited, EntryKind, Payload, Post};
use hansard_engine::format::record::{Actor, Door, Idempotency, Record};
use hansard_engine::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId};
use libfuzzer_sys::fuzz_target;

/// Decodes bytes as those who go through all records do, and as readers do: what can be read is
/// the same.
fn decode(bytes: &[u8], decompressor: &mut Decompressor) -> Option<Block> {
    let block = Block::decode(bytes, None, decompressor).ok();
    let cached = CachedBlock::decode(bytes, None, decompressor).ok();
    if let Some(block) = &block {
        let cached = cached.expect("readers read what others read");
        assert_eq!(cached.len(), block.len());
        for at in 0..block.len() {
            assert_eq!(cached.record(at).as_deref(), block.bytes(at));
            let record = block.bytes(at).and_then(|bytes| Record::from_bytes(bytes).ok());
            let post = record.filter(|record| matches!(record.payload, Payload::Post(_)));
            assert_eq!(cached.post(at).ok().flatten(), post);
            let (words, place) = (cached.words(at), cached.place(at));
            assert!(words.is_none() || cached.is_post(at) && place.is_ok());
        }
    } else if let Some(cached) = cached {
        // Whoever does not put all records together does not see that they are too long.
        for at in 0..cached.len().min(64) {
            let _ = (cached.record(at), cached.words(at), cached.place(at), cached.post(at));
        }
    }
    block
}

fn comes_back(records: &[Vec<u8>], decompressor: &mut Decompressor) {
    let mut builder = BlockBuilder::default();
    records.iter().for_each(|record| builder.push(record));
    let Some(mut compressor) = Compressor::generic(1) else { return };
    let mut out = Vec::new();
    if builder.finish(&mut compressor, &mut out).is_ok() {
        let block = decode(&out, decompressor).expect("what was built decodes");
        assert_eq!(block.len(), records.len());
        for (at, record) in records.iter().enumerate() {
            assert_eq!(block.record(at).as_deref(), Some(&record[..]));
        }
    }
}

/// A record of one room with parts that these bytes say.
fn record(nth: u64, bytes: &[u8]) -> Record {
    let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
    let number = |at: usize| u64::from(byte(at)) << (byte(at + 1) % 57);
    let body = String::from_utf8_lossy(bytes).into_owned();
    let recorded = TimeUs(number(2).cast_signed());
    let own = TimeUs(recorded.0 ^ i64::from(byte(4)));
    let seq = Seq(number(5));
    let payload = if byte(0) & 1 == 0 {
        let kind = EntryKind::Text;
        Payload::Post(Post { kind, body: body.clone(), reply_to: Seq(number(6)), import: None })
    } else {
        Payload::Edited(Edited { seq, body: body.clone() })
    };
    Record {
        epoch: Epoch(u16::from(byte(0) & 2)),
        lsn: Lsn(number(7)),
        recorded,
        time: own,
        room: RoomId(77),
        seq,
        rev: Rev(nth + 1),
        actor: Actor {
            id: PrincipalId(number(8)),
            name: body.chars().take(3).collect(),
            door: Door::Http,
            address: String::new(),
            session: TokenId(number(9)),
        },
        policy: Lsn(number(3)),
        idempotency: (byte(0) & 4 != 0)
            .then(|| Idempotency { key: vec![byte(1); 3], digest: [byte(2); 16] }),
        payload,
    }
}

/// Small blocks of these records, one of each room, come back out of a bundle.
fn comes_back_bundled(records: &[Vec<u8>], decompressor: &mut Decompressor) {
    let mut blocks = Vec::new();
    let mut builders = Vec::new();
    for (record, room) in records.iter().zip(1..=4) {
        let Ok(record) = Record::from_bytes(record) else { continue };
        let record = Record { room: RoomId(room), ..record };
        let mut builder = BlockBuilder::default();
        builder.push(&record.to_bytes());
        if builder.is_small() {
            builders.push(builder);
            blocks.push(record);
        }
    }
    let Some(mut compressor) = Compressor::generic(1) else { return };
    let mut out = Vec::new();
    if bundle::finish(&mut builders, &mut compressor, &mut out).is_err() {
        return;
    }
    let bundle = Bundle::inflate(&out, None, decompressor).expect("what was built inflates");
    for record in blocks {
        let block = bundle.block(record.room, record.rev).expect("it is there");
        assert_eq!(block.record(0).as_deref(), Some(&record.to_bytes()[..]));
    }
}

/// Inflates a bundle and decodes each of its blocks.
fn look(bytes: &[u8], decompressor: &mut Decompressor) {
    let Ok(bundle) = Bundle::inflate(bytes, None, decompressor) else { return };
    for (room, rev) in bundle.blocks().collect::<Vec<_>>() {
        let _ = bundle.block(room, rev);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(mut decompressor) = Decompressor::new() else { return };
    let _ = decode(data, &mut decompressor);
    look(data, &mut decompressor);
    // Records, bytes of the records, and sections of these bytes, cut where the third says.
    if let Some(([records, size, cut], rest)) = data.split_first_chunk::<3>() {
        let (numbers, words) = rest.split_at(usize::from(*cut).min(rest.len()));
        for form in [2, 3] {
            let mut block = BLOCK_MAGIC.to_vec();
            block.extend([form, 0]);
            let size = u64::from(*size) << 6;
            for n in [u64::from(*records), size, numbers.len() as u64, words.len() as u64] {
                put_varint(&mut block, n);
            }
            let _ = decode(&[&block, numbers, words].concat(), &mut decompressor);
        }
        // The same as a bundle of so many blocks, whose sizes the numbers say.
        let mut bundle = BUNDLE_MAGIC.to_vec();
        bundle.extend([10, 0]);
        for n in [u64::from(*records), numbers.len() as u64, numbers.len() as u64] {
            put_varint(&mut bundle, n);
        }
        put_varint(&mut bundle, words.len() as u64);
        look(&[&bundle, numbers, words].concat(), &mut decompressor);
    }
    let rows: Vec<Vec<u8>> = data.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    comes_back(&rows, &mut decompressor);
    let records = data.split(|byte| *byte == b'\n').zip(0..);
    let records: Vec<Vec<u8>> = records.map(|(bytes, nth)| record(nth, bytes).to_bytes()).collect();
    comes_back(&records, &mut decompressor);
    comes_back_bundled(&records, &mut decompressor);
});
