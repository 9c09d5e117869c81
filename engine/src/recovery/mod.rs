//! Recovery: what a directory holds, judged before anything is written.
//!
//! Manifest, catalog, witness and journal each say how far the log must at least reach. From them
//! follows what was torn and is cut, what is damaged and is named, what the catalog lacks and where
//! it is read again. `find` reads and judges; `replay` applies; `mend` makes good on the disk.
//!
//! INVARIANT: a lost record that may have closed a door is among the holes.

pub(crate) mod mend;
pub(crate) mod packs;
pub(crate) mod replay;

use std::collections::BTreeSet;

use crate::apply::{applied_row, decode_row};
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::cover::Cover;
use crate::error::{Error, Result};
use crate::format::payload::{Kind, LsnSpan, Payload};
use crate::history::decode_record;
use crate::journal::EndMark;
use crate::journal::scan::{
    Damage, FoundFrame, Lost, Scan, check_witness, end_of, is_short, scan as scan_journal,
};
use crate::journal::witness::{self, WitnessRead};
use crate::manifest;
use crate::open::{Ground, Losses};
use crate::pack::Packs;
use crate::remembered::kept_on_disk;
use crate::spans::without;
use crate::types::{Lsn, TimeUs};
use packs::{Survey, survey};

/// What recovery read before it writes anything.
pub(crate) struct Findings {
    pub scan: Scan,
    pub end: EndMark,
    pub manifest: manifest::Loaded,
    pub witness: WitnessRead,
    /// Up to where the catalog lacks nothing, idempotency keys included.
    pub applied: Lsn,
    /// Records at or below stand in packs and in the catalog, or will after `from_packs`.
    pub floor: Lsn,
    /// What the catalog lacks and the journal no longer has.
    pub from_packs: Option<Survey>,
    pub last_recorded: TimeUs,
    pub holes: Vec<LsnSpan>,
    /// Losses were accepted, now or before.
    pub accepted: bool,
    /// The catalog has rows of packs that were merged away.
    pub stale_rows: bool,
}

pub(crate) fn find(ground: &Ground, losses: Losses) -> Result<Findings> {
    let manifest = manifest::load(&ground.disk)?;
    let row = applied_row(&*ground.store)?;
    let sealed = manifest.state.sealed;
    if row.sealed > sealed {
        let file = ground.disk.full(manifest::FILE);
        let what = "manifest ends before a seal that the catalog knows";
        return Err(Error::corrupt(what, &file, manifest.end, row.sealed.0, sealed.0));
    }
    let stale_rows = check_packs(ground, &manifest)?;
    let stated = witness::read(&ground.disk)?;
    let newest = stated.newest.unwrap_or_default();
    let witness = sealed.max(row.lsn).max(newest.lsn);
    // Of records behind it that the catalog has applied it may lack the keys.
    let applied = kept_on_disk(&*ground.store)?.unwrap_or(row.lsn).min(row.lsn);
    let mut floor = sealed.min(applied);
    let mut scan = scan_journal(&ground.disk, floor, witness)?;
    let mut from_packs = None;
    if applied < sealed && is_short(&scan, sealed) {
        // The journal no longer has what the catalog lacks; the packs do.
        floor = sealed;
        scan = scan_journal(&ground.disk, floor, witness)?;
        let packs = Packs::aside(&ground.disk);
        let after = row.lsn.min(sealed);
        from_packs = Some(survey(&packs, manifest.state.packs.values(), after, sealed));
    }
    let mut accepted = accepted_spans(&*ground.store, &scan.frames)?;
    let mut holes: Vec<LsnSpan> = scan.damage.iter().filter_map(span_of).collect();
    // A start that was to accept them may have ended before it could.
    walk_prefix(&*ground.store, Family::State, b"g", &mut |_, value| {
        holes.push(decode_row(value, "open hole")?);
        Ok(Go::On)
    })?;
    if let Some(survey) = &from_packs {
        accepted.extend(survey.accepted.iter().cloned());
        if !survey.only_messages {
            holes.extend(survey.missing.iter().cloned());
        }
    }
    let mut end = end_of(&scan, floor, sealed, manifest.state.epoch);
    if losses == Losses::Restrict {
        check_witness(&ground.disk, end, witness)?;
    } else if end.next_lsn <= witness {
        holes.push(LsnSpan { first: end.next_lsn, last: witness });
        end.next_lsn = witness.next();
    }
    end.incarnation = end.incarnation.max(newest.incarnation);
    let holes = without(&holes, &accepted);
    let accepted = !accepted.is_empty() || losses == Losses::Accept;
    // A place that is accepted as lost is never given again.
    if let Some(last) = holes.iter().map(|hole| hole.last).max() {
        end.next_lsn = end.next_lsn.max(last.next());
    }
    let newest = scan.frames.last().map_or(TimeUs::MIN, |f| f.header.recorded);
    let last_recorded = row.recorded.max(newest);
    Ok(Findings {
        scan,
        end,
        manifest,
        witness: stated,
        applied,
        floor,
        from_packs,
        last_recorded,
        holes,
        accepted,
        stale_rows,
    })
}

