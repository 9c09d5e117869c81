//! A consistent copy of the data directory, made while it is in use.
//!
//! Packs are hard-linked, the manifest and the journal are copied up to what is committed, the
//! catalog makes its own checkpoint with the applier paused. The copy is a data directory: open it.
//!
//! INVARIANT: `VERSION` is written last, when everything else is durable, so an unfinished copy
//! does not open.

use std::path::Path;

use crate::engine::Inner;
use crate::erase;
use crate::error::{Error, Result};
use crate::journal;
use crate::manifest;
use crate::open::{FOLDERS, LOCK, VERSION};
use crate::pack;
use crate::storage::{Disk, Mode, Place, join};

/// Bytes copied at once.
const PIECE_BYTES: usize = 1024 * 1024;

pub(crate) fn checkpoint(inner: &Inner, to: &Path) -> Result<()> {
    if let Some(poisoned) = inner.progress.poison.get() {
        return Err(poisoned);
    }
    let copy = inner.disk.beside(to);
    if copy.exists("")? {
        return Err(Error::invalid(format!("checkpoint target exists path={to:?}")));
    }
    // Before anything is made: what is left behind would have to be removed by hand.
    let refused = match inner.disk.place_of(to)? {
        Place::SameDisk => None,
        Place::Inside => Some("is within the data directory"),
        Place::OtherDisk => Some("is on another file system: packs are hard links"),
    };
    if let Some(why) = refused {
        return Err(Error::invalid(format!("checkpoint target {why} path={to:?}")));
    }
    copy.create_dir("")?;
    for folder in FOLDERS.iter().filter(|f| **f != "catalog") {
        copy.create_dir(folder)?;
    }
    // ORDERING: no merge is between its edit and its rows, so both are of the same packs; seals
    // stand still, so the manifest copied names only packs that are linked; the applier stands
    // still while the catalog is copied, so its rows and its position agree; the journal is copied
    // last, so it reaches at least as far as both, and as its witness says.
    let _rows = inner.merger.rows.lock();
    let _seals = inner.keeper.hold();
    copy_file(&inner.disk, &copy, "", manifest::FILE)?;
    copy_file(&inner.disk, &copy, "", manifest::COPY)?;
    for id in inner.manifest.lock().state().packs.keys() {
        let path = join(pack::DIR, &crate::format::pack::pack_name(*id));
        inner.disk.link_out(&path, &to.join(&path))?;
    }
    {
        let mut applier = inner.applier.lock();
        applier.commit_all().inspect_err(|e| inner.progress.poison.set(e))?;
        inner.store.checkpoint(&to.join("catalog"))?;
    }
    copy_file(&inner.disk, &copy, journal::DIR, journal::witness::NAME)?;
    for file in inner.pool.live() {
        copy_file(&inner.disk, &copy, journal::DIR, &journal::file_name(file.number))?;
    }
    // ORDERING: at the end. While seals stand still no erasure is done, so one whose record was
    // just copied is still noted.
    if inner.disk.exists(erase::NOTE)? {
        copy_file(&inner.disk, &copy, "", erase::NOTE)?;
    }
    copy.write_whole("", LOCK, b"")?;
    for folder in FOLDERS.iter().chain([&""]) {
        copy.sync_dir(folder)?;
    }
    copy_file(&inner.disk, &copy, "", VERSION)?;
    copy.sync_dir("")?;
    copy.sync_own_name()
}

fn copy_file(from: &Disk, to: &Disk, dir: &str, name: &str) -> Result<()> {
    let path = join(dir, name);
    let source = from.open(&path, Mode::Read)?;
    let target = to.open(&path, Mode::Create)?;
    let len = source.len()?;
    let mut at = 0;
    let mut piece = vec![0; PIECE_BYTES];
    while at < len {
        let got = source.read_some(at, &mut piece)?;
        if got == 0 {
            break;
        }
        target.write(at, piece.get(..got).unwrap_or_default())?;
        at += got as u64;
    }
    target.sync()
}
