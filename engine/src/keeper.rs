//! The housekeeper: seals, flushes, trims, fills journal files, watches the disk.
//!
//! It works in the background and never in an append's way. A seal that fails is tried again after
//! a pause, and what finds no room in the journal meanwhile is refused; a manifest write that fails
//! poisons.

use crate::sync::atomic::Ordering;
use std::time::Duration;

use crate::sync::Mutex;

use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::format::manifest::Edit;
use crate::format::pack::PackMeta;
use crate::index;
use crate::pace::Bell;
use crate::pack::Written;
use crate::seal;
use crate::stats::Stopwatch;
use crate::types::Lsn;

/// How often the disk is looked at, and how far the log is stated under load.
const ROUND: Duration = Duration::from_millis(500);
/// What the catalog may still write of what it has in memory, compaction included.
const CATALOG_BYTES_OWED: u64 = 48 * 1024 * 1024;
/// Journal bytes after which the disk is looked at before the next round.
const LOOK_EVERY_BYTES: u64 = 1024 * 1024;
/// Why the journal has no room.
const SEALS_FAIL: &str = "the journal is full: seals fail";
/// The pause after a failed seal.
const PAUSE: Duration = Duration::from_secs(5);

/// The housekeeper's bell, and what only it knows.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pub bell: Bell,
    /// One seal at a time.
    sealing: Mutex<()>,
}

impl Keeper {
    /// Asks for a round now.
    pub(crate) fn wake(&self) {
        self.bell.ring();
    }

    /// Keeps seals out while something needs the packs to stand still.
    pub(crate) fn hold(&self) -> crate::sync::MutexGuard<'_, ()> {
        self.sealing.lock()
    }
}

impl Inner {
    pub(crate) fn run_keeper(&self) {
        let interval = Duration::from_millis(self.options.seal_interval_ms);
        let mut last_seal = Stopwatch::start();
        let mut looked: Option<Stopwatch> = None;
        let mut failed: Option<Stopwatch> = None;
        while self.keeper.bell.wait(ROUND.min(interval)) {
            if let Some(poisoned) = self.progress.poison.get() {
                self.pool.note_untrimmed(Some(poisoned));
                continue;
            }
            let round = looked.as_ref().is_none_or(|looked| looked.elapsed() >= ROUND);
            if round {
                looked = Some(Stopwatch::start());
                self.watch_disk();
                self.state_witness(self.progress.committed.get());
            }
            // What failed is not tried again whenever a post finds no room.
            if round || self.pool.hindrance().is_none() {
                self.pool.try_again();
            }
            let due = last_seal.elapsed() >= interval;
            let paused = failed.as_ref().is_some_and(|f| f.elapsed() <= PAUSE);
            if (due || self.seal_is_pressing()) && !paused {
                match self.seal_all() {
                    Ok(()) => {
                        last_seal = Stopwatch::start();
                        failed = None;
                        self.pool.note_untrimmed(None);
                    }
                    Err(error) => {
                        self.stats.seal_failures.add(1);
                        tracing::warn!(%error, "seal failed and will be tried again");
                        self.pool.note_untrimmed(Some(match error {
                            Error::NoSpace { .. } | Error::Poisoned { .. } => error,
                            _ => Error::Unavailable { why: SEALS_FAIL },
                        }));
                        failed = Some(Stopwatch::start());
                    }
                }
            }
        }
    }

    fn seal_is_pressing(&self) -> bool {
        let (used, max) = self.pool.usage();
        self.history.tails.bytes() > self.options.tail_bytes_soft || used * 2 > max
    }

    /// Looks at the disk if much was written since the last look.
    pub(crate) fn watch_disk_after(&self, bytes: u64) {
        let before = self.unwatched_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes >= LOOK_EVERY_BYTES {
            self.unwatched_bytes.store(0, Ordering::Relaxed);
            self.watch_disk();
        }
    }

    pub(crate) fn watch_disk(&self) {
        if self.options.disk_reserve_bytes == 0 {
            return;
        }
        match self.disk.free_bytes() {
            Ok(free) => {
                // What is acknowledged must still find room: the tails become packs, the catalog's
                // buffers become files and are compacted.
                let owed = self.history.tails.bytes() as u64 + CATALOG_BYTES_OWED;
                let low = free < self.options.disk_reserve_bytes.saturating_add(owed);
                if self.no_space.swap(low, Ordering::Relaxed) != low {
                    if low {
                        tracing::error!(free, "disk is below its reserve: posts are refused");
                    } else {
                        tracing::info!(free, "disk has space again");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "free space is unknown"),
        }
    }

    /// Seals everything applied, then flushes the catalog and trims the journal.
    pub(crate) fn seal_all(&self) -> Result<()> {
        let _one_at_a_time = self.keeper.hold();
        if let Some(poisoned) = self.progress.poison.get() {
            return Err(poisoned);
        }
        let upto = self.gate.get();
        let sealed = self.manifest.lock().state().sealed;
        if upto > sealed {
            self.seal_span(sealed, upto)?;
        }
        self.flush_and_trim()
    }

    fn seal_span(&self, after: Lsn, upto: Lsn) -> Result<()> {
        let tails = &self.history.tails;
        let unsealed = tails.unsealed(after, upto);
        let made = seal::write_packs(&self.disk, &*self.store, (tails, &unsealed), &self.numbers)?;
        self.commit_packs(made.metas().cloned().collect(), Vec::new(), upto)?;
        for Written { meta, runs, dropped } in &made.0 {
            index::write(&*self.store, meta.id, runs.iter(), dropped)
                .inspect_err(|e| self.progress.poison.set(e))?;
        }
        self.history.runs.forget(unsealed.iter().map(|part| part.room));
        // ORDERING: the rows are in the catalog, so a reader that misses the tail finds the pack.
        tails.drop_sealed(upto, self.options.tail_bytes_soft / 2);
        self.stats.seals.add(1);
        self.stats.sealed_lsn.set(upto.0);
        let packs = made.bytes();
        self.stats.pack_bytes.add(packs);
        self.stats.packs.add(made.0.len() as u64);
        self.stats.seal_written_bytes.add(packs);
        Ok(())
    }

    /// The manifest's edit for packs that are durable, with those whose place they take. Seals must
    /// stand still.
    pub(crate) fn commit_packs(
        &self,
        added: Vec<PackMeta>,
        removed: Vec<u64>,
        upto: Lsn,
    ) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let next = added.iter().map(|meta| meta.id + 1).max().unwrap_or(0);
        let edit = Edit {
            added,
            removed,
            sealed: upto,
            epoch: self.epoch,
            next_pack: next.max(manifest.state().next_pack),
        };
        manifest.commit(&edit).inspect_err(|e| self.progress.poison.set(e))
    }

    /// Flushes the catalog and sets free what neither it nor the packs need.
    pub(crate) fn flush_and_trim(&self) -> Result<()> {
        let sealed = self.manifest.lock().state().sealed;
        let flushed = {
            let mut applier = self.applier.lock();
            applier.note_sealed(sealed);
            applier.commit_all().inspect_err(|e| self.progress.poison.set(e))?
        };
        self.store.flush().inspect_err(|e| self.progress.poison.set(e))?;
        self.pool.trim(sealed.min(flushed));
        Ok(())
    }
}
