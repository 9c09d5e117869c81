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
use crate::catalog::{CatalogStore, Change, Family, keys};
use crate::category::span_value;
use crate::error::Result;
use crate::format::manifest::Edit;
use crate::format::pack::PackMeta;
use crate::format::run::Run;
use crate::format::wire::to_bytes;
use crate::history::decode_record;
use crate::limits;
use crate::pack::PackWriter;
use crate::storage::Disk;
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
    pub next_pack: u64,
}

/// The category a room is in now; none for system rooms.
fn category_of(store: &dyn CatalogStore, room: RoomId) -> Result<CategoryId> {
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

/// Writes packs of unsealed records. They are durable, but nothing names them yet.
pub(crate) fn write_packs(
    disk: &Disk,
    store: &dyn CatalogStore,
    rooms: Vec<(RoomId, Vec<TailEntry>)>,
    next_pack: u64,
) -> Result<Sealed> {
    let mut sealed = Sealed { next_pack, ..Sealed::default() };
    for (day, rooms) in by_day(store, rooms)? {
        let mut writer: Option<PackWriter> = None;
        for ((category, room), entries) in rooms {
            let open = match &mut writer {
                Some(open) => open,
                None => {
                    sealed.next_pack += 1;
                    writer.insert(PackWriter::create(disk, sealed.next_pack - 1, day)?)
                }
            };
            open.add_room(room, category, &entries)?;
            if open.bytes() >= limits::PACK_BYTES_TARGET {
                finish(writer.take(), &mut sealed)?;
            }
        }
        finish(writer.take(), &mut sealed)?;
    }
    Ok(sealed)
}

fn finish(writer: Option<PackWriter>, sealed: &mut Sealed) -> Result<()> {
    if let Some(writer) = writer {
        let (meta, runs) = writer.finish()?;
        sealed.metas.push(meta);
        sealed.runs.extend(runs);
    }
    Ok(())
}

/// The manifest edit of a seal.
pub(crate) fn edit(sealed: &Sealed, upto: Lsn, epoch: crate::types::Epoch) -> Edit {
    Edit {
        added: sealed.metas.clone(),
        removed: Vec::new(),
        sealed: upto,
        epoch,
        next_pack: sealed.next_pack,
    }
}

/// The rows of a pack's runs, and the mark that they are complete.
pub(crate) fn index_rows(store: &dyn CatalogStore, pack: u64, runs: &[Run]) -> Result<()> {
    let mut changes = Vec::new();
    let put =
        |key: Vec<u8>, value: Vec<u8>| Change { family: Family::Index, key, value: Some(value) };
    for run in runs {
        changes.push(put(keys::run(run.room, run.first_rev), to_bytes(run)));
        if run.has_entries() && !run.category.is_none() {
            let place = keys::dyadic(run.first_time, run.last_time);
            let key = keys::category_run(run.category, place, run.room, run.first_rev);
            changes.push(put(key, span_value(run)));
        }
        if changes.len() >= ROWS_MAX {
            store.write(&changes)?;
            changes.clear();
        }
    }
    changes.push(put(keys::pack_indexed(pack), Vec::new()));
    store.write(&changes)
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
