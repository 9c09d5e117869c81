//! Blocks: records come back byte for byte, as rows and as columns.
//!
//! No bytes make a decoder panic, and what is cut short is refused.

use super::*;
use crate::format::cached::CachedBlock;
use crate::format::cached::tests::assert_same;
use crate::format::dictionary::RUN_END;
use crate::format::record::{Record, tests::samples};
use crate::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs};

fn block_of<R: AsRef<[u8]>>(records: &[R]) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    records.iter().for_each(|record| builder.push(record.as_ref()));
    let mut out = Vec::new();
    builder.finish(&mut Compressor::generic(3).unwrap(), &mut out).unwrap();
    assert!(builder.is_empty());
    out
}

/// What readers keep of it says the same, or is not to be read either.
fn decode(bytes: &[u8]) -> Result<Block, DecodeError> {
    let mut decompressor = Decompressor::new().unwrap();
    let block = Block::decode(bytes, None, &mut decompressor);
    let cached = CachedBlock::decode(bytes, None, &mut decompressor);
    match &block {
        Ok(block) => assert_same(&cached.unwrap(), block),
        // Nobody puts all records together there, to count their bytes.
        Err(e) if ["block.record", "block.record_bytes"].contains(&e.what) => {}
        Err(e) => assert_eq!(cached.unwrap_err().what, e.what),
    }
    block
}

/// What a block holds.
fn records_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let block = decode(bytes).unwrap();
    assert_eq!(block.record(block.len()), None);
    (0..block.len()).map(|at| block.record(at).unwrap().to_vec()).collect()
}

/// Records of every kind and form in one room, one rev behind the other.
fn of_one_room(times: usize) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for record in std::iter::repeat_n(samples(), times).flatten() {
        let rev = Rev(7 + records.len() as u64);
        records.push(Record { room: RoomId(900), rev, ..record }.to_bytes());
    }
    records
}

#[test]
fn words_that_are_not_worth_it_stay_as_they_are() {
    let records = of_one_room(1);
    let of = |least: usize| {
        let mut builder = BlockBuilder::default();
        records.iter().for_each(|record| builder.push(record));
        let mut out = Vec::new();
        let mut compressor = Compressor::generic(3).unwrap().from_bytes_on(least);
        builder.finish(&mut compressor, &mut out).unwrap();
        out
    };
    let words = BlockHeader::get(&mut Reader::new(&of(0))).unwrap().sizes.words;
    for (least, as_they_are) in [(0, false), (words, false), (words + 1, true)] {
        let block = of(least);
        let header = BlockHeader::get(&mut Reader::new(&block)).unwrap();
        assert_eq!(header.form & WORDS_AS_THEY_ARE != 0, as_they_are, "{least}");
        let dictionary = if as_they_are { DictionaryKind::None } else { DictionaryKind::Generic };
        assert_eq!(header.dictionary, dictionary);
        assert_eq!(records_of(&block), records);
    }
}

/// Posts as a busy room has them.
fn talk(count: u64) -> Vec<Vec<u8>> {
    let Some(sample) = samples().into_iter().next() else { return Vec::new() };
    let records = (0..count).map(|nth| {
        let mut record = sample.clone();
        record.epoch = Epoch(1);
        (record.lsn, record.rev, record.seq) = (Lsn(90_000 + nth * 7), Rev(nth + 1), Seq(nth + 1));
        record.recorded =
            TimeUs(1_700_000_000_000_000 + 1_234_567 * (nth.cast_signed() % 9 + nth.cast_signed()));
        record.time = record.recorded;
        record.policy = Lsn(record.lsn.0 - 1);
        record.actor.id = PrincipalId((1 << 48) + (nth * nth) % 13);
        record.idempotency = None;
        record.to_bytes()
    });
    records.collect()
}

#[test]
fn rows_come_back() {
    let records = [&b"one"[..], b"", &[5; 2000]];
    let bytes = block_of(&records);
    assert_eq!(bytes[4] & AS_COLUMNS, 0, "what is no record stands as it is");
    assert_eq!(records_of(&bytes), records);
    assert_eq!(decode(&bytes).unwrap().record_bytes(), 2003);
    assert!(records_of(&block_of::<&[u8]>(&[])).is_empty());
}

#[test]
fn records_of_every_kind_come_back_as_columns() {
    for times in [1, 3] {
        let records = of_one_room(times);
        let bytes = block_of(&records);
        assert_eq!(bytes[4] & AS_COLUMNS, AS_COLUMNS);
        assert_eq!(records_of(&bytes), records);
        for record in &records {
            assert_eq!(records_of(&block_of(&[record])), std::slice::from_ref(record), "alone");
        }
    }
}

