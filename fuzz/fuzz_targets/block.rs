//! Blocks: no bytes panic the decoder or make it allocate beyond its bound.
//! Records are also put into a block first, as rows and as columns, so that the fuzzer gets behind
//! zstd: they come back byte for byte.
#![no_main]

use hansard_engine::format::block::{Block, BlockBuilder};
use hansard_engine::format::dictionary::{Compressor, Decompressor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(mut decompressor) = Decompressor::new() else { return };
    let _ = Block::decode(data, None, &mut decompressor);
    let mut builder = BlockBuilder::default();
    for record in data.split(|b| *b == 0) {
        builder.push(record);
    }
    let records = builder.records();
    let Some(mut compressor) = Compressor::generic(1) else { return };
    let mut out = Vec::new();
    if builder.finish(&mut compressor, &mut out).is_ok() {
        let block = Block::decode(&out, None, &mut decompressor).expect("what was built decodes");
        assert_eq!(block.len(), records);
        for (index, record) in data.split(|b| *b == 0).enumerate() {
            assert_eq!(block.record(index).as_deref(), Some(record));
        }
    }
});
