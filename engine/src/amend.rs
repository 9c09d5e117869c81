//! Edits, redactions and erasures, laid over what readers get.
//!
//! A change of an entry is a record of its own and never touches the entry's. One row per changed
//! entry names its newest edit, its redaction and its erasure; words stand in records only, so
//! whoever reads a changed entry reads the edit's record too. An erased entry is a gap, whether or
//! not its bytes have left the disk.
//!
//! INVARIANT: no read of a room or a category gives the words of a redacted or erased entry,
//! neither those that were said first nor those of an edit. Only `versions` gives those of a
//! redacted one, for callers who may see them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::apply::decode_row;
use crate::catalog::rows::AmendRow;
use crate::catalog::{Family, Go, Walk, keys, walk_prefix};
use crate::error::{Error, Result};
use crate::format::payload::Payload;
use crate::format::record::Record;
use crate::history::History;
use crate::reads::{self, Amendment, Anchor, CategoryEntry, Gap, GapReason, Versions};
use crate::types::{Rev, RoomId, Seq};

/// Takes the words out of an entry or an edit.
fn silence(record: &mut Record) {
    match &mut record.payload {
        Payload::Post(post) => post.body.clear(),
        Payload::Edited(edit) => edit.body.clear(),
        _ => {}
    }
}

/// What may be shown of an entry.
enum Said {
    Shown,
    Redacted(Box<Amendment>),
    Erased,
}

impl History {
    /// True if an entry of the room was edited or redacted.
    fn has_amended(&self, room: RoomId) -> Result<bool> {
        Ok(self.past(room)?.amended > 0)
    }

    fn amend_row(&self, room: RoomId, seq: Seq) -> Result<Option<AmendRow>> {
        let row = self.store.get(Family::State, &keys::amended(room, seq))?;
        row.map(|bytes| decode_row(&bytes, "amend row")).transpose()
    }

    /// The record of this rev; none if it is damaged.
    fn at_rev(&self, room: RoomId, rev: Rev) -> Result<Option<Record>> {
        let found = self.recorded(room, Rev(rev.0.saturating_sub(1)), 1)?;
        Ok(found.records.into_iter().find(|record| record.rev == rev))
    }

    fn amendment(&self, room: RoomId, seq: Seq, row: &AmendRow) -> Result<Amendment> {
        let redacted = row.is_redacted();
        let redaction = if redacted { self.at_rev(room, row.redacted)? } else { None };
        let edited = !redacted && row.edits > 0;
        let edit = if edited { self.at_rev(room, row.edited)? } else { None };
        let (changed, edits) = (row.changed, row.edits);
        Ok(Amendment { room, seq, changed, edits, edit, redacted, redaction })
    }

    /// Those of some rooms in which something was amended.
    fn amended_among(&self, rooms: impl Iterator<Item = RoomId>) -> Result<BTreeSet<RoomId>> {
        let mut amended = BTreeSet::new();
        for room in rooms.collect::<BTreeSet<_>>() {
            if self.has_amended(room)? {
                amended.insert(room);
            }
        }
        Ok(amended)
    }

    /// Lays edits and redactions over entries of rooms. An entry whose newest edit is damaged is
    /// taken out and named as a gap: what it says now is not known.
    pub(crate) fn amend(
        &self,
        records: &mut Vec<Record>,
        gaps: &mut Vec<Gap>,
    ) -> Result<Vec<Amendment>> {
        let rooms = self.amended_among(records.iter().map(|record| record.room))?;
        let mut amended = Vec::new();
        if rooms.is_empty() {
            return Ok(amended);
        }
        for mut record in std::mem::take(records) {
            let (room, seq) = (record.room, record.seq);
            let row = match rooms.contains(&room) {
                true => self.amend_row(room, seq)?,
                false => None,
            };
            let Some(row) = row else {
                records.push(record);
                continue;
            };
            if row.is_erased() {
                let reason = GapReason::Erased;
                gaps.push(Gap { room, from_seq: seq, to_seq: seq, reason });
                continue;
            }
            let amendment = self.amendment(room, seq, &row)?;
            match (&mut record.payload, amendment.edit.as_ref().map(|edit| &edit.payload)) {
                _ if amendment.redacted => silence(&mut record),
                (Payload::Post(post), Some(Payload::Edited(edit))) => {
                    post.body.clone_from(&edit.body);
                }
                _ => {
                    let reason = GapReason::Damaged;
                    gaps.push(Gap { room, from_seq: seq, to_seq: seq, reason });
                    continue;
                }
            }
            records.push(record);
            amended.push(amendment);
        }
        amended.sort_by_key(|amendment| (amendment.room, amendment.seq));
        Ok(amended)
    }

    /// As [`Self::amend`] for entries as bytes: only those of rooms in which something was amended
    /// are decoded.
    pub(crate) fn amend_bytes(
        &self,
        entries: &mut Vec<CategoryEntry>,
        gaps: &mut Vec<Gap>,
    ) -> Result<Vec<Amendment>> {
        let rooms = self.amended_among(entries.iter().map(|entry| entry.room))?;
        let mut amended = Vec::new();
        if rooms.is_empty() {
            return Ok(amended);
        }
        for found in std::mem::take(entries) {
            if !rooms.contains(&found.room) {
                entries.push(found);
                continue;
            }
            let CategoryEntry { room, time, entry } = found;
            let decoded = entry.record();
            let failed = |error: &Error| tracing::error!(%error, "record cannot be decoded");
            let mut record: Vec<Record> = decoded.inspect_err(failed).into_iter().collect();
            amended.extend(self.amend(&mut record, gaps)?);
            let entry = record.first().and_then(reads::Entry::of);
            entries.extend(entry.map(|entry| CategoryEntry { room, time, entry }));
        }
        amended.sort_by_key(|amendment: &Amendment| (amendment.room, amendment.seq));
        Ok(amended)
    }

