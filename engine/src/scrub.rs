//! The scrub: a slow pass over all packs that finds damage before a reader does.
//!
//! It reads every pack once and compares its digest with the manifest's; only where that differs
//! does it look for the block. It reads past the cache, at a bounded rate, and repairs nothing.
//!
//! INVARIANT: what the last pass found stays known until the next one has ended.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::format::pack::{PackMeta, pack_name};
use crate::limits;
use crate::pace::Bell;
use crate::pack::{self, BlockReader, PackFile};
use crate::stats::Stopwatch;
use crate::storage::{DiskFile, Mode, join};
use crate::sync::{Mutex, give_way};
use crate::types::{RoomId, Seq, TimeUs};

/// Bytes read before the pace is kept.
const PIECE_BYTES: usize = 256 * 1024;

/// The first pass after a start begins no later.
const FIRST_PAUSE: Duration = Duration::from_secs(600);

/// A place that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, in the data directory.
    pub file: String,
    /// Where.
    pub offset: u64,
    /// How many bytes are concerned.
    pub bytes: u64,
    /// The room concerned; none if the damage is outside of blocks.
    pub room: Option<RoomId>,
    /// The first entry concerned.
    pub from_seq: Seq,
    /// The last entry concerned.
    pub to_seq: Seq,
    /// Which check failed.
    pub reason: String,
}

/// How the scrub stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Passes that have ended since the start.
    pub passes: u64,
    /// When the last one ended, by the wall clock.
    pub last_end: Option<TimeUs>,
    /// A pass is under way.
    pub running: bool,
    /// Packs read by this pass, or by the last one.
    pub packs: u64,
    /// Bytes read by it.
    pub bytes: u64,
    /// What the last pass found; of this pass, once it found anything. At most `FINDINGS_MAX`.
    pub findings: Vec<Finding>,
}

/// The scrub's bell and what it found.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    pub bell: Bell,
    report: Mutex<ScrubReport>,
}

impl Engine {
    /// How the scrub stands and what it found.
    #[must_use]
    pub fn scrub_report(&self) -> ScrubReport {
        self.0.scrub.report.lock().clone()
    }

    /// Asks for a pass now; one that is under way goes on.
    pub fn scrub_soon(&self) {
        self.0.scrub.bell.ring();
    }

    /// One pass, as fast as the disk allows.
    ///
    /// # Errors
    /// `Unavailable` if the engine closes meanwhile; damage is not an error but a finding.
    pub fn scrub_now(&self) -> Result<ScrubReport> {
        self.0.scrub_pass(0)?;
        Ok(self.scrub_report())
    }
}

impl Inner {
    pub(crate) fn run_scrub(&self) {
        let pause = Duration::from_millis(self.options.scrub_interval_ms);
        // A server that is started every day is scrubbed too.
        let mut wait = pause.min(FIRST_PAUSE);
        let bell = &self.scrub.bell;
        while if pause.is_zero() { bell.wait_rung() } else { bell.wait(wait) } {
            wait = pause;
            if let Err(error) = self.scrub_pass(self.options.scrub_bytes_per_second) {
                tracing::debug!(%error, "scrub ended early");
                return;
            }
        }
    }

    fn scrub_pass(&self, rate: u64) -> Result<()> {
        {
            let report = &mut *self.scrub.report.lock();
            (report.running, report.packs, report.bytes) = (true, 0, 0);
        }
        let mut findings = Vec::new();
        let packs: Vec<PackMeta> = self.manifest.lock().state().packs.values().cloned().collect();
        for meta in packs {
            let found = self.scrub_pack(&meta, rate)?;
            // A pack that was replaced meanwhile is nobody's history any more.
            if self.manifest.lock().state().packs.contains_key(&meta.id) {
                findings.extend(found);
            }
            findings.truncate(limits::FINDINGS_MAX);
            let report = &mut *self.scrub.report.lock();
            report.packs += 1;
            if !findings.is_empty() {
                report.findings.clone_from(&findings);
            }
        }
        for Finding { file, offset, bytes, room, from_seq, to_seq, reason } in &findings {
            tracing::error!(
                file, offset, bytes, ?room, %from_seq, %to_seq, reason,
                "scrub found damage"
            );
        }
        self.stats.scrub_damage.set(findings.len() as u64);
        self.stats.scrub_passes.add(1);
        let now = self.clock.now();
        self.stats.scrub_end_seconds.set(u64::try_from(now.0 / 1_000_000).unwrap_or(0));
        let report = &mut *self.scrub.report.lock();
        report.passes += 1;
        (report.running, report.last_end, report.findings) = (false, Some(now), findings);
        Ok(())
    }

