//! The manifest: which packs exist and how far history is sealed.
//!
//! A small hash-chained log of our own, because damage in the catalog must not hide history, in two
//! copies, because damage in it must not either. An edit takes effect when it is durable in both; a
//! start takes the copy that goes further. A torn last edit never took effect.
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
/// Its second copy, written behind it.
pub const COPY: &str = "MANIFEST.copy";
/// The manifest is rewritten at a start if it is longer.
const REWRITE_BYTES: u64 = 1024 * 1024;
/// Packs in one edit of a manifest that is rewritten, so that each edit stays far below
/// `EDIT_BYTES_MAX`.
const EDIT_PACKS_MAX: usize = 10_000;
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

    /// The edits that say all of it, one after the other. Only the last says how far it goes, so
    /// that a copy cut between them does not count as going as far as a whole one.
    fn as_edits(&self) -> Vec<Edit> {
        let packs: Vec<PackMeta> = self.packs.values().cloned().collect();
        let mut edits: Vec<Edit> = packs
            .chunks(EDIT_PACKS_MAX)
            .map(|packs| Edit {
                added: packs.to_vec(),
                removed: Vec::new(),
                sealed: Lsn::ZERO,
                epoch: self.epoch,
                next_pack: 1,
            })
            .collect();
        let last = Edit {
            added: edits.pop().map(|edit| edit.added).unwrap_or_default(),
            removed: Vec::new(),
            sealed: self.sealed,
            epoch: self.epoch,
            next_pack: self.next_pack,
        };
        edits.push(last);
        edits
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

/// A place where a copy of the manifest is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The copy.
    pub file: &'static str,
    /// Where its sound part ends.
    pub offset: u64,
    /// Which check failed.
    pub reason: &'static str,
}

/// What the two copies say together.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the copy says that goes further.
    pub state: ManifestState,
    /// Where that copy's sound part ends.
    pub end: u64,
    /// What is wrong with either.
    pub faults: Vec<Fault>,
    chain: Chain,
    /// Both are sound and equal: they can be written on.
    equal: bool,
}

/// Reads both copies of a directory's manifest.
///
/// # Errors
/// `Io`, or `Corrupt` if neither is a manifest.
pub fn load(disk: &Disk) -> Result<Loaded> {
    let (first, second) = (load_copy(disk, FILE)?, load_copy(disk, COPY)?);
    let mut faults = Vec::new();
    for (file, copy) in [(FILE, &first), (COPY, &second)] {
        match copy {
            Ok(ManifestRead { fault: Some(reason), end, .. }) => {
                faults.push(Fault { file, offset: *end, reason });
            }
            Ok(_) => {}
            Err(Error::Corrupt { what, offset, .. }) => {
                faults.push(Fault { file, offset: *offset, reason: what });
            }
            Err(_) => faults.push(Fault { file, offset: 0, reason: "manifest copy is missing" }),
        }
    }
    let (best, equal) = match (first, second) {
        (Ok(first), Ok(second)) => {
            let equal = first.chain == second.chain && first.end == second.end;
            let further = |read: &ManifestRead| {
                let ManifestState { sealed, epoch, next_pack, .. } = read.state;
                (sealed, epoch, next_pack, read.fault.is_none())
            };
            let second_is_best = further(&second) > further(&first);
            (if second_is_best { second } else { first }, equal && faults.is_empty())
        }
        (Ok(read), Err(_)) | (Err(_), Ok(read)) => (read, false),
        (Err(error), Err(_)) => return Err(error),
    };
    let ManifestRead { state, chain, end, .. } = best;
    Ok(Loaded { state, end, faults, chain, equal })
}

/// One copy, or what is wrong with it as a whole.
fn load_copy(disk: &Disk, file: &'static str) -> Result<Result<ManifestRead>> {
    if !disk.exists(file)? {
        return Ok(Err(Error::corrupt("manifest is missing", &disk.full(file), 0, 0, 0)));
    }
    match disk.read_all(file, BYTES_MAX) {
        Ok(bytes) => Ok(read(disk, &bytes)),
        Err(error @ Error::Corrupt { .. }) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// The manifest of an open engine.
#[derive(Debug)]
pub struct Manifest {
    state: ManifestState,
    chain: Chain,
    /// The copies, in the order in which they are written.
    files: Vec<DiskFile>,
    end: u64,
    broken: bool,
}

impl Manifest {
    /// Makes the manifest of a new directory.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn create(disk: &Disk) -> Result<()> {
        Self::write_anew(disk, &ManifestState::default())
    }

    /// Replaces both copies, one after the other, so that one of them is always whole.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn write_anew(disk: &Disk, state: &ManifestState) -> Result<()> {
        let (bytes, _) = whole(state);
        disk.write_whole("", FILE, &bytes)?;
        disk.write_whole("", COPY, &bytes)
    }

    /// Opens a manifest that was read. Copies that are damaged, torn or behind the other are made
    /// anew from the one that goes further.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn open(disk: &Disk, loaded: Loaded) -> Result<Self> {
        let Loaded { state, mut chain, mut end, faults, equal } = loaded;
        for Fault { file, offset, reason } in &faults {
            let file = disk.full(file);
            tracing::warn!(?file, offset, reason, "manifest copy is made anew from the other");
        }
        if !equal || end > REWRITE_BYTES {
            Self::write_anew(disk, &state)?;
            let (bytes, behind) = whole(&state);
            (chain, end) = (behind, bytes.len() as u64);
        }
        let files = vec![disk.open(FILE, Mode::Write)?, disk.open(COPY, Mode::Write)?];
        Ok(Self { state, chain, files, end, broken: false })
    }

    /// Opens a manifest that was read without writing anything: it takes no edit.
    #[must_use]
    pub fn look(loaded: Loaded) -> Self {
        let Loaded { state, chain, end, .. } = loaded;
        Self { state, chain, files: Vec::new(), end, broken: true }
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
        // ORDERING: the second copy only when the first is durable, so one of them is whole.
        let written = self.files.iter().try_for_each(|file| {
            file.write(self.end, &bytes)?;
            file.sync()
        });
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

/// A manifest that says this, and the chain behind it.
fn whole(state: &ManifestState) -> (Vec<u8>, Chain) {
    let (mut bytes, mut chain) = (MANIFEST_MAGIC.to_vec(), Chain::default());
    for edit in state.as_edits() {
        bytes.extend(encode_edit(&edit, &mut chain));
    }
    (bytes, chain)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
