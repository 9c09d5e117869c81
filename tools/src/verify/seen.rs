//! What a look at packs and journal saw: which places of the log, and which parts of each room.
//!
//! `repair` needs it to say exactly what is missing; `verify` alone collects none of it.
//!
//! INVARIANT: memory grows with the records seen, never with the numbers they state.

use hansard_engine::format::payload::{Kind, LsnSpan, Payload};
use hansard_engine::format::record::{Outline, Record};
use hansard_engine::format::run::Run;
use hansard_engine::spans::LsnSet;
use hansard_engine::types::{Epoch, Lsn, Rev, RoomId, Seq};

/// A part of a room's history that stands somewhere, be it readable or known to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomSpan {
    pub room: RoomId,
    pub first_rev: Rev,
    pub last_rev: Rev,
    /// The room's seq before it and at its end.
    pub seq_base: Seq,
    pub last_seq: Seq,
    pub first_lsn: Lsn,
    pub last_lsn: Lsn,
}

impl From<&Run> for RoomSpan {
    fn from(run: &Run) -> Self {
        let Run { room, first_rev, last_rev, seq_base, last_seq, first_lsn, last_lsn, .. } = *run;
        Self { room, first_rev, last_rev, seq_base, last_seq, first_lsn, last_lsn }
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Places of the log whose records can be read.
    pub lsns: LsnSet,
    /// Parts of rooms.
    pub spans: Vec<RoomSpan>,
    /// Losses that were accepted before.
    pub accepted: Vec<LsnSpan>,
    /// The greatest epoch of a record.
    pub epoch: Option<Epoch>,
}

impl Seen {
    /// Notes a record that can be read.
    pub(crate) fn take(&mut self, outline: &Outline, bytes: &[u8]) {
        self.lsns.insert(outline.lsn);
        self.epoch = self.epoch.max(Some(outline.epoch));
        if outline.kind == Kind::LossAccepted
            && let Ok(Record { payload: Payload::LossAccepted(accepted), .. }) =
                Record::from_bytes(bytes)
        {
            self.accepted.extend(accepted.holes);
        }
    }

    /// Adds what another look saw.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.lsns.absorb(&other.lsns);
        self.spans.append(&mut other.spans);
        self.accepted.append(&mut other.accepted);
        self.epoch = self.epoch.max(other.epoch);
    }
}
