//! Checksums made right again after a mutation, so that the fuzzer gets behind them.
//!
//! The only place of the fuzz targets that knows where a checksum stands. It repairs nothing else:
//! what a mutation said, it says after mending too.
//!
//! INVARIANT: no bytes make a mender panic; what is too mangled to be mended stays as it is.

use hansard_engine::format::block::{Block, BlockBuilder, checksum};
use hansard_engine::format::bundle::{Bundle, is_bundle};
use hansard_engine::format::dictionary::{Compressor, Decompressor};
use hansard_engine::format::frame::{ENTRY_BYTES, FRAME_MAGIC, HEADER_BYTES, record_crc};
use hansard_engine::format::manifest::{EDIT_HEADER_BYTES, MANIFEST_MAGIC};
use hansard_engine::format::pack::{
    DictionaryMark, FOOTER_BYTES, Footer, PACK_HEADER_BYTES, PackIndex, encode_index,
    header as pack_header,
};
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::format::{LAYOUT, SECTOR_BYTES};
use hansard_engine::types::Lsn;
use sha2::{Digest, Sha256};

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + what.len()) {
        place.copy_from_slice(what);
    }
}

/// Mends a file of a data directory by its name.
pub fn file(name: &str, bytes: &mut Vec<u8>) {
    match name.rsplit('/').next().unwrap_or(name) {
        "MANIFEST" | "MANIFEST.copy" => manifest(bytes),
        "WITNESS" => bytes.chunks_mut(SECTOR_BYTES).for_each(sector),
        last if last.ends_with(".journal") => journal(bytes),
        last if last.ends_with(".pack") => {
            let id = last.trim_end_matches(".pack").parse().unwrap_or(1);
            pack(bytes, id, |_, _| {});
        }
        _ => {}
    }
}

/// A journal file's header or a sector of the witness.
pub fn sector(bytes: &mut [u8]) {
    if let Some(covered) = bytes.get(8..SECTOR_BYTES) {
        let crc = checksum(covered);
        put(bytes, 4, &crc.to_le_bytes());
    }
}

/// A frame at the start of `bytes`, behind a frame with this checksum. Returns its length as it
/// says and its own checksum.
pub fn frame(bytes: &mut [u8], prev: Option<u32>) -> Option<(usize, u32)> {
    bytes.get(..HEADER_BYTES)?;
    put(bytes, 0, &FRAME_MAGIC);
    if let Some(prev) = prev {
        put(bytes, 8, &prev.to_le_bytes());
    }
    let (incarnation, first) = (u64_at(bytes, 16), u64_at(bytes, 32));
    let count = u32_at(bytes, 68) as usize;
    let dir_end = HEADER_BYTES + count * ENTRY_BYTES;
    if let Some(dir) = bytes.get(HEADER_BYTES..dir_end) {
        let lengths: Vec<usize> =
            dir.chunks(ENTRY_BYTES).map(|entry| u32_at(entry, 0) as usize).collect();
        let crc = record_crc(incarnation, Lsn(first), dir);
        put(bytes, 72, &crc.to_le_bytes());
        let mut at = dir_end;
        for (n, length) in (0..).zip(lengths) {
            let Some(record) = bytes.get(at..at + length) else { break };
            let crc = record_crc(incarnation, Lsn(first.wrapping_add(n)), record);
            put(bytes, at + length, &crc.to_le_bytes());
            at += length + 4;
        }
    }
    let crc = checksum(bytes.get(8..HEADER_BYTES)?);
    put(bytes, 4, &crc.to_le_bytes());
    Some((u32_at(bytes, 80) as usize, crc))
}

/// A journal file: its header, and every frame that begins at a sector, chained to the one that
/// ends there.
pub fn journal(bytes: &mut [u8]) {
    if bytes.len() >= SECTOR_BYTES {
        sector(bytes);
    }
    let mut before: Option<(usize, u32)> = None;
    for at in (SECTOR_BYTES..bytes.len()).step_by(SECTOR_BYTES) {
        let Some(rest) = bytes.get_mut(at..) else { return };
        if rest.get(..FRAME_MAGIC.len()) != Some(&FRAME_MAGIC[..]) {
            continue;
        }
        let prev = before.filter(|(end, _)| *end == at).map(|(_, crc)| crc);
        before = frame(rest, prev).map(|(len, crc)| (at.saturating_add(len), crc));
    }
}

