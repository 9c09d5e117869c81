//! What goes: retention, compliance's own time, erasures, and the bytes of all of them; and what is
//! signed before it does.
//!
//! Operations of a scenario, beside those of `drive`; each is checked against the model at once.

use hansard_engine::Engine;
use hansard_engine::draft::Draft;
use hansard_engine::error::Error;
use hansard_engine::format::payload::Payload;
use hansard_engine::storage::clock::Clock;
use hansard_engine::storage::sim::Trouble;
use hansard_engine::types::*;

use super::check;
use super::drive::Scenario;
use super::facts::Effect;
use crate::support::draft;

impl Scenario {
    /// Retention takes what is due, as the model says.
    pub(super) fn expire(&mut self, engine: &Engine) {
        // The clock may be in doubt, or something broken.
        let Ok(due) = engine.due_to_expire() else { return };
        let now = self.world.clock.now();
        let effects = check::due(&self.facts, &due, now.saturating_add_us(-TimeUs::DAY_US));
        if effects.is_empty() || !self.facts.unknown.is_empty() {
            return;
        }
        match engine.expire() {
            Ok(report) => {
                assert_eq!(report.rooms, effects.len() as u64);
                self.tally.expiries += report.rooms;
                for effect in &effects {
                    self.facts.take(effect);
                }
            }
            Err(Error::Poisoned { .. }) => self.facts.unknown.push(effects),
            Err(error) => self.note(&format!("nothing expires: {error}")),
        }
    }

    /// The compliance record lets go of what is older than a day, as the model says.
    pub(super) fn expire_events(&mut self, engine: &Engine) {
        if !self.events_for_a_day || !self.facts.unknown.is_empty() {
            return;
        }
        let cutoff = self.world.clock.now().saturating_add_us(-TimeUs::DAY_US);
        let effect = check::events_due(engine, &self.facts, cutoff);
        match (engine.expire_events(), effect) {
            (Ok(events), None) => assert_eq!(events, 0, "events go"),
            (Ok(events), Some(effect)) => {
                assert!(events > 0, "events stay: {effect:?}");
                self.tally.expiries += 1;
                self.facts.take(&effect);
            }
            (Err(Error::Poisoned { .. }), Some(effect)) => self.facts.unknown.push(vec![effect]),
            (Err(error), _) => self.note(&format!("no event expires: {error}")),
        }
    }

    /// An entry is erased, unless a hold keeps it, and its bytes go, or that is cut off.
    pub(super) fn erase(&mut self, engine: &Engine) {
        if self.facts.rooms.is_empty() || !self.facts.unknown.is_empty() {
            return;
        }
        let room = self.choices.below(self.facts.rooms.len());
        let known = &self.facts.rooms[room];
        let floor = usize::try_from(known.floor().0).unwrap();
        // Also what retention took, as long as the disk has it.
        let from = if self.choices.one_in(4) { 0 } else { floor };
        let entry = from + self.choices.below(known.entries.len().saturating_sub(from).max(1));
        let (id, seq) = (known.id, Seq(entry as u64 + 1));
        if known.entries.get(entry).is_none_or(|entry| entry.erased.is_some()) {
            return;
        }
        if self.choices.one_in(4) {
            let at = 1 + self.choices.below(60) as u64;
            let trouble = self.choices.pick(&[Trouble::Stop, Trouble::Once, Trouble::Full]);
            self.world.sim.arrange(at, trouble);
            self.tally.faults += 1;
            self.note(&format!("{trouble:?} in {at} operations of an erasure"));
        }
        match engine.erasure(id, seq, "asked to") {
            Ok(None) => assert!(entry < floor, "the entry is there"),
            Ok(Some((erased, expect))) => {
                let mut asked = draft(self.facts.users[0], id, Payload::Erased(erased));
                asked.expect = Some(expect);
                let lsns: Vec<Lsn> = self.facts.rooms[room].entries[entry].lsns().collect();
                self.note(&format!("erase {id} {seq} {lsns:?} {:?}", asked.payload));
                self.append_erasure(engine, asked, Effect::Erase { room, entry });
            }
            Err(error) => self.note(&format!("no erasure: {error}")),
        }
        if self.choices.one_in(2) && self.facts.unknown.is_empty() {
            let done = engine.erase_owed();
            self.note(&format!("erased {done:?}"));
            match &done {
                Err(Error::Poisoned { .. }) => self.facts.own_unknown = true,
                // What is left of the salts.
                _ => self.facts.take_own(engine.committed()),
            }
            if done.is_ok() {
                check::erased(&self.world.store, &self.facts, "an erasure");
            }
        }
    }

    fn append_erasure(&mut self, engine: &Engine, asked: Draft, effect: Effect) {
        let Effect::Erase { room, entry } = effect else { return };
        let (id, seq) = (self.facts.rooms[room].id, Seq(entry as u64 + 1));
        let held = self.facts.holds.iter().any(|(_, of)| *of == room);
        let done = engine.append(vec![asked]).map(|ticket| {
            engine.step();
            ticket.wait()
        });
        match done.flatten() {
            Ok(answers) => {
                assert!(!held, "a hold keeps what is erased");
                self.facts.acknowledged(&[effect], &answers, "an erasure");
                self.tally.erasures += 1;
            }
            Err(Error::Conflict { .. }) => {
                assert!(held, "no hold keeps it");
                if let Err(error) = engine.withdraw_erasure(id, seq) {
                    self.note(&format!("still noted: {error}"));
                }
            }
            Err(Error::Poisoned { .. }) if !held => self.facts.unknown.push(vec![effect]),
            Err(error) => self.note(&format!("not erased: {error}")),
        }
    }

    /// Heads are signed, or that is cut off.
    pub(super) fn sign(&mut self, engine: &Engine) {
        if !self.facts.unknown.is_empty() {
            return;
        }
        let done = engine.sign_heads();
        self.note(&format!("signed {done:?}"));
        match &done {
            Err(Error::Poisoned { .. }) => self.facts.own_unknown = true,
            _ => self.facts.take_own(engine.committed()),
        }
        if done.is_ok() {
            self.tally.signed += 1;
            check::signed(engine, "signed");
        }
    }

    /// What retention took is dropped from packs, or that is cut off.
    pub(super) fn purge(&mut self, engine: &Engine) {
        if self.choices.one_in(3) {
            let at = 1 + self.choices.below(30) as u64;
            let trouble = self.choices.pick(&[Trouble::Stop, Trouble::Once, Trouble::Full]);
            self.world.sim.arrange(at, trouble);
            self.tally.faults += 1;
            self.note(&format!("{trouble:?} in {at} operations of a purge"));
        }
        let mut left = self.choices.pick(&[1, 3, usize::MAX, usize::MAX]);
        let done = engine.purge(&mut |_| {
            left = left.saturating_sub(1);
            left > 0
        });
        self.note(&format!("purged {done:?}"));
        if let Ok(report) = done {
            self.tally.dropped += report.dropped;
            if self.facts.unknown.is_empty() {
                check::purged(&self.world.store, &self.facts, "a purge");
            }
        }
    }
}