    /// Tells gaps where something was erased from those where something is damaged.
    pub(crate) fn name_erased(&self, room: RoomId, gaps: &mut Vec<Gap>) -> Result<()> {
        if gaps.is_empty() || !self.has_amended(room)? {
            return Ok(());
        }
        for gap in std::mem::take(gaps) {
            if gap.reason != GapReason::Damaged {
                gaps.push(gap);
                continue;
            }
            let (from, to) =
                (keys::amended(room, gap.from_seq), keys::amended(room, gap.to_seq.next()));
            let mut next = gap.from_seq;
            self.store.range(Family::State, &from, &to, Walk::Up, &mut |key, value| {
                let row: AmendRow = decode_row(value, "amend row")?;
                if row.is_erased() {
                    let seq = Seq(keys::number_at(key, 9));
                    if next < seq {
                        gaps.push(Gap { from_seq: next, to_seq: Seq(seq.0 - 1), ..gap.clone() });
                    }
                    let reason = GapReason::Erased;
                    gaps.push(Gap { room, from_seq: seq, to_seq: seq, reason });
                    next = seq.next();
                }
                Ok(Go::On)
            })?;
            if next <= gap.to_seq {
                gaps.push(Gap { from_seq: next, ..gap });
            }
        }
        Ok(())
    }

    /// Takes the words of redacted entries out of a room's records, and erased ones wholly: the
    /// revs of these are added to `gone`.
    pub(crate) fn silence(
        &self,
        room: RoomId,
        records: &mut Vec<Record>,
        gone: &mut Vec<(Rev, Rev)>,
    ) -> Result<Vec<Amendment>> {
        let mut known: BTreeMap<Seq, Said> = BTreeMap::new();
        if !self.has_amended(room)? {
            return Ok(Vec::new());
        }
        for mut record in std::mem::take(records) {
            let seq = match &record.payload {
                Payload::Post(_) => Some(record.seq),
                Payload::Edited(edit) => Some(edit.seq),
                Payload::Redacted(redacted) => Some(redacted.seq),
                _ => None,
            };
            let said = match seq.map(|seq| (seq, known.entry(seq))) {
                None => None,
                Some((_, Entry::Occupied(known))) => Some(known.into_mut()),
                Some((seq, Entry::Vacant(new))) => Some(new.insert(self.said(room, seq)?)),
            };
            match said {
                Some(Said::Erased) => {
                    gone.push((record.rev, record.rev));
                    continue;
                }
                Some(Said::Redacted(_)) => silence(&mut record),
                _ => {}
            }
            records.push(record);
        }
        let redacted = known.into_values().filter_map(|said| match said {
            Said::Redacted(amendment) => Some(*amendment),
            _ => None,
        });
        Ok(redacted.collect())
    }

    fn said(&self, room: RoomId, seq: Seq) -> Result<Said> {
        Ok(match self.amend_row(room, seq)? {
            Some(row) if row.is_erased() => Said::Erased,
            Some(row) if row.is_redacted() => {
                Said::Redacted(Box::new(self.amendment(room, seq, &row)?))
            }
            _ => Said::Shown,
        })
    }

    /// All that an entry ever said; none if there is no such entry, or if it is damaged.
    pub(crate) fn versions(&self, room: RoomId, seq: Seq) -> Result<Option<Versions>> {
        let _view = self.views.newest();
        let page = self.page_as_said(room, Anchor::At(seq), 1)?;
        let Some(first) = page.records.into_iter().find(|record| record.seq == seq) else {
            return Ok(None);
        };
        let row = self.amend_row(room, seq)?.unwrap_or(AmendRow::NONE);
        if row.is_erased() {
            return Ok(None);
        }
        let mut revs = Vec::new();
        if row.edits > 0 {
            walk_prefix(&*self.store, Family::State, &keys::edits(room, seq), &mut |key, _| {
                revs.push(Rev(keys::number_at(key, 17)));
                Ok(Go::On)
            })?;
        }
        let mut versions = Versions { redacted: row.is_redacted(), ..Versions::default() };
        versions.records.push(first);
        for rev in revs {
            match self.at_rev(room, rev)? {
                Some(edit) => versions.records.push(edit),
                None => versions.damaged += 1,
            }
        }
        if versions.redacted {
            versions.redaction = self.at_rev(room, row.redacted)?;
        }
        Ok(Some(versions))
    }

    /// As [`Self::versions`], also of an entry that retention took, as far as the disk still has
    /// it: an erasure takes those words too.
    pub(crate) fn versions_on_disk(&self, room: RoomId, seq: Seq) -> Result<Option<Versions>> {
        if seq > self.past(room)?.floor {
            return self.versions(room, seq);
        }
        let _view = self.views.newest();
        if self.amend_row(room, seq)?.is_some_and(|row| row.is_erased()) {
            return Ok(None);
        }
        // The rows of its changes went when it expired.
        let (changes, damaged) = self.stored_changes(room, seq)?;
        let mut versions = Versions { damaged, ..Versions::default() };
        versions.records.extend(self.stored(room, seq)?);
        for change in changes {
            match change.payload {
                Payload::Redacted(_) => versions.redaction = Some(change),
                _ => versions.records.push(change),
            }
        }
        versions.redacted = versions.redaction.is_some();
        let none = versions.records.is_empty() && versions.redaction.is_none() && damaged == 0;
        Ok((!none).then_some(versions))
    }
}
