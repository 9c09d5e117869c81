//! `verify`: is every byte what was written?
//!
//! Every checksum of manifest, journal and packs; every run index against its blocks; every block
//! against its records; the catalog's runs against the packs; the journal against the catalog. It
//! goes on behind damage and names each finding by file, offset, room and sequence range.

use std::collections::BTreeMap;
use std::path::Path;

use hansard_engine::apply::{SETTING_COMPLIANCE, applied_row};
use hansard_engine::catalog::rows::{AppliedRow, HeadRow};
use hansard_engine::catalog::{CatalogStore, Family, keys};
use hansard_engine::error::{Error, Result};
use hansard_engine::format::block::{Block, checksum};
use hansard_engine::format::pack::{PackMeta, pack_name};
use hansard_engine::format::record::Record;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::{from_bytes, to_bytes};
use hansard_engine::journal::scan::{Lost, Scan, check_witness, end_of, is_short, scan};
use hansard_engine::journal::{self, witness};
use hansard_engine::pack::{self, read_runs};
use hansard_engine::storage::map::MappedFile;
use hansard_engine::storage::{Mode, join};
use hansard_engine::types::{Lsn, Rev, RoomId, Seq};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::DAMAGE;
use crate::open::Directory;

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
    /// Bytes read.
    pub bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened.
pub(crate) fn run(path: &Path, json: bool) -> Result<u8> {
    let report = verify(path)?;
    if json {
        println!("{}", serde_json::to_string(&report).unwrap_or_default());
    } else {
        for found in &report.damage {
            let Finding { file, offset, bytes, reason, .. } = found;
            let room = found.room.as_deref().unwrap_or("-");
            let (from, to) = (found.from_seq.unwrap_or(0), found.to_seq.unwrap_or(0));
            println!(
                "damage file={file} offset={offset} bytes={bytes} room={room} \
                 seq={from}..{to}: {reason}"
            );
        }
        let Report { packs, blocks, records, bytes, .. } = report;
        println!("read {packs} packs, {blocks} blocks, {records} records, {bytes} bytes");
        println!("{}", if report.ok { "ok" } else { "damaged" });
    }
    Ok(if report.ok { 0 } else { DAMAGE })
}

/// Checks the directory at `path`.
///
/// # Errors
/// What keeps it from being opened; damage is not an error but a finding.
pub fn verify(path: &Path) -> Result<Report> {
    let directory = Directory::open(path)?;
    let mut check = Check { directory: &directory, report: Report::default() };
    check.manifest();
    let applied = check.catalog_position();
    check.packs();
    check.journal(applied.as_ref())?;
    check.report.ok = check.report.damage.is_empty();
    Ok(check.report)
}

struct Check<'a> {
    directory: &'a Directory,
    report: Report,
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

