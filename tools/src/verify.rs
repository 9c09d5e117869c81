//! `verify`: is every byte what was written?
//!
//! Every checksum of manifest, journal and packs; every run index against its blocks; every block
//! against its records; the catalog's runs against the packs; the journal against the catalog; each
//! room's tree against what was signed. It
//! goes on behind damage and names each finding by file, offset, room and sequence range.

mod packs;
mod pool;
mod progress;
mod seen;
mod trees;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use hansard_engine::apply::{SETTING_COMPLIANCE, applied_row};
use hansard_engine::catalog::rows::{AppliedRow, HeadRow, head_of};
use hansard_engine::catalog::{CatalogStore, Family, Go, Walk, keys};
use hansard_engine::error::{Error, Result};
use hansard_engine::format::pack::PackMeta;
use hansard_engine::journal::scan::{Lost, Scan, check_witness, end_of, is_short, scan};
use hansard_engine::journal::{self, witness};
use hansard_engine::storage::join;
use hansard_engine::types::{Lsn, RoomId, Seq};
use serde::Serialize;

use crate::open::Directory;
use crate::{DAMAGE, say, say_json};

pub use packs::Depth;
pub(crate) use packs::{Blocks, digest};
pub(crate) use pool::each;
pub(crate) use progress::Progress;
pub use progress::Show;
pub(crate) use seen::{RoomSpan, Seen};
pub use trees::{Against, Proofs};

/// One thing that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Where.
    pub offset: u64,
    /// How many bytes are concerned.
    pub bytes: u64,
    /// The room concerned, if one is.
    pub room: Option<String>,
    /// The first entry concerned.
    pub from_seq: Option<u64>,
    /// The last entry concerned.
    pub to_seq: Option<u64>,
    /// Which check failed.
    pub reason: String,
}

/// For people: where, which entries of which room, and which check failed.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, room, from_seq, to_seq, reason } = self;
        write!(f, "{}: {reason}", Place { file, offset, bytes, room, seqs: (from_seq, to_seq) })
    }
}

/// Bytes of a file and the entries that they hold, as one line for people names them.
pub(crate) struct Place<'a> {
    pub file: &'a str,
    pub offset: &'a u64,
    pub bytes: &'a u64,
    pub room: &'a Option<String>,
    pub seqs: (&'a Option<u64>, &'a Option<u64>),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, room, seqs } = self;
        let room = room.as_deref().unwrap_or("-");
        write!(f, "file={file} offset={offset} bytes={bytes} room={room} seq=")?;
        match seqs {
            (Some(from), Some(to)) => write!(f, "{from}..{to}"),
            _ => f.write_str("-"),
        }
    }
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing was found.
    pub ok: bool,
    /// What was found.
    pub damage: Vec<Finding>,
    /// Packs read.
    pub packs: u64,
    /// Blocks read.
    pub blocks: u64,
    /// Records read, journal included.
    pub records: u64,
    /// Records that packs say were dropped, because retention took them.
    pub dropped: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What became of proofs; none if they were not looked at.
    pub proofs: Option<Proofs>,
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened.
pub(crate) fn run(
    path: &Path,
    json: bool,
    depth: Depth,
    show: Show,
    against: &Against,
) -> Result<u8> {
    let report = verify(path, depth, show, against)?;
    if json {
        say_json(&report)?;
    } else {
        let mut lines = String::new();
        report.damage.iter().for_each(|found| lines += &format!("damage {found}\n"));
        let Report { packs, blocks, records, bytes, ref proofs, .. } = report;
        lines +=
            &format!("read {packs} packs, {blocks} blocks, {records} records, {bytes} bytes\n");
        lines += &proofs.as_ref().map(Proofs::words).unwrap_or_default();
        say(&(lines + if report.ok { "ok\n" } else { "damaged\n" }))?;
    }
    Ok(if report.ok { 0 } else { DAMAGE })
}

