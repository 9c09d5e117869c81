//! What proves that a folder is a data directory of a layout that this build reads, and who may
//! have it.
//!
//! `VERSION` says so; where it is lost, every journal file, the witness and every pack say it too.
//!
//! INVARIANT: nothing here writes but `LOCK`, and that only in a directory that is proved.

use hansard_engine::error::{Error, Result};
use hansard_engine::format::{SECTOR_BYTES, reads, stated_layout};
use hansard_engine::journal;
use hansard_engine::open::{LOCK, VERSION, check_version};
use hansard_engine::pack;
use hansard_engine::storage::{Disk, Exclusive, Lock, Mode, join};

/// Files that are asked for their layout at most.
const FILES_MAX: usize = 1000;

/// What is left of `VERSION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// It says what it must.
    Sound,
    /// It is gone.
    Missing,
    /// It says something else than all the rest.
    Damaged,
}

/// Proves the layout of a directory.
///
/// # Errors
/// `NotFound` if nothing proves it, `Unsupported` if anything states another one, or `Io`.
pub(super) fn prove_layout(disk: &Disk) -> Result<Version> {
    let refused = match check_version(disk) {
        Ok(_) => return Ok(Version::Sound),
        Err(error) => error,
    };
    let mut proved = false;
    for dir in [journal::DIR, pack::DIR] {
        for name in disk.list(dir)?.into_iter().take(FILES_MAX) {
            let path = join(dir, &name);
            for found in layouts(disk, &path)? {
                if !reads(found) {
                    let file = disk.full(&path);
                    return Err(Error::Unsupported { file, found });
                }
                proved = true;
            }
        }
    }
    match (proved, disk.exists(VERSION)?) {
        (true, true) => Ok(Version::Damaged),
        (true, false) => Ok(Version::Missing),
        (false, _) => Err(refused),
    }
}

/// The layouts that the sectors of a witness, or the first one of another file, state.
fn layouts(disk: &Disk, path: &str) -> Result<Vec<u32>> {
    let file = disk.open(path, Mode::Read)?;
    let sectors = if path.ends_with(journal::witness::NAME) { 4 } else { 1 };
    let mut found = Vec::new();
    for sector in 0..sectors {
        let mut bytes = vec![0; SECTOR_BYTES];
        let got = file.read_some(sector * SECTOR_BYTES as u64, &mut bytes)?;
        let bytes = bytes.get(..got).unwrap_or_default();
        found.extend(stated_layout(bytes));
    }
    Ok(found)
}

/// Takes a directory's lock for reading. One without the file `LOCK` cannot be in use by a server
/// that finds its own files, and a directory that is only read gets no file.
///
/// # Errors
/// `Locked` if a server has it, else `Io`.
pub(super) fn share(disk: &Disk) -> Result<Option<Box<dyn Lock>>> {
    if disk.exists(LOCK)? { disk.lock(LOCK, Exclusive::No).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use hansard_engine::Engine;
    use hansard_engine::format::{FORMAT, LAYOUT, layout_of};
    use hansard_engine::storage::real::RealStorage;

    use super::*;

    fn disk(path: &Path) -> Disk {
        Disk::new(Arc::new(RealStorage::new(path)))
    }

    /// CRC-32 as everything on disk has it, a bit at a time.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
    }

    /// A new directory whose witness states this layout in one of its sectors.
    fn directory(layout: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        Engine::create(&path).expect("a directory");
        let witness = disk(&path).open("journal/WITNESS", Mode::Write).expect("a witness");
        let mut sector = witness.read(0, SECTOR_BYTES).expect("a sector");
        sector[8..12].copy_from_slice(&layout.to_le_bytes());
        let crc = crc(&sector[8..]);
        sector[4..8].copy_from_slice(&crc.to_le_bytes());
        witness.write(0, &sector).expect("it can be written");
        folder
    }

    #[test]
    fn another_layout_is_refused_and_this_one_is_proved() {
        let folder = directory(LAYOUT);
        let data = folder.path().join("data");
        assert_eq!(prove_layout(&disk(&data)).ok(), Some(Version::Sound));
        std::fs::write(data.join(VERSION), "?").expect("it can be written");
        assert_eq!(prove_layout(&disk(&data)).ok(), Some(Version::Damaged));
        std::fs::remove_file(data.join(VERSION)).expect("it can be removed");
        assert_eq!(prove_layout(&disk(&data)).ok(), Some(Version::Missing));

        // Of the format before in some files, as a start leaves it that was cut off.
        let folder = directory(layout_of(FORMAT - 1));
        let data = folder.path().join("data");
        std::fs::remove_file(data.join(VERSION)).expect("it can be removed");
        assert_eq!(prove_layout(&disk(&data)).ok(), Some(Version::Missing));

        let folder = directory(LAYOUT + 1);
        let data = folder.path().join("data");
        std::fs::remove_file(data.join(VERSION)).expect("it can be removed");
        let refused = prove_layout(&disk(&data));
        assert!(matches!(refused, Err(Error::Unsupported { found, .. }) if found == LAYOUT + 1));
        std::fs::remove_dir_all(data.join("journal")).expect("it can be removed");
        assert!(matches!(prove_layout(&disk(&data)), Err(Error::NotFound { .. })));
    }
}
