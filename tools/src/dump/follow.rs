//! One room followed by rev, so that what is missing between two records is seen.
//!
//! Records come in order of rev from one source after another; what was given already is passed
//! over, and what is not there becomes a gap. It reads no file.
//!
//! INVARIANT: of every rev up to the last one there is either a record or a gap, once.

use std::io::Write;

use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::types::{Rev, RoomId, Seq, TimeUs};

use super::out::{Gap, Out, Place, Step};

/// A place for which nothing stands.
const MISSING: &str = "missing";
/// A record that a start wrote in place of a damaged one.
const LOST: &str = "lost to damage before";

/// The times that are wanted: the first included, the last not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub from: TimeUs,
    pub to: TimeUs,
}

impl Times {
    pub(super) fn has(self, time: TimeUs) -> bool {
        self.from <= time && time < self.to
    }
}

/// A place of a room, with what stands there.
#[derive(Debug)]
pub(super) struct Found {
    pub rev: Rev,
    /// Its entry, zero if it is none; none if that is not known.
    pub seq: Option<Seq>,
    /// The record, or why there is none.
    pub record: Result<Record, String>,
    pub place: Place,
}

/// A gap that may grow.
struct Hole {
    reason: String,
    place: Option<Place>,
    first: (Rev, Seq),
}

/// How far a room was followed.
pub(super) struct Follow {
    room: RoomId,
    times: Times,
    rev: Rev,
    seq: Seq,
    hole: Option<Hole>,
}

impl Follow {
    /// At the beginning of a room.
    pub(super) const fn new(room: RoomId, times: Times) -> Self {
        Self { room, times, rev: Rev::ZERO, seq: Seq::ZERO, hole: None }
    }

    /// The last rev that was given, or named as missing.
    pub(super) const fn rev(&self) -> Rev {
        self.rev
    }

    /// Nothing can be had up to this rev and this entry.
    pub(super) fn lacks<W: Write>(
        &mut self,
        (rev, seq): (Rev, Seq),
        reason: &str,
        place: Option<Place>,
        out: &mut Out<W>,
    ) -> Step {
        if rev <= self.rev && seq <= self.seq {
            return Ok(());
        }
        let same = |hole: &Hole| {
            let file = |place: &Option<Place>| place.as_ref().map(|place| place.file.clone());
            hole.reason == reason && file(&hole.place) == file(&place)
        };
        if !self.hole.as_ref().is_some_and(same) {
            self.tell(out)?;
            let first = (self.rev.next(), self.seq.next());
            self.hole = Some(Hole { reason: reason.to_owned(), place, first });
        }
        self.rev = self.rev.max(rev);
        self.seq = self.seq.max(seq);
        Ok(())
    }

    /// What comes next begins behind this rev and this entry.
    pub(super) fn upto<W: Write>(&mut self, before: (Rev, Seq), out: &mut Out<W>) -> Step {
        self.lacks(before, MISSING, None, out)
    }

    /// Nothing up to this rev and this entry is wanted.
    pub(super) fn skip<W: Write>(&mut self, (rev, seq): (Rev, Seq), out: &mut Out<W>) -> Step {
        self.tell(out)?;
        self.rev = self.rev.max(rev);
        self.seq = self.seq.max(seq);
        Ok(())
    }

    /// Places one behind the other. `last` is the room's last entry at the end of them, if known.
    pub(super) fn take<W: Write>(
        &mut self,
        list: &[Found],
        last: Option<Seq>,
        out: &mut Out<W>,
    ) -> Step {
        for (at, found) in list.iter().enumerate() {
            if found.rev <= self.rev {
                continue;
            }
            if found.rev > self.rev.next() {
                let before = (Rev(found.rev.0 - 1), seq_before(list, at, last, self.seq));
                self.upto(before, out)?;
            }
            let place = || Some(found.place.clone());
            let here = match found.seq {
                Some(seq) => seq,
                None => seq_before(list, at + 1, last, self.seq),
            };
            match &found.record {
                Ok(Record { payload: Payload::Lost(_), .. }) => {
                    self.lacks((found.rev, here), LOST, place(), out)?;
                }
                Ok(record) => self.give(record, out)?,
                Err(reason) => self.lacks((found.rev, here), reason, place(), out)?,
            }
        }
        Ok(())
    }

    fn give<W: Write>(&mut self, record: &Record, out: &mut Out<W>) -> Step {
        if record.seq > self.seq.next() {
            self.upto((self.rev, Seq(record.seq.0 - 1)), out)?;
        }
        self.tell(out)?;
        self.rev = record.rev;
        self.seq = self.seq.max(record.seq);
        if self.times.has(record.time) { out.record(record) } else { Ok(()) }
    }

    /// Writes the gap that was growing, if there is one.
    pub(super) fn tell<W: Write>(&mut self, out: &mut Out<W>) -> Step {
        let Some(Hole { reason, place, first: (rev, seq) }) = self.hole.take() else {
            return Ok(());
        };
        let gap = Gap::new(reason, place).room(self.room);
        out.gap(&gap.seqs((seq.0, self.seq.0)).revs((rev.0, self.rev.0)))
    }
}

