//! What somebody might ask for next: drafts, with what the model says of them.
//!
//! It looks at the model only, so that the same choices ask for the same.

use hansard_engine::draft::Draft;
use hansard_engine::format::payload::*;
use hansard_engine::types::*;

use super::drive::Scenario;
use super::facts::{Effect, Entry, Facts, Place};
use crate::support::{self, draft, keyed, post};

impl Scenario {
    /// What somebody might ask for next.
    pub(super) fn think(&mut self, facts: &Facts) -> Option<(Vec<Draft>, Vec<Effect>)> {
        let choices = &mut self.choices;
        let user = choices.below(facts.users.len());
        let by = facts.users[user];
        if facts.rooms.is_empty() || choices.one_in(16) {
            let name = format!("room {}", facts.next);
            let category = choices.below(facts.categories.len());
            let settings = support::room_settings(facts.categories[category], &name);
            let made = Payload::RoomCreated(RoomCreated { settings });
            // The server itself, so that nobody becomes a member by it.
            let made = draft(PrincipalId::SYSTEM, RoomId::NONE, made);
            return Some((vec![made], vec![Effect::MakeRoom { category, name }]));
        }
        let room = choices.below(facts.rooms.len());
        let id = facts.rooms[room].id;
        let one = |payload, effect| Some((vec![draft(by, id, payload)], vec![effect]));
        match choices.below(18) {
            16 => Some(self.think_retention(facts)),
            17 => Some(self.think_hold(facts, room)),
            14 | 15 => self.think_amendment(facts, by, room),
            0 => {
                let name = format!("renamed {}", facts.next);
                let category = choices.below(facts.categories.len());
                let before = support::room_settings(facts.categories[category], &name);
                let changed = RoomChanged { settings: before };
                one(Payload::RoomChanged(changed), Effect::ChangeRoom { room, category, name })
            }
            1 => {
                let set = MemberSet { principal: by, roles: Roles::MEMBER };
                one(Payload::MemberSet(set), Effect::SetMember { room, user })
            }
            2 => {
                let gone = MemberRemoved { principal: by };
                one(Payload::MemberRemoved(gone), Effect::DropMember { room, user })
            }
            3 => Some(self.think_token(facts, by)),
            4 | 5 => {
                let key = format!("key {}", choices.below(6));
                let body = choices.pick(&["keyed", "keyed too"]).to_owned();
                let digest = u8::try_from(body.len()).unwrap();
                let keyed = keyed(post(by, id, &body), &key, digest);
                let effect = Effect::Post { room, body, key: Some((user, key)) };
                Some((vec![keyed], vec![effect]))
            }
            _ => {
                let long = choices.pick(&[0, 0, 20, 300, 3_000, 20_000]);
                let bodies = (0..1 + choices.below(4))
                    .map(|n| format!("{}.{n} {}", facts.next, "word ".repeat(long / 5)));
                let said = bodies.map(|body| {
                    (post(by, id, &body), Effect::Post { room, body: body.clone(), key: None })
                });
                Some(said.unzip())
            }
        }
    }

    /// An edit or a redaction of an entry that is not redacted.
    fn think_amendment(
        &mut self,
        facts: &Facts,
        by: PrincipalId,
        room: usize,
    ) -> Option<(Vec<Draft>, Vec<Effect>)> {
        let known = &facts.rooms[room];
        let entry = self.choices.below(known.entries.len().max(1));
        let stays = |entry: &&Entry| !entry.is_redacted() && entry.erased.is_none();
        known.entries.get(entry).filter(stays)?;
        if entry < usize::try_from(known.floor().0).unwrap() {
            return None;
        }
        let seq = Seq(entry as u64 + 1);
        let (payload, effect) = if self.choices.one_in(3) {
            let redacted = Redacted { seq, reason: "a slip".into() };
            (Payload::Redacted(redacted), Effect::Redact { room, entry })
        } else {
            let long = self.choices.pick(&[0, 20, 3_000]);
            let body = format!("edit {} {}", facts.next, "word ".repeat(long / 5));
            let edited = Edited { seq, body: body.clone() };
            (Payload::Edited(edited), Effect::Edit { room, entry, body })
        };
        Some((vec![draft(by, known.id, payload)], vec![effect]))
    }