/// A manifest: every edit's checksum, and the chain over the edits.
pub fn manifest(bytes: &mut [u8]) {
    put(bytes, 0, &MANIFEST_MAGIC);
    let mut chain = [0; 16];
    let mut at = MANIFEST_MAGIC.len();
    while let Some(edit) = bytes.get_mut(at..).filter(|rest| rest.len() >= EDIT_HEADER_BYTES) {
        let len = u32_at(edit, 0) as usize;
        let Some(edit) = edit.get_mut(..EDIT_HEADER_BYTES + len) else { return };
        put(edit, 8, &chain);
        let crc = checksum(&[&edit[..4], &edit[8..]].concat());
        put(edit, 4, &crc.to_le_bytes());
        let body = Sha256::new().chain_update(chain).chain_update(&edit[EDIT_HEADER_BYTES..]);
        chain.copy_from_slice(&body.finalize()[..16]);
        at += edit.len();
    }
}

/// A pack: header, the checksums of its blocks in the run index, the index and the footer. `edit`
/// sees the records of each block that can be read, by its number, and may change them.
pub fn pack(bytes: &mut Vec<u8>, id: u64, mut edit: impl FnMut(usize, &mut Vec<Vec<u8>>)) {
    if bytes.len() < PACK_HEADER_BYTES + FOOTER_BYTES {
        return;
    }
    let end = bytes.len() - FOOTER_BYTES;
    let index_at = usize::try_from(u64_at(bytes, end + 8)).unwrap_or(end);
    let index_at = index_at.clamp(PACK_HEADER_BYTES, end);
    let mut index = bytes[index_at..end].to_vec();
    let contents = from_bytes::<PackIndex>(&index, "index");
    let mut footer = Footer {
        layout: LAYOUT,
        id,
        index_offset: index_at as u64,
        index_bytes: index.len() as u64,
        index_crc: checksum(&index),
        runs: u64_at(bytes, end + 24),
        records: u64_at(bytes, end + 32),
        class: u32_at(bytes, end + 48),
        level: u32_at(bytes, end + 52),
        dictionary: DictionaryMark::default(),
    };
    put(bytes, 0, &pack_header(id, DictionaryMark::default()));
    bytes.truncate(index_at);
    if let Ok(mut contents) = contents {
        mend_blocks(bytes, &mut contents.runs, &mut edit);
        let runs = &contents.runs;
        index = encode_index(&contents, footer.layout);
        footer.index_offset = bytes.len() as u64;
        footer.index_bytes = index.len() as u64;
        footer.index_crc = checksum(&index);
        footer.runs = runs.len() as u64;
        footer.records = runs.iter().flat_map(|r| &r.blocks).map(|b| u64::from(b.records)).sum();
    }
    bytes.extend(index);
    bytes.extend(footer.to_bytes());
}

/// Writes changed blocks behind the others, and every block's checksum into its run.
fn mend_blocks(
    bytes: &mut Vec<u8>,
    runs: &mut [Run],
    edit: &mut impl FnMut(usize, &mut Vec<Vec<u8>>),
) {
    let blocks = runs.iter_mut().flat_map(|run| {
        let room = run.room;
        run.blocks.iter_mut().map(move |fence| (room, fence))
    });
    for (number, (room, fence)) in blocks.enumerate() {
        let start = usize::try_from(fence.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(fence.bytes as usize);
        let Some(block) = bytes.get(start..end) else { continue };
        fence.crc = checksum(block);
        let mut decompressor = Decompressor::new().expect("memory");
        let plain = match is_bundle(block) {
            true => Bundle::inflate(block, None, &mut decompressor)
                .and_then(|bundle| bundle.block(room, fence.first_rev)),
            false => Block::decode(block, None, &mut decompressor),
        };
        let Ok(plain) = plain else { continue };
        let records = (0..plain.len()).filter_map(|at| plain.record(at)).map(|r| r.to_vec());
        let before: Vec<Vec<u8>> = records.collect();
        let mut after = before.clone();
        edit(number, &mut after);
        if after == before {
            continue;
        }
        let mut builder = BlockBuilder::default();
        after.iter().for_each(|record| builder.push(record));
        let mut block = Vec::new();
        let mut zstd = Compressor::generic(1).expect("memory");
        builder.finish(&mut zstd, &mut block).expect("memory");
        fence.offset = bytes.len() as u64;
        fence.bytes = u32::try_from(block.len()).unwrap_or(u32::MAX);
        fence.crc = checksum(&block);
        fence.records = u32::try_from(after.len()).unwrap_or(u32::MAX);
        bytes.extend(block);
    }
}
