//! Sealing: tails become packs, and the journal behind them is set free.
//!
//! All rooms are sealed together, so no idle room pins the journal. A failed seal removes its
//! temporary file and is tried again; a failed manifest write poisons.
//!
//! ORDERING: pack durable, then manifest edit durable, then rows in the catalog, then tails
//! dropped; the journal is trimmed only after the catalog is flushed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::apply::decode_row;
use crate::catalog::rows::RoomRow;
use crate::catalog::{CatalogStore, Change, Family, Go, Walk, keys};
use crate::category::span_value;
use crate::cover::Cover;
use crate::error::Result;
use crate::format::pack::{PackMeta, pack_name, pack_number};
use crate::format::run::Run;
use crate::format::wire::to_bytes;
use crate::history::decode_record;
use crate::limits;
use crate::pack;
use crate::pack::{PackKind, PackWriter};
use crate::storage::{Disk, Mode, join};
use crate::sync::Mutex;
use crate::tail::TailEntry;
use crate::types::{CategoryId, Lsn, RoomId};

/// Rows of one batch at most.
const ROWS_MAX: usize = 8192;

/// One day's records, in the order of a pack.
type Day = BTreeMap<(CategoryId, RoomId), Vec<TailEntry>>;

/// What a seal makes.
#[derive(Debug, Default)]
pub(crate) struct Sealed {
    pub metas: Vec<PackMeta>,
    pub runs: Vec<Run>,
}

/// Numbers for new packs. One that has a file already is passed over: whatever stands in it is not
/// to be written over.
#[derive(Debug)]
pub(crate) struct PackNumbers(Mutex<u64>);

impl PackNumbers {
    pub(crate) fn from(next: u64) -> Self {
        Self(Mutex::new(next))
    }

    /// The next number.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn take(&self, disk: &Disk) -> Result<u64> {
        let mut next = self.0.lock();
        while disk.exists(&join(pack::DIR, &pack_name(*next)))? {
            *next += 1;
        }
        *next += 1;
        Ok(*next - 1)
    }
}

/// The category a room is in now; none for system rooms.
pub(crate) fn category_of(store: &dyn CatalogStore, room: RoomId) -> Result<CategoryId> {
    if room.is_system() {
        return Ok(CategoryId::NONE);
    }
    match store.get(Family::State, &keys::room(room))? {
        Some(bytes) => Ok(decode_row::<RoomRow>(&bytes, "room row")?.settings.category),
        None => Ok(CategoryId::NONE),
    }
}

/// Sorts unsealed records by UTC day of `recorded`, category and room.
fn by_day(
    store: &dyn CatalogStore,
    rooms: Vec<(RoomId, Vec<TailEntry>)>,
) -> Result<BTreeMap<i64, Day>> {
    let mut days: BTreeMap<i64, Day> = BTreeMap::new();
    for (room, entries) in rooms {
        let category = category_of(store, room)?;
        for entry in entries {
            let day = decode_record(&entry.bytes)?.recorded.day();
            days.entry(day).or_default().entry((category, room)).or_default().push(entry);
        }
    }
    Ok(days)
}

/// Writes packs of unsealed records. They are durable, but nothing names them yet. After a failure
/// nothing is left of them.
pub(crate) fn write_packs(
    disk: &Disk,
    store: &dyn CatalogStore,
    rooms: Vec<(RoomId, Vec<TailEntry>)>,
    numbers: &PackNumbers,
) -> Result<Sealed> {
    let (mut sealed, mut taken) = (Sealed::default(), Vec::new());
    let written = write_days(disk, by_day(store, rooms)?, &mut sealed, &mut || {
        let id = numbers.take(disk)?;
        taken.push(id);
        Ok(id)
    });
    match written {
        Ok(()) => Ok(sealed),
        Err(error) => {
            discard(disk, &taken);
            Err(error)
        }
    }
}