/// Checks the directory at `path`, on as many threads as the machine runs at once.
///
/// # Errors
/// What keeps it from being opened; damage is not an error but a finding.
pub fn verify(path: &Path, depth: Depth, show: Show, against: &Against) -> Result<Report> {
    let directory = Directory::open(path)?;
    let (mut report, _) = look(&directory, depth, show, Collect::Nothing)?;
    if depth == Depth::Records {
        let (proofs, damage) = trees::check(&directory, against, show, report.ok)?;
        report.damage.extend(damage);
        report.proofs = Some(proofs);
        report.ok = report.damage.is_empty();
    }
    Ok(report)
}

/// What to keep of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collect {
    /// Nothing.
    Nothing,
    /// Which records and parts of rooms the packs hold.
    Seen,
}

/// Checks an open directory.
///
/// # Errors
/// `Io`; damage is not an error but a finding.
pub(crate) fn look(
    directory: &Directory,
    depth: Depth,
    show: Show,
    collect: Collect,
) -> Result<(Report, Seen)> {
    let mut check = Check { directory, report: Report::default(), seen: Seen::default() };
    check.manifest();
    let applied = check.catalog_position();
    check.packs(depth, show, collect);
    check.journal(applied.as_ref())?;
    check.report.ok = check.report.damage.is_empty();
    Ok((check.report, check.seen))
}

struct Check<'a> {
    directory: &'a Directory,
    report: Report,
    seen: Seen,
}

fn finding(file: &Path, offset: u64, bytes: u64, reason: impl Into<String>) -> Finding {
    Finding {
        file: file.display().to_string(),
        offset,
        bytes,
        room: None,
        from_seq: None,
        to_seq: None,
        reason: reason.into(),
    }
}

/// An error as a finding: at its own place if it has one.
fn of_error(error: &Error, file: &Path) -> Finding {
    match error {
        Error::Corrupt { what, file, offset, .. } => finding(file, *offset, 0, *what),
        other => finding(file, 0, 0, other.to_string()),
    }
}

