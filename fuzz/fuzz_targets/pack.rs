//! Pack footers and run indexes: no bytes panic their decoders.
//! The run index is decoded behind a footer that agrees with it.
#![no_main]

use std::path::Path;

use hansard_engine::format::block::checksum;
use hansard_engine::format::pack::{Footer, decode_index};
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::{from_bytes, to_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Footer::parse(data, data.len() as u64);
    let footer = Footer {
        id: 1,
        index_offset: 4096,
        index_bytes: data.len() as u64,
        index_crc: checksum(data),
        runs: 1,
        records: 1,
    };
    let _ = decode_index(data, &footer, Path::new("fuzz"));
    if let Ok(runs) = from_bytes::<Vec<Run>>(data, "runs") {
        assert_eq!(to_bytes(&runs), data);
    }
});
