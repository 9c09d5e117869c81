//! What the old catalog still knows, asked in a process of its own.
//!
//! Mostly it is rebuilt. But where records are lost for good, a sound catalog still knows what they
//! did to rights, how far the log went, and each run of a pack: its room, its places, its blocks.
//! RocksDB may not even return from damage, so a second process opens it, in a bounded time.
//!
//! INVARIANT: the process that repairs never opens the old catalog, and takes no record from it.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hansard_engine::apply::applied_row;
use hansard_engine::catalog::{CatalogStore, Family, Go, Walk, keys};
use hansard_engine::error::Result;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::stats::Stopwatch;
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Mode, join};
use hansard_engine::types::Lsn;
use serde::{Deserialize, Serialize};

use super::heal::Rows;
use crate::open::{CATALOG, open_catalog};
use crate::say_json;

/// What the keys of runs begin with.
const RUNS: &[u8] = b"R";
/// What the keys of packs begin with.
const MARKS: &[u8] = b"P";
/// The tool's command for the second process.
pub(crate) const CHECK: &str = "check-catalog";
/// The time it gets, and so much more for every 10 MiB.
const LEAST: Duration = Duration::from_secs(30);
const EACH: Duration = Duration::from_secs(1);
const EACH_BYTES: u64 = 10 * 1024 * 1024;
/// The pause between two looks at it.
const PAUSE: Duration = Duration::from_millis(10);

/// Its answer at most.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What one process tells the other.
#[derive(Serialize, Deserialize)]
struct Answer {
    applied: u64,
    /// Rows of runs, as they are.
    runs: Vec<Vec<u8>>,
    /// Packs, and what was dropped from them.
    dropped: Vec<(u64, Vec<u8>)>,
}

/// What the catalog says.
#[derive(Debug)]
pub(super) struct Told {
    /// How far it had applied the log.
    pub applied: Lsn,
    /// What it says of the packs that it was asked for.
    pub rows: Rows,
}

/// Reads every row of a directory's catalog, and prints what it says of these packs.
///
/// # Errors
/// What keeps it from being read.
pub(crate) fn check(data: &Path, packs: &[u64]) -> Result<u8> {
    let catalog = open_catalog(&Disk::new(Arc::new(RealStorage::new(data))))?;
    let (mut runs, mut dropped) = (Vec::new(), Vec::new());
    for family in Family::ALL {
        catalog.range(family, &[], &[u8::MAX; 64], Walk::Up, &mut |key, value| {
            let is_run = family == Family::Index && key.first() == RUNS.first();
            if let (true, Ok(run)) = (is_run, from_bytes::<Run>(value, "run row"))
                && packs.contains(&run.pack)
            {
                runs.push(value.to_vec());
            }
            let pack = keys::number_at(key, 1);
            let is_mark = family == Family::Index && key.first() == MARKS.first();
            if is_mark && packs.contains(&pack) {
                dropped.push((pack, value.to_vec()));
            }
            Ok(Go::On)
        })?;
    }
    say_json(&Answer { applied: applied_row(&catalog)?.lsn.0, runs, dropped })?;
    Ok(0)
}

/// What a second process read, of runs those of these packs; none if it could not read every row in
/// time.
pub(super) fn ask(disk: &Disk, packs: &[u64]) -> Option<Told> {
    let lengths = disk.list(CATALOG).ok()?.into_iter().filter_map(|name| {
        disk.open(&join(CATALOG, &name), Mode::Read).and_then(|file| file.len()).ok()
    });
    let parts = u32::try_from(lengths.sum::<u64>() / EACH_BYTES).unwrap_or(u32::MAX);
    let limit = LEAST.saturating_add(EACH.saturating_mul(parts));
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.arg(CHECK).arg(disk.root()).args(packs.iter().map(u64::to_string));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    // Read beside the wait, or a long answer would never be finished.
    let answer = child.stdout.take()?.take(ANSWER_BYTES_MAX);
    let answer = thread::spawn(|| std::io::read_to_string(answer));
    let watch = Stopwatch::start();
    let sound = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if watch.elapsed() < limit => thread::sleep(PAUSE),
            _ => break false,
        }
    };
    // One that hangs is ended, and with it its answer.
    let _ = child.kill();
    let _ = child.wait();
    let answer = answer.join().ok()?.ok()?;
    let Answer { applied, runs, dropped } = serde_json::from_str(&answer).ok().filter(|_| sound)?;
    let runs = runs.iter().map(|row| from_bytes(row, "run row").ok()).collect::<Option<_>>()?;
    let places = |(pack, row): (u64, Vec<u8>)| Some((pack, from_bytes(&row, "pack row").ok()?));
    let dropped = dropped.into_iter().map(places).collect::<Option<_>>()?;
    Some(Told { applied: Lsn(applied), rows: Rows { runs, dropped } })
}