fn write_days(
    disk: &Disk,
    days: BTreeMap<i64, Day>,
    sealed: &mut Sealed,
    number: &mut dyn FnMut() -> Result<u64>,
) -> Result<()> {
    for (day, rooms) in days {
        let kind = PackKind { class: 0, level: 0, day };
        let mut writer: Option<PackWriter> = None;
        for ((category, room), entries) in rooms {
            let open = match &mut writer {
                Some(open) => open,
                None => writer.insert(PackWriter::create(disk, number()?, kind)?),
            };
            for entry in &entries {
                open.add(room, category, entry)?;
            }
            if open.bytes() >= limits::PACK_BYTES_TARGET {
                finish(writer.take(), sealed)?;
            }
        }
        finish(writer.take(), sealed)?;
    }
    Ok(())
}

/// Removes packs that nothing names, finished or not. What cannot be removed a start looks at.
pub(crate) fn discard(disk: &Disk, ids: &[u64]) {
    for id in ids {
        let path = join(pack::DIR, &pack_name(*id));
        for path in [format!("{path}.tmp"), path] {
            if let Err(error) = disk.remove_if_there(&path) {
                tracing::warn!(%error, path, "unfinished pack cannot be removed");
            }
        }
    }
}

pub(crate) fn finish(writer: Option<PackWriter>, sealed: &mut Sealed) -> Result<()> {
    if let Some(writer) = writer {
        let (meta, runs) = writer.finish()?;
        sealed.metas.push(meta);
        sealed.runs.extend(runs);
    }
    Ok(())
}

/// The rows of a run: by room, and by time in its category if it has entries there.
pub(crate) fn rows_of(run: &Run) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let by_room = (keys::run(run.room, run.first_rev), to_bytes(run));
    let timed = run.has_entries() && !run.category.is_none();
    let by_time = timed.then(|| {
        let place = keys::dyadic(run.first_time, run.last_time);
        (keys::category_run(run.category, place, run.room, run.first_rev), span_value(run))
    });
    std::iter::once(by_room).chain(by_time)
}

pub(crate) fn index_put(key: Vec<u8>, value: Vec<u8>) -> Change {
    Change { family: Family::Index, key, value: Some(value) }
}

pub(crate) fn index_remove(key: Vec<u8>) -> Change {
    Change { family: Family::Index, key, value: None }
}

/// Writes a full batch.
pub(crate) fn write_if_full(store: &dyn CatalogStore, changes: &mut Vec<Change>) -> Result<()> {
    if changes.len() >= ROWS_MAX {
        store.write(changes)?;
        changes.clear();
    }
    Ok(())
}

/// The rows of a pack's runs, and the mark that they are complete.
pub(crate) fn index_rows(store: &dyn CatalogStore, pack: u64, runs: &[Run]) -> Result<()> {
    let mut changes = Vec::new();
    for run in runs {
        changes.extend(rows_of(run).map(|(key, value)| index_put(key, value)));
        write_if_full(store, &mut changes)?;
    }
    changes.push(index_put(keys::pack_indexed(pack), Vec::new()));
    store.write(&changes)
}

/// Puts the rows of merged runs in the place of those that were merged, a room at once.
pub(crate) fn replace_rows(
    store: &dyn CatalogStore,
    old: &[Run],
    new: &[Run],
    gone: &[u64],
    metas: &[PackMeta],
) -> Result<()> {
    let mut rooms: BTreeMap<RoomId, (Vec<&Run>, Vec<&Run>)> = BTreeMap::new();
    old.iter().for_each(|run| rooms.entry(run.room).or_default().0.push(run));
    new.iter().for_each(|run| rooms.entry(run.room).or_default().1.push(run));
    let mut changes = Vec::new();
    for (old, new) in rooms.into_values() {
        let keys = old.into_iter().flat_map(rows_of).map(|(key, _)| key);
        changes.extend(keys.map(index_remove));
        changes.extend(new.into_iter().flat_map(rows_of).map(|(key, row)| index_put(key, row)));
        write_if_full(store, &mut changes)?;
    }
    changes.extend(metas.iter().map(|meta| index_put(keys::pack_indexed(meta.id), Vec::new())));
    changes.extend(gone.iter().map(|id| index_remove(keys::pack_indexed(*id))));
    store.write(&changes)
}