    fn scrub_pack(&self, meta: &PackMeta, rate: u64) -> Result<Vec<Finding>> {
        let name = join(pack::DIR, &pack_name(meta.id));
        let whole = |reason: String| Finding {
            file: name.clone(),
            offset: 0,
            bytes: meta.bytes,
            room: None,
            from_seq: Seq::ZERO,
            to_seq: Seq::ZERO,
            reason,
        };
        let file = match self.disk.open(&name, Mode::Read) {
            Ok(file) => file,
            Err(error) => return Ok(vec![whole(error.to_string())]),
        };
        match self.digest(&file, rate) {
            Ok(Some((digest, bytes))) if bytes == meta.bytes && digest == meta.sha256 => {
                Ok(Vec::new())
            }
            Ok(Some(_)) => {
                let mut found = damaged_blocks(file, meta, &name);
                if found.is_empty() {
                    found.push(whole("pack digest mismatch".to_owned()));
                }
                Ok(found)
            }
            Ok(None) => Err(Error::Unavailable { why: "the engine is closing" }),
            Err(error) => {
                let mut found = damaged_blocks(file, meta, &name);
                if found.is_empty() {
                    found.push(whole(error.to_string()));
                }
                Ok(found)
            }
        }
    }

    /// The digest and length of a file; none if the engine closes meanwhile.
    fn digest(&self, file: &DiskFile, rate: u64) -> Result<Option<([u8; 32], u64)>> {
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let watch = Stopwatch::start();
            let got = file.read_some(at, &mut piece)?;
            if got == 0 {
                return Ok(Some((hasher.finalize().into(), at)));
            }
            hasher.update(piece.get(..got).unwrap_or_default());
            give_way();
            at += got as u64;
            self.stats.scrub_bytes.add(got as u64);
            self.scrub.report.lock().bytes += got as u64;
            if !self.scrub.bell.pace(got, rate, watch.elapsed()) {
                return Ok(None);
            }
        }
    }
}

/// Every block of a pack that does not check, or what keeps its index from being read.
fn damaged_blocks(file: DiskFile, meta: &PackMeta, name: &str) -> Vec<Finding> {
    let finding = |offset, bytes, reason: String| Finding {
        file: name.to_owned(),
        offset,
        bytes,
        room: None,
        from_seq: Seq::ZERO,
        to_seq: Seq::ZERO,
        reason,
    };
    let pack = PackFile::new(file, meta.id);
    let runs = match pack.index() {
        Ok(index) => index.runs,
        Err(Error::Corrupt { what, offset, .. }) => {
            return vec![finding(offset, 0, what.to_owned())];
        }
        Err(error) => return vec![finding(0, meta.bytes, error.to_string())],
    };
    let Some(mut reader) = BlockReader::new() else { return Vec::new() };
    let copies = pack.dictionary_damage().unwrap_or_default();
    let place = |error: &Error| match error {
        Error::Corrupt { what, offset, .. } => finding(*offset, 0, (*what).to_owned()),
        other => finding(0, meta.bytes, other.to_string()),
    };
    let mut found: Vec<Finding> = copies.iter().map(place).collect();
    for run in &runs {
        for (index, fence) in run.blocks.iter().enumerate() {
            let Err(error) = pack.block(run.room, fence, &mut reader) else { continue };
            let reason = match error {
                Error::Corrupt { what, .. } => what.to_owned(),
                other => other.to_string(),
            };
            found.push(Finding {
                room: Some(run.room),
                from_seq: fence.seq_base.next(),
                to_seq: run.block_last_seq(index),
                ..finding(fence.offset, u64::from(fence.bytes), reason)
            });
        }
    }
    found
}
