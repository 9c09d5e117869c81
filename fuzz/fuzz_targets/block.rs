//! Blocks: no bytes panic the decoder or make it allocate beyond its bound.
//! Plain bytes are also compressed first, so that the fuzzer gets behind zstd.
#![no_main]

use hansard_engine::format::block::{Block, BlockBuilder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Block::decode(data);
    let mut builder = BlockBuilder::default();
    for record in data.split(|b| *b == 0) {
        builder.push(record);
    }
    let records = builder.records() as usize;
    let Some(mut compressor) = hansard_engine::format::block::compressor(1) else { return };
    let mut out = Vec::new();
    if builder.finish(&mut compressor, &mut out).is_ok() {
        let block = Block::decode(&out).expect("what was built decodes");
        assert_eq!(block.len(), records);
        for (index, record) in data.split(|b| *b == 0).enumerate() {
            assert_eq!(block.record(index).as_deref(), Some(record));
        }
    }
});
