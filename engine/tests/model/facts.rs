//! The model: what was said, in which order, and what of it was acknowledged.
//!
//! It predicts every position the engine gives, so a wrong order is seen at once and what a crash
//! left of unanswered appends follows from the end of the log alone.

use std::collections::{BTreeMap, BTreeSet};

use hansard_engine::draft::Appended;
use hansard_engine::format::payload::Retention;
use hansard_engine::types::*;

/// What one record changes, as the model sees it.
#[derive(Clone, Debug)]
pub enum Effect {
    Post {
        room: usize,
        body: String,
        key: Option<(usize, String)>,
    },
    Edit {
        room: usize,
        entry: usize,
        body: String,
    },
    Redact {
        room: usize,
        entry: usize,
    },
    /// An entry goes, with every version of it.
    Erase {
        room: usize,
        entry: usize,
    },
    /// Retention takes a room's entries.
    Expire {
        room: usize,
        floor: Seq,
    },
    /// Compliance events are gone.
    ForgetEvents {
        upto: Lsn,
    },
    /// A category keeps so much of its rooms.
    Retain {
        category: usize,
        kept: Retention,
    },
    Hold {
        room: usize,
    },
    Release {
        hold: usize,
    },
    MakeRoom {
        category: usize,
        name: String,
    },
    ChangeRoom {
        room: usize,
        category: usize,
        name: String,
    },
    SetMember {
        room: usize,
        user: usize,
    },
    DropMember {
        room: usize,
        user: usize,
    },
    MakeToken {
        sha256: [u8; 32],
    },
    RevokeToken {
        token: usize,
    },
    /// A record of a system room that changes nothing the model looks at.
    Other,
}

/// An entry of a room's timeline.
#[derive(Clone, Debug)]
pub struct Entry {
    pub lsn: Lsn,
    pub rev: Rev,
    pub body: String,
    /// Known once it was answered or read.
    pub time: Option<TimeUs>,
    /// What became of it, in order: other words, or none if it was redacted.
    pub changes: Vec<(Lsn, Option<String>)>,
    /// The record that erased it.
    pub erased: Option<Lsn>,
}

impl Entry {
    /// The places of its record and of what became of it.
    pub fn lsns(&self) -> impl Iterator<Item = Lsn> {
        std::iter::once(self.lsn).chain(self.changes.iter().map(|(lsn, _)| *lsn))
    }

    pub fn is_redacted(&self) -> bool {
        self.changes.iter().any(|(_, body)| body.is_none())
    }

    /// What people see; none if it is hidden from them.
    pub fn shown(&self) -> Option<&str> {
        match self.changes.last() {
            Some((_, body)) => body.as_deref(),
            None => Some(&self.body),
        }
    }

    /// What people may see if some of these records may be lost.
    pub fn may_show(&self, lost: impl Fn(Lsn) -> bool) -> Vec<Option<&str>> {
        let mut shown = vec![Some(self.body.as_str())];
        for (lsn, body) in &self.changes {
            if !lost(*lsn) {
                shown.clear();
            }
            shown.push(body.as_deref());
        }
        shown
    }
}

#[derive(Clone, Debug)]
pub struct Room {
    pub id: RoomId,
    pub name: String,
    pub category: usize,
    pub rev: Rev,
    /// In order of seq, from 1.
    pub entries: Vec<Entry>,
    pub members: BTreeSet<usize>,
    /// What retention took, as it went on.
    pub expired: Vec<(Lsn, Seq)>,
}

impl Room {
    /// The last entry that is gone.
    pub fn floor(&self) -> Seq {
        self.expired.last().map_or(Seq::ZERO, |(_, floor)| *floor)
    }

    /// The last entry that is gone for certain, if some of these records may be lost.
    pub fn certain_floor(&self, lost: impl Fn(Lsn) -> bool) -> Seq {
        let certain = self.expired.iter().rev().find(|(lsn, _)| !lost(*lsn));
        certain.map_or(Seq::ZERO, |(_, floor)| *floor)
    }
}

