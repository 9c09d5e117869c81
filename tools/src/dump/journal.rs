//! What the journal holds above the sealed place, by room and in the order of the log.
//!
//! It judges as a start does, and writes nothing. Frames stay in memory as the scan gives them:
//! the journal's bytes are bounded, and so is this.
//!
//! INVARIANT: a place above the sealed one that a promise covers is a record or a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use hansard_engine::apply::applied_row;
use hansard_engine::error::{Error, Result};
use hansard_engine::format::frame::RecordSlot;
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::journal::scan::{
    Damage, FoundFrame, Lost, Scan, check_witness, end_of, is_short, scan,
};
use hansard_engine::journal::{self, file_name, witness};
use hansard_engine::storage::join;
use hansard_engine::types::{CategoryId, Lsn, Rev, RoomId, Seq};

use super::follow::{Follow, Found, Times};
use super::out::{Gap, Out, Place, Step};
use crate::open::Directory;

/// Records decoded at once.
const CHUNK: usize = 256;

/// The journal.
pub(crate) struct Journal {
    found: Scan,
    sealed: Lsn,
    applied: Lsn,
    /// The frame and the slot of each record above the sealed place, by room.
    rooms: BTreeMap<RoomId, Vec<(usize, usize)>>,
    /// Places of the log that are lost and nothing says what stood there, in order.
    gaps: Vec<(Lsn, Gap)>,
    /// The scan does not reach back to what the catalog has applied.
    pub behind: bool,
    /// What is damaged, for people.
    pub said: Vec<String>,
}

