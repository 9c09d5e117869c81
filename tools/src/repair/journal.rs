//! What the journal holds and what it lost, as a start will find it.
//!
//! Nothing of it is changed or made up here: recovery keeps what is damaged and names the loss.

use hansard_engine::error::Result;
use hansard_engine::format::payload::LsnSpan;
use hansard_engine::format::record::Outline;
use hansard_engine::journal::scan::{Damage, FoundFrame, Lost, end_of, scan};
use hansard_engine::journal::{self, witness};
use hansard_engine::storage::{Disk, join};
use hansard_engine::types::{Epoch, Lsn, Seq};

use crate::verify::{Finding, RoomSpan, Seen};

/// Every record of the journal that can be read, sealed ones included while they are still there.
///
/// # Errors
/// `Io`.
pub(super) fn records(disk: &Disk) -> Result<Seen> {
    let mut seen = Seen::default();
    for frame in &scan(disk, Lsn::ZERO, Lsn::ZERO)?.frames {
        take(frame, Lsn::ZERO, &mut seen);
    }
    Ok(seen)
}

/// Notes the records of a frame above a place, and of damaged ones what the directory says.
fn take(frame: &FoundFrame, above: Lsn, seen: &mut Seen) {
    for slot in frame.slots.iter().flatten().filter(|slot| slot.lsn > above) {
        let entry = &slot.entry;
        // A change that is no entry does not say which seq it stands at.
        let own = u64::from(entry.seq > Seq::ZERO);
        seen.spans.push(RoomSpan {
            room: entry.room,
            first_rev: entry.rev,
            last_rev: entry.rev,
            seq_base: Seq(entry.seq.0.saturating_sub(own)),
            last_seq: entry.seq,
            first_lsn: slot.lsn,
            last_lsn: slot.lsn,
        });
        let bytes = frame.record(slot);
        if let (None, Ok(outline)) = (slot.fault, Outline::from_bytes(&bytes)) {
            seen.take(&outline, &bytes);
        }
    }
}

/// What of the journal a start needs, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Its records above the sealed place, and the rooms' parts.
    pub seen: Seen,
    /// Damage that costs records.
    pub lost: Vec<Finding>,
    /// Which those are.
    pub holes: Vec<LsnSpan>,
    /// Damage that costs none: what was there stands elsewhere, too.
    pub redundant: Vec<Finding>,
    /// The newest record that anything says there was.
    pub last: Lsn,
    /// It ends before that record.
    pub short: bool,
}

/// A finding without a room, its file named within the directory.
pub(super) fn place(file: &str, offset: u64, bytes: u64, reason: &str) -> Finding {
    Finding {
        file: file.to_owned(),
        offset,
        bytes,
        room: None,
        from_seq: None,
        to_seq: None,
        reason: reason.to_owned(),
    }
}

/// Reads the journal from the sealed place on; `known` is how far something else says it went.
///
/// # Errors
/// `Io`.
pub(super) fn live(disk: &Disk, sealed: Lsn, epoch: Epoch, known: Lsn) -> Result<Live> {
    let stated = witness::read(disk)?;
    let witness = stated.newest.map_or(Lsn::ZERO, |newest| newest.lsn).max(sealed).max(known);
    let found = scan(disk, sealed, witness)?;
    let mut live = Live::default();
    for frame in &found.frames {
        take(frame, sealed, &mut live.seen);
    }
    for damage in &found.damage {
        live.add(disk, damage);
    }
    let end = end_of(&found, sealed, sealed, epoch);
    live.last = Lsn(end.next_lsn.0.saturating_sub(1)).max(witness);
    live.short = end.next_lsn <= witness;
    if live.short {
        let reason = "the journal ends before a record that was acknowledged";
        live.lost.push(place(journal::DIR, 0, 0, reason));
        live.holes.push(LsnSpan { first: end.next_lsn, last: witness });
    }
    if found.end.is_none() && stated.newest.is_none() {
        if !live.short {
            let reason = "the journal is gone, and nothing says how far it went";
            live.lost.push(place(journal::DIR, 0, 0, reason));
        }
    } else {
        let file = join(journal::DIR, witness::NAME);
        let faults = stated.faults.iter();
        live.redundant.extend(faults.map(|(offset, reason)| place(&file, *offset, 0, reason)));
    }
    Ok(live)
}

impl Live {
    /// Something of it is not what was written.
    pub(super) fn is_damaged(&self) -> bool {
        !self.lost.is_empty() || !self.redundant.is_empty()
    }

    fn add(&mut self, disk: &Disk, damage: &Damage) {
        let file = damage.file.strip_prefix(disk.root()).unwrap_or(&damage.file);
        let file = file.display().to_string();
        let mut found = place(&file, damage.offset, damage.bytes, damage.reason);
        let span = match damage.lost {
            Lost::Nothing => {
                self.redundant.push(found);
                return;
            }
            Lost::Record(lsn, entry) => {
                found.room = Some(entry.room.to_string());
                let seq = (entry.seq > Seq::ZERO).then_some(entry.seq.0);
                (found.from_seq, found.to_seq) = (seq, seq);
                LsnSpan { first: lsn, last: lsn }
            }
            Lost::Unknown(first, last) => LsnSpan { first, last },
        };
        self.lost.push(found);
        self.holes.push(span);
    }
}
