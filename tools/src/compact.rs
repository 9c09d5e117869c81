//! `compact`, in place: seals the journal into packs, merges small packs into large ones, drops
//! what retention took, and has the catalog's tables written anew without rows that are gone.
//!
//! It opens the directory as a server does, with its lock, does at once what a server does slowly,
//! and closes it cleanly. It refuses a directory whose damage wants an operator's decision first.

use std::path::Path;
use std::sync::Arc;

use hansard_engine::error::Result;
use hansard_engine::merge::MergeReport;
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Mode, join};
use hansard_engine::{Engine, Health, Options};
use serde::Serialize;

use crate::open::CATALOG;
use crate::verify::{Progress, Show};
use crate::{DAMAGE, say, say_json};

#[derive(Debug, Serialize)]
struct Compacted {
    replayed: u64,
    sealed_lsn: u64,
    merges: u64,
    packs_merged: u64,
    packs_written: u64,
    bytes_read: u64,
    bytes_written: u64,
    records_moved: u64,
    records_dropped: u64,
    packs: u64,
    pack_bytes: u64,
    catalog_table_bytes_before: u64,
    catalog_table_bytes: u64,
    lost_messages: u64,
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened, sealed, merged or closed.
pub(crate) fn run(path: &Path, json: bool, show: Show) -> Result<u8> {
    // No server needs the reserve now, and what is merged away makes room.
    let options = Options { disk_reserve_bytes: 0, ..Options::default() }.quiet();
    let (engine, report) = Engine::open(path, options)?;
    if let Health::Restricted { holes } = engine.health() {
        eprintln!("hansard-tool: records were lost and not accepted holes={holes:?}");
        engine.close()?;
        return Ok(DAMAGE);
    }
    let disk = Disk::new(Arc::new(RealStorage::new(path)));
    let merged = engine.seal().and_then(|()| merge(&engine, show));
    let catalog_table_bytes_before = catalog_table_bytes(&disk);
    let merged = merged.and_then(|merged| engine.compact_catalog().map(|()| merged));
    let stats = engine.stats();
    let (sealed_lsn, packs) = (stats.sealed_lsn.get(), stats.packs.get());
    let pack_bytes = stats.pack_bytes.get();
    engine.close()?;
    let catalog_table_bytes = catalog_table_bytes(&disk);
    let MergeReport { merges, packs_in, packs_out, bytes_in, bytes_out, records, dropped } =
        merged?;
    let done = Compacted {
        replayed: report.replayed,
        sealed_lsn,
        merges,
        packs_merged: packs_in,
        packs_written: packs_out,
        bytes_read: bytes_in,
        bytes_written: bytes_out,
        records_moved: records,
        records_dropped: dropped,
        packs,
        pack_bytes,
        catalog_table_bytes_before,
        catalog_table_bytes,
        lost_messages: report.lost_messages,
    };
    if json {
        say_json(&done)?;
    } else {
        let mut lines =
            format!("replayed {} records, sealed up to lsn {sealed_lsn}\n", done.replayed);
        if merges > 0 {
            lines += &format!(
                "merged {packs_in} packs of {bytes_in} bytes into {packs_out} of {bytes_out}, \
                 {records} records, in {merges} merges\n"
            );
        }
        if dropped > 0 {
            lines += &format!("dropped {dropped} records that retention took\n");
        }
        lines += &format!("{packs} packs hold {pack_bytes} bytes\n");
        lines += &format!(
            "the catalog's tables hold {catalog_table_bytes} bytes, {catalog_table_bytes_before} \
             before\n"
        );
        if done.lost_messages > 0 {
            let lost = done.lost_messages;
            lines += &format!("{lost} damaged messages stay gaps in their rooms\n");
        }
        say(&lines)?;
    }
    Ok(0)
}

/// Bytes of the catalog's tables; one that goes meanwhile does not count.
fn catalog_table_bytes(disk: &Disk) -> u64 {
    let names = disk.list(CATALOG).unwrap_or_default();
    let tables = names.iter().filter(|name| name.ends_with(".sst"));
    let len = |name: &String| disk.open(&join(CATALOG, name), Mode::Read).ok()?.len().ok();
    tables.filter_map(len).sum()
}

/// Merges one after the other, each with its own progress.
fn merge(engine: &Engine, show: Show) -> Result<MergeReport> {
    let mut report = MergeReport::default();
    loop {
        let due = engine.merge_due_bytes();
        if due == 0 {
            break;
        }
        let progress = Progress::new("merge", due);
        let done = progress.during(show, || {
            engine.merge_next(&mut |bytes| {
                progress.add(bytes as u64);
                true
            })
        })?;
        report += done.unwrap_or_default();
    }
    // However little of a pack it is.
    let due = engine.purge_due_bytes();
    if due > 0 {
        let progress = Progress::new("purge", due);
        report += progress.during(show, || {
            engine.purge(&mut |bytes| {
                progress.add(bytes as u64);
                true
            })
        })?;
    }
    Ok(report)
}
