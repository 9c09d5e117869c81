//! Packs: no bytes panic the decoders of footer, run index and whole file.
//! The run index is decoded behind a footer that agrees with it, and blocks behind an index with
//! their checksums.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use hansard_engine::format::LAYOUT;
use hansard_engine::format::block::checksum;
use hansard_engine::format::pack::{
    DictionaryMark, FOOTER_BYTES, Footer, PackIndex, check_header, decode_index, header,
};
use hansard_engine::format::wire::{from_bytes, to_bytes};
use hansard_engine::pack::{BlockReader, PackFile};
use hansard_engine::storage::sim::SimStorage;
use hansard_engine::storage::{Disk, Mode};
use hansard_fuzz::mend;
use libfuzzer_sys::fuzz_target;

/// Opens a whole file as pack 1 and reads every block.
fn look(bytes: &[u8]) {
    let disk = Disk::new(Arc::new(SimStorage::new()));
    disk.write_whole("", "pack", bytes).expect("simulated");
    let file = PackFile::new(disk.open("pack", Mode::Read).expect("simulated"), 1);
    let Ok(index) = file.index() else { return };
    let mut reader = BlockReader::new().expect("memory");
    let blocks = index.runs.iter().flat_map(|run| run.blocks.iter().map(|block| (run.room, block)));
    for (room, block) in blocks {
        // The index was checked: it points into the file.
        let bytes = file.file().read(block.offset, block.bytes as usize);
        let bytes = bytes.expect("inside the file");
        if let Ok(decoded) = file.decode(&bytes, room, block, &mut reader) {
            assert_eq!(decoded.len(), block.records as usize);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = Footer::parse(data, data.len() as u64);
    let _ = check_header(data, 1);
    let footer = Footer {
        layout: LAYOUT,
        id: 1,
        index_offset: 4096,
        index_bytes: data.len() as u64,
        index_crc: checksum(data),
        runs: 1,
        records: 1,
        class: 0,
        level: 0,
        dictionary: DictionaryMark::default(),
    };
    let _ = decode_index(data, &footer, Path::new("fuzz"));
    if let Ok(index) = from_bytes::<PackIndex>(data, "index") {
        // Its runs may be those of format 1.
        let bytes = to_bytes(&index);
        assert!(bytes == data || from_bytes::<PackIndex>(&bytes, "index") == Ok(index));
    }
    look(data);
    // Header, blocks, index and footer, the index where the first two bytes say.
    let Some((place, rest)) = data.split_first_chunk::<2>() else { return };
    let at = usize::from(u16::from_le_bytes(*place)) % (rest.len() + 1);
    let header = header(1, DictionaryMark::default());
    let footer = Footer { index_offset: (header.len() + at) as u64, ..footer };
    let mut whole = [header.as_slice(), rest, &footer.to_bytes()].concat();
    assert_eq!(footer.to_bytes().len(), FOOTER_BYTES);
    mend::pack(&mut whole, 1, |_, _| {});
    look(&whole);
});
