//! `repair`: makes of a damaged directory one that opens, and says exactly what is lost.
//!
//! Packs and journal are the whole truth. Packs are made good from a copy, a lost manifest is
//! written again from the packs, the catalog is rebuilt by the engine. The journal is left to
//! recovery.
//!
//! INVARIANT: only bytes that a checksum of the original accepts are taken from anywhere, and a run
//! index of which the manifest says the same.

mod account;
pub(crate) mod catalog;
mod choose;
mod contents;
mod donor;
mod evidence;
mod heal;
mod journal;
mod report;
mod rooms;
mod target;
mod work;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hansard_engine::error::{Error, Result};
use hansard_engine::format::payload::LsnSpan;
use hansard_engine::manifest::{self, Loaded};
use hansard_engine::open::{LOCK, VERSION};
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Exclusive};
use hansard_engine::types::Lsn;
use hansard_engine::{Engine, Health, Options};

use self::account::{Losses, account};
use self::donor::Donor;
use self::evidence::{Version, prove_layout, share};
use self::report::{Healed, Report};
use self::target::{Target, real};
use self::work::Work;
use crate::open::CATALOG;
use crate::{COULD_NOT_RUN, DAMAGE, say, say_json};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub dir: &'a Path,
    pub from: Option<&'a Path>,
    /// Where the result goes; beside the original if it is not said.
    pub to: Option<&'a Path>,
    pub in_place: bool,
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// What keeps it from being done; what is lost is not an error but in the report.
pub(crate) fn run(wish: &Wish<'_>) -> Result<u8> {
    let report = match repair(wish) {
        // Damage is what it is for; this is of a kind that it cannot go round.
        Err(error @ Error::Corrupt { .. }) => {
            eprintln!("hansard-tool: {error}");
            return Ok(COULD_NOT_RUN);
        }
        done => done?,
    };
    if wish.json {
        say_json(&report)?;
    } else {
        say(&report.table())?;
    }
    Ok(if report.ok { 0 } else { DAMAGE })
}

fn repair(wish: &Wish<'_>) -> Result<Report> {
    let disk = Disk::new(Arc::new(RealStorage::new(wish.dir)));
    let version = prove_layout(&disk)?;
    if let Some(from) = wish.from.filter(|from| real(from) == real(wish.dir)) {
        let what = format!("the copy is the directory itself path={from:?}");
        return Err(Error::Invalid { what });
    }
    let lock = match wish.in_place {
        true => Some(disk.lock(LOCK, Exclusive::Yes)?),
        false => share(&disk)?,
    };
    let donor = wish.from.map(Donor::open).transpose()?;
    let manifest = match manifest::load(&disk) {
        Ok(loaded) => Some(loaded),
        Err(Error::Corrupt { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut target = match (wish.in_place, wish.to) {
        (true, _) => Target::in_place(&disk)?,
        (false, Some(to)) => Target::beside(&disk, to)?,
        (false, None) => Target::beside(&disk, &beside(wish.dir)?)?,
    };
    let mut report =
        Report { target: target.disk.root().display().to_string(), ..Report::default() };
    small_files(version, manifest.as_ref(), &mut report);
    let mut work = Work::new(&disk, &target.disk, donor.as_ref(), manifest.as_ref());
    let records = work.heal_all()?;
    let choice = work.choose(&records);
    let (sealed, epoch) = (choice.state.sealed, choice.state.epoch);
    let mut live = journal::live(&disk, sealed, epoch, Lsn::ZERO)?;
    if let (true, Some(told)) = (live.is_damaged(), work.told()) {
        live = journal::live(&disk, sealed, epoch, told.applied)?;
    }
    let small = report.healed.len();
    let lost = work.report(&choice, &records, &mut report);
    let plan = work.plan(&choice, live.short)?;
    let runs = work.into_runs();
    if !plan.keep_catalog {
        report.healed.insert(small, Healed::file(CATALOG, 0, 0, "packs and journal"));
    }
    target.commit(&plan)?;
    report.quarantined = std::mem::take(&mut target.quarantined);
    if wish.in_place {
        // The engine takes it itself.
        drop(lock);
    }
    let opened = open(&target.disk, live.is_damaged() || !choice.again.is_empty())?;
    if wish.from.is_some() && !live.holes.is_empty() {
        let note = "holes of the journal are not filled from a copy by this version";
        report.notes.push(note.to_owned());
    }
    account(&target.disk, Losses { packs: lost, runs: &runs, live, opened }, &mut report)?;
    Ok(report)
}

/// Where the result goes unless it is said.
fn beside(dir: &Path) -> Result<PathBuf> {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let name = whole.file_name().filter(|_| !whole.ends_with(".."));
    let mut name = name
        .ok_or_else(|| Error::Invalid { what: format!("name the result with --to path={dir:?}") })?
        .to_os_string();
    name.push(".repaired");
    // As it was given, so that a relative path stays one.
    Ok(dir
        .parent()
        .filter(|_| dir.file_name().is_some())
        .map_or_else(|| whole.with_file_name(&name), |parent| parent.join(&name)))
}

/// What is always written anew, and why that was needed.
fn small_files(version: Version, manifest: Option<&Loaded>, report: &mut Report) {
    if version != Version::Sound {
        report.healed.push(Healed::file(VERSION, 0, 0, "what every other file states"));
    }
    match manifest {
        Some(loaded) => report.healed.extend(loaded.faults.iter().map(|fault| {
            let other = if fault.file == manifest::FILE { manifest::COPY } else { manifest::FILE };
            Healed::file(fault.file, fault.offset, 0, other)
        })),
        None => {
            let files = [manifest::FILE, manifest::COPY];
            report.healed.extend(files.map(|file| Healed::file(file, 0, 0, "packs and journal")));
        }
    }
}

/// How the engine found the result.
struct Opened {
    restricted: bool,
    holes: Vec<LsnSpan>,
}

/// Opens the result once, so that its catalog is built. What the journal gives in place of packs,
/// and what stands beside damage in it, is sealed.
fn open(disk: &Disk, seal: bool) -> Result<Opened> {
    let options = Options { disk_reserve_bytes: 0, ..Options::default() }.quiet();
    let (engine, report) = match Engine::open(disk.root(), options) {
        Ok(opened) => opened,
        // The log ends before something that was acknowledged: only accepting that opens it.
        Err(Error::Corrupt { .. }) => return Ok(Opened { restricted: true, holes: Vec::new() }),
        Err(error) => return Err(error),
    };
    let restricted = matches!(engine.health(), Health::Restricted { .. });
    let sealed = if seal && !restricted { engine.seal() } else { Ok(()) };
    engine.close()?;
    sealed?;
    Ok(Opened { restricted, holes: report.holes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_goes_beside_the_original() {
        let beside = |path: &str| super::beside(Path::new(path)).ok();
        assert_eq!(beside("/var/lib/data"), Some("/var/lib/data.repaired".into()));
        assert_eq!(beside("data/"), Some("data.repaired".into()));
        assert_eq!(beside("/"), None);
    }
}
