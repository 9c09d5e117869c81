//! Bytes on disk, and nothing else: pure functions from values to bytes and back.
//!
//! Only this module knows an offset inside a frame, a block or a row. It does no I/O.
//! `engine/FORMAT.md` is its document; a test compares the two.

pub mod block;
pub mod bundle;
pub mod cached;
pub mod codec;
pub mod columns;
pub mod dictionary;
pub mod filter;
pub mod frame;
mod makers;
pub mod manifest;
pub mod pack;
pub mod payload;
pub mod record;
pub mod rice;
pub mod run;
pub mod run_before;
pub mod runs;
pub mod settings;
pub mod wire;
pub mod witness;

/// The version of the format that this build writes. It reads the one before it, too.
pub const FORMAT: u16 = 2;
/// The layout number that headers state: the version of the format above sixteen zero bits. Below
/// version 1 it was the number of a layout alone.
pub const LAYOUT: u32 = layout_of(FORMAT);
/// The unit of padding in the journal, in bytes.
pub const SECTOR_BYTES: usize = 4096;

/// The layout number of a version of the format.
#[must_use]
pub const fn layout_of(format: u16) -> u32 {
    (format as u32) << 16
}

/// The version of the format of a layout number.
#[must_use]
pub const fn format_of(layout: u32) -> u16 {
    let [low, high, ..] = (layout >> 16).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// True if this build reads what a layout number is of.
#[must_use]
pub const fn reads(layout: u32) -> bool {
    layout == LAYOUT || layout == layout_of(FORMAT - 1)
}

/// What a layout number that this build does not read means, and what to do about it.
#[must_use]
pub fn layout_words(layout: u32) -> String {
    match (layout >> 16, layout & 0xffff) {
        (0, 0) => "no format is named".to_owned(),
        (0, layout) => format!(
            "made before format 1 (layout {layout}): export its rooms with the program that made \
             it, and import them into a new directory"
        ),
        (format, 0) if format > u32::from(FORMAT) => {
            format!("made by a later program (format {format}): open it with that one")
        }
        (format, layout) => format!("format {format}, layout {layout} is none that was ever made"),
    }
}

/// The layout that the start of a journal file, of a witness's slot or of a pack states; none if
/// it is none of these, or does not check. So a directory is known whose `VERSION` is lost.
#[must_use]
pub fn stated_layout(bytes: &[u8]) -> Option<u32> {
    let reader = &mut codec::Reader::new(bytes);
    let magic: [u8; 4] = reader.array("magic").ok()?;
    let first = reader.u32("first").ok()?;
    if magic == pack::PACK_MAGIC {
        let (covered, crc) = bytes.get(..pack::PACK_HEADER_BYTES)?.split_last_chunk()?;
        return (crc32fast::hash(covered) == u32::from_le_bytes(*crc)).then_some(first);
    }
    let covered = bytes.get(8..SECTOR_BYTES)?;
    let ours = magic == frame::FILE_MAGIC || magic == witness::WITNESS_MAGIC;
    let layout = reader.u32("layout").ok()?;
    (ours && crc32fast::hash(covered) == first).then_some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, Lsn};

    #[test]
    fn the_layout_is_read_from_whatever_states_it_and_only_if_it_checks() {
        let file = frame::FileHeader {
            incarnation: 1,
            epoch: Epoch::FIRST,
            first_lsn: Lsn(1),
            prev_frame_crc: 0,
            file_bytes: 1 << 20,
            prev_incarnation: 0,
            prev_end: 0,
        };
        let sector = witness::Witness::default().to_sector();
        for bytes in [file.to_sector(), sector, pack::header(7, pack::DictionaryMark::default())] {
            assert_eq!(stated_layout(&bytes), Some(LAYOUT));
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert_eq!(stated_layout(&flipped), None, "byte {at}");
            }
            assert_eq!(stated_layout(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(stated_layout(&[0; SECTOR_BYTES]), None);
    }
}
