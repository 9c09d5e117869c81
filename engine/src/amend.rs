//! Edits and redactions, laid over what readers get.
//!
//! A change of an entry is a record of its own and never touches the entry's. One row per changed
//! entry names its newest edit and its redaction; words stand in records only, so whoever reads a
//! changed entry reads the edit's record too.
//!
//! INVARIANT: no read of a room or a category gives the words of a redacted entry, neither those
//! that were said first nor those of an edit. Only `versions` does, for callers who may see them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::apply::decode_row;
use crate::catalog::rows::AmendRow;
use crate::catalog::{Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::payload::Payload;
use crate::format::record::Record;
use crate::history::History;
use crate::reads::{Amendment, Anchor, Gap, GapReason, Versions};
use crate::types::{Rev, RoomId, Seq};

/// Takes the words out of an entry or an edit.
fn silence(record: &mut Record) {
    match &mut record.payload {
        Payload::Post(post) => post.body.clear(),
        Payload::Edited(edit) => edit.body.clear(),
        _ => {}
    }
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

    /// Lays edits and redactions over entries of rooms. An entry whose newest edit is damaged is
    /// taken out and named as a gap: what it says now is not known.
    pub(crate) fn amend(
        &self,
        records: &mut Vec<Record>,
        gaps: &mut Vec<Gap>,
    ) -> Result<Vec<Amendment>> {
        let mut rooms: BTreeMap<RoomId, bool> = BTreeMap::new();
        for record in &*records {
            if let Entry::Vacant(room) = rooms.entry(record.room) {
                room.insert(self.has_amended(record.room)?);
            }
        }
        let mut amended = Vec::new();
        if !rooms.values().any(|any| *any) {
            return Ok(amended);
        }
        for mut record in std::mem::take(records) {
            let (room, seq) = (record.room, record.seq);
            let row = match rooms.get(&room) {
                Some(true) => self.amend_row(room, seq)?,
                _ => None,
            };
            let Some(row) = row else {
                records.push(record);
                continue;
            };
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

    /// Takes the words of redacted entries out of a room's records.
    pub(crate) fn silence(&self, room: RoomId, records: &mut [Record]) -> Result<Vec<Amendment>> {
        let mut redacted: BTreeMap<Seq, Option<Amendment>> = BTreeMap::new();
        if !self.has_amended(room)? {
            return Ok(Vec::new());
        }
        for record in records {
            let seq = match &record.payload {
                Payload::Post(_) => record.seq,
                Payload::Edited(edit) => edit.seq,
                _ => continue,
            };
            let known = match redacted.entry(seq) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let row = self.amend_row(room, seq)?.filter(AmendRow::is_redacted);
                    new.insert(row.map(|row| self.amendment(room, seq, &row)).transpose()?)
                }
            };
            if known.is_some() {
                silence(record);
            }
        }
        Ok(redacted.into_values().flatten().collect())
    }

    /// All that an entry ever said; none if there is no such entry, or if it is damaged.
    pub(crate) fn versions(&self, room: RoomId, seq: Seq) -> Result<Option<Versions>> {
        let _view = self.views.newest();
        let page = self.page_as_said(room, Anchor::At(seq), 1)?;
        let Some(first) = page.records.into_iter().find(|record| record.seq == seq) else {
            return Ok(None);
        };
        let row = self.amend_row(room, seq)?.unwrap_or(AmendRow::NONE);
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
}
