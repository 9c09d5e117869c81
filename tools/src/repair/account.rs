//! What is lost: exactly which rooms, which of their entries, and which places of the log.
//!
//! Told by the result itself, once it was opened: every record it can show, against the numbers
//! that stand around what is missing.
//!
//! INVARIANT: a place of the log that nothing holds is in the report, unless its loss was accepted.

use std::path::Path;

use hansard_engine::error::Result;
use hansard_engine::format::payload::LsnSpan;
use hansard_engine::format::run::Run;
use hansard_engine::spans::{union, without};
use hansard_engine::storage::Disk;
use hansard_engine::types::{Lsn, RoomId};
use hansard_engine::{journal as log, pack};

use super::Opened;
use super::journal::{Live, place};
use super::report::{Healed, Hole, Report};
use super::rooms::{self, Gap};
use super::work::LostPack;
use crate::open::Directory;
use crate::verify::{self, Collect, Depth, Finding, Show};

/// What is known of losses before the result is looked at.
pub(super) struct Losses<'a> {
    pub packs: Vec<LostPack>,
    /// What the old catalog says those held.
    pub runs: &'a [Run],
    pub live: Live,
    pub opened: Opened,
}

/// Checks the result, and says exactly what is lost.
pub(super) fn account(disk: &Disk, losses: Losses<'_>, report: &mut Report) -> Result<()> {
    let Losses { packs, runs, live, opened } = losses;
    let directory = Directory::open(disk.root())?;
    let (verified, mut seen) =
        verify::look(&directory, Depth::Records, Show::OnTerminal, Collect::Seen)?;
    let heads = directory.catalog().and_then(rooms::heads).unwrap_or_default();
    let Live { seen: replayed, lost: in_journal, holes, redundant, last, .. } = live;
    seen.absorb(replayed);
    let sealed = directory.manifest.state.sealed;
    let last = last.max(sealed).max(seen.lsns.last());
    let mut missing = seen.lsns.missing(Lsn(1), last);
    missing.extend(holes.into_iter().chain(opened.holes));
    let missing = without(&union(missing), &seen.accepted);
    let mut ranges = Vec::new();
    for LostPack { id, file, span, bytes, reason } in &packs {
        if span.is_none() && missing.is_empty() {
            // It is not known what it held, but nothing is missing.
            report.healed.push(Healed::file(file, 0, *bytes, "packs and journal"));
            continue;
        }
        report.lost.push(place(file, 0, *bytes, reason));
        for range in ranges_of(runs, *id) {
            report.lost.push(of_room(place(file, 0, *bytes, reason), range.0, range.1));
            ranges.push(range);
        }
    }
    for mut found in verified.damage {
        let within = Path::new(&found.file).strip_prefix(disk.root());
        found.file = within.map_or(found.file.clone(), |path| path.display().to_string());
        // What is lost as a whole was named above, and of a restricted directory the journal's
        // damage is below.
        let above = packs.iter().any(|pack| pack.file == found.file);
        let below = opened.restricted && found.file.starts_with(log::DIR);
        if !(above || below) {
            report.lost.push(found);
        }
    }
    report.lost.extend(in_journal);
    for gap in rooms::gaps(seen.spans, heads, &missing) {
        let is_told = |(room, seqs): &(RoomId, Option<(u64, u64)>)| {
            let meets = |(from, to), (first, last)| first <= to && last >= from;
            *room == gap.room && gap.seqs.is_none_or(|gap| seqs.is_some_and(|s| meets(gap, s)))
        };
        if !ranges.iter().any(is_told) {
            report.lost.push(in_room(&gap, &packs, &missing, sealed));
        }
    }
    for found in redundant {
        let healed = Healed::file(&found.file, found.offset, found.bytes, "journal");
        match opened.restricted {
            true => report.notes.push(format!("{} of {} is damaged", found.reason, found.file)),
            false => report.healed.push(healed),
        }
    }
    report.holes = missing.into_iter().map(Hole::from).collect();
    report.restricted = opened.restricted;
    report.ok = report.lost.is_empty() && report.holes.is_empty() && !report.restricted;
    Ok(())
}

/// A gap as a finding, in the pack that held it if that is known.
fn in_room(gap: &Gap, lost: &[LostPack], missing: &[LsnSpan], sealed: Lsn) -> Finding {
    let meets = |pack: &&LostPack| {
        let span = pack.span.as_ref();
        span.is_some_and(|span| span.first <= gap.lsns.last && span.last >= gap.lsns.first)
    };
    let of_pack = |hole: &LsnSpan| {
        hole.first <= sealed && hole.first <= gap.lsns.last && hole.last >= gap.lsns.first
    };
    let found = match lost.iter().find(meets) {
        Some(pack) => place(&pack.file, 0, pack.bytes, &pack.reason),
        None if missing.iter().any(of_pack) => {
            place(pack::DIR, 0, 0, "no pack holds these records")
        }
        None => place(log::DIR, 0, 0, "records are lost"),
    };
    of_room(found, gap.room, gap.seqs)
}

/// A finding as one of these entries of a room.
fn of_room(found: Finding, room: RoomId, seqs: Option<(u64, u64)>) -> Finding {
    Finding {
        room: Some(room.to_string()),
        from_seq: seqs.map(|seqs| seqs.0),
        to_seq: seqs.map(|seqs| seqs.1),
        ..found
    }
}

/// The rooms that a pack held a part of, and which entries.
fn ranges_of(runs: &[Run], pack: u64) -> Vec<(RoomId, Option<(u64, u64)>)> {
    let mut runs: Vec<&Run> = runs.iter().filter(|run| run.pack == pack).collect();
    runs.sort_by_key(|run| (run.room, run.seq_base));
    let mut ranges: Vec<(RoomId, Option<(u64, u64)>)> = Vec::new();
    for Run { room, seq_base, last_seq, .. } in runs {
        let seqs = (seq_base < last_seq).then_some((seq_base.0 + 1, last_seq.0));
        match ranges.last_mut().filter(|last| last.0 == *room) {
            Some((_, Some(last))) if seqs.is_none_or(|seqs| seqs.0 == last.1 + 1) => {
                last.1 = seqs.map_or(last.1, |seqs| seqs.1);
            }
            Some((_, last @ None)) => *last = seqs,
            _ => ranges.push((*room, seqs)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use hansard_engine::types::{CategoryId, Rev, Seq, TimeUs};

    use super::*;

    #[test]
    fn what_the_catalog_tells_of_a_pack_is_joined_by_room() {
        let told = |pack, room, seq_base, last_seq| Run {
            pack,
            room: RoomId(room),
            category: CategoryId(1),
            first_rev: Rev(seq_base + 1),
            last_rev: Rev(last_seq),
            seq_base: Seq(seq_base),
            last_seq: Seq(last_seq),
            first_time: TimeUs(0),
            last_time: TimeUs(0),
            first_lsn: Lsn(1),
            last_lsn: Lsn(1),
            amended_from: Seq::ZERO,
            amended_to: Seq::ZERO,
            blocks: Vec::new(),
            nodes: Vec::new(),
        };
        let list = [
            told(2, 70, 10, 20),
            told(2, 70, 0, 10),
            told(1, 70, 20, 30),
            told(2, 3, 0, 0),
            told(2, 3, 0, 0),
            told(2, 80, 5, 6),
            told(2, 80, 8, 9),
        ];
        let ranges = ranges_of(&list, 2);
        let expected = [(3, None), (70, Some((1, 20))), (80, Some((6, 6))), (80, Some((9, 9)))];
        assert_eq!(ranges, expected.map(|(room, seqs)| (RoomId(room), seqs)));
    }
}