/// Removes the rows of packs that the manifest names no longer: a merge was cut off behind its
/// edit.
pub(crate) fn remove_stale_rows(
    store: &dyn CatalogStore,
    packs: &BTreeMap<u64, PackMeta>,
) -> Result<u64> {
    let mut removed = 0;
    for (prefix, is_mark) in [(b"R", false), (b"P", true)] {
        let mut from = prefix.to_vec();
        let end = keys::after_prefix(prefix);
        loop {
            let (mut stale, mut seen, mut next) = (Vec::new(), 0, None);
            store.range(Family::Index, &from, &end, Walk::Up, &mut |key, value| {
                if seen >= ROWS_MAX {
                    next = Some(key.to_vec());
                    return Ok(Go::Stop);
                }
                seen += 1;
                if is_mark {
                    let known = packs.contains_key(&keys::number_at(key, 1));
                    stale.extend((!known).then(|| key.to_vec()));
                    return Ok(Go::On);
                }
                let run: Run = decode_row(value, "run row")?;
                if !packs.contains_key(&run.pack) {
                    stale.extend(rows_of(&run).map(|(key, _)| key));
                }
                Ok(Go::On)
            })?;
            removed += stale.len() as u64;
            let changes: Vec<Change> = stale.into_iter().map(index_remove).collect();
            if !changes.is_empty() {
                store.write(&changes)?;
            }
            let Some(next) = next else { break };
            from = next;
        }
    }
    Ok(removed)
}

/// What a start knows that says whether a pack that nobody names is needed.
pub(crate) struct Known<'a> {
    pub packs: &'a BTreeMap<u64, PackMeta>,
    pub sealed: Lsn,
    /// The journal's last record, if it has every one behind `sealed`.
    pub journal: Option<Lsn>,
}

/// Removes packs that nobody names and whose records all stand elsewhere: in packs that the
/// manifest names, or in the journal, to be sealed again. They are what merges and seals leave that
/// were cut off. Any other is left alone.
///
/// # Errors
/// `Io`, or `Corrupt` of the catalog.
pub(crate) fn remove_unneeded(
    disk: &Disk,
    store: &dyn CatalogStore,
    known: &Known<'_>,
) -> Result<()> {
    for name in disk.list(pack::DIR)? {
        let Some(id) = pack_number(&name).filter(|id| !known.packs.contains_key(id)) else {
            continue;
        };
        let path = join(pack::DIR, &name);
        let runs = disk.open(&path, Mode::Read).and_then(|file| pack::read_runs(&file, id));
        let needed = match &runs {
            Ok(runs) => is_needed(store, known, runs)?,
            Err(_) => true,
        };
        if needed {
            tracing::warn!(path, "pack that the manifest does not name is left alone");
        } else {
            tracing::info!(path, "pack whose records stand elsewhere is removed");
            disk.remove_if_there(&path)?;
        }
    }
    Ok(())
}

fn is_needed(store: &dyn CatalogStore, known: &Known<'_>, runs: &[Run]) -> Result<bool> {
    let first = runs.iter().map(|run| run.first_lsn).min().unwrap_or(Lsn::ZERO);
    let last = runs.iter().map(|run| run.last_lsn).max().unwrap_or(Lsn::ZERO);
    if first > known.sealed && known.journal.is_some_and(|end| last <= end) {
        return Ok(false);
    }
    Ok(Cover::default().first_bare_of(store, known.packs, runs)?.is_some())
}

/// Writes the rows of every pack whose rows a crash took away; returns how many, and how many packs
/// have an index that cannot be read.
pub(crate) fn index_missing(
    store: &Arc<dyn CatalogStore>,
    packs: &crate::pack::Packs,
    metas: impl Iterator<Item = PackMeta>,
) -> Result<(u64, u64)> {
    let (mut done, mut failed) = (0, 0);
    for meta in metas {
        if store.get(Family::Index, &keys::pack_indexed(meta.id))?.is_none() {
            match packs.runs(&meta) {
                Ok(runs) => index_rows(&**store, meta.id, &runs)?,
                // A pack that cannot be read costs its own records; everything else is served.
                Err(error) => {
                    tracing::error!(%error, pack = meta.id, "run index cannot be read");
                    failed += 1;
                    continue;
                }
            }
            done += 1;
        }
    }
    Ok((done, failed))
}
