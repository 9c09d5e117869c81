//! The catalog's rows of packs: where each run stands, by room and by time in its category.
//!
//! They repeat what the packs' own indexes say, so a start can write them again. Which packs exist
//! is the manifest's to say. A pack's mark says that all rows of its runs are written, and repeats
//! which records were dropped from it.
//!
//! INVARIANT: the rows of one room change in one batch, so that a reader of a room finds all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::apply::decode_row;
use crate::catalog::{CatalogStore, Change, Family, Go, Walk, keys};
use crate::category::span_value;
use crate::error::Result;
use crate::format::pack::{PackIndex, PackMeta, Places};
use crate::format::run::Run;
use crate::format::runs::Runs;
use crate::format::wire::to_bytes;
use crate::pack::Packs;
use crate::types::RoomId;

/// Rows of one batch at most, but for those of one room.
const ROWS_MAX: usize = 8192;

/// The rows of a run: by room, and by time in its category if it has entries there.
fn rows_of(run: &Run) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let by_room = (keys::run(run.room, run.first_rev), to_bytes(run));
    let timed = run.has_entries() && !run.category.is_none();
    let by_time = timed.then(|| {
        let place = keys::dyadic(run.first_time, run.last_time);
        (keys::category_run(run.category, place, run.room, run.first_rev), span_value(run))
    });
    std::iter::once(by_room).chain(by_time)
}

fn put(key: Vec<u8>, value: Vec<u8>) -> Change {
    Change { family: Family::Index, key, value: Some(value) }
}

fn remove(key: Vec<u8>) -> Change {
    Change { family: Family::Index, key, value: None }
}

/// Writes a full batch.
fn write_if_full(store: &dyn CatalogStore, changes: &mut Vec<Change>) -> Result<()> {
    if changes.len() >= ROWS_MAX {
        store.write(changes)?;
        changes.clear();
    }
    Ok(())
}

/// The mark that a pack's rows are complete.
fn mark(pack: u64, dropped: &Places) -> Change {
    put(keys::pack_indexed(pack), to_bytes(dropped))
}

/// The rows of a pack's runs, and the mark that they are complete.
pub(crate) fn write(
    store: &dyn CatalogStore,
    pack: u64,
    runs: impl Iterator<Item = Run>,
    dropped: &Places,
) -> Result<()> {
    let mut changes = Vec::new();
    for run in runs {
        changes.extend(rows_of(&run).map(|(key, value)| put(key, value)));
        write_if_full(store, &mut changes)?;
    }
    changes.push(mark(pack, dropped));
    store.write(&changes)
}

/// Runs by room: where each of them stands.
fn by_room(runs: &Runs) -> Vec<(RoomId, usize)> {
    let mut places: Vec<_> = runs.placed().map(|(place, run)| (run.room, place)).collect();
    // Stable, and those of one room are in order.
    places.sort_by_key(|(room, _)| *room);
    places
}

/// Puts the rows of merged runs in the place of those that were merged, a room at once, and the
/// marks of their packs behind them.
pub(crate) fn replace<'a>(
    store: &dyn CatalogStore,
    old: &Runs,
    new: &Runs,
    marks: impl Iterator<Item = (u64, &'a Places)>,
) -> Result<()> {
    let (old_places, new_places) = (by_room(old), by_room(new));
    let mut of_new = new_places.chunk_by(|a, b| a.0 == b.0).peekable();
    let mut changes = Vec::new();
    for places in old_places.chunk_by(|a, b| a.0 == b.0) {
        let Some((room, _)) = places.first() else { continue };
        for run in places.iter().filter_map(|(_, place)| old.at(*place)) {
            changes.extend(rows_of(&run).map(|(key, _)| remove(key)));
        }
        let of_room = |new: &&[(RoomId, usize)]| new.first().is_some_and(|n| n.0 == *room);
        for (_, place) in of_new.next_if(of_room).unwrap_or_default() {
            let run = new.at(*place);
            changes.extend(run.iter().flat_map(rows_of).map(|(key, row)| put(key, row)));
        }
        write_if_full(store, &mut changes)?;
    }
    debug_assert!(of_new.next().is_none(), "a merge adds no room");
    changes.extend(marks.map(|(pack, dropped)| mark(pack, dropped)));
    store.write(&changes)
}

/// Removes the marks of packs of which no row is left.
pub(crate) fn forget(store: &dyn CatalogStore, gone: &[u64]) -> Result<()> {
    let marks: Vec<Change> = gone.iter().map(|id| remove(keys::pack_indexed(*id))).collect();
    store.write(&marks)
}

/// Removes the rows of packs that the manifest names no longer: a merge was cut off behind its
/// edit.
pub(crate) fn remove_stale(
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
            let changes: Vec<Change> = stale.into_iter().map(remove).collect();
            if !changes.is_empty() {
                store.write(&changes)?;
            }
            let Some(next) = next else { break };
            from = next;
        }
    }
    Ok(removed)
}

/// Writes the rows of every pack whose rows a crash took away; returns how many, and how many packs
/// have an index that cannot be read.
pub(crate) fn write_missing(
    store: &Arc<dyn CatalogStore>,
    packs: &Packs,
    metas: impl Iterator<Item = PackMeta>,
) -> Result<(u64, u64)> {
    let (mut done, mut failed) = (0, 0);
    for meta in metas {
        if store.get(Family::Index, &keys::pack_indexed(meta.id))?.is_none() {
            match packs.index(&meta) {
                Ok(PackIndex { runs, dropped }) => {
                    write(&**store, meta.id, runs.into_iter(), &dropped)?;
                }
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
