//! Words looked for in everything a store holds, compressed or not.
//!
//! Apart from the rest because it decompresses by itself, which the fuzz targets do not link.

use hansard_engine::format::block::{BLOCK_HEADER_BYTES, BLOCK_MAGIC};
use hansard_engine::storage::sim::SimStorage;

use super::support::find;

/// Files of a folder in which a word, or any bytes, stand, in their bytes or in a block of theirs.
pub fn files_with(sim: &SimStorage, folder: &str, word: impl AsRef<[u8]>) -> Vec<String> {
    let mut files = sim.files();
    files.retain(|file| file.starts_with(folder));
    files.retain(|file| {
        let bytes = sim.bytes_of(file).unwrap();
        let blocks = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&BLOCK_MAGIC));
        let plain = |at: usize| zstd::stream::decode_all(&bytes[at + BLOCK_HEADER_BYTES..]).ok();
        let has = |text: &[u8]| find(text, word.as_ref()).is_some();
        has(&bytes) || blocks.filter_map(plain).any(|text| has(&text))
    });
    files
}
