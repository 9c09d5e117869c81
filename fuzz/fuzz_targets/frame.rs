//! Frames and journal file headers: no bytes panic their decoders.
//! The header's checksum is made right first, so that the fuzzer gets behind it.
#![no_main]

use hansard_engine::format::frame::{
    FileHeader, FrameHeader, bad_padding, read_directory, read_records,
};
use libfuzzer_sys::fuzz_target;

fn look(data: &[u8]) {
    let _ = FileHeader::parse(data);
    if let Ok(header) = FrameHeader::parse_any(data) {
        if let Ok(entries) = read_directory(&header, data) {
            let slots = read_records(&header, &entries, data);
            assert_eq!(slots.len(), entries.len());
        }
        let _ = bad_padding(&header, data);
    }
}

fuzz_target!(|data: &[u8]| {
    look(data);
    let mut fixed = data.to_vec();
    if fixed.len() >= 96 {
        fixed[..4].copy_from_slice(b"HnFr");
        let crc = hansard_engine::format::block::checksum(&fixed[8..96]);
        fixed[4..8].copy_from_slice(&crc.to_le_bytes());
        look(&fixed);
    }
});
