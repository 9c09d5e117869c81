//! What a pack holds, told by the pack alone: its line in a manifest, and its places in the log.
//!
//! A pack describes itself, so a manifest whose two copies are lost can be written again from them.

use hansard_engine::error::Result;
use hansard_engine::format::pack::PackMeta;
use hansard_engine::format::record::{Outline, Record};
use hansard_engine::pack::PackFile;
use hansard_engine::types::TimeUs;

use super::heal::{Index, lsns, read_index, times};
use crate::verify::{Blocks, RoomSpan, Seen, digest};

/// What was read out of a pack.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its line in a manifest.
    pub meta: PackMeta,
    /// Its records that can be read, and what its run index says of rooms.
    pub seen: Seen,
}

/// Reads a pack. `known` is what a manifest says of it, which counts.
///
/// # Errors
/// `Io`, or `Corrupt` if its run index does not check.
pub(super) fn read(pack: &PackFile, id: u64, known: Option<&PackMeta>) -> Result<Contents> {
    let Index { footer, contents } = read_index(pack)?;
    let runs = &contents.runs;
    let mut seen = Seen::default();
    seen.lsns.insert_all(&contents.dropped);
    let mut blocks = Blocks::new(pack);
    let (mut day, mut plain_bytes) = (None, 0);
    for run in runs {
        seen.spans.push(RoomSpan::from(run));
        blocks.fetch(run);
        for block in run.blocks.iter().filter_map(|fence| blocks.block(run.room, fence).ok()) {
            plain_bytes += block.record_bytes() as u64;
            for bytes in (0..block.len()).filter_map(|at| block.record(at)) {
                if let Ok(outline) = Outline::from_bytes(&bytes) {
                    seen.take(&outline, &bytes);
                    // All records of a pack were recorded on one day.
                    day = day.or_else(|| Some(Record::from_bytes(&bytes).ok()?.recorded.day()));
                }
            }
        }
    }
    let meta = match known {
        Some(known) => known.clone(),
        None => {
            let (first_lsn, last_lsn) = lsns(&contents);
            let (min_time, max_time) = times(runs);
            PackMeta {
                id,
                bytes: pack.file().len()?,
                sha256: digest(pack.file(), |_| {})?,
                class: footer.class,
                level: footer.level,
                day: TimeUs(day.unwrap_or(0).saturating_mul(TimeUs::DAY_US)),
                first_lsn,
                last_lsn,
                records: footer.records,
                runs: footer.runs,
                min_time,
                max_time,
                plain_bytes,
                dropped: contents.dropped.count(),
            }
        }
    };
    Ok(Contents { meta, seen })
}
