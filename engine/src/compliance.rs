//! The compliance record's own time: its events stay for as long as a setting says.
//!
//! What goes is decided here, and recorded; what follows from the record is `apply`'s. Events go
//! from the oldest on. Nothing here looks at rooms: retention takes entries from people, this takes
//! the copy that examiners have, and only where both are done may packs let the words go.
//!
//! INVARIANT: no event goes that was recorded at or after the time from which a legal hold keeps
//! entries.

use crate::apply::SETTING_COMPLIANCE;
use crate::catalog::{CatalogStore, Family, Go, Walk, keys};
use crate::draft::{Draft, Said};
use crate::engine::{Engine, Inner};
use crate::error::Result;
use crate::expire::retention;
use crate::format::payload::{ComplianceExpired, Payload};
use crate::history::decode_record;
use crate::types::{Lsn, RoomId, TimeUs};

/// The setting that says how many days compliance events are kept; without it for ever.
pub const SETTING_COMPLIANCE_DAYS: &str = "compliance-days";
/// The setting that keeps compliance events from erasure.
pub const SETTING_COMPLIANCE_LOCKED: &str = "compliance-locked";
/// Events that one record lets go: their rows are removed in one batch.
const EVENTS_MAX: u64 = 8 * 1024;

/// What the settings say of compliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compliance {
    /// Every record becomes an event.
    pub on: bool,
    /// For how many days events are kept; zero for ever.
    pub days: u32,
    /// Nothing of it is erased before its time.
    pub locked: bool,
}

impl Compliance {
    /// As the settings are now.
    ///
    /// # Errors
    /// `Io` of the catalog.
    pub(crate) fn read(store: &dyn CatalogStore) -> Result<Self> {
        let setting = |key| store.get(Family::State, &keys::setting(key));
        let on = setting(SETTING_COMPLIANCE)?.as_deref() == Some(b"on");
        let days = setting(SETTING_COMPLIANCE_DAYS)?.unwrap_or_default();
        let days = std::str::from_utf8(&days).ok().and_then(|days| days.parse().ok());
        let locked = setting(SETTING_COMPLIANCE_LOCKED)?.as_deref() == Some(b"on");
        Ok(Self { on, days: days.unwrap_or(0), locked })
    }
}

impl Engine {
    /// What the settings say of compliance now.
    ///
    /// # Errors
    /// `Io` of the catalog.
    pub fn compliance(&self) -> Result<Compliance> {
        Compliance::read(&*self.0.store)
    }
}

impl Inner {
    /// Records that the events go whose time is over; how many.
    pub(crate) fn expire_events(&self) -> Result<u64> {
        let _one_at_a_time = self.begin_expiring()?;
        let (now, checked_at) = (self.clock.check()?, self.gate.get());
        let days = Compliance::read(&*self.store)?.days;
        if days == 0 {
            return Ok(0);
        }
        let kept = i64::from(days).saturating_mul(TimeUs::DAY_US);
        let holds = self.holds()?.into_iter().map(|hold| hold.settings.from);
        let before = holds.fold(now.saturating_add_us(-kept), TimeUs::min);
        let mut gone = 0;
        while let Some((upto, events)) = self.oldest_events(before)? {
            let (room, said) = (RoomId::NONE, Said::Now);
            let payload = Payload::ComplianceExpired(ComplianceExpired { upto });
            let actor = retention();
            let (idempotency, expect) = (None, None);
            let draft = Draft { actor, checked_at, room, said, idempotency, expect, payload };
            self.append_and_wait(vec![draft])?;
            gone += events;
        }
        self.stats.expired_events.add(gone);
        if gone > 0 {
            self.merger.look_again();
        }
        Ok(gone)
    }

    /// The oldest events that were recorded before a time: the last of them, and how many.
    fn oldest_events(&self, before: TimeUs) -> Result<Option<(Lsn, u64)>> {
        let (from, to) = (keys::event(Lsn::ZERO), keys::event(Lsn(u64::MAX)));
        let (mut upto, mut events) = (Lsn::ZERO, 0);
        self.store.range(Family::Compliance, &from, &to, Walk::Up, &mut |_, value| {
            let record = decode_record(value)?;
            if record.recorded >= before || events == EVENTS_MAX {
                return Ok(Go::Stop);
            }
            (upto, events) = (record.lsn, events + 1);
            Ok(Go::On)
        })?;
        Ok((events > 0).then_some((upto, events)))
    }
}
