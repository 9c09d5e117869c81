//! What the old catalog still knows, asked in a process of its own.
//!
//! Mostly it is rebuilt. But where records of packs are lost for good, a sound catalog still knows
//! what they did to rights, and in which rooms and at which places they stood. RocksDB may not even
//! return from damage, so a second process opens it, which gets a bounded time.
//!
//! INVARIANT: the process that repairs never opens the old catalog, and takes no record from it.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use hansard_engine::catalog::rocks::RocksCatalog;
use hansard_engine::catalog::{CatalogStore, Family, Go, Walk};
use hansard_engine::error::Result;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::stats::Stopwatch;
use hansard_engine::storage::{Disk, Mode, join};
use serde::{Deserialize, Serialize};

/// What the keys of runs begin with.
const RUNS: &[u8] = b"R";
/// The catalog's folder.
pub(super) const DIR: &str = "catalog";
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

/// What the catalog says of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub pack: u64,
    pub room: u64,
    /// The room's seq before it and at its end.
    pub seq_base: u64,
    pub last_seq: u64,
}

/// Reads every row of a directory's catalog, and prints what it says of these packs.
///
/// # Errors
/// What keeps it from being read.
pub(crate) fn check(data: &Path, packs: &[u64]) -> Result<u8> {
    let catalog = RocksCatalog::open_read_only(&data.join(DIR))?;
    let mut told = Vec::new();
    for family in Family::ALL {
        catalog.range(family, &[], &[u8::MAX; 64], Walk::Up, &mut |key, value| {
            let is_run = family == Family::Index && key.first() == RUNS.first();
            if let (true, Ok(run)) = (is_run, from_bytes::<Run>(value, "run row"))
                && packs.contains(&run.pack)
            {
                let (seq_base, last_seq) = (run.seq_base.0, run.last_seq.0);
                told.push(Told { pack: run.pack, room: run.room.0, seq_base, last_seq });
            }
            Ok(Go::On)
        })?;
    }
    println!("{}", serde_json::to_string(&told).unwrap_or_default());
    Ok(0)
}

/// What a second process read of these packs' runs; none if it could not read every row in time.
pub(super) fn ask(disk: &Disk, packs: &[u64]) -> Option<Vec<Told>> {
    let lengths = disk.list(DIR).ok()?.into_iter().filter_map(|name| {
        disk.open(&join(DIR, &name), Mode::Read).and_then(|file| file.len()).ok()
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
    if sound { serde_json::from_str(&answer).ok() } else { None }
}