impl Journal {
    /// Reads it.
    ///
    /// # Errors
    /// `Io`; damage is not an error.
    pub(crate) fn read(directory: &Directory) -> Result<Self> {
        let disk = &directory.disk;
        let sealed = directory.manifest.state.sealed;
        let row = directory.catalog().and_then(applied_row).ok();
        let applied = row.as_ref().map_or(sealed, |row| row.lsn);
        let stated = witness::read(disk)?.newest.map_or(Lsn::ZERO, |newest| newest.lsn);
        let (mut floor, witness) = (sealed.min(applied), sealed.max(applied).max(stated));
        let mut found = scan(disk, floor, witness)?;
        let behind = applied < sealed && is_short(&found, sealed);
        if behind {
            // The catalog is behind the packs: the next start rebuilds it from them.
            floor = sealed;
            found = scan(disk, floor, witness)?;
        }
        let (mut gaps, mut said) = (Vec::new(), Vec::new());
        for damage in &found.damage {
            let Damage { file, offset, bytes, reason, lost } = damage;
            said.push(format!(
                "damage file={file:?} offset={offset} bytes={bytes} reason={reason:?}"
            ));
            if let Lost::Unknown(first, last) = lost
                && *last > sealed
            {
                let first = (*first).max(sealed.next());
                let gap = Gap::new(*reason, Some(place(file, *offset)));
                gaps.push((first, gap.lsns((first.0, last.0))));
            }
        }
        let end = end_of(&found, floor, sealed, directory.manifest.state.epoch);
        if let Err(Error::Corrupt { what, .. }) = check_witness(disk, end, witness) {
            let gap = Gap::new(what, Some(Place { file: journal::DIR.to_owned(), offset: 0 }));
            gaps.push((end.next_lsn, gap.lsns((end.next_lsn.0, witness.0))));
        }
        if let Some(row) = row.filter(|row| row.sealed > sealed && is_short(&found, row.sealed)) {
            let what = "manifest ends before a seal that the catalog knows";
            let gap = Gap::new(what, Some(Place { file: "MANIFEST".to_owned(), offset: 0 }));
            gaps.push((sealed.next(), gap.lsns((sealed.0.saturating_add(1), row.sealed.0))));
        }
        gaps.sort_by_key(|(first, _)| *first);
        let mut rooms: BTreeMap<RoomId, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, frame) in found.frames.iter().enumerate() {
            for (nth, slot) in frame.slots.iter().flatten().enumerate() {
                if slot.lsn > sealed {
                    rooms.entry(slot.entry.room).or_default().push((at, nth));
                }
            }
        }
        Ok(Self { found, sealed, applied, rooms, gaps, behind, said })
    }

    /// Something in it is not what was written, be it that no record is lost.
    pub(super) fn is_damaged(&self) -> bool {
        !self.found.damage.is_empty() || !self.gaps.is_empty()
    }

    /// The rooms of which it holds something.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = RoomId> + '_ {
        self.rooms.keys().copied()
    }

    /// The records of a room from one on, in order; none where one cannot be read.
    pub(crate) fn records(
        &self,
        room: RoomId,
        from: Rev,
    ) -> impl Iterator<Item = (Rev, Option<Record>)> + '_ {
        let places = self.rooms.get(&room).map(Vec::as_slice).unwrap_or_default();
        let before = |at: &(usize, usize)| self.at(*at).is_some_and(|(_, s)| s.entry.rev < from);
        let places = places.get(places.partition_point(before)..).unwrap_or_default();
        places.iter().filter_map(|at| self.at(*at)).map(|(frame, slot)| {
            let Found { rev, record, .. } = found(frame, slot);
            (rev, record.ok())
        })
    }

    /// Which rooms are in these categories now, given those that the catalog says are.
    pub(super) fn moved(&self, categories: &[CategoryId], rooms: &mut BTreeSet<RoomId>) {
        let slots = self
            .found
            .frames
            .iter()
            .flat_map(|frame| frame.slots.iter().flatten().map(move |slot| (frame, slot)));
        for (frame, slot) in slots {
            if slot.lsn <= self.applied || slot.fault.is_some() {
                continue;
            }
            let Ok(record) = Record::from_bytes(&frame.record(slot)) else { continue };
            let now = match &record.payload {
                Payload::RoomCreated(created) => created.settings.category,
                Payload::RoomChanged(changed) => changed.settings.category,
                _ => continue,
            };
            if categories.contains(&now) {
                rooms.insert(record.room);
            } else {
                rooms.remove(&record.room);
            }
        }
    }

    fn at(&self, (frame, slot): (usize, usize)) -> Option<(&FoundFrame, &RecordSlot)> {
        let frame = self.found.frames.get(frame)?;
        frame.slots.as_ref()?.get(slot).map(|slot| (frame, slot))
    }

    /// Gives the records of a room.
    pub(super) fn give<W: Write>(
        &self,
        room: RoomId,
        follow: &mut Follow,
        out: &mut Out<W>,
    ) -> Step {
        let Some(places) = self.rooms.get(&room) else { return Ok(()) };
        for (nth, chunk) in places.chunks(CHUNK).enumerate() {
            let list: Vec<Found> =
                chunk.iter().filter_map(|at| self.at(*at)).map(|(f, s)| found(f, s)).collect();
            let rest = places.get((nth + 1) * CHUNK..).unwrap_or_default();
            let seqs = rest.iter().filter_map(|at| self.at(*at)).map(|(_, slot)| slot.entry.seq);
            let next = seqs.into_iter().find(|seq| *seq > Seq::ZERO);
            follow.take(&list, next.map(|seq| Seq(seq.0 - 1)), out)?;
        }
        Ok(())
    }

    /// Names the places of the log that are lost.
    pub(super) fn give_gaps<W: Write>(&self, out: &mut Out<W>) -> Step {
        self.gaps.iter().try_for_each(|(_, gap)| out.gap(gap))
    }

    /// Gives everything in the order of the log.
    pub(super) fn give_all<W: Write>(
        &self,
        wanted: impl Fn(RoomId) -> bool,
        times: Times,
        out: &mut Out<W>,
    ) -> Step {
        let mut gaps = self.gaps.iter().peekable();
        for frame in &self.found.frames {
            for slot in frame.slots.iter().flatten() {
                while let Some((_, gap)) = gaps.next_if(|(first, _)| *first <= slot.lsn) {
                    out.gap(gap)?;
                }
                if slot.lsn <= self.sealed || !wanted(slot.entry.room) {
                    continue;
                }
                let Found { record, place, .. } = found(frame, slot);
                match record {
                    Ok(record) if times.has(record.time) => out.record(&record)?,
                    Ok(_) => {}
                    Err(reason) => {
                        let (rev, seq, lsn) = (slot.entry.rev.0, slot.entry.seq.0, slot.lsn.0);
                        let gap = Gap::new(reason, Some(place)).room(slot.entry.room);
                        let gap = gap.revs((rev, rev)).lsns((lsn, lsn));
                        out.gap(&if seq > 0 { gap.seqs((seq, seq)) } else { gap })?;
                    }
                }
            }
        }
        gaps.try_for_each(|(_, gap)| out.gap(gap))
    }
}

/// A place as a gap names it: below the data directory.
fn place(file: &Path, offset: u64) -> Place {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    Place { file: join(journal::DIR, &name), offset }
}

/// What stands in a slot.
fn found(frame: &FoundFrame, slot: &RecordSlot) -> Found {
    let entry = &slot.entry;
    let record = match (slot.fault, Record::from_bytes(&frame.record(slot))) {
        (Some(_), _) => Err("record checksum mismatch".to_owned()),
        (None, Ok(record)) if record.room == entry.room && record.rev == entry.rev => Ok(record),
        (None, Ok(_)) => Err("record is not the one that its frame names".to_owned()),
        (None, Err(wrong)) => Err(wrong.what.to_owned()),
    };
    let offset = frame.header.offset.saturating_add(slot.start as u64);
    let place = Place { file: join(journal::DIR, &file_name(frame.file)), offset };
    Found { rev: entry.rev, seq: Some(entry.seq), record, place }
}