    /// A category keeps entries for a day from now on, or some of them, or all.
    fn think_retention(&mut self, facts: &Facts) -> (Vec<Draft>, Vec<Effect>) {
        let category = self.choices.below(facts.categories.len());
        let (day, some) = (Retention { days: 1, ..Retention::ALL }, 1 + self.choices.below(9));
        let some = Retention { entries: some as u64, ..Retention::ALL };
        let both = Retention { days: 1, ..some };
        let kept = self.choices.pick(&[Retention::ALL, day, day, some, both]);
        let mut settings = support::category_settings(["General", "Trading"][category]);
        settings.retention = kept;
        let changed = CategoryChanged { category: facts.categories[category], settings };
        let made = draft(facts.users[0], RoomId::NONE, Payload::CategoryChanged(changed));
        (vec![made], vec![Effect::Retain { category, kept }])
    }

    /// A legal hold on a room, or the end of one.
    fn think_hold(&mut self, facts: &Facts, room: usize) -> (Vec<Draft>, Vec<Effect>) {
        let settings = |room| HoldSettings { room, ..support::hold_settings() };
        // Nobody can end a hold before its placing was answered, nor twice.
        let known = |hold: &usize| self.facts.holds.contains(&facts.holds[*hold]);
        let known: Vec<usize> = (0..facts.holds.len()).filter(known).collect();
        let (payload, effect) = if !known.is_empty() && self.choices.one_in(2) {
            let hold = known[self.choices.below(known.len())];
            let (id, room) = facts.holds[hold];
            let gone = HoldReleased { hold: id, settings: settings(facts.rooms[room].id) };
            (Payload::HoldReleased(gone), Effect::Release { hold })
        } else {
            let placed = HoldPlaced { settings: settings(facts.rooms[room].id) };
            (Payload::HoldPlaced(placed), Effect::Hold { room })
        };
        (vec![draft(facts.users[0], RoomId::NONE, payload)], vec![effect])
    }

    fn think_token(&mut self, facts: &Facts, by: PrincipalId) -> (Vec<Draft>, Vec<Effect>) {
        let live = |t: &usize| facts.tokens[*t].live;
        // Nobody can revoke a token before its making was answered.
        let known = self.facts.tokens.len();
        let gone = (0..known).find(live).filter(|_| self.choices.one_in(2));
        let (payload, effect) = match gone {
            Some(token) => {
                let known = &facts.tokens[token];
                let gone = TokenRevoked { token: known.id, principal: by, sha256: known.sha256 };
                (Payload::TokenRevoked(gone), Effect::RevokeToken { token })
            }
            None => {
                let mut sha256 = [7; 32];
                sha256[..8].copy_from_slice(&facts.next.0.to_le_bytes());
                let made = TokenCreated {
                    principal: by,
                    name: "laptop".into(),
                    sha256,
                    expires: TimeUs::CEILING,
                    session: false,
                    one_use: false,
                };
                (Payload::TokenCreated(made), Effect::MakeToken { sha256 })
            }
        };
        (vec![draft(by, RoomId::NONE, payload)], vec![effect])
    }
}

/// The first result of a key that was used before, and whether the body is the same.
pub(super) fn repeated(facts: &Facts, effects: &[Effect]) -> Option<(Place, bool)> {
    match effects {
        [Effect::Post { room, body, key: Some((user, key)) }] => {
            let (place, first) = facts.keys.get(&(*user, *room, key.clone()))?;
            Some((*place, first == body))
        }
        _ => None,
    }
}
