//! The manifest: which packs exist and how far history is sealed.
//!
//! A small hash-chained log of our own, because damage in the catalog must not hide history. An
//! edit takes effect when it is durable; a torn last edit never took effect.
//!
//! INVARIANT: after a failed write or sync no further edit is written.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::manifest::{Chain, Edit, MANIFEST_MAGIC, decode_edit, encode_edit};
use crate::format::pack::PackMeta;
use crate::limits;
use crate::storage::{Disk, DiskFile, Mode};
use crate::types::{Epoch, Lsn};

/// The manifest's file.
pub const FILE: &str = "MANIFEST";
/// The manifest is rewritten at a start if it is longer.
const REWRITE_BYTES: u64 = 1024 * 1024;
/// The longest manifest that is read.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestState {
    /// The packs by number.
    pub packs: BTreeMap<u64, PackMeta>,
    /// Every record up to here stands in a pack.
    pub sealed: Lsn,
    /// The epoch.
    pub epoch: Epoch,
    /// The next pack's number.
    pub next_pack: u64,
}

impl Default for ManifestState {
    fn default() -> Self {
        Self { packs: BTreeMap::new(), sealed: Lsn::ZERO, epoch: Epoch::FIRST, next_pack: 1 }
    }
}

impl ManifestState {
    fn take(&mut self, edit: &Edit) {
        for id in &edit.removed {
            self.packs.remove(id);
        }
        for pack in &edit.added {
            self.packs.insert(pack.id, pack.clone());
        }
        self.sealed = self.sealed.max(edit.sealed);
        self.epoch = self.epoch.max(edit.epoch);
        self.next_pack = self.next_pack.max(edit.next_pack);
    }

    fn as_edit(&self) -> Edit {
        Edit {
            added: self.packs.values().cloned().collect(),
            removed: Vec::new(),
            sealed: self.sealed,
            epoch: self.epoch,
            next_pack: self.next_pack,
        }
    }
}

/// A manifest's bytes, read as far as they are sound.
#[derive(Debug)]
pub struct ManifestRead {
    /// What the sound part says.
    pub state: ManifestState,
    /// The chain behind it.
    pub chain: Chain,
    /// Where the sound part ends.
    pub end: u64,
    /// Which check failed there, if the file goes on.
    pub fault: Option<&'static str>,
}

/// Reads a manifest's bytes.
///
/// # Errors
/// `Corrupt` if they are not a manifest at all.
pub fn read(disk: &Disk, bytes: &[u8]) -> Result<ManifestRead> {
    let path = disk.full(FILE);
    if bytes.get(..MANIFEST_MAGIC.len()) != Some(&MANIFEST_MAGIC[..]) {
        return Err(Error::corrupt("manifest magic", &path, 0, 0, 0));
    }
    let mut state = ManifestState::default();
    let mut chain = Chain::default();
    let mut at = MANIFEST_MAGIC.len();
    let mut fault = None;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match decode_edit(rest, &mut chain) {
            Ok((edit, len)) => {
                state.take(&edit);
                at += len;
            }
            Err(wrong) => {
                fault = Some(wrong.what);
                break;
            }
        }
    }
    if state.packs.len() > limits::PACKS_MAX {
        return Err(Error::corrupt("manifest packs", &path, 0, 0, state.packs.len() as u64));
    }
    Ok(ManifestRead { state, chain, end: at as u64, fault })
}

/// Reads the manifest of a directory.
///
/// # Errors
/// `Io` or `Corrupt`.
pub fn load(disk: &Disk) -> Result<ManifestRead> {
    read(disk, &disk.read_all(FILE, BYTES_MAX)?)
}

/// The manifest of an open engine.
#[derive(Debug)]
pub struct Manifest {
    state: ManifestState,
    chain: Chain,
    file: DiskFile,
    end: u64,
    broken: bool,
}

impl Manifest {
    /// Makes the manifest of a new directory.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn create(disk: &Disk) -> Result<()> {
        disk.write_whole("", FILE, &whole(&ManifestState::default()))
    }

    /// Opens a manifest that was read, cutting a torn last edit.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn open(disk: &Disk, read: ManifestRead) -> Result<Self> {
        let ManifestRead { state, mut chain, mut end, fault } = read;
        if let Some(reason) = fault {
            let file = disk.full(FILE);
            tracing::warn!(?file, offset = end, reason, "cut unfinished manifest edit");
        }
        if fault.is_some() || end > REWRITE_BYTES {
            let bytes = whole(&state);
            disk.write_whole("", FILE, &bytes)?;
            chain = Chain::default();
            let _ = encode_edit(&state.as_edit(), &mut chain);
            end = bytes.len() as u64;
        }
        let file = disk.open(FILE, Mode::Write)?;
        Ok(Self { state, chain, file, end, broken: false })
    }

    /// Opens a manifest that was read without writing anything: it takes no edit.
    ///
    /// # Errors
    /// `Io`.
    pub fn look(disk: &Disk, read: ManifestRead) -> Result<Self> {
        let ManifestRead { state, chain, end, .. } = read;
        let file = disk.open(FILE, Mode::Read)?;
        Ok(Self { state, chain, file, end, broken: true })
    }

    /// What it says.
    #[must_use]
    pub const fn state(&self) -> &ManifestState {
        &self.state
    }

    /// Writes an edit and makes it durable.
    ///
    /// # Errors
    /// `NoSpace` or `Io`: the outcome is unknown, poison.
    pub fn commit(&mut self, edit: &Edit) -> Result<()> {
        if self.broken {
            return Err(Error::Poisoned { first: "an earlier manifest write failed".into() });
        }
        let mut chain = self.chain;
        let bytes = encode_edit(edit, &mut chain);
        let written = self.file.write(self.end, &bytes).and_then(|()| self.file.sync());
        if let Err(error) = written {
            self.broken = true;
            return Err(error);
        }
        self.state.take(edit);
        self.chain = chain;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

fn whole(state: &ManifestState) -> Vec<u8> {
    let mut bytes = MANIFEST_MAGIC.to_vec();
    bytes.extend(encode_edit(&state.as_edit(), &mut Chain::default()));
    bytes
}
