//! The manifest: no bytes panic its reader, and it never reads beyond what it checked.
//! Edits are also given right checksums, so that the fuzzer gets behind them.
#![no_main]

use std::sync::Arc;

use hansard_engine::format::manifest::{Chain, Edit, decode_edit, encode_edit};
use hansard_engine::format::wire::from_bytes;
use hansard_engine::storage::Disk;
use hansard_engine::storage::sim::SimStorage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let disk = Disk::new(Arc::new(SimStorage::new()));
    if let Ok(read) = hansard_engine::manifest::read(&disk, data) {
        assert!(read.end <= data.len() as u64);
    }
    if let Ok(edit) = from_bytes::<Edit>(data, "edit") {
        let bytes = encode_edit(&edit, &mut Chain::default());
        assert_eq!(decode_edit(&bytes, &mut Chain::default()), Ok((edit, bytes.len())));
    }
});
