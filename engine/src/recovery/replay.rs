//! Reading records again: into the tails what no pack holds, into the catalog what it lacks.
//!
//! It decides nothing: what is lost and what is cut was judged before.

use bytes::Bytes;

use super::Findings;
use super::packs::PackLog;
use crate::apply::{Applier, decode_row};
use crate::catalog::Go;
use crate::catalog::{Family, keys, walk_prefix};
use crate::engine::OpenReport;
use crate::error::Result;
use crate::format::frame::DirEntry;
use crate::format::payload::{Lost as LostPayload, Payload};
use crate::format::record::Record;
use crate::history::decode_record;
use crate::journal::scan::FoundFrame;
use crate::limits;
use crate::open::system_actor;
use crate::pack::Packs;
use crate::tail::{TailEntry, Tails};
use crate::types::{Lsn, Seq};

/// Reads records again: into the tails what no pack holds, into the catalog what it lacks.
pub(crate) struct Replay<'a> {
    pub tails: &'a Tails,
    pub applier: &'a mut Applier,
    pub sealed: Lsn,
    pub report: &'a mut OpenReport,
}

impl Replay<'_> {
    /// Applies what the catalog lacks and only packs still have.
    pub fn packs(&mut self, packs: &Packs, findings: &Findings) -> Result<()> {
        let Some(survey) = &findings.from_packs else { return Ok(()) };
        let (after, upto) = (findings.applied, findings.floor);
        tracing::warn!(%after, %upto, "catalog is behind the packs and is rebuilt from them");
        let metas = findings.manifest.state.packs.values();
        for (n, (record, bytes)) in PackLog::new(packs, metas, after, upto).enumerate() {
            self.applier.apply(&record, &bytes)?;
            self.report.rebuilt += 1;
            if n % limits::FRAME_RECORDS_MAX == 0 {
                self.applier.commit()?;
            }
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
        let mut pending = 0;
        for frame in frames {
            for slot in frame.slots.iter().flatten().filter(|s| s.lsn > floor) {
                let record = match slot.fault {
                    None => decode_record(&frame.record(slot))?,
                    Some(_) if slot.entry.kind.is_message() => {
                        self.report.lost_messages += 1;
                        lost_record(frame, slot.lsn, &slot.entry)
                    }
                    // Its loss was accepted.
                    Some(_) => continue,
                };
                self.one(&record, frame.record(slot), slot.fault.is_some())?;
                pending += 1;
                if pending >= limits::FRAME_RECORDS_MAX {
                    self.applier.commit()?;
                    pending = 0;
                }
            }
        }
        Ok(())
    }

    fn one(&mut self, record: &Record, bytes: Bytes, lost: bool) -> Result<()> {
        // Behind the frame's buffer stands a whole frame; a tail keeps only its own bytes.
        let bytes =
            if lost { Bytes::from(record.to_bytes()) } else { Bytes::copy_from_slice(&bytes) };
        self.report.replayed += 1;
        self.applier.apply(record, &bytes)?;
        if lost {
            self.applier.note_lost(record);
        }
        if record.lsn > self.sealed {
            let seq_at = self.seq_at(record)?;
            self.tails.push(
                record.room,
                TailEntry {
                    lsn: record.lsn,
                    rev: record.rev,
                    seq_at,
                    time_at: record.time,
                    kind: record.payload.kind(),
                    bytes,
                },
            );
        }
        Ok(())
    }

    /// The room's seq after a record: its own, or that of what stands before it.
    fn seq_at(&self, record: &Record) -> Result<Seq> {
        if record.seq > Seq::ZERO {
            return Ok(record.seq);
        }
        if let Some(tail) = self.tails.head(record.room) {
            return Ok(tail.seq);
        }
        let head = self.applier.head(record.room)?;
        // The catalog may be ahead of this record; then every entry between is still to come here,
        // and the head minus those is what stands before.
        if head.rev == record.rev { Ok(head.seq) } else { self.sealed_seq(record) }
    }

    fn sealed_seq(&self, record: &Record) -> Result<Seq> {
        let mut last = Seq::ZERO;
        let store = self.applier.store();
        let prefix = keys::runs(record.room);
        walk_prefix(store, Family::Index, &prefix, &mut |_, value| {
            let run: crate::format::run::Run = decode_row(value, "run row")?;
            last = last.max(run.last_seq);
            Ok(Go::On)
        })?;
        Ok(last)
    }
}

/// What stands in for a message whose bytes are damaged: its place is known, its content is gone.
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
