//! The copy that `--from` names: another directory of the same server, or a checkpoint of it.
//!
//! It offers bytes; whether they are taken is decided where they are checked.
//!
//! INVARIANT: nothing here writes.

use std::path::Path;
use std::sync::Arc;

use hansard_engine::error::{Error, Result};
use hansard_engine::format::pack::PackMeta;
use hansard_engine::manifest::{self, ManifestState};
use hansard_engine::pack::PackFile;
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Lock};

use super::evidence::{prove_layout, share};
use super::heal::{Found, State, path_of};
use crate::open::named;

/// The copy.
pub(super) struct Donor {
    disk: Disk,
    manifest: Option<ManifestState>,
    _lock: Option<Box<dyn Lock>>,
}

impl Donor {
    /// Opens the copy at `path`.
    ///
    /// # Errors
    /// `Locked` if a server has it, `Invalid` if it is none, `Unsupported` or `Io`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let disk = Disk::new(Arc::new(RealStorage::new(path)));
        prove_layout(&disk).map_err(|error| named(error, path))?;
        let lock = share(&disk)?;
        let manifest = match manifest::load(&disk) {
            Ok(loaded) => Some(loaded.state),
            Err(Error::Corrupt { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Self { disk, manifest, _lock: lock })
    }

    /// The copy's pack of this number, with its name for reports.
    pub(super) fn pack(&self, id: u64) -> Option<(PackFile, String)> {
        let file = PackFile::open(&self.disk, id).ok()?;
        Some((file, self.disk.full(&path_of(id)).display().to_string()))
    }

    /// What the copy's manifest says of packs, if it is a copy of the directory whose packs these
    /// are: at least one sound pack is in both, and none differs.
    pub(super) fn packs_of_same(&self, found: &[Found]) -> Vec<PackMeta> {
        let Some(manifest) = &self.manifest else { return Vec::new() };
        let sound = found.iter().filter(|found| matches!(found.state, State::Sound));
        let mut shared =
            sound.filter_map(|found| Some((manifest.packs.get(&found.id)?.sha256, found.digest?)));
        let first = shared.next();
        let same = first.is_some_and(|(theirs, ours)| theirs == ours)
            && shared.all(|(theirs, ours)| theirs == ours);
        if same { manifest.packs.values().cloned().collect() } else { Vec::new() }
    }
}
