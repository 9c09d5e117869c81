//! Retention: a room's entries expire that are older, more, or take more bytes than it keeps.
//!
//! What expires is decided here, and recorded; what follows from the record is `apply`'s. A room's
//! entries go from the oldest on, so that one number, its floor, says which. Legal holds keep
//! entries, and everything behind them in their room. This takes entries from people; from the disk
//! they go with the packs that are written anew (`merge/purge`).
//!
//! INVARIANT: no entry expires that a hold keeps which stands before the record in the log: the
//! record carries the position of the check, and a later hold sends it back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::apply::decode_row;
use crate::catalog::rows::{CategoryRow, HoldRow, RoomRow};
use crate::catalog::{Family, Go, Walk, keys, walk_prefix};
use crate::draft::{Draft, Said};
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::format::payload::{Expired, HoldSettings, Payload, Retention, RoomSettings};
use crate::format::record::{Actor, Door};
use crate::format::run::Run;
use crate::limits;
use crate::pace::Bell;
use crate::reads::Anchor;
use crate::sync::{Mutex, MutexGuard};
use crate::types::{CategoryId, Lsn, PrincipalId, RoomId, Seq, TimeUs, TokenId};

/// Drafts of one append: some leave the queue to others.
const DRAFTS_MAX: usize = 256;
/// Rooms whose rows are read at once.
const AHEAD: usize = 256;
/// Entries that are looked at at once for a hold on an author.
const PAGE: usize = 200;

/// What a look at retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireReport {
    /// Rooms of which entries expired.
    pub rooms: u64,
    /// Those entries.
    pub entries: u64,
    /// Rooms in which a legal hold kept entries that were due.
    pub held: u64,
}

/// What is due in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The room.
    pub room: RoomId,
    /// Its floor until now.
    pub before: Seq,
    /// What is to be recorded; none if holds keep all of it.
    pub expired: Option<Expired>,
    /// A legal hold keeps some of what is due.
    pub held: bool,
}

/// The bell of retention's thread, and what only it knows.
#[derive(Debug, Default)]
pub(crate) struct Expirer {
    pub bell: Bell,
    /// One look at a time.
    expiring: Mutex<()>,
}

impl Engine {
    /// What retention would take now, room by room.
    ///
    /// # Errors
    /// `Unavailable` while the wall clock is in doubt; `Io` or `Corrupt` of the catalog.
    pub fn due_to_expire(&self) -> Result<Vec<Due>> {
        self.0.due()
    }

    /// Records what retention takes now. A hold that is placed meanwhile sends it back: then less
    /// was done, and the next call does the rest.
    ///
    /// # Errors
    /// As [`Self::due_to_expire`] and [`Self::append`].
    pub fn expire(&self) -> Result<ExpireReport> {
        self.0.expire()
    }

    /// Lets compliance events go whose own time is over, and says how many. No event goes that a
    /// legal hold may want.
    ///
    /// # Errors
    /// As [`Self::expire`].
    pub fn expire_events(&self) -> Result<u64> {
        self.0.expire_events()
    }

    /// The legal holds, in the order they were placed.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn holds(&self) -> Result<Vec<HoldRow>> {
        self.0.holds()
    }
}

impl Inner {
    pub(crate) fn run_expirer(&self) {
        let interval = Duration::from_millis(self.options.expire_interval_ms);
        while self.expirer.bell.wait(interval) {
            let events = self.expire().and_then(|report| {
                let ExpireReport { rooms, entries, held } = report;
                if report != ExpireReport::default() {
                    tracing::info!(rooms, entries, held, "entries expired");
                }
                self.expire_events()
            });
            match events {
                Ok(0) => {}
                Ok(events) => tracing::info!(events, "compliance events expired"),
                // Full, closing, or the clock is in doubt: there is another round.
                Err(error @ (Error::Unavailable { .. } | Error::PolicyChanged { .. })) => {
                    tracing::debug!(%error, "retention waits");
                }
                Err(error) => tracing::warn!(%error, "retention failed and will be tried again"),
            }
        }
    }

