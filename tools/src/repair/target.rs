//! Where the result is written: a new directory beside the original, or the original itself.
//!
//! Beside, packs that stay as they are get a second name there and everything else is copied. In
//! place, whatever is replaced or removed is in `quarantine/` first.
//!
//! INVARIANT: `VERSION` is written last, so a result that was cut short does not open. A file of
//! the original never changes; in place it gets another name, which nothing had before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansard_engine::error::{Error, Result};
use hansard_engine::format::pack::{pack_name, pack_number};
use hansard_engine::manifest::{self, Manifest, ManifestState};
use hansard_engine::open::{FOLDERS, LOCK, QUARANTINE, VERSION, write_version};
use hansard_engine::pack;
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Mode, join};
use serde::Serialize;

use super::heal::path_of;
use crate::open::CATALOG;

/// Names that one file may have in quarantine, beside those it already has there.
const NAMES_MAX: u32 = 10_000;
/// Folders within folders that are copied.
const DEPTH_MAX: usize = 16;
/// Bytes copied at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// A file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Quarantined {
    /// Its name in the directory.
    pub file: String,
    /// Its name now.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// What to do with packs and manifest.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Packs that stay as they are.
    pub keep: Vec<u64>,
    /// Packs with a new file, and whether they had one.
    pub anew: Vec<(u64, bool)>,
    /// Packs with a file that is set aside, and why.
    pub aside: Vec<(u64, String)>,
    /// What the manifest shall say.
    pub state: ManifestState,
    /// Both copies of the manifest say so already.
    pub manifest_stays: bool,
    /// The catalog is used as it is.
    pub keep_catalog: bool,
}

/// Where the result is written.
#[derive(Debug)]
pub(super) struct Target {
    source: Disk,
    /// The result.
    pub disk: Disk,
    in_place: bool,
    /// What was set aside.
    pub quarantined: Vec<Quarantined>,
}

/// Where a path leads, through links and `..`; its last name need not be there.
pub(super) fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let above = || Some(whole.parent()?.canonicalize().ok()?.join(whole.file_name()?));
    whole.canonicalize().ok().or_else(above).unwrap_or_else(|| whole.clone())
}

impl Target {
    /// The original itself.
    pub(super) fn in_place(source: &Disk) -> Result<Self> {
        for folder in FOLDERS {
            source.create_dir(folder)?;
        }
        let (source, disk) = (source.clone(), source.clone());
        Ok(Self { source, disk, in_place: true, quarantined: Vec::new() })
    }

    /// A new directory at `path`.
    ///
    /// # Errors
    /// `Invalid` if something is there or if it is within the original; `NoSpace` or `Io`.
    pub(super) fn beside(source: &Disk, path: &Path) -> Result<Self> {
        let disk = Disk::new(Arc::new(RealStorage::new(path)));
        if real(path).starts_with(real(source.root())) {
            let what = format!("the result would be within the original path={path:?}");
            return Err(Error::Invalid { what });
        }
        if disk.exists("")? {
            return Err(Error::Invalid { what: format!("repair target exists path={path:?}") });
        }
        disk.create_dir("")?;
        for folder in FOLDERS {
            disk.create_dir(folder)?;
        }
        Ok(Self { source: source.clone(), disk, in_place: false, quarantined: Vec::new() })
    }

    /// Where a pack is made good before it takes its place. A start removes what is left there.
    pub(super) fn unfinished(id: u64) -> String {
        format!("{}.tmp", path_of(id))
    }