impl Check<'_> {
    fn add(&mut self, found: Finding) {
        self.report.damage.push(found);
    }

    fn add_error(&mut self, error: &Error, file: &Path) {
        let found = match error {
            Error::Corrupt { what, file, offset, .. } => finding(file, *offset, 0, *what),
            other => finding(file, 0, 0, other.to_string()),
        };
        self.add(found);
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

    fn packs(&mut self) {
        let metas: Vec<PackMeta> = self.directory.manifest.state.packs.values().cloned().collect();
        for meta in metas {
            let name = join(pack::DIR, &pack_name(meta.id));
            if let Err(error) = self.pack(&meta, &name) {
                self.add_error(&error, &self.directory.disk.full(&name));
            }
        }
    }

    fn pack(&mut self, meta: &PackMeta, name: &str) -> Result<()> {
        let path = self.directory.disk.full(name);
        let map = MappedFile::open(&path)?;
        let bytes = map.bytes();
        self.report.packs += 1;
        self.report.bytes += bytes.len() as u64;
        if bytes.len() as u64 != meta.bytes {
            let text = format!("pack length expected={} found={}", meta.bytes, bytes.len());
            self.add(finding(&path, 0, bytes.len() as u64, text));
        }
        let before = self.report.damage.len();
        let runs = read_runs(&self.directory.disk.open(name, Mode::Read)?, meta.id)?;
        for run in &runs {
            self.run(&path, bytes, run);
        }
        // Whatever lies between the blocks is covered by the digest of the whole only.
        let digest = Sha256::digest(bytes);
        if digest[..] != meta.sha256[..] && self.report.damage.len() == before {
            self.add(finding(&path, 0, bytes.len() as u64, "pack digest mismatch"));
        }
        Ok(())
    }

    fn run(&mut self, path: &Path, bytes: &[u8], run: &Run) {
        self.catalog_run(path, run);
        let mut rev = run.first_rev;
        let mut seq = run.seq_base;
        for (index, fence) in run.blocks.iter().enumerate() {
            self.report.blocks += 1;
            let damage = |reason: &str| Finding {
                room: Some(run.room.to_string()),
                from_seq: Some(fence.seq_base.0 + 1),
                to_seq: Some(run.block_last_seq(index).0),
                ..finding(path, fence.offset, u64::from(fence.bytes), reason)
            };
            if fence.first_rev != rev || fence.seq_base != seq {
                self.add(damage("run index does not follow itself"));
            }
            let start = usize::try_from(fence.offset).unwrap_or(usize::MAX);
            let block = bytes.get(start..start.saturating_add(fence.bytes as usize));
            let checked = match block {
                None => Err("block is outside the pack"),
                Some(block) if checksum(block) != fence.crc => Err("block checksum mismatch"),
                Some(block) => Block::decode(block).map_err(|e| e.what),
            };
            match checked
                .and_then(|block| self.records(&block, run, fence.first_rev, fence.seq_base))
            {
                Ok((last_rev, last_seq)) => {
                    if last_rev != run.block_last_rev(index)
                        || last_seq != run.block_last_seq(index)
                    {
                        self.add(damage("run index does not agree with its block"));
                    }
                }
                Err(reason) => self.add(damage(reason)),
            }
            rev = run.block_last_rev(index).next();
            seq = run.block_last_seq(index);
        }
    }

    /// Every record of a block: of this room, dense in rev and seq.
    fn records(
        &mut self,
        block: &Block,
        run: &Run,
        first_rev: Rev,
        seq_base: Seq,
    ) -> std::result::Result<(Rev, Seq), &'static str> {
        let mut rev = Rev(first_rev.0.saturating_sub(1));
        let mut seq = seq_base;
        for at in 0..block.len() {
            let bytes = block.record(at).ok_or("block record")?;
            let record = Record::from_bytes(&bytes).map_err(|e| e.what)?;
            self.report.records += 1;
            rev = rev.next();
            if record.seq > Seq::ZERO {
                seq = seq.next();
                if record.seq != seq {
                    return Err("record seq is not the next");
                }
            }
            if record.room != run.room || record.rev != rev {
                return Err("record is not of this room or not the next");
            }
            if record.lsn < run.first_lsn || record.lsn > run.last_lsn {
                return Err("record lsn is outside its run");
            }
        }
        Ok((rev, seq))
    }

    /// The catalog's row of a run says what the pack says.
    fn catalog_run(&mut self, path: &Path, run: &Run) {
        let Ok(catalog) = self.directory.catalog() else { return };
        let indexed = catalog.get(Family::Index, &keys::pack_indexed(run.pack));
        // Rows that a crash took away are written again at the next start.
        if !matches!(indexed, Ok(Some(_))) {
            return;
        }
        let row = catalog.get(Family::Index, &keys::run(run.room, run.first_rev));
        if !matches!(row, Ok(Some(row)) if row == to_bytes(run)) {
            let found = Finding {
                room: Some(run.room.to_string()),
                from_seq: Some(run.seq_base.0 + 1),
                to_seq: Some(run.last_seq.0),
                ..finding(path, 0, 0, "catalog row does not agree with the run index")
            };
            self.add(found);
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
        if let (Ok(catalog), Some(applied)) = (self.directory.catalog(), applied) {
            self.journal_against_catalog(catalog, &found, applied.lsn)?;
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
                    let row = catalog.get(Family::State, &keys::head(entry.room)).ok().flatten();
                    row.and_then(|r| from_bytes(&r, "head").ok()).unwrap_or(HeadRow::EMPTY)
                });
                if head.rev < entry.rev || head.seq < entry.seq {
                    let found = named("room head is behind an applied record");
                    self.add(found);
                }
                let event = catalog.get(Family::Compliance, &keys::event(slot.lsn))?;
                let wrong = match event {
                    Some(event) => event[..] != bytes[..],
                    // Records from before compliance was turned on have none.
                    None => compliance && self.turned_on_before(catalog, slot.lsn)?,
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
        catalog.range(
            Family::Compliance,
            &[],
            &[u8::MAX; 9],
            hansard_engine::catalog::Walk::Up,
            &mut |key, _| {
                first = Some(Lsn(keys::number_at(key, 0)));
                Ok(hansard_engine::catalog::Go::Stop)
            },
        )?;
        Ok(first.is_some_and(|first| first < lsn))
    }
}
