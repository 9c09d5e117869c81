//! Bundles: every block comes back by its room and rev, and the bytes are those that FORMAT.md
//! tells of.

use super::*;
use crate::format::cached::{CachedBlock, tests::assert_same};
use crate::format::record::{Record, tests::samples};

/// Small blocks, each of a room with another number of records.
fn filled(rooms: u64) -> Vec<(RoomId, Rev, Vec<Vec<u8>>)> {
    let of_room = |nth: u64| {
        let (room, first) = (RoomId(900 - nth), Rev(1 + nth * 1000));
        let samples = samples().into_iter().take(1 + usize::try_from(nth % 5).unwrap());
        let records = samples
            .zip(first.0..)
            .map(|(sample, rev)| Record { room, rev: Rev(rev), ..sample }.to_bytes());
        (room, first, records.collect())
    };
    (0..rooms).map(of_room).collect()
}

fn bundle_of(blocks: &[(RoomId, Rev, Vec<Vec<u8>>)], compressor: &mut Compressor) -> Vec<u8> {
    let mut builders: Vec<BlockBuilder> = Vec::new();
    for (_, _, records) in blocks {
        let mut builder = BlockBuilder::default();
        records.iter().for_each(|record| builder.push(record));
        assert!(builder.is_small());
        builders.push(builder);
    }
    let mut out = Vec::new();
    finish(&mut builders, compressor, &mut out).unwrap();
    assert!(builders.iter().all(BlockBuilder::is_empty));
    out
}

fn inflate(bytes: &[u8], own: Option<&Dictionary>) -> Result<Bundle, DecodeError> {
    Bundle::inflate(bytes, own, &mut Decompressor::new().unwrap())
}

fn check(bundle: &Bundle, blocks: &[(RoomId, Rev, Vec<Vec<u8>>)]) {
    let named: Vec<(RoomId, Rev)> = blocks.iter().map(|(room, rev, _)| (*room, *rev)).collect();
    assert_eq!(bundle.blocks().collect::<Vec<_>>(), named);
    for (room, first, records) in blocks {
        let block = bundle.block(*room, *first).unwrap();
        assert_eq!(block.len(), records.len());
        assert!((0..block.len()).all(|at| block.bytes(at) == records.get(at).map(Vec::as_slice)));
        assert_same(&bundle.decode(*room, *first).unwrap(), &block);
    }
}

#[test]
fn every_block_comes_back_by_its_room_and_rev() {
    for rooms in [1, 2, 30] {
        let blocks = filled(rooms);
        let generic = bundle_of(&blocks, &mut Compressor::generic(3).unwrap());
        assert!(is_bundle(&generic));
        check(&inflate(&generic, None).unwrap(), &blocks);
        let plain = bundle_of(&blocks, &mut Compressor::plain(3).unwrap());
        check(&inflate(&plain, None).unwrap(), &blocks);
        let least = usize::MAX;
        let as_they_are = Compressor::generic(3).unwrap().from_bytes_on(least);
        let stored = bundle_of(&blocks, &mut { as_they_are });
        assert_eq!(dictionary_of(&stored), Ok(DictionaryKind::None));
        check(&inflate(&stored, None).unwrap(), &blocks);
        assert!(rooms < 30 || generic.len() * 2 < stored.len());
        let bundle = inflate(&generic, None).unwrap();
        for (room, rev) in [(RoomId(900), Rev(2)), (RoomId(7), Rev(1)), (RoomId(870), Rev(1))] {
            assert_eq!(bundle.block(room, rev).unwrap_err().what, "bundle.block");
        }
    }
}

#[test]
fn one_that_needs_the_packs_dictionary_is_not_read_without() {
    let own = Dictionary::new(b"some words\xffand others\xff".to_vec()).unwrap();
    let blocks = filled(20);
    let bytes = bundle_of(&blocks, &mut Compressor::own(3, &own).unwrap());
    assert_eq!(dictionary_of(&bytes), Ok(DictionaryKind::Own));
    check(&inflate(&bytes, Some(&own)).unwrap(), &blocks);
    assert_eq!(
        inflate(&bytes, None).unwrap_err(),
        DecodeError { what: "bundle.dictionary", at: 5 }
    );
}

#[test]
fn what_is_cut_or_flipped_is_refused_or_read_without_a_panic() {
    let blocks = filled(9);
    for least in [0, usize::MAX] {
        let mut compressor = Compressor::generic(3).unwrap().from_bytes_on(least);
        let bytes = bundle_of(&blocks, &mut compressor);
        for end in 0..bytes.len() {
            assert!(inflate(&bytes[..end], None).is_err(), "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            let Ok(bundle) = inflate(&flipped, None) else { continue };
            for (room, rev) in bundle.blocks().collect::<Vec<_>>() {
                let block = bundle.block(room, rev);
                let cached = bundle.decode::<CachedBlock>(room, rev);
                block.iter().for_each(|block| assert_same(cached.as_ref().unwrap(), block));
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(inflate(&longer, None).is_err());
    }
}

/// Sections that are not compressed are those of the blocks, one behind the other.
#[test]
fn the_bytes_are_those_of_the_blocks_section_by_section() {
    let blocks = filled(3);
    let mut compressor = Compressor::generic(3).unwrap().from_bytes_on(usize::MAX);
    let (mut sizes, mut numbers, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for (_, _, records) in &blocks {
        let mut builder = BlockBuilder::default();
        records.iter().for_each(|record| builder.push(record));
        let mut alone = Vec::new();
        builder.finish(&mut compressor, &mut alone).unwrap();
        // Magic, form and dictionary; the sizes; the sections.
        let reader = &mut Reader::new(&alone);
        assert_eq!(reader.take(6, "head").unwrap(), b"HnBk\x07\x00");
        let own = Sizes::get(reader).unwrap();
        own.put(&mut sizes);
        numbers.extend_from_slice(reader.take(own.numbers, "numbers").unwrap());
        words.extend_from_slice(reader.rest());
    }
    let mut expected = b"HnBb\x0a\x00\x03".to_vec();
    for size in [sizes.len() + numbers.len(), sizes.len() + numbers.len(), words.len()] {
        put_varint(&mut expected, size as u64);
    }
    expected.extend([sizes, numbers, words].concat());
    assert_eq!(bundle_of(&blocks, &mut compressor), expected);
}
