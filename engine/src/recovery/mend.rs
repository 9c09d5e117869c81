//! What recovery writes to the journal's files, and why it may.
//!
//! Nothing here touches a sector that holds a promised frame with other bytes than it has.

use crate::error::Result;
use crate::format::SECTOR_BYTES;
use crate::format::frame::FrameHeader;
use crate::journal::scan::{FoundFrame, Scan};
use crate::journal::{self, file_name};
use crate::open::QUARANTINE;
use crate::pack;
use crate::storage::{Disk, Mode, join};

/// The catalog's folder.
#[cfg(feature = "rocksdb")]
const CATALOG: &str = "catalog";

/// Wipes the frames behind the end of the log. The next file's header says where this one ends, but
/// if that file were lost, a frame that was cut would come back as history beside the records that
/// took its places.
pub(crate) fn wipe_cut(disk: &Disk, scan: &Scan) -> Result<()> {
    let (Some(newest), Some(end), Some(_)) = (scan.live.last(), scan.end, &scan.torn) else {
        return Ok(());
    };
    let path = join(journal::DIR, &file_name(newest.number));
    let file = disk.open(&path, Mode::Write)?;
    let (len, zeros) = (file.len()?, [0; SECTOR_BYTES]);
    let mut sector = zeros;
    for at in (end.end..len).step_by(SECTOR_BYTES) {
        let got = file.read_some(at, &mut sector)?;
        let frame = FrameHeader::parse_any(sector.get(..got).unwrap_or_default());
        if frame.is_ok_and(|f| f.incarnation == newest.incarnation) {
            file.write(at, zeros.get(..got).unwrap_or_default())?;
        }
    }
    file.sync()
}

/// Makes durable what was found, names and bytes: after the end of a process they may stand in the
/// page cache only, and what is recovered must not be lost by a later power cut.
///
/// What stands under no promise is written again, with the bytes it has: a sync that failed before
/// the end of that process may have left its pages in the cache as if they were on disk.
pub(crate) fn sync_found(disk: &Disk, scan: &Scan) -> Result<()> {
    for dir in ["", journal::DIR, pack::DIR] {
        disk.sync_dir(dir)?;
    }
    for live in &scan.live {
        let path = join(journal::DIR, &file_name(live.number));
        let file = disk.open(&path, Mode::Write)?;
        let unsure = |f: &&FoundFrame| {
            let promised = f.header.last_lsn() <= scan.promised && !f.header.is_empty();
            f.file == live.number && !promised
        };
        let mut frames = scan.frames.iter().filter(unsure).peekable();
        if frames.peek().is_some() {
            file.write(0, &file.read(0, SECTOR_BYTES)?)?;
        }
        for frame in frames {
            file.write(frame.header.offset, &frame.bytes)?;
        }
        file.sync()?;
    }
    Ok(())
}

/// Keeps a copy of each damaged journal file, because the journal will use it again. It is for
/// people to look at: failing is not a reason not to start.
pub(crate) fn quarantine(disk: &Disk, scan: &Scan) {
    let mut damaged: Vec<&std::path::PathBuf> = scan.damage.iter().map(|d| &d.file).collect();
    damaged.sort_unstable();
    damaged.dedup();
    for live in &scan.live {
        let name = file_name(live.number);
        let path = join(journal::DIR, &name);
        if !damaged.contains(&&disk.full(&path)) {
            continue;
        }
        let kept = format!("{name}.{}", live.incarnation);
        let keep = || -> Result<()> {
            if !disk.exists(&join(QUARANTINE, &kept))? {
                let file = disk.open(&path, Mode::Read)?;
                let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
                disk.write_whole(QUARANTINE, &kept, &file.read(0, len)?)?;
            }
            Ok(())
        };
        match keep() {
            Ok(()) => tracing::warn!(?path, kept, "damaged journal file is kept in quarantine"),
            Err(error) => tracing::warn!(%error, ?path, "damaged journal file cannot be kept"),
        }
    }
}

/// Moves the catalog into quarantine, so that a new one is made in its place. One that was moved
/// there before stays, and this one is removed: it is a cache.
///
/// # Errors
/// `NoSpace` or `Io`.
#[cfg(feature = "rocksdb")]
pub(crate) fn set_catalog_aside(disk: &Disk) -> Result<()> {
    disk.create_dir(QUARANTINE)?;
    if disk.list(QUARANTINE)?.iter().any(|name| name == CATALOG) {
        for name in disk.list(CATALOG)? {
            disk.remove_if_there(&join(CATALOG, &name))?;
        }
        return disk.sync_dir(CATALOG);
    }
    disk.move_durably(CATALOG, "", &join(QUARANTINE, CATALOG), QUARANTINE)?;
    disk.create_dir(CATALOG)?;
    disk.sync_dir("")
}

#[cfg(test)]
#[path = "mend_tests.rs"]
mod tests;