/// A pack whose rows the catalog has was in the manifest when they were written. True if one is no
/// longer because a merge took it out, and its rows are still there: then other packs have all of
/// its records, or the manifest is an older one that was put back.
fn check_packs(ground: &Ground, manifest: &manifest::Loaded) -> Result<bool> {
    let (state, store) = (&manifest.state, &*ground.store);
    let lacks = |id: u64| {
        let file = ground.disk.full(manifest::FILE);
        let what = "manifest lacks a pack that the catalog knows";
        Error::corrupt(what, &file, manifest.end, id, state.next_pack)
    };
    let (mut stale, mut indexed) = (false, BTreeSet::new());
    walk_prefix(store, Family::Index, b"P", &mut |key, _| {
        let id = keys::number_at(key, 1);
        match state.packs.contains_key(&id) {
            true => drop(indexed.insert(id)),
            false if id >= state.next_pack => return Err(lacks(id)),
            false => stale = true,
        }
        Ok(Go::On)
    })?;
    if stale {
        let packs = Packs::aside(&ground.disk);
        let mut cover = Cover::default();
        for meta in state.packs.values().filter(|meta| !indexed.contains(&meta.id)) {
            cover.add_pack(&packs, meta);
        }
        if let Some(run) = cover.first_bare(store, &state.packs)? {
            return Err(lacks(run.pack));
        }
    }
    Ok(stale)
}

/// The span a damage costs, unless it opens no door: messages whose places are known, and what only
/// proves others.
fn span_of(damage: &Damage) -> Option<LsnSpan> {
    match damage.lost {
        Lost::Nothing => None,
        Lost::Record(_, entry) if entry.kind.opens_no_door() => None,
        Lost::Record(lsn, _) => Some(LsnSpan { first: lsn, last: lsn }),
        Lost::Unknown(first, last) => Some(LsnSpan { first, last }),
    }
}

fn accepted_spans(store: &dyn CatalogStore, frames: &[FoundFrame]) -> Result<Vec<LsnSpan>> {
    let mut spans = Vec::new();
    walk_prefix(store, Family::State, b"l", &mut |_, value| {
        spans.push(decode_row(value, "accepted loss")?);
        Ok(Go::On)
    })?;
    for frame in frames {
        for slot in frame.slots.iter().flatten() {
            if slot.entry.kind == Kind::LossAccepted && slot.fault.is_none() {
                let record = decode_record(&frame.record(slot))?;
                if let Payload::LossAccepted(accepted) = record.payload {
                    spans.extend(accepted.holes);
                }
            }
        }
    }
    Ok(spans)
}

/// One line for each finding, at the level of what it costs.
pub(crate) fn report_damage(findings: &Findings) {
    if let Some((file, offset, bytes)) = &findings.scan.torn {
        tracing::warn!(?file, offset, bytes, "cut unfinished journal tail");
    }
    for damage in &findings.scan.damage {
        let Damage { file, offset, bytes, reason, lost } = damage;
        tracing::error!(?file, offset, bytes, reason, ?lost, "journal is damaged");
    }
}