#[derive(Clone, Debug)]
pub struct Token {
    pub sha256: [u8; 32],
    pub id: TokenId,
    pub live: bool,
}

/// Where a record will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub lsn: Lsn,
    pub room: Option<RoomId>,
    pub seq: Seq,
    pub rev: Option<Rev>,
}

/// Everything that was recorded.
#[derive(Clone, Debug)]
pub struct Facts {
    pub epoch: Epoch,
    pub next: Lsn,
    pub rooms: Vec<Room>,
    pub names: BTreeSet<String>,
    pub users: Vec<PrincipalId>,
    pub categories: Vec<CategoryId>,
    /// How much categories keep, of those that were told.
    pub retained: BTreeMap<usize, Retention>,
    /// Holds that are placed, with their rooms.
    pub holds: Vec<(HoldId, usize)>,
    pub tokens: Vec<Token>,
    /// First results by (user, room, key).
    pub keys: BTreeMap<(usize, usize, String), (Place, String)>,
    /// Acknowledged records up to here stand under a promise or a witness.
    pub protected: Lsn,
    /// Compliance events begin with this record, if they are on.
    pub compliance: Option<Lsn>,
    /// Appends whose outcome is unknown, in order.
    pub unknown: Vec<Vec<Effect>>,
    /// Places of the engine's own records, which are no events: seeds of salts, heads.
    pub own: BTreeSet<Lsn>,
    /// The log may end with some that the model did not see acknowledged.
    pub own_unknown: bool,
}

impl Facts {
    /// Takes one record as recorded.
    pub fn take(&mut self, effect: &Effect) -> Place {
        let lsn = self.next;
        self.next = lsn.next();
        let mut place = Place { lsn, room: None, seq: Seq::ZERO, rev: None };
        match effect {
            Effect::Post { room, body, key } => {
                let at = &mut self.rooms[*room];
                at.rev = at.rev.next();
                let (said, changes) = (body.clone(), Vec::new());
                at.entries.push(Entry {
                    lsn,
                    rev: at.rev,
                    body: said,
                    time: None,
                    changes,
                    erased: None,
                });
                place.room = Some(at.id);
                place.rev = Some(at.rev);
                place.seq = Seq(at.entries.len() as u64);
                if let Some((user, key)) = key {
                    let key = (*user, *room, key.clone());
                    self.keys.insert(key, (place, body.clone()));
                }
            }
            Effect::Edit { room, entry, .. } | Effect::Redact { room, entry } => {
                let body = match effect {
                    Effect::Edit { body, .. } => Some(body.clone()),
                    _ => None,
                };
                let at = &mut self.rooms[*room];
                at.rev = at.rev.next();
                at.entries[*entry].changes.push((lsn, body));
                place.room = Some(at.id);
                place.rev = Some(at.rev);
            }
            Effect::Erase { room, entry } => {
                let at = &mut self.rooms[*room];
                at.rev = at.rev.next();
                let entry = &mut at.entries[*entry];
                entry.erased = Some(lsn);
                let gone = entry.lsn;
                self.keys.retain(|_, (place, _)| place.lsn != gone);
                place.room = Some(at.id);
                place.rev = Some(at.rev);
            }
            Effect::MakeRoom { category, name } => {
                let id = RoomId::new(self.epoch, lsn);
                self.names.insert(name.clone());
                self.rooms.push(Room {
                    id,
                    name: name.clone(),
                    category: *category,
                    rev: Rev(1),
                    entries: Vec::new(),
                    members: BTreeSet::new(),
                    expired: Vec::new(),
                });
                place.room = Some(id);
                place.rev = Some(Rev(1));
            }
            Effect::ChangeRoom { room, category, name } => {
                let at = &mut self.rooms[*room];
                at.rev = at.rev.next();
                self.names.remove(&at.name);
                self.names.insert(name.clone());
                at.name.clone_from(name);
                at.category = *category;
                place.room = Some(at.id);
                place.rev = Some(at.rev);
            }
            Effect::SetMember { room, user } | Effect::DropMember { room, user } => {
                let at = &mut self.rooms[*room];
                at.rev = at.rev.next();
                if matches!(effect, Effect::SetMember { .. }) {
                    at.members.insert(*user);
                } else {
                    at.members.remove(user);
                }
                place.room = Some(at.id);
                place.rev = Some(at.rev);
            }
            Effect::Expire { room, floor } => {
                let at = &mut self.rooms[*room];
                at.rev = at.rev.next();
                at.expired.push((lsn, *floor));
                place.room = Some(at.id);
                place.rev = Some(at.rev);
            }
            Effect::ForgetEvents { upto } => self.compliance = Some(upto.next()),
            Effect::Retain { category, kept } => {
                self.retained.insert(*category, *kept);
            }
            Effect::Hold { room } => self.holds.push((HoldId::new(self.epoch, lsn), *room)),
            Effect::Release { hold } => drop(self.holds.remove(*hold)),
            Effect::MakeToken { sha256 } => {
                let id = TokenId::new(self.epoch, lsn);
                self.tokens.push(Token { sha256: *sha256, id, live: true });
            }
            Effect::RevokeToken { token } => self.tokens[*token].live = false,
            Effect::Other => {}
        }
        place
    }

