//! Words looked for in everything a store holds, compressed or not.
//!
//! Apart from the rest because it decompresses by itself, which the fuzz targets do not link.

use std::io::Read;

use hansard_engine::format::dictionary::Dictionary;
use hansard_engine::format::pack::{PACK_HEADER_BYTES, PACK_MAGIC};
use hansard_engine::storage::sim::SimStorage;

use super::support::find;

/// First bytes of a zstd frame (RFC 8878, section 3.1.1).
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a zstd frame at the beginning of these bytes holds, as far as it can be read.
fn inflated(bytes: &[u8], dictionary: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::with_dictionary(bytes, dictionary) {
        let _ = decoder.single_frame().read_to_end(&mut plain);
    }
    plain
}

/// The dictionaries that frames of these files may need: the generic one, which is for those
/// without one too, and every pack's own.
fn dictionaries(sim: &SimStorage) -> Vec<Vec<u8>> {
    let mut found = vec![Dictionary::generic().unwrap().bytes().to_vec()];
    for bytes in sim.files().iter().filter_map(|file| sim.bytes_of(file)) {
        let mark = bytes.get(16..20).and_then(|mark| mark.try_into().ok()).map(u32::from_le_bytes);
        let is_pack = bytes.starts_with(&PACK_MAGIC);
        let end = PACK_HEADER_BYTES + mark.unwrap_or_default() as usize;
        found.extend(bytes.get(PACK_HEADER_BYTES..end).filter(|_| is_pack).map(<[u8]>::to_vec));
    }
    found.sort();
    found.dedup();
    found.retain(|dictionary| !dictionary.is_empty());
    found
}

/// Files of a folder in which a word, or any bytes, stand, in their bytes or in a frame of theirs.
pub fn files_with(sim: &SimStorage, folder: &str, word: impl AsRef<[u8]>) -> Vec<String> {
    let dictionaries = dictionaries(sim);
    let mut files = sim.files();
    files.retain(|file| file.starts_with(folder));
    files.retain(|file| {
        let bytes = sim.bytes_of(file).unwrap();
        let mut frames = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&FRAME_MAGIC));
        let has = |text: &[u8]| find(text, word.as_ref()).is_some();
        let in_frame = |at: usize| dictionaries.iter().any(|own| has(&inflated(&bytes[at..], own)));
        has(&bytes) || frames.any(in_frame)
    });
    files
}