    /// One look at a time, and none while records are missing.
    pub(crate) fn begin_expiring(&self) -> Result<MutexGuard<'_, ()>> {
        match self.restricted.is_empty() {
            true => Ok(self.expirer.expiring.lock()),
            false => Err(Error::Unavailable { why: "restricted: records were lost" }),
        }
    }

    fn expire(&self) -> Result<ExpireReport> {
        let _one_at_a_time = self.begin_expiring()?;
        let checked_at = self.gate.get();
        let mut report = ExpireReport::default();
        let due = self.due()?;
        report.held = due.iter().filter(|due| due.held).count() as u64;
        for some in due.chunks(DRAFTS_MAX) {
            let drafts: Vec<Draft> = some.iter().filter_map(|due| draft(due, checked_at)).collect();
            if drafts.is_empty() {
                continue;
            }
            self.append_and_wait(drafts)?;
            for due in some {
                let Some(expired) = &due.expired else { continue };
                report.rooms += 1;
                report.entries += expired.floor.0.saturating_sub(due.before.0);
            }
        }
        self.stats.expired_entries.add(report.entries);
        if report.entries > 0 {
            self.merger.look_again();
        }
        Ok(report)
    }

    pub(crate) fn holds(&self) -> Result<Vec<HoldRow>> {
        let mut holds = Vec::new();
        walk_prefix(&*self.store, Family::State, keys::HOLDS, &mut |_, value| {
            holds.push(decode_row(value, "hold row")?);
            Ok(Go::On)
        })?;
        Ok(holds)
    }

    fn due(&self) -> Result<Vec<Due>> {
        let now = self.clock.check()?;
        let mut kept: BTreeMap<CategoryId, Retention> = BTreeMap::new();
        walk_prefix(&*self.store, Family::State, b"c", &mut |_, value| {
            let row: CategoryRow = decode_row(value, "category row")?;
            kept.insert(row.id, row.settings.retention);
            Ok(Go::On)
        })?;
        let mut rooms = Vec::new();
        walk_prefix(&*self.store, Family::State, b"r", &mut |_, value| {
            let row: RoomRow = decode_row(value, "room row")?;
            let RoomSettings { category, retention, .. } = row.settings;
            let retention = retention.or_else(|| kept.get(&category).copied());
            if let Some(retention) = retention.filter(|retention| *retention != Retention::ALL) {
                rooms.push((row.id, category, retention));
            }
            Ok(Go::On)
        })?;
        let holds: Vec<HoldSettings> = self.holds()?.into_iter().map(|row| row.settings).collect();
        let mut due = Vec::new();
        for some in rooms.chunks(AHEAD) {
            let ids: Vec<RoomId> = some.iter().map(|(room, ..)| *room).collect();
            self.history.runs.read_ahead(&ids)?;
            for (room, category, retention) in some {
                let on = |hold: &&HoldSettings| {
                    (hold.room.is_none() || hold.room == *room)
                        && (hold.category.is_none() || hold.category == *category)
                };
                let holds: Vec<&HoldSettings> = holds.iter().filter(on).collect();
                due.extend(self.due_in(*room, *retention, now, &holds)?);
            }
        }
        Ok(due)
    }

    /// The last entry that a room need not keep.
    fn over(&self, room: RoomId, retention: Retention, now: TimeUs) -> Result<Seq> {
        let Retention { days, entries, bytes } = retention;
        let mut upto = Seq::ZERO;
        if days > 0 {
            let kept = i64::from(days).saturating_mul(TimeUs::DAY_US);
            let cutoff = now.saturating_add_us(-kept);
            // The first entry that stays; without one, the place behind the newest.
            upto = Seq(self.history.seek(room, cutoff)?.0.saturating_sub(1));
        }
        if entries > 0 {
            let head = self.history.head(room)?.seq;
            upto = upto.max(Seq(head.0.saturating_sub(entries)));
        }
        if bytes > 0 {
            upto = upto.max(self.over_bytes(room, bytes)?);
        }
        Ok(upto)
    }

    /// The last entry of the blocks that are too many: whole blocks go, and the newest stays. What
    /// no pack has yet does not count.
    fn over_bytes(&self, room: RoomId, bytes: u64) -> Result<Seq> {
        let (mut sum, mut upto) = (0u64, Seq::ZERO);
        let runs = keys::runs(room);
        let (from, to) = (&*runs, &*keys::after_prefix(&runs));
        self.store.range(Family::Index, from, to, Walk::Down, &mut |_, value| {
            let run: Run = decode_row(value, "run row")?;
            for (index, block) in run.blocks.iter().enumerate().rev() {
                let newest = sum == 0;
                sum = sum.saturating_add(u64::from(block.share));
                if sum > bytes && !newest {
                    upto = run.block_last_seq(index);
                    return Ok(Go::Stop);
                }
            }
            Ok(Go::On)
        })?;
        Ok(upto)
    }

    fn due_in(
        &self,
        room: RoomId,
        retention: Retention,
        now: TimeUs,
        holds: &[&HoldSettings],
    ) -> Result<Option<Due>> {
        let history = &self.history;
        let _view = history.views.newest();
        let before = history.past(room)?.floor;
        if history.head(room)?.seq <= before {
            return Ok(None);
        }
        let upto = self.over(room, retention, now)?;
        if upto <= before {
            return Ok(None);
        }
        let mut floor = upto;
        for hold in holds {
            floor = floor.min(self.up_to_hold(room, before, floor, hold)?);
        }
        let held = floor < upto;
        let none = Ok(held.then_some(Due { room, before, expired: None, held }));
        if floor <= before {
            return none;
        }
        // Mostly a day goes, and a run ends with it: no block need be read.
        let time = match history.time_of_last(room, floor)? {
            Some(time) => Some(time),
            None => {
                let page = history.page_as_said(room, Anchor::Before(floor.next()), 1)?;
                page.records.last().map(|last| last.time)
            }
        };
        // Where nothing tells there is nothing to expire: a repair may want to bring it.
        let Some(time) = time else { return none };
        let expired = Expired { floor, time };
        Ok(Some(Due { room, before, expired: Some(expired), held }))
    }

    /// The last entry behind `floor` and up to `upto` before the first that a hold keeps.
    fn up_to_hold(&self, room: RoomId, floor: Seq, upto: Seq, hold: &HoldSettings) -> Result<Seq> {
        let first = self.history.seek(room, hold.from)?.max(floor.next());
        let mut at = first;
        while at <= upto {
            let page = self.history.page_as_said(room, Anchor::Between(at, upto), PAGE)?;
            // What cannot be read may be what the hold is for.
            let damaged = page.gaps.iter().map(|gap| gap.from_seq).min();
            let kept = page.records.iter().find(|record| {
                let by = hold.principal.is_none() || record.actor.id == hold.principal;
                by && record.time < hold.to
            });
            let kept = kept.map(|record| record.seq);
            if let Some(seq) = damaged.into_iter().chain(kept).min() {
                return Ok(Seq(seq.0.saturating_sub(1)));
            }
            let Some(last) = page.records.last().filter(|last| last.time < hold.to) else { break };
            at = last.seq.next();
        }
        Ok(upto)
    }
}

/// Who does it.
pub(crate) fn retention() -> Actor {
    Actor {
        id: PrincipalId::SYSTEM,
        name: "retention".into(),
        door: Door::System,
        address: String::new(),
        session: TokenId::NONE,
    }
}

fn draft(due: &Due, checked_at: Lsn) -> Option<Draft> {
    let actor = retention();
    let payload = Payload::Expired(due.expired.clone()?);
    let (room, said) = (due.room, Said::Now);
    Some(Draft { actor, checked_at, room, said, idempotency: None, expect: None, payload })
}

const _: () = assert!(DRAFTS_MAX <= limits::APPEND_DRAFTS_MAX);