    /// Takes the engine's own records, up to where the log ends.
    pub fn take_own(&mut self, last: Lsn) {
        while self.next <= last {
            self.own.insert(self.next);
            self.take(&Effect::Other);
        }
    }

    /// Takes an append that was acknowledged, and compares where it stands.
    pub fn acknowledged(&mut self, effects: &[Effect], answers: &[Appended], what: &str) {
        assert_eq!(effects.len(), answers.len(), "{what}");
        // A control record is answered when the catalog has it; one whose answer failed there
        // stands in the log all the same, before what was answered behind it.
        for earlier in std::mem::take(&mut self.unknown) {
            for effect in &earlier {
                self.take(effect);
            }
        }
        for (effect, answer) in effects.iter().zip(answers) {
            let place = self.take(effect);
            assert_eq!(answer.lsn, place.lsn, "{what}");
            assert_eq!(answer.seq, place.seq, "{what}");
            assert!(!answer.replayed, "{what}");
            if let Some(room) = place.room {
                assert_eq!((answer.room, Some(answer.rev)), (room, place.rev), "{what}");
            }
            if let Effect::Post { room, .. } = effect {
                self.rooms[*room].entries.last_mut().unwrap().time = Some(answer.time);
            }
        }
    }

    /// The log was found to end with `last`: of the unanswered appends a prefix was recorded, each
    /// whole.
    pub fn resolve(&mut self, last: Lsn, what: &str) {
        assert!(last.next() >= self.next, "{what}: the log ends with {last}, before what was kept");
        for effects in std::mem::take(&mut self.unknown) {
            if last < self.next {
                break;
            }
            let first = self.next;
            for effect in &effects {
                self.take(effect);
            }
            assert!(self.next <= last.next(), "{what}: the append at {first} is there in part");
        }
        if std::mem::take(&mut self.own_unknown) {
            self.take_own(last);
        }
        assert_eq!(self.next, last.next(), "{what}: records that nobody asked for");
    }
}

impl Facts {
    /// The newest place before a hole that ends the log.
    pub fn last_before(&self, last: Lsn, holes: &[(Lsn, Lsn)]) -> Lsn {
        let end = holes.iter().find(|(_, end)| *end == last && last >= self.next);
        end.map_or(last, |(first, _)| Lsn(first.0 - 1).max(Lsn(self.next.0 - 1)))
    }

    /// Records behind `last` were lost, and nothing had promised them.
    pub fn forget_behind(&mut self, last: Lsn) {
        self.unknown.clear();
        self.own_unknown = false;
        self.own.retain(|lsn| *lsn <= last);
        self.next = last.next();
        for room in &mut self.rooms {
            room.entries.retain(|entry| entry.lsn <= last);
            room.expired.retain(|(lsn, _)| *lsn <= last);
            for entry in &mut room.entries {
                entry.changes.retain(|(lsn, _)| *lsn <= last);
                entry.erased = entry.erased.filter(|lsn| *lsn <= last);
            }
        }
    }
}