impl Check<'_> {
    fn add(&mut self, found: Finding) {
        self.report.damage.push(found);
    }

    fn add_error(&mut self, error: &Error, file: &Path) {
        self.add(of_error(error, file));
    }

    fn manifest(&mut self) {
        for fault in &self.directory.manifest.faults {
            let file = self.directory.disk.full(fault.file);
            let found = finding(&file, fault.offset, 0, fault.reason);
            self.report.damage.push(found);
        }
    }

    fn catalog_position(&mut self) -> Option<AppliedRow> {
        let file = self.directory.disk.full("catalog");
        match self.directory.catalog().and_then(applied_row) {
            Ok(row) => {
                let sealed = self.directory.manifest.state.sealed;
                if row.sealed > sealed {
                    let text = "manifest ends before a seal that the catalog knows";
                    self.add(finding(&self.directory.disk.full("MANIFEST"), 0, 0, text));
                }
                Some(row)
            }
            Err(error) => {
                self.add_error(&error, &file);
                None
            }
        }
    }

    fn packs(&mut self, depth: Depth, show: Show, collect: Collect) {
        let metas: Vec<PackMeta> = self.directory.manifest.state.packs.values().cloned().collect();
        let total = metas.iter().map(|meta| meta.bytes).sum();
        let progress = Progress::new("verify", total);
        let look = packs::Look {
            disk: &self.directory.disk,
            catalog: self.directory.catalog().ok(),
            progress: &progress,
            depth,
            collect: collect == Collect::Seen,
        };
        for found in progress.during(show, || packs::check(&look, &metas)) {
            self.report.packs += found.packs;
            self.report.blocks += found.blocks;
            self.report.records += found.records;
            self.report.dropped += found.dropped;
            self.report.bytes += found.bytes;
            self.report.damage.extend(found.damage);
            self.seen.absorb(found.seen);
        }
    }

    fn journal(&mut self, applied: Option<&AppliedRow>) -> Result<()> {
        let disk = &self.directory.disk;
        let sealed = self.directory.manifest.state.sealed;
        let lsn = applied.map_or(sealed, |row| row.lsn);
        let stated = self.witness()?;
        let (mut floor, witness) = (sealed.min(lsn), sealed.max(lsn).max(stated));
        let mut found = scan(disk, floor, witness)?;
        if lsn < sealed && is_short(&found, sealed) {
            // The catalog is behind the packs: the next start rebuilds it from them.
            floor = sealed;
            found = scan(disk, floor, witness)?;
        }
        let end = end_of(&found, floor, sealed, self.directory.manifest.state.epoch);
        if let Err(error) = check_witness(disk, end, witness) {
            self.add_error(&error, &disk.full("journal"));
        }
        for damage in &found.damage {
            let mut named = finding(&damage.file, damage.offset, damage.bytes, damage.reason);
            if let Lost::Record(_, entry) = damage.lost {
                named.room = Some(entry.room.to_string());
                if entry.seq > Seq::ZERO {
                    named.from_seq = Some(entry.seq.0);
                    named.to_seq = Some(entry.seq.0);
                }
            }
            self.add(named);
        }
        let directory = self.directory;
        if let (Ok(catalog), Some(applied)) = (directory.catalog(), applied)
            && let Err(error) = self.journal_against_catalog(catalog, &found, applied.lsn)
        {
            self.add_error(&error, &directory.disk.full("catalog"));
        }
        Ok(())
    }

    /// What stands outside the journal says it holds at least so much.
    fn witness(&mut self) -> Result<Lsn> {
        let read = witness::read(&self.directory.disk)?;
        let file = self.directory.disk.full(&join(journal::DIR, witness::NAME));
        for (offset, reason) in read.faults {
            self.add(finding(&file, offset, 0, reason));
        }
        Ok(read.newest.map_or(Lsn::ZERO, |newest| newest.lsn))
    }

    /// What the journal says was applied shows in the catalog.
    fn journal_against_catalog(
        &mut self,
        catalog: &dyn CatalogStore,
        found: &Scan,
        applied: Lsn,
    ) -> Result<()> {
        let setting = catalog.get(Family::State, &keys::setting(SETTING_COMPLIANCE))?;
        let compliance = setting.as_deref() == Some(b"on");
        let mut heads: BTreeMap<RoomId, HeadRow> = BTreeMap::new();
        for frame in &found.frames {
            self.report.bytes += frame.header.len();
            for slot in frame.slots.iter().flatten().filter(|s| s.fault.is_none()) {
                self.report.records += 1;
                let path = self.directory.disk.full("catalog");
                let entry = slot.entry;
                let named = |reason: &str| Finding {
                    room: Some(entry.room.to_string()),
                    ..finding(&path, 0, 0, format!("{reason} lsn={}", slot.lsn))
                };
                if slot.lsn > applied {
                    continue;
                }
                let bytes = frame.record(slot);
                let head = heads.entry(entry.room).or_insert_with(|| {
                    let row = catalog.get(Family::State, &keys::tip(entry.room)).ok().flatten();
                    row.and_then(|row| head_of(&row).ok()).unwrap_or(HeadRow::EMPTY)
                });
                if head.rev < entry.rev || head.seq < entry.seq {
                    let found = named("room head is behind an applied record");
                    self.add(found);
                }
                let event = catalog.get(Family::Compliance, &keys::event(slot.lsn))?;
                let wrong = match event {
                    Some(event) => event[..] != bytes[..],
                    // Records from before compliance was turned on have none.
                    None => {
                        compliance
                            && entry.kind.is_event()
                            && self.turned_on_before(catalog, slot.lsn)?
                    }
                };
                if wrong {
                    let found = named("compliance event does not agree with its record");
                    self.add(found);
                }
            }
        }
        Ok(())
    }

    fn turned_on_before(&self, catalog: &dyn CatalogStore, lsn: Lsn) -> Result<bool> {
        let mut first = None;
        catalog.range(Family::Compliance, &[], &[u8::MAX; 9], Walk::Up, &mut |key, _| {
            first = Some(Lsn(keys::number_at(key, 0)));
            Ok(Go::Stop)
        })?;
        Ok(first.is_some_and(|first| first < lsn))
    }
}
