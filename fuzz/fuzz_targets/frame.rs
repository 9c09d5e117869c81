//! Frames, journal file headers, the witness, and the layout that a file's start states: no bytes
//! panic their decoders, and a value that was read is read again from its own bytes.
//! Every checksum is also made right first, so that the fuzzer gets behind it.
#![no_main]

use hansard_engine::format::frame::{
    FILE_MAGIC, FileHeader, FrameHeader, bad_padding, read_directory, read_records,
};
use hansard_engine::format::record::Record;
use hansard_engine::format::witness::{WITNESS_MAGIC, Witness};
use hansard_engine::format::{LAYOUT, SECTOR_BYTES, stated_layout};
use hansard_fuzz::mend;
use libfuzzer_sys::fuzz_target;

fn look(data: &[u8]) {
    if let Ok(Some(header)) = FileHeader::parse(data) {
        assert_eq!(FileHeader::parse(&header.to_sector()), Ok(Some(header)));
    }
    for slot in [0, 2 * SECTOR_BYTES as u64] {
        if let Ok(witness) = Witness::parse(data, slot) {
            assert_eq!(witness.offset(), slot);
            assert_eq!(Witness::parse(&witness.to_sector(), slot), Ok(witness));
        }
    }
    let _ = stated_layout(data);
    let Ok(header) = FrameHeader::parse_any(data) else { return };
    let _ = bad_padding(&header, data);
    let Ok(entries) = read_directory(&header, data) else { return };
    let slots = read_records(&header, &entries, data);
    assert_eq!(slots.len(), entries.len());
    for slot in slots.iter().filter(|slot| slot.fault.is_none()) {
        let end = slot.start + slot.entry.bytes as usize;
        let _ = Record::from_bytes(&data[slot.start..end]);
    }
}

fuzz_target!(|data: &[u8]| {
    look(data);
    let mut frame = data.to_vec();
    if mend::frame(&mut frame, None).is_some() {
        look(&frame);
    }
    for magic in [FILE_MAGIC, WITNESS_MAGIC] {
        let mut sector = [&magic, data.get(4..).unwrap_or_default()].concat();
        sector.resize(SECTOR_BYTES, 0);
        mend::sector(&mut sector);
        look(&sector);
        sector[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        mend::sector(&mut sector);
        look(&sector);
        assert_eq!(stated_layout(&sector), Some(LAYOUT));
    }
});