    /// Puts everything in its place; after it the result is complete but for its catalog.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub(super) fn commit(&mut self, plan: &Plan) -> Result<()> {
        if self.in_place {
            self.replace(plan)?
        } else {
            self.fill(plan)?
        }
        for folder in FOLDERS.iter().chain([&""]) {
            self.disk.sync_dir(folder)?;
        }
        // ORDERING: last, so that a directory that has it is complete.
        write_version(&self.disk)?;
        self.disk.sync_own_name()
    }

    fn fill(&mut self, plan: &Plan) -> Result<()> {
        copy_tree(&self.source, &self.disk, "", 0)?;
        if plan.keep_catalog {
            copy_tree(&self.source, &self.disk, CATALOG, 1)?;
        }
        for id in &plan.keep {
            self.link(&path_of(*id), &path_of(*id))?;
        }
        for (id, _) in &plan.anew {
            self.finish(*id)?;
        }
        for (id, reason) in &plan.aside {
            self.set_aside(&path_of(*id), reason)?;
        }
        Manifest::write_anew(&self.disk, &plan.state)?;
        self.disk.write_whole("", LOCK, b"")
    }

    fn replace(&mut self, plan: &Plan) -> Result<()> {
        // ORDERING: without VERSION nothing opens a directory that is half done. Each step leaves
        // one that can be repaired again: a new pack before the manifest that names its digest, a
        // manifest without a pack before that pack goes.
        if self.disk.exists(VERSION)? {
            self.set_aside(VERSION, "the repair writes it again when it is done")?;
        }
        let empty = self.disk.list(CATALOG).is_ok_and(|names| names.is_empty());
        if !plan.keep_catalog && !empty {
            self.set_aside(CATALOG, "it is made anew from packs and journal")?;
            self.disk.create_dir(CATALOG)?;
        }
        for (id, had) in &plan.anew {
            if *had {
                let kept = self.free_name(&pack_name(*id))?;
                self.link(&path_of(*id), &join(QUARANTINE, &kept))?;
                self.note(&path_of(*id), &kept, "a new file took its place");
            }
            self.finish(*id)?;
        }
        if !plan.manifest_stays {
            for file in [manifest::FILE, manifest::COPY] {
                if self.disk.exists(file)? {
                    let kept = self.free_name(file)?;
                    self.link(file, &join(QUARANTINE, &kept))?;
                    self.note(file, &kept, "it was written anew");
                }
            }
            Manifest::write_anew(&self.disk, &plan.state)?;
        }
        for (id, reason) in &plan.aside {
            self.set_aside(&path_of(*id), reason)?;
        }
        Ok(())
    }

    /// Gives a pack that was made good its name.
    fn finish(&self, id: u64) -> Result<()> {
        let name = pack_name(id);
        self.disk.rename_durably(pack::DIR, &format!("{name}.tmp"), &name)
    }

    /// Puts a file or folder of the original into the result's quarantine.
    fn set_aside(&mut self, path: &str, reason: &str) -> Result<()> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let kept = self.free_name(name)?;
        let to = join(QUARANTINE, &kept);
        if self.in_place {
            self.disk.move_durably(path, dir, &to, QUARANTINE)?;
        } else {
            self.link(path, &to)?;
        }
        self.note(path, &kept, reason);
        Ok(())
    }

    fn note(&mut self, path: &str, kept: &str, reason: &str) {
        self.quarantined.push(Quarantined {
            file: path.to_owned(),
            to: join(QUARANTINE, kept),
            reason: reason.to_owned(),
        });
    }

    /// A name that nothing in quarantine has.
    fn free_name(&self, name: &str) -> Result<String> {
        let taken = self.disk.list(QUARANTINE)?;
        let mut names = std::iter::once(name.to_owned())
            .chain((1..=NAMES_MAX).map(|number| format!("{name}.{number}")));
        let free = names.find(|name| !taken.contains(name));
        free.ok_or_else(|| Error::Invalid { what: format!("quarantine is full name={name:?}") })
    }

    /// Gives a file of the original a name in the result, or copies it where there are no links.
    fn link(&self, path: &str, to: &str) -> Result<()> {
        use std::io::ErrorKind;
        match self.source.link_out(path, &self.disk.full(to)) {
            Err(Error::Io {
                kind:
                    ErrorKind::CrossesDevices
                    | ErrorKind::Unsupported
                    | ErrorKind::PermissionDenied
                    | ErrorKind::TooManyLinks,
                ..
            }) => copy_file(&self.source, path, &self.disk, to),
            linked => linked,
        }
    }
}

/// Copies everything that is not linked, made anew or left behind.
fn copy_tree(source: &Disk, target: &Disk, dir: &str, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::Invalid { what: format!("folders are too deep path={dir:?}") });
    }
    for name in source.list(dir)? {
        let path = join(dir, &name);
        let skipped = match dir {
            "" => {
                [LOCK, VERSION, CATALOG, manifest::FILE, manifest::COPY].contains(&name.as_str())
                    || name.ends_with(".tmp")
            }
            pack::DIR => pack_number(&name).is_some() || name.ends_with(".tmp"),
            _ => false,
        };
        if skipped {
            continue;
        }
        if is_folder(source, &path)? {
            target.create_dir(&path)?;
            copy_tree(source, target, &path, depth + 1)?;
            target.sync_dir(&path)?;
        } else {
            copy_file(source, &path, target, &path)?;
        }
    }
    Ok(())
}

fn is_folder(disk: &Disk, path: &str) -> Result<bool> {
    match disk.list(path) {
        Ok(_) => Ok(true),
        Err(Error::Io { kind: std::io::ErrorKind::NotADirectory, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn copy_file(source: &Disk, from: &str, target: &Disk, to: &str) -> Result<()> {
    let (source, target) = (source.open(from, Mode::Read)?, target.open(to, Mode::Create)?);
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        let got = source.read_some(at, &mut piece)?;
        if got == 0 {
            return target.sync();
        }
        target.write(at, piece.get(..got).unwrap_or_default())?;
        at += got as u64;
    }
}
