//! Reading records again: into the tails what no pack holds, into the catalog what it lacks.
//!
//! It decides nothing: what is lost and what is cut was judged before. A record of which the
//! catalog has everything is checked, but no value is made of it. INVARIANT: records come to tails
//! in the order of the log, whether or not a thread of its own puts them there.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;

use super::Findings;
use super::packs::PackLog;
use crate::apply::Applier;
use crate::catalog::rows::HeadRow;
use crate::engine::OpenReport;
use crate::error::Result;
use crate::format::frame::DirEntry;
use crate::format::payload::{Lost as LostPayload, Payload};
use crate::format::record::{Outline, Record};
use crate::history::{decode_outline, decode_record};
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
}

/// Records of a journal from which on a thread of its own puts them into tails: few where tests
/// run, so that they meet it.
const BESIDE_FROM: usize = if cfg!(debug_assertions) { 32 } else { 4096 };
/// Records that it is given at once.
const BATCH: usize = 512;
/// How often it may have been given some that it has not put away.
const BATCHES: usize = 4;

/// A record on its way into its room's tail.
struct Kept {
    outline: Outline,
    bytes: Bytes,
    /// The room's head as the catalog had it before a record without a place in the timeline.
    head: HeadRow,
}

/// Puts records into tails, in the order of the log.
struct Standing<'a> {
    tails: &'a Tails,
    /// Records before the first one of their room that says where in the timeline it stands.
    waiting: BTreeMap<RoomId, Vec<TailEntry>>,
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

    /// Applies what the catalog lacks of the journal's records behind `floor`, and puts into tails
    /// what no pack holds.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, or `Corrupt` of the catalog or of a record.
    pub fn all(&mut self, frames: &[FoundFrame], floor: Lsn) -> Result<()> {
        let slots = frames.iter().filter_map(|frame| frame.slots.as_ref()).flatten();
        let many = slots.filter(|slot| slot.lsn > floor).count() >= BESIDE_FROM;
        let beside =
            if many && !cfg!(feature = "shuttle") { self.beside(frames, floor)? } else { None };
        let mut standing = match beside {
            Some(standing) => standing,
            None => {
                let mut standing = Standing::of(self.tails);
                self.each(frames, floor, &mut |kept| standing.keep(kept))?;
                standing
            }
        };
        standing.release_all(self.applier)
    }

    /// Lets a thread of its own put records into tails while this one decodes and applies them; the
    /// two take about as long. Nothing is done if there is no thread to be had.
    fn beside<'t>(&mut self, frames: &[FoundFrame], floor: Lsn) -> Result<Option<Standing<'t>>>
    where
        Self: 't,
    {
        let (give, taken) = sync_channel::<Vec<Kept>>(BATCHES);
        let mut standing = Standing::of(self.tails);
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().name("hansard-replay".to_owned());
            let run = move || {
                taken.into_iter().flatten().for_each(|kept| standing.keep(kept));
                standing
            };
            let Ok(thread) = builder.spawn_scoped(scope, run) else { return Ok(None) };
            let mut batch = Vec::with_capacity(BATCH);
            let outcome = self.each(frames, floor, &mut |kept| {
                batch.push(kept);
                if batch.len() == BATCH {
                    // It takes whatever comes; if it does not, its end tells why.
                    let _ = give.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                }
            });
            let _ = give.send(batch);
            drop(give);
            let standing = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome.map(|()| Some(standing))
        })
    }

    fn each(
        &mut self,
        frames: &[FoundFrame],
        floor: Lsn,
        keep: &mut dyn FnMut(Kept),
    ) -> Result<()> {
        for frame in frames {
            let whole = is_mostly_records(frame);
            // Of what is applied only keys may be due, which ask for no row of a room.
            let applied = floor.max(self.applier.applied());
            let due = frame.slots.iter().flatten().filter(|slot| slot.lsn > applied);
            let rooms: Vec<RoomId> = due.map(|slot| slot.entry.room).collect();
            self.applier.read_rooms_ahead(rooms)?;
            let own = |bytes: Bytes| if whole { bytes } else { Bytes::copy_from_slice(&bytes) };
            for slot in frame.slots.iter().flatten().filter(|s| s.lsn > floor) {
                if slot.fault.is_none() && self.applier.has(slot.lsn) {
                    self.again(own(frame.record(slot)), keep)?;
                    continue;
                }
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
                let bytes = match slot.fault {
                    None => own(frame.record(slot)),
                    Some(_) => Bytes::from(record.to_bytes()),
                };
                self.one(&record, bytes, slot.fault.is_some(), keep)?;
                self.applier.commit_if_full()?;
            }
        }
        Ok(())
    }

    /// A record of which the catalog has everything: it is checked, and stands in tails.
    fn again(&mut self, bytes: Bytes, keep: &mut dyn FnMut(Kept)) -> Result<()> {
        self.report.replayed += 1;
        let outline = decode_outline(&bytes)?;
        if outline.lsn > self.sealed {
            let head = self.head_before(&outline)?;
            keep(Kept { outline, bytes, head });
        }
        Ok(())
    }

    fn one(
        &mut self,
        record: &Record,
        bytes: Bytes,
        lost: bool,
        keep: &mut dyn FnMut(Kept),
    ) -> Result<()> {
        self.report.replayed += 1;
        let outline = record.outline();
        let head = self.head_before(&outline)?;
        self.report.reapplied += u64::from(!self.applier.has(outline.lsn));
        self.applier.apply(record, &bytes)?;
        if lost {
            self.applier.note_lost(record);
        }
        if outline.lsn > self.sealed {
            keep(Kept { outline, bytes, head });
        }
        Ok(())
    }

    /// The head that the catalog has of a record's room. An entry says itself where it stands; for
    /// others the catalog is asked before it has them.
    fn head_before(&self, record: &Outline) -> Result<HeadRow> {
        match record.seq {
            Seq::ZERO => self.applier.head(record.room),
            _ => Ok(HeadRow::EMPTY),
        }
    }
}

impl<'a> Standing<'a> {
    const fn of(tails: &'a Tails) -> Self {
        Self { tails, waiting: BTreeMap::new() }
    }

    /// Puts a record that no pack holds into its room's tail. A record without a place in the
    /// timeline stands behind that of the one before it, and where that is in a pack or lost,
    /// before that of the next: what is lost may have taken places.
    fn keep(&mut self, Kept { outline: record, bytes, head }: Kept) {
        let room = record.room;
        let seq_at = if record.seq > Seq::ZERO {
            self.release(room, Seq(record.seq.0 - 1));
            Some(record.seq)
        } else {
            self.seq_before(&record, &head)
        };
        let entry = TailEntry {
            lsn: record.lsn,
            rev: record.rev,
            seq_at: seq_at.unwrap_or_default(),
            time_at: record.time,
            kind: record.kind,
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
    fn seq_before(&self, record: &Outline, head: &HeadRow) -> Option<Seq> {
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
    fn release_all(&mut self, applier: &Applier) -> Result<()> {
        while let Some(room) = self.waiting.keys().next().copied() {
            let head = applier.head(room)?;
            self.release(room, head.seq);
        }
        Ok(())
    }
}

/// True if a frame is not much more than the records in it: then tails hold it whole, and a third
/// more memory at most than they count. Of another one, padded to a sector, they take what is
/// theirs.
fn is_mostly_records(frame: &FoundFrame) -> bool {
    let records = frame.slots.iter().flatten().map(|slot| slot.entry.bytes as usize);
    records.sum::<usize>() / 3 * 4 >= frame.bytes.len()
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
