//! Reading records again: into the tails what no pack holds, into the catalog what it lacks.
//!
//! It decides nothing: what is lost and what is cut was judged before.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Findings;
use super::packs::PackLog;
use crate::apply::Applier;
use crate::catalog::rows::HeadRow;
use crate::engine::OpenReport;
use crate::error::Result;
use crate::format::frame::DirEntry;
use crate::format::payload::{Lost as LostPayload, Payload};
use crate::format::record::Record;
use crate::history::decode_record;
use crate::journal::scan::FoundFrame;
use crate::open::system_actor;
use crate::pack::Packs;
use crate::tail::{TailEntry, Tails};
use crate::types::{Lsn, RoomId, Seq};

/// Reads records again: into the tails what no pack holds, into the catalog what it lacks.
pub(crate) struct Replay<'a> {
    pub tails: &'a Tails,
    pub applier: &'a mut Applier,
    pub sealed: Lsn,
    pub report: &'a mut OpenReport,
    /// Records before the first one of their room that says where in the timeline it stands.
    pub waiting: BTreeMap<RoomId, Vec<TailEntry>>,
}

impl Replay<'_> {
    /// Applies what the catalog lacks and only packs still have.
    pub fn packs(&mut self, packs: &Packs, findings: &Findings) -> Result<()> {
        let Some(survey) = &findings.from_packs else { return Ok(()) };
        let (after, upto) = (findings.applied, findings.floor);
        tracing::warn!(%after, %upto, "catalog is behind the packs and is rebuilt from them");
        self.applier.prepare(&survey.dropped, &survey.salts)?;
        let metas = findings.manifest.state.packs.values();
        for (record, bytes) in PackLog::new(packs, metas, after, upto) {
            self.applier.apply(&record, &bytes)?;
            self.report.rebuilt += 1;
            self.applier.commit_if_full()?;
        }
        for (room, least) in &survey.heads {
            self.applier.raise_head(*room, least)?;
        }
        if survey.only_messages {
            for span in &survey.missing {
                let lost = (span.last.0 - span.first.0).saturating_add(1);
                self.report.lost_messages = self.report.lost_messages.saturating_add(lost);
            }
        }
        self.applier.skip_to(upto);
        self.applier.commit()?;
        Ok(())
    }

    pub fn all(&mut self, frames: &[FoundFrame], floor: Lsn) -> Result<()> {
        for frame in frames {
            for slot in frame.slots.iter().flatten().filter(|s| s.lsn > floor) {
                let record = match slot.fault {
                    None => decode_record(&frame.record(slot))?,
                    Some(_) if slot.entry.kind.opens_no_door() => {
                        let is_message = slot.entry.kind.is_message();
                        self.report.lost_messages += u64::from(is_message);
                        lost_record(frame, slot.lsn, &slot.entry)
                    }
                    // Its loss was accepted.
                    Some(_) => continue,
                };
                self.one(&record, frame.record(slot), slot.fault.is_some())?;
                self.applier.commit_if_full()?;
            }
        }
        self.release_all()
    }

    fn one(&mut self, record: &Record, bytes: Bytes, lost: bool) -> Result<()> {
        // Behind the frame's buffer stands a whole frame; a tail keeps only its own bytes.
        let bytes =
            if lost { Bytes::from(record.to_bytes()) } else { Bytes::copy_from_slice(&bytes) };
        self.report.replayed += 1;
        // An entry says itself where it stands; for others the catalog is asked before it has them.
        let head = match record.seq {
            Seq::ZERO => self.applier.head(record.room)?,
            _ => HeadRow::EMPTY,
        };
        self.applier.apply(record, &bytes)?;
        if lost {
            self.applier.note_lost(record);
        }
        if record.lsn > self.sealed {
            self.keep(record, bytes, &head);
        }
        Ok(())
    }

    /// Puts a record that no pack holds into its room's tail. A record without a place in the
    /// timeline stands behind that of the one before it, and where that is in a pack or lost,
    /// before that of the next: what is lost may have taken places.
    /// `head` is the room's as the catalog had it before a record without a place.
    fn keep(&mut self, record: &Record, bytes: Bytes, head: &HeadRow) {
        let room = record.room;
        let seq_at = if record.seq > Seq::ZERO {
            self.release(room, Seq(record.seq.0 - 1));
            Some(record.seq)
        } else {
            self.seq_before(record, head)
        };
        let entry = TailEntry {
            lsn: record.lsn,
            rev: record.rev,
            seq_at: seq_at.unwrap_or_default(),
            time_at: record.time,
            kind: record.payload.kind(),
            bytes,
            words: 0,
        };
        match seq_at {
            Some(_) => self.tails.push(room, entry),
            // What is between is still to come here, or lost.
            None => self.waiting.entry(room).or_default().push(entry),
        }
    }

    /// The place in the timeline behind which a record without one stands, if that is known.
    fn seq_before(&self, record: &Record, head: &HeadRow) -> Option<Seq> {
        let follows = |before: &HeadRow| before.rev.next() == record.rev;
        if self.waiting.contains_key(&record.room) {
            return None;
        }
        match self.tails.head(record.room) {
            Some(tail) => follows(&tail).then_some(tail.seq),
            None => follows(head).then_some(head.seq),
        }
    }

    /// The records of a room that waited stand behind this place.
    fn release(&mut self, room: RoomId, seq_at: Seq) {
        for entry in self.waiting.remove(&room).into_iter().flatten() {
            self.tails.push(room, TailEntry { seq_at, ..entry });
        }
    }

    /// Whoever still waits stands behind the room's last entry.
    fn release_all(&mut self) -> Result<()> {
        while let Some(room) = self.waiting.keys().next().copied() {
            let head = self.applier.head(room)?;
            self.release(room, head.seq);
        }
        Ok(())
    }
}

/// What stands in for a record whose bytes are damaged and whose loss opens no door: its place is
/// known, its content is gone.
fn lost_record(frame: &FoundFrame, lsn: Lsn, entry: &DirEntry) -> Record {
    Record {
        epoch: frame.header.epoch,
        lsn,
        recorded: frame.header.recorded,
        time: frame.header.recorded,
        room: entry.room,
        seq: entry.seq,
        rev: entry.rev,
        actor: system_actor(),
        policy: Lsn::ZERO,
        idempotency: None,
        payload: Payload::Lost(LostPayload { kind: u64::from(entry.kind.code()) }),
    }
}