#[test]
fn what_fits_no_columns_stands_as_rows_and_comes_back() {
    let gap = |at: usize| {
        let mut records = of_one_room(1);
        records.remove(at);
        records
    };
    let mut cut = of_one_room(1);
    cut.last_mut().unwrap().pop();
    let mut strange = of_one_room(1);
    strange[2][0] = 9;
    let mut moved = talk(3);
    moved[1] = Record { room: RoomId(5), ..Record::from_bytes(&moved[1]).unwrap() }.to_bytes();
    for records in [gap(1), gap(4), strange, moved] {
        let bytes = block_of(&records);
        assert_eq!(bytes[4] & AS_COLUMNS, 0);
        assert_eq!(records_of(&bytes), records);
    }
    // A payload is not looked at: also one that is cut short comes back.
    assert_eq!(records_of(&block_of(&cut)), cut);
}

#[test]
fn what_records_share_stands_once() {
    let records = talk(100);
    let rows: usize = records.iter().map(Vec::len).sum();
    let bytes = block_of(&records);
    assert_eq!(records_of(&bytes), records);
    assert!(bytes.len() * 8 < rows, "{} of {rows}", bytes.len());
}

/// The block of the example that FORMAT.md had for format 1: its makers stand in its words.
#[test]
fn a_block_of_format_1_comes_back_and_is_written_as_one_of_this_format() {
    #[rustfmt::skip]
    let block = [
        0x48, 0x6e, 0x42, 0x6b, 0x03, 0x00, 0x01, 0x45, 0x20, 0x33, 0x89, 0x80,
        0x80, 0x80, 0x80, 0x80, 0x40, 0x02, 0x01, 0x01, 0x00, 0x80, 0x16, 0xc0,
        0xc0, 0x80, 0x18, 0x80, 0x80, 0xc0, 0xdf, 0xd0, 0xca, 0xd4, 0xa3, 0x06,
        0x80, 0x0d, 0xc0, 0xc0, 0xc0, 0xc0, 0x07, 0x04, 0x01, 0x01, 0x01, 0x01,
        0x01, 0x00, 0x1d, 0x86, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0x03, 0x61,
        0x6e, 0x6e, 0x02, 0x09, 0x31, 0x32, 0x37, 0x2e, 0x30, 0x2e, 0x30, 0x2e,
        0x31, 0x87, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0x4f, 0x72, 0x64, 0x65,
        0x72, 0x2c, 0x20, 0x6f, 0x72, 0x64, 0x65, 0x72, 0x21,
    ];
    let records = records_of(&block);
    let record = Record::from_bytes(&records[0]).unwrap();
    assert_eq!(
        (records.len(), &*record.actor.name, &*record.actor.address),
        (1, "ann", "127.0.0.1")
    );
    let anew = block_of(&records);
    assert_eq!((block[4], anew[4]), (3, 7));
    assert_eq!(records_of(&anew), records);
    // Makers as columns without columns are none.
    let mut wrong = anew;
    wrong[4] &= !AS_COLUMNS;
    assert_eq!(decode(&wrong).map(drop).unwrap_err().what, "block.form");
}

#[test]
fn a_builder_says_when_it_is_full() {
    let mut builder = BlockBuilder::default();
    assert!(!builder.is_full_for(1 << 20), "a large record has a block alone");
    let records = talk(2000);
    let full = records.iter().position(|record| {
        let full = builder.is_full_for(record.len());
        builder.push(record);
        full
    });
    let full = full.unwrap();
    assert!((300..900).contains(&full), "{full}");
    let mut rows = BlockBuilder::default();
    rows.push(&[7; 8000]);
    assert!(rows.is_full_for(300) && !rows.is_full_for(100));
}

#[test]
fn no_mutation_of_a_block_panics() {
    for bytes in [block_of(&[&b"one"[..], b"", &[5; 2000]]), block_of(&of_one_room(1))] {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut mutated = bytes.clone();
                mutated[at] ^= 1 << bit;
                // Without its checksum a flip may decode; it must only not panic.
                let _ = decode(&mutated);
            }
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn a_block_names_the_dictionary_it_needs() {
    let records = talk(40);
    let own = [&b"night shift"[..], b"an import", &[b'x'; 15], b"gr\xc3\xbc\xc3\x9fe"];
    let own = Dictionary::new(own.join(&RUN_END)).unwrap();
    let decompressor = &mut Decompressor::new().unwrap();
    let kinds = [DictionaryKind::None, DictionaryKind::Generic, DictionaryKind::Own];
    for kind in kinds {
        let mut compressor = match kind {
            DictionaryKind::None => Compressor::plain(3),
            DictionaryKind::Generic => Compressor::generic(3),
            DictionaryKind::Own => Compressor::own(3, &own),
        };
        let mut builder = BlockBuilder::default();
        records.iter().for_each(|record| builder.push(record));
        let mut bytes = Vec::new();
        builder.finish(compressor.as_mut().unwrap(), &mut bytes).unwrap();
        let header = BlockHeader::get(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((header.dictionary, header.sizes.records), (kind, 40));
        let block = Block::decode(&bytes, Some(&own), decompressor).unwrap();
        assert_eq!(block.record(39).unwrap(), records[39]);
        let without = Block::decode(&bytes, None, decompressor);
        assert_eq!(without.is_err(), kind == DictionaryKind::Own);
    }
}