/// The room's last entry before place `at`, told by the first one that follows.
fn seq_before(list: &[Found], at: usize, last: Option<Seq>, least: Seq) -> Seq {
    let known = |found: &Found| found.seq.filter(|seq| *seq > Seq::ZERO);
    let next = list.get(at..).unwrap_or_default().iter().find_map(known);
    next.map(|seq| Seq(seq.0 - 1)).or(last).unwrap_or(least).max(least)
}

#[cfg(test)]
mod tests {
    use hansard_engine::format::payload::{EntryKind, Lost, MemberRemoved, Post};
    use hansard_engine::format::record::{Actor, Door};
    use hansard_engine::types::{Epoch, Lsn, PrincipalId, TokenId};
    use serde_json::Value;

    use super::*;

    const ROOM: RoomId = RoomId(77);
    const ALWAYS: Times = Times { from: TimeUs::MIN, to: TimeUs::MAX };

    fn record(rev: u64, seq: u64, payload: Payload) -> Found {
        let actor = Actor {
            id: PrincipalId(9),
            name: "ann".into(),
            door: Door::Http,
            address: String::new(),
            session: TokenId::NONE,
        };
        let record = Record {
            epoch: Epoch::FIRST,
            lsn: Lsn(rev),
            recorded: TimeUs(0),
            time: TimeUs(0),
            room: ROOM,
            seq: Seq(seq),
            rev: Rev(rev),
            actor,
            policy: Lsn::ZERO,
            idempotency: None,
            payload,
        };
        Found { rev: Rev(rev), seq: Some(Seq(seq)), record: Ok(record), place: place(rev) }
    }

    fn place(at: u64) -> Place {
        Place { file: "f".into(), offset: at }
    }

    fn post(rev: u64, seq: u64) -> Found {
        let (kind, body) = (EntryKind::Text, "word".to_owned());
        record(rev, seq, Payload::Post(Post { kind, body, reply_to: Seq::ZERO, import: None }))
    }

    fn member(rev: u64) -> Found {
        record(rev, 0, Payload::MemberRemoved(MemberRemoved { principal: PrincipalId(9) }))
    }

    fn bad(rev: u64, seq: Option<u64>) -> Found {
        let record = Err("bad".to_owned());
        Found { rev: Rev(rev), seq: seq.map(Seq), record, place: place(rev) }
    }

    /// Records as `+rev`, gaps as `-revs seqs reason`.
    fn check(lists: &[&[Found]], last: Option<u64>, head: (u64, u64), expected: &[&str]) {
        let mut bytes = Vec::new();
        let mut out = Out::new(&mut bytes);
        let mut follow = Follow::new(ROOM, ALWAYS);
        for list in lists {
            follow.take(list, last.map(Seq), &mut out).expect("memory takes it");
        }
        follow.upto((Rev(head.0), Seq(head.1)), &mut out).expect("memory takes it");
        follow.tell(&mut out).expect("memory takes it");
        out.finish().expect("memory takes it");
        drop(out);
        let show = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            let Some(gap) = line.get("gap") else { return format!("+{}", line["rev"]) };
            let (revs, seqs) =
                ((&gap["from_rev"], &gap["to_rev"]), (&gap["from_seq"], &gap["to_seq"]));
            let reason = gap["reason"].as_str().expect("a reason");
            format!("-{}..{} {}..{} {reason}", revs.0, revs.1, seqs.0, seqs.1)
        };
        let text = String::from_utf8(bytes).expect("lines are text");
        assert_eq!(text.lines().map(show).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_rev_is_a_record_or_in_a_gap_once() {
        check(&[&[member(1), post(2, 1), post(3, 2)]], None, (3, 2), &["+1", "+2", "+3"]);
        // What a second source has again is not given twice.
        check(
            &[&[post(1, 1), post(2, 2)], &[post(2, 2), post(3, 3)]],
            None,
            (3, 3),
            &["+1", "+2", "+3"],
        );
        check(&[&[post(1, 1), post(5, 4)]], None, (5, 4), &["+1", "-2..4 2..3 missing", "+5"]);
        // The entries of a gap are told by the next entry, be it behind a change.
        check(
            &[&[post(1, 1), member(4), post(5, 4)]],
            None,
            (5, 4),
            &["+1", "-2..3 2..3 missing", "+4", "+5"],
        );
        check(&[&[post(1, 1)]], None, (4, 2), &["+1", "-2..4 2..2 missing"]);
        check(&[], None, (2, 0), &["-1..2 null..null missing"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_entries() {
        check(
            &[&[post(1, 1), bad(2, None), bad(3, None), post(4, 4)]],
            None,
            (4, 4),
            &["+1", "-2..3 2..3 bad", "+4"],
        );
        check(&[&[post(1, 1), bad(2, None)]], Some(2), (2, 2), &["+1", "-2..2 2..2 bad"]);
        check(&[&[bad(1, Some(0)), post(2, 1)]], None, (2, 1), &["-1..1 null..null bad", "+2"]);
        let lost = record(2, 2, Payload::Lost(Lost { kind: 1 }));
        check(&[&[post(1, 1), lost]], None, (2, 2), &["+1", "-2..2 2..2 lost to damage before"]);
    }
}
